"""RTSTRUCT to contours: all kinds of ROIs, and everything that is malformed, by the ROI's name."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.dicom.series import read_series
from recontour.dicom.structures import check_inside, read_structures
from recontour.errors import PatientMismatch, StructuresRefused, UsageError
from tests.dicom.made_ct import AXIAL, ct_image, rtstruct, save, simple_scan

# simple_scan: pixels at x = -5..-2 (1 mm), y = 7..17 (2 mm), z = 10, 13, ..., 22.
TRIANGLE = [(-4.5, 8.0, 13.0), (-2.5, 8.0, 13.0), (-3.0, 14.0, 13.0)]


def square(z, x=-3.5, y=12.0, half=1.0):
    return [(x - half, y - half, z), (x + half, y - half, z), (x + half, y + half, z), (x - half, y + half, z)]


def bladder(*contours, name="Bladder", number=1, **more):
    drawn = [c if isinstance(c, tuple) else ("CLOSED_PLANAR", c) for c in contours]
    return dict(number=number, name=name, contours=drawn) | more


def read(folder, *rois, **tags):
    save(folder, [rtstruct(list(rois), **tags)], ["plan.dcm"])
    return read_structures(folder / "plan.dcm")


@pytest.fixture
def scan(tmp_path):
    return read_series(save(tmp_path / "scan", simple_scan(5)))


@pytest.mark.filterwarnings("ignore:The value length")  # CLOSED_PLANAR_XOR, as some write it, is one letter too long
def test_rois_as_they_are(tmp_path):
    structures = read(
        tmp_path,
        bladder(TRIANGLE, square(16.0), square(16.0, half=0.5)),
        dict(number=7, name="Reference", type="MARKER", contours=[("POINT", [(1, 2, 3)])]),
        dict(number=4, name="Wire", contours=[("OPEN_PLANAR", TRIANGLE)]),
        dict(number=5, name="Nothing"),
        dict(number=6, name="Nothing either", contours=[]),
        dict(number=9, name="Rings", contours=[("CLOSEDPLANAR_XOR", square(10.0)), ("CLOSED_PLANAR_XOR", TRIANGLE)]),
    )
    kinds = {r.name: (r.number, r.kind, len(r.contours)) for r in structures.rois}
    assert kinds == {
        "Bladder": (1, "closed_planar", 3),
        "Reference": (7, "point", 1),
        "Wire": (4, "open", 1),
        "Nothing": (5, "empty", 0),
        "Nothing either": (6, "empty", 0),
        "Rings": (9, "closed_planar", 2),
    }
    roi = structures.roi("Bladder")
    assert (roi.colour, roi.interpreted_type, roi.image_uids) == ((1, 20, 255), "ORGAN", None)
    assert roi.contours[0].dtype == np.float64
    np.testing.assert_allclose(roi.contours[0], TRIANGLE)
    assert structures.label == "plan" and structures.sop_instance_uid == "1.2.3.1"
    with pytest.raises(UsageError, match="no such ROI"):
        structures.roi("bladder")


def test_closing_point_and_degenerate_contours(tmp_path):
    structures = read(tmp_path, bladder([*TRIANGLE, TRIANGLE[0]], TRIANGLE[:1], TRIANGLE[:2], ("POINT", TRIANGLE[:1])))
    (roi,) = structures.rois
    assert [len(c) for c in roi.contours] == [3]
    assert any("fewer than three points" in note for note in structures.notes)
    assert any("not closed_planar left out" in note for note in structures.notes)


def test_only_degenerate_contours_are_empty(tmp_path):
    structures = read(tmp_path, bladder(TRIANGLE[:2]))
    assert structures.rois[0].kind == "empty" and structures.rois[0].contours == ()


def test_image_references(tmp_path):
    from pydicom.dataset import Dataset

    dataset = rtstruct([bladder(TRIANGLE, square(16.0))])
    for k, contour in enumerate(dataset.ROIContourSequence[0].ContourSequence):
        image = Dataset()
        image.ReferencedSOPInstanceUID = f"1.2.{k}"
        contour.ContourImageSequence = [image]
    save(tmp_path, [dataset], ["plan.dcm"])
    assert read_structures(tmp_path).rois[0].image_uids == ("1.2.0", "1.2.1")


def test_contour_data_written_as_unknown(tmp_path):
    """What explicit VR does to ContourData beyond 64 kB; blanks and exponents are allowed in decimal strings."""
    raw = b" 1.5\\2\\ 3e1\\-4\\5.25\\30 \\7\\8\\30"
    structures = read(tmp_path, bladder(("CLOSED_PLANAR", raw, 3)))
    np.testing.assert_allclose(structures.rois[0].contours[0], [(1.5, 2, 30), (-4, 5.25, 30), (7, 8, 30)])


MALFORMED = {
    "coordinates": ("CLOSED_PLANAR", b"1\\2\\3\\4", 1),
    "not made of numbers": ("CLOSED_PLANAR", b"1\\2\\3\\4\\five\\6", 2),
    "not finite": ("CLOSED_PLANAR", b"1\\2\\nan", 1),
    "says it has": ("CLOSED_PLANAR", TRIANGLE, 4),
    "contour type BLOB": ("BLOB", TRIANGLE),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_contours_name_the_roi(tmp_path, what):
    with pytest.raises(StructuresRefused, match=what) as refused:
        read(tmp_path, bladder(MALFORMED[what], name="Vescica"))
    assert refused.value.where == "ROI Vescica"


def test_duplicates(tmp_path):
    with pytest.raises(StructuresRefused, match=r"2 ROIs of one name .* ROI Bladder"):
        read(tmp_path / "a", bladder(TRIANGLE), bladder(TRIANGLE, number=2))
    with pytest.raises(StructuresRefused, match="2 ROIs of number 1"):
        read(tmp_path / "b", bladder(TRIANGLE), dict(number=1, name="Rectum"))
    assert len(read(tmp_path / "c", bladder(TRIANGLE), dict(number=2, name="Bladder")).rois) == 2
    dataset = rtstruct([bladder(TRIANGLE)])
    dataset.StructureSetROISequence[0].ROINumber = 3
    save(tmp_path, [dataset], ["plan.dcm"])
    with pytest.raises(StructuresRefused, match="ROI number 1, which is not defined"):
        read_structures(tmp_path / "plan.dcm")


class TestChoice:
    def test_none_and_other_files(self, tmp_path):
        save(tmp_path, simple_scan(3))
        with pytest.raises(StructuresRefused, match="no RTSTRUCT"):
            read_structures(tmp_path)
        with pytest.raises(StructuresRefused, match=r"no RTSTRUCT \| 999\.dcm"):
            read_structures(tmp_path / "999.dcm")
        with pytest.raises(UsageError):
            read_structures(tmp_path / "nowhere")

    def test_several_are_listed_and_chosen(self, tmp_path, scan):
        first, second = rtstruct([bladder(TRIANGLE)]), rtstruct([], uid="1.2.3.2", StructureSetLabel="boost")
        save(tmp_path, [first, second], ["a.dcm", "b.dcm"])
        with pytest.raises(StructuresRefused, match="2 structure sets") as refused:
            read_structures(tmp_path, scan)
        for part in ("1.2.3.1: plan, 20240102, 1 ROIs", "1.2.3.2: boost", "--structures"):
            assert part in str(refused.value)
        assert "SECRET" not in str(refused.value)
        assert read_structures(tmp_path, scan, structures_uid="1.2.3.2").label == "boost"
        assert read_structures(tmp_path, ignore=[tmp_path / "b.dcm"]).label == "plan"
        with pytest.raises(StructuresRefused, match=r"no structure set 1\.7"):
            read_structures(tmp_path, structures_uid="1.7")

    def test_the_one_drawn_on_the_scan_is_preferred_and_said_so(self, tmp_path, scan):
        other = rtstruct([], series="1.2.9", frame="1.2.8", uid="1.2.3.2")
        save(tmp_path, [other, rtstruct([bladder(TRIANGLE)])], ["a.dcm", "b.dcm"])
        structures = read_structures(tmp_path, scan)
        assert structures.sop_instance_uid == "1.2.3.1" and "1 other structure set(s)" in structures.notes[0]

    def test_a_copy_is_no_second_one(self, tmp_path):
        save(tmp_path, [rtstruct([bladder(TRIANGLE)])] * 2, ["a.dcm", "b.dcm"])
        assert "second copy" in read_structures(tmp_path).notes[0]


class TestBelonging:
    @pytest.mark.parametrize("tags", [dict(frame="1.2.8"), dict(series="1.2.9"), dict(frame="", series="")])
    def test_of_another_scan(self, tmp_path, scan, tags):
        save(tmp_path, [rtstruct([bladder(TRIANGLE)], **tags)], ["plan.dcm"])
        with pytest.raises(PatientMismatch):
            read_structures(tmp_path / "plan.dcm", scan)

    @pytest.mark.parametrize("tags", [dict(frame=""), dict(series="")])
    def test_either_reference_is_enough(self, tmp_path, scan, tags):
        save(tmp_path, [rtstruct([bladder(TRIANGLE)], **tags)], ["plan.dcm"])
        assert len(read_structures(tmp_path / "plan.dcm", scan).rois) == 1

    def test_one_roi_of_another_frame_is_named(self, tmp_path, scan):
        dataset = rtstruct([bladder(TRIANGLE), bladder(TRIANGLE, name="PET lesion", number=2, frame="1.2.8")])
        save(tmp_path, [dataset], ["plan.dcm"])
        with pytest.raises(PatientMismatch, match="PET lesion"):
            read_structures(tmp_path / "plan.dcm", scan)

    def test_of_another_patient(self, tmp_path, scan):
        save(tmp_path, [rtstruct([bladder(TRIANGLE)], PatientID="OTHER-SECRET")], ["plan.dcm"])
        with pytest.raises(PatientMismatch, match="patient IDs") as refused:
            read_structures(tmp_path / "plan.dcm", scan)
        assert "SECRET" not in str(refused.value)
        assert read_structures(tmp_path / "plan.dcm", scan, allow_different_patients=True).rois


class TestInside:
    def check(self, tmp_path, scan, contour):
        check_inside(read(tmp_path, bladder(contour, name="CTV")).rois[0], scan)

    @pytest.mark.parametrize("z", [10.0, 13.4, 22.3])
    def test_on_a_slice(self, tmp_path, scan, z):
        self.check(tmp_path, scan, square(z))

    @pytest.mark.parametrize(
        "contour, what",
        [
            (square(14.5), "1.50 mm off the nearest slice"),
            (square(9.2), "beyond its first or last slice"),
            (square(25.0), "beyond its first or last slice"),
            (square(13.0, x=0.0), "beyond the edge"),
            (square(13.0, y=4.0), "beyond the edge"),
            ([*square(13.0), (-3.0, 12.0, 16.0), (-3.5, 11.0, 14.5)], "off the nearest slice"),
        ],
    )
    def test_off_or_outside_names_the_roi(self, tmp_path, scan, contour, what):
        with pytest.raises(StructuresRefused, match=what) as refused:
            self.check(tmp_path, scan, contour)
        assert "ROI CTV" in refused.value.where

    def test_feet_first(self, tmp_path):
        """Rows of a feet-first image run towards -x: the triangle lies inside it, its mirror image does not."""
        images = [ct_image(np.zeros((6, 4)), (5.0, 7.0, z), (-1, *AXIAL[1:])) for z in (10, 13, 16)]
        series = read_series(save(tmp_path / "ffs", images))
        self.check(tmp_path, series, square(13.0, x=3.5))
        with pytest.raises(StructuresRefused, match="edge"):
            self.check(tmp_path, series, square(13.0, x=-3.5))


def test_real_structures(real_planning):
    series = read_series(real_planning)
    structures = read_structures(real_planning, series)
    assert len(structures.rois) == 16 and structures.notes == ()
    for roi in structures.rois:
        check_inside(roi, series)
        assert roi.image_uids is not None and set(roi.image_uids) <= set(series.identity.sop_instance_uids)
    positions = {round(p.origin_mm[2], 3) for p in series.planes}
    assert {round(c[0, 2], 3) for c in structures.roi("Vescica").contours} <= positions
    assert structures.roi("External").interpreted_type == "EXTERNAL"
