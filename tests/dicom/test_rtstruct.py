"""Structure sets as others read them: plain pydicom, a pixel-centre reader of its own, and dciodvfy."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from recontour.dicom import rtstruct
from recontour.dicom.references import PatientHeader, SeriesIdentity
from recontour.dicom.rtstruct import Provenance, RoiToWrite, names_to_write, verify_rtstruct, write_rtstruct
from recontour.dicom.series import CtSeries
from recontour.errors import OutputRefused
from recontour.geometry.contours import SlicePlane, contours_from_level_set
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
HFS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
FFP = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0))

# Slices at positions that no short decimal hits, and unevenly spaced
HEIGHTS = np.array([-1034.123456789, -1031.1234, -1028.2, -1025.2, -1022.2, -1019.2, -1016.2, -1013.0])


def a_series(directions=HFS, frames=False):
    row, column = (np.array(d) for d in directions)
    normal = np.cross(row, column)
    corner = -40.0 * row - 35.0 * column
    planes = tuple(
        SlicePlane(tuple(corner + z * np.abs(normal)), tuple(row), tuple(column), 1.25, 0.75, 60, 110) for z in HEIGHTS
    )
    uids = ("2.25.300",) * len(planes) if frames else tuple(f"2.25.{300 + k}" for k in range(len(planes)))
    identity = SeriesIdentity(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        frame_of_reference_uid="2.25.3",
        sop_class_uid=ENHANCED_CT if frames else CT,
        sop_instance_uids=uids,
        frame_numbers=tuple(range(1, len(planes) + 1)) if frames else (),
        patient=PatientHeader("Jørgensen^Åse", "id-7", "19500102", "M"),
        study_date="20240229",
        study_time="101112",
        study_id="S1",
        accession_number="ACC",
        referring_physician="Doe^Jane",
    )
    grid = Grid.of((len(planes), 60, 110), (3.0, 1.25, 0.75), planes[0].origin_mm)
    return CtSeries(Volume(grid, np.zeros(grid.size, np.float32)), planes, identity)


def some_rois(series):
    """A ring in a body that leans, a small body, and one that is not there."""
    grid = Grid.around([-32, -32, -1040], [32, 32, -1008], 1.0)
    p = grid.points()
    lean = np.hypot(p[..., 0] - 0.2 * (p[..., 2] + 1024), p[..., 1])
    ring = LevelSet(grid, np.minimum(18 - lean, lean - 9).astype(np.float32))
    ball = LevelSet(grid, (8 - np.linalg.norm(p - [-7, 3, -1023], axis=-1)).astype(np.float32))
    return [
        RoiToWrite(4, "Rektum (große)", contours_from_level_set(ring, series.planes), (10, 200, 255), "ORGAN"),
        RoiToWrite(9, "FemoralHead (Left)_MBS", contours_from_level_set(ball, series.planes), None, "CTV"),
        RoiToWrite(2, "SV", [[] for _ in series.planes], (1, 2, 3), ""),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    series = a_series()
    rois = some_rois(series)
    path = tmp_path_factory.mktemp("rtstruct") / "daily.dcm"
    write_rtstruct(path, series, rois, Provenance(predecessor_uid="2.25.77", label="daily 3"))
    return path, series, rois, pydicom.dcmread(path)


def all_items(dataset):
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from all_items(item)


def points_of(contour):
    return np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)


def test_what_a_planning_system_needs_is_there(written):
    read = written[3]
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert (read.Modality, read.ApprovalStatus, read.StructureSetLabel) == ("RTSTRUCT", "UNAPPROVED", "daily 3")
    assert read.SOPClassUID == read.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.481.3"
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID
    assert (str(read.PatientName), read.PatientID) == ("Jørgensen^Åse", "id-7")
    assert (read.PatientBirthDate, read.PatientSex) == ("19500102", "M")
    assert (read.StudyInstanceUID, read.StudyDate, read.StudyID) == ("2.25.1", "20240229", "S1")
    assert (read.AccessionNumber, str(read.ReferringPhysicianName), str(read.OperatorsName)) == ("ACC", "Doe^Jane", "")
    assert read.SeriesInstanceUID not in ("2.25.2", "") and read.FrameOfReferenceUID == "2.25.3"
    assert read.StructureSetDate and read.StructureSetTime and read.SoftwareVersions and read.InstanceNumber == 1
    assert read.Manufacturer == "recontour" and "InstitutionName" not in read
    (before,) = read.PredecessorStructureSetSequence
    assert before.ReferencedSOPInstanceUID == "2.25.77" and before.ReferencedSOPClassUID == read.SOPClassUID
    assert b"Qurit" not in written[0].read_bytes()


def test_every_image_is_referenced(written):
    _, series, _, read = written
    (frame,) = read.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (referenced,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == "2.25.3" and study.ReferencedSOPInstanceUID == "2.25.1"
    assert referenced.SeriesInstanceUID == "2.25.2"
    images = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in referenced.ContourImageSequence]
    assert images == [(CT, uid) for uid in series.identity.sop_instance_uids]


def test_rois_keep_number_name_colour_and_type(written):
    read = written[3]
    listed = [(r.ROINumber, r.ROIName, r.ROIGenerationAlgorithm) for r in read.StructureSetROISequence]
    assert listed == [
        (4, "Rektum (große)", "AUTOMATIC"),
        (9, "FemoralHead (Left)_MBS", "AUTOMATIC"),
        (2, "SV", "AUTOMATIC"),
    ]
    assert {r.ReferencedFrameOfReferenceUID for r in read.StructureSetROISequence} == {"2.25.3"}
    observed = [(o.ReferencedROINumber, o.RTROIInterpretedType or "") for o in read.RTROIObservationsSequence]
    assert observed == [(4, "ORGAN"), (9, "CTV"), (2, "")]
    assert all("ROIInterpreter" in o for o in read.RTROIObservationsSequence)
    assert len({o.ObservationNumber for o in read.RTROIObservationsSequence}) == 3
    drawn = {int(c.ReferencedROINumber): c for c in read.ROIContourSequence}
    assert set(drawn) == {4, 9}  # the empty one is listed, not drawn
    assert list(drawn[4].ROIDisplayColor) == [10, 200, 255] and "ROIDisplayColor" not in drawn[9]
    (algorithm,) = read.StructureSetROISequence[0].ROIDerivationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "recontour" and algorithm.AlgorithmVersion
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Deformable Models"


def test_contours_lie_on_their_images_and_where_they_were_meant(written):
    _, series, rois, read = written
    heights = dict(zip(series.identity.sop_instance_uids, HEIGHTS, strict=True))
    for item, roi in zip(read.ROIContourSequence, rois, strict=False):
        meant = [c for contours in roi.contours for c in contours]
        assert len(item.ContourSequence) == len(meant) > 0
        for contour, points in zip(item.ContourSequence, meant, strict=True):
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(points) >= 3
            found = points_of(contour)
            assert np.abs(found - points).max() <= 0.5001e-4
            (image,) = contour.ContourImageSequence
            assert (found[:, 2] == heights[image.ReferencedSOPInstanceUID]).all()


def test_no_number_is_longer_than_16_bytes(written):
    raw = pydicom.dcmread(written[0])
    count = 0
    for item in raw.ROIContourSequence:
        for contour in item.ContourSequence:
            texts = contour.get_item("ContourData").value.split(b"\\")
            assert max(map(len, texts)) <= 16
            count += len(texts)
    assert count > 1000


def test_every_time_new_uids(written, tmp_path):
    _, series, rois, read = written
    write_rtstruct(tmp_path / "again.dcm", series, rois, Provenance())
    again = pydicom.dcmread(tmp_path / "again.dcm")
    assert again.SOPInstanceUID != read.SOPInstanceUID and again.SeriesInstanceUID != read.SeriesInstanceUID
    assert "PredecessorStructureSetSequence" not in again


def inside(contours, plane):
    """Even-odd at pixel centres of the image, one ray along the rows per pixel."""
    origin, row, column = np.array(plane.origin_mm), np.array(plane.row_direction), np.array(plane.column_direction)
    x = np.arange(plane.columns)[None, :] * plane.column_spacing_mm
    y = np.arange(plane.rows)[:, None] * plane.row_spacing_mm
    out = np.zeros((plane.rows, plane.columns), bool)
    for points in contours:
        u, v = (points - origin) @ row, (points - origin) @ column
        for u0, v0, u1, v1 in zip(u, v, np.roll(u, -1), np.roll(v, -1), strict=True):
            if v0 != v1:
                out ^= ((v0 > y) != (v1 > y)) & (x < u0 + (y - v0) * (u1 - u0) / (v1 - v0))
    return out


@pytest.mark.parametrize("directions", [HFS, FFP, TURNED], ids=["HFS", "FFP", "turned"])
def test_hole_and_area_survive_in_every_orientation(directions, tmp_path):
    series = a_series(directions)
    rois = some_rois(series)
    write_rtstruct(tmp_path / "a.dcm", series, rois, Provenance())
    read = pydicom.dcmread(tmp_path / "a.dcm")
    by_image = {}
    for contour in read.ROIContourSequence[0].ContourSequence:
        by_image.setdefault(contour.ContourImageSequence[0].ReferencedSOPInstanceUID, []).append(points_of(contour))
    assert len(by_image) == len(HEIGHTS)
    for uid, plane in zip(series.identity.sop_instance_uids, series.planes, strict=True):
        assert len(by_image[uid]) == 2
        pixels = inside(by_image[uid], plane)
        assert pixels.sum() * 1.25 * 0.75 == pytest.approx(np.pi * (18**2 - 9**2), rel=0.015)
        r, c = (k.mean() for k in np.nonzero(pixels))
        centre = np.array(plane.origin_mm) + c * 0.75 * np.array(directions[0]) + r * 1.25 * np.array(directions[1])
        z = plane.origin_mm[2]
        assert centre == pytest.approx([0.2 * (z + 1024), 0, z], abs=0.15)


def test_multi_frame_contours_name_their_frame(tmp_path):
    series = a_series(frames=True)
    write_rtstruct(tmp_path / "a.dcm", series, some_rois(series), Provenance())
    read = pydicom.dcmread(tmp_path / "a.dcm")
    images = read.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert len(images.ContourImageSequence) == 1
    for contour in read.ROIContourSequence[0].ContourSequence:
        frame = int(contour.ContourImageSequence[0].ReferencedFrameNumber)
        assert points_of(contour)[0, 2] == HEIGHTS[frame - 1]


def test_existing_file_stays_unless_asked(tmp_path):
    series = a_series()
    path = tmp_path / "there.dcm"
    path.write_bytes(b"something of value")
    with pytest.raises(OutputRefused, match=r"there\.dcm"):
        write_rtstruct(path, series, some_rois(series), Provenance())
    assert path.read_bytes() == b"something of value"
    write_rtstruct(path, series, some_rois(series), Provenance(), overwrite=True)
    assert pydicom.dcmread(path).Modality == "RTSTRUCT"
    assert os.listdir(tmp_path) == ["there.dcm"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_does_not_read_back_leaves_no_file(overwrite, tmp_path, monkeypatch):
    series = a_series()
    path = tmp_path / "out.dcm"
    if overwrite:
        path.write_bytes(b"before")
    honest = rtstruct._decimal_strings
    monkeypatch.setattr(rtstruct, "_decimal_strings", lambda contour: honest(contour + np.array([0.0, 0.001, 0.0])))
    with pytest.raises(OutputRefused, match="Rektum"):
        write_rtstruct(path, series, some_rois(series), Provenance(), overwrite)
    assert os.listdir(tmp_path) == (["out.dcm"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"before"


def changed(rois, which, **changes):
    return [replace(roi, **changes) if roi.number == which else roi for roi in rois]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "Rektum"}, "name or number"),
        ({"colour": (10, 200, 254)}, "colour"),
        ({"interpreted_type": "PTV"}, "interpreted type"),
        ({"contours": [[] for _ in HEIGHTS]}, "other ROIs"),
    ],
)
def test_check_sees_any_difference_of_an_roi(written, changes, match):
    path, series, rois, _ = written
    verify_rtstruct(path, series, rois)
    with pytest.raises(OutputRefused, match=match):
        verify_rtstruct(path, series, changed(rois, 4, **changes))


def test_check_sees_a_contour_that_moved_or_is_missing_or_on_another_image(written):
    path, series, rois, _ = written
    slices = [list(contours) for contours in rois[0].contours]
    fewer = [slices[0][1:], *slices[1:]]
    shifted = [[slices[0][0] + [0.01, 0, 0], slices[0][1]], *slices[1:]]
    swapped = [slices[1], slices[0], *slices[2:]]
    for wrong in (fewer, shifted, swapped):
        with pytest.raises(OutputRefused, match="Rektum"):
            verify_rtstruct(path, series, changed(rois, 4, contours=wrong))
    for field in ("frame_of_reference_uid", "study_instance_uid", "series_instance_uid"):
        other = replace(series, identity=replace(series.identity, **{field: "2.25.99"}))
        with pytest.raises(OutputRefused, match="refers"):
            verify_rtstruct(path, other, rois)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "SV"}, "there twice"),
        ({"name": "a\\b"}, "cannot be written"),
        ({"name": "x" * 65}, "cannot be written"),
        ({"number": 2}, "one number"),
        ({"contours": [[np.zeros((4, 3))]]}, "planes"),
        ({"contours": [[np.zeros((4, 3))], *[[]] * (len(HEIGHTS) - 1)]}, "off its slice"),
        ({"contours": [[np.zeros((2, 3))], *[[]] * (len(HEIGHTS) - 1)]}, "shape"),
        ({"contours": [[np.full((4, 3), np.nan)], *[[]] * (len(HEIGHTS) - 1)]}, "no number"),
    ],
)
def test_rois_that_cannot_be_written_are_refused(changes, match, tmp_path):
    series = a_series()
    with pytest.raises(OutputRefused, match=match):
        write_rtstruct(tmp_path / "a.dcm", series, changed(some_rois(series), 4, **changes), Provenance())
    assert not os.listdir(tmp_path)


def test_a_set_without_contours_and_a_label_too_long_are_refused(tmp_path):
    series = a_series()
    rois = some_rois(series)
    with pytest.raises(OutputRefused, match="no ROI has a contour"):
        write_rtstruct(tmp_path / "a.dcm", series, rois[2:], Provenance())
    with pytest.raises(OutputRefused, match="17 characters"):
        write_rtstruct(tmp_path / "a.dcm", series, rois, Provenance(label="x" * 17))
    with pytest.raises(OutputRefused, match=r"a\.dcm"):
        write_rtstruct(tmp_path / "no such folder" / "a.dcm", series, rois, Provenance())


def test_names_become_fit_and_unique():
    assert names_to_write(["PTV", "ptv", "PTV", "a\\b", "  ", "CTV"]) == ["PTV", "ptv_2", "PTV_3", "a b", "ROI", "CTV"]
    alike = ["FemoralHead (Left)", "FemoralHead (Left) 2"]
    assert names_to_write(alike, 16) == ["FemoralHead (Lef", "FemoralHead (L_2"]


def test_dciodvfy_finds_no_error(written, tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        assert "CI" not in os.environ, "dciodvfy is missing"
        pytest.skip("dciodvfy is not at hand")
    series = a_series(FFP, frames=True)
    write_rtstruct(tmp_path / "frames.dcm", series, some_rois(series), Provenance(family="artificial intelligence"))
    for path in (written[0], tmp_path / "frames.dcm"):
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        report = said.stdout + said.stderr
        assert "RTStructureSet" in report
        assert "Error" not in report, report


def test_real_plan_copied_to_its_own_scan(real_planning: Path, tmp_path):
    """The planning scan's contours, written without passing through a level set: the same points to 0.1 um."""
    from recontour.dicom.series import read_series

    series = read_series(real_planning)
    plan = pydicom.dcmread(next(real_planning.glob("RS*")))
    image = {uid: k for k, uid in enumerate(series.identity.sop_instance_uids)}
    names = {item.ROINumber: item.ROIName for item in plan.StructureSetROISequence}
    rois = []
    for item in plan.ROIContourSequence[:9]:
        contours = [[] for _ in series.planes]
        for contour in item.ContourSequence:
            contours[image[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]].append(points_of(contour))
        number = int(item.ReferencedROINumber)
        rois.append(RoiToWrite(number, names[number], contours, tuple(item.ROIDisplayColor), "ORGAN"))
    write_rtstruct(tmp_path / "copy.dcm", series, rois, Provenance(predecessor_uid=plan.SOPInstanceUID))
    again = pydicom.dcmread(tmp_path / "copy.dcm")
    for old, new in zip(plan.ROIContourSequence[:9], again.ROIContourSequence, strict=True):
        here = sorted(tuple(points_of(c).mean(axis=0).round(2)) for c in new.ContourSequence)
        assert here == sorted(tuple(points_of(c).mean(axis=0).round(2)) for c in old.ContourSequence)
