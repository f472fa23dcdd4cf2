from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from recontour.dicom.dose import RT_DOSE, RT_PLAN, read_dose, read_prescription
from recontour.dicom.references import PatientHeader, SeriesIdentity
from recontour.errors import DoseRefused, PatientMismatch, UsageError
from recontour.geometry.resample import sample
from recontour.geometry.volume import Volume

FRAME, PLAN = "1.2.826.0.1.13", "1.2.826.0.1.77"
PLANNING = SeriesIdentity("1.2", "1.3", FRAME, "1.4", ("1.5",), PatientHeader("Secret^Name", "SECRET-ID", "19500102"))
POSITION = (-20.0, 30.0, -12.5)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SIZE = (4, 5, 6)  # planes, rows, columns
ROW_MM, COLUMN_MM = 2.0, 3.0  # between rows, between columns
OFFSETS = (0.0, 2.5, 5.0, 7.5)


def gray_at(points_mm: Any) -> Any:
    """The dose everywhere: different along x, y and z, and linear, so that resampling keeps it."""
    return 50.0 + np.asarray(points_mm) @ [0.3, -0.2, 0.7]


def rtdose(orientation: Any = AXIAL, offsets: Any = OFFSETS, said: Any = None, bits: int = 32, **tags: Any) -> Dataset:
    """A dose whose planes lie `offsets` mm along row x column from POSITION; `said`: what the file says of them."""
    row, column = (np.array(v, float) for v in orientation)
    k, j, i = np.meshgrid(offsets, np.arange(SIZE[1]) * ROW_MM, np.arange(SIZE[2]) * COLUMN_MM, indexing="ij")
    points = np.array(POSITION) + k[..., None] * np.cross(row, column) + j[..., None] * column + i[..., None] * row
    scaling = 1e-6 if bits == 32 else 2e-3
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    values: dict[str, Any] = dict(
        SOPClassUID=RT_DOSE, SOPInstanceUID="1.2.826.0.1.99", Modality="RTDOSE", PatientName="Secret^Name",
        PatientID="SECRET-ID", FrameOfReferenceUID=FRAME, ImagePositionPatient=list(POSITION),
        ImageOrientationPatient=[f"{v:.10f}" for v in (*row, *column)], PixelSpacing=[ROW_MM, COLUMN_MM],
        NumberOfFrames=len(offsets), Rows=SIZE[1], Columns=SIZE[2], SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1,
        PixelRepresentation=0, DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN",
        DoseGridScaling=f"{scaling:g}", GridFrameOffsetVector=list(offsets if said is None else said),
        PixelData=np.rint(gray_at(points) / scaling).astype(f"<u{bits // 8}").tobytes(),
    )  # fmt: skip
    plan = Dataset()
    plan.ReferencedSOPInstanceUID = PLAN
    dataset.ReferencedRTPlanSequence = [plan]
    for keyword, value in (values | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def saved(tmp_path: Path, dataset: Dataset, name: str = "file.dcm") -> Path:
    path = tmp_path / name
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def check_truth(volume: Volume, atol: float = 1e-3) -> None:
    """The right dose at the right point, for every voxel."""
    np.testing.assert_allclose(volume.array, gray_at(volume.grid.points()), atol=atol)


def test_a_plain_dose(tmp_path: Path) -> None:
    dose = read_dose(saved(tmp_path, rtdose()), PLANNING)
    assert dose.volume.grid.size == SIZE and dose.volume.grid.spacing_mm == (2.5, ROW_MM, COLUMN_MM)
    assert dose.volume.grid.origin_mm == POSITION and dose.volume.grid.is_axial()
    assert dose.volume.array.dtype == np.float32
    check_truth(dose.volume)
    assert (dose.summation, dose.plan_uid, dose.frame_of_reference_uid) == ("PLAN", PLAN, FRAME)
    assert dose.sop_instance_uid == "1.2.826.0.1.99" and dose.notes == ()


# What the file says, where the planes lie (mm along row x column, here z, from the first)
CONVENTIONS = [
    ((0, 2.5, 5, 7.5), (0, 2.5, 5, 7.5)),
    ((0, -2.5, -5, -7.5), (0, -2.5, -5, -7.5)),
    ((-12.5, -10, -7.5, -5), (0, 2.5, 5, 7.5)),  # z of the planes
    ((-12.5, -15, -17.5, -20), (0, -2.5, -5, -7.5)),
]


@pytest.mark.parametrize(("said", "offsets"), CONVENTIONS)
def test_both_ways_of_writing_offsets(tmp_path: Path, said: Any, offsets: Any) -> None:
    volume = read_dose(saved(tmp_path, rtdose(offsets=offsets, said=said))).volume
    check_truth(volume)
    z = sorted(POSITION[2] + np.array(offsets))
    np.testing.assert_allclose(volume.grid.points()[:, 0, 0, 2], z)


@pytest.mark.parametrize("said", [(1, 3.5, 6, 8.5), (12.5, 15, 17.5, 20)])
def test_offsets_that_begin_anywhere_else_are_refused(tmp_path: Path, said: Any) -> None:
    with pytest.raises(DoseRefused, match="begin neither"):
        read_dose(saved(tmp_path, rtdose(said=said)))


ORIENTATIONS = {
    "row along -x: normal -z": ((-1, 0, 0), (0, 1, 0)),
    "column along -y: normal -z": ((1, 0, 0), (0, -1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "decubitus": ((0, 1, 0), (-1, 0, 0)),
    "sagittal planes": ((0, 1, 0), (0, 0, -1)),
    "coronal planes": ((1, 0, 0), (0, 0, -1)),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_every_way_the_planes_can_lie_comes_onto_an_axial_grid(tmp_path: Path, orientation: Any) -> None:
    for offsets in (OFFSETS, (0.0, -2.5, -5.0, -7.5)):
        volume = read_dose(saved(tmp_path, rtdose(orientation, offsets))).volume
        assert volume.grid.is_axial() and volume.array.flags.c_contiguous
        check_truth(volume)


def test_absolute_offsets_are_for_planes_that_lie_as_the_standard_has_them(tmp_path: Path) -> None:
    with pytest.raises(DoseRefused, match="begin neither"):
        read_dose(saved(tmp_path, rtdose(((-1, 0, 0), (0, 1, 0)), said=(-12.5, -15, -17.5, -20))))


def test_oblique_planes_keep_their_own_grid(tmp_path: Path) -> None:
    turned = np.linalg.qr([[1.0, 0.2, 0.1], [-0.2, 1.0, 0.3], [0.1, -0.3, 1.0]])[0]
    volume = read_dose(saved(tmp_path, rtdose((turned[0], turned[1])))).volume
    assert not volume.grid.is_axial()
    check_truth(volume, atol=5e-3)


def test_uneven_planes_are_brought_onto_even_ones_and_said(tmp_path: Path) -> None:
    for offsets in ((0.0, 2.0, 4.0, 8.0), (0.0, 2.0, 4.5, 8.5), (0.0, -4.0, -6.0, -8.0)):
        dose = read_dose(saved(tmp_path, rtdose(offsets=offsets)))
        z = dose.volume.grid.points()[:, 0, 0, 2] - POSITION[2]
        assert z[0] == pytest.approx(min(offsets)) and z[-1] == pytest.approx(max(offsets))
        assert dose.volume.grid.spacing_mm[0] <= 2.0 + 1e-9
        check_truth(dose.volume)
        assert len(dose.notes) == 1 and "uneven" in dose.notes[0]


def test_offsets_rounded_to_hundredths_are_even(tmp_path: Path) -> None:
    offsets = (0.0, 3.33, 6.67, 10.0)
    dose = read_dose(saved(tmp_path, rtdose(offsets=offsets)))
    assert dose.notes == () and dose.volume.grid.spacing_mm[0] == pytest.approx(10 / 3)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("bits", [16, 32])
def test_dose_of_16_and_32_bits(tmp_path: Path, bits: int, syntax: Any) -> None:
    dataset = rtdose(bits=bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    check_truth(read_dose(saved(tmp_path, dataset)).volume, atol=1.1e-3)


def test_big_endian_dose(tmp_path: Path) -> None:
    dataset = rtdose()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u4").astype(">u4").tobytes()
    path = tmp_path / "big.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    check_truth(read_dose(path).volume)


def test_a_dose_is_sampled_in_its_frame(tmp_path: Path) -> None:
    volume = read_dose(saved(tmp_path, rtdose(((0, 1, 0), (-1, 0, 0))))).volume
    point = volume.grid.points().reshape(-1, 3).mean(axis=0)
    assert float(sample(volume.array, volume.grid, point[None], 0.0)[0]) == pytest.approx(gray_at(point), abs=1e-3)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "relative": ({"DoseUnits": "RELATIVE"}, "RELATIVE"),
    "no units": ({"DoseUnits": None}, "units missing"),
    "an error of a dose": ({"DoseType": "ERROR"}, "ERROR"),
    "no type": ({"DoseType": None}, "type missing"),
    "one beam": ({"DoseSummationType": "BEAM"}, "part of the treatment .*BEAM"),
    "one session": ({"DoseSummationType": "FRACTION_SESSION"}, "part of the treatment"),
    "no summation": ({"DoseSummationType": None}, "does not say"),
    "no frame of reference": ({"FrameOfReferenceUID": None}, "no frame of reference"),
    "no scaling": ({"DoseGridScaling": None}, "DoseGridScaling"),
    "no position": ({"ImagePositionPatient": None}, "ImagePositionPatient"),
    "a scaling of 0": ({"DoseGridScaling": "0"}, "malformed"),
    "skewed axes": ({"ImageOrientationPatient": [1, 0, 0, 0.2, 1, 0]}, "malformed"),
    "no spacing": ({"PixelSpacing": [0, 2]}, "malformed"),
    "no offsets": ({"GridFrameOffsetVector": None}, "single plane"),
    "too few offsets": ({"GridFrameOffsetVector": [0, 2.5, 5]}, "3 plane offsets for 4 planes"),
    "offsets back and forth": ({"GridFrameOffsetVector": [0, 5, 2.5, 7.5]}, "steadily"),
    "one plane twice": ({"GridFrameOffsetVector": [0, 2.5, 2.5, 7.5]}, "steadily"),
    "planes all but on each other": ({"GridFrameOffsetVector": [0, 0.1, 5, 7.5]}, "0.10 to 4.90 mm apart"),
    "cut-off pixels": ({"PixelData": b"\0" * 100}, "cut off"),
    "nothing in it": ({"PixelData": b"\0" * (4 * 4 * 5 * 6)}, "0 Gy everywhere"),
    "another kind of object": ({"Modality": "CT"}, "CT object"),
    "another class": ({"SOPClassUID": RT_PLAN}, "RTDOSE"),
}


@pytest.mark.parametrize(("tags", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_dose_of_a_plan_is_refused(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    keywords = {k: v for k, v in tags.items() if v is not None}
    dataset = rtdose(**keywords)
    for keyword in tags.keys() - keywords:
        delattr(dataset, keyword)
    with pytest.raises(DoseRefused, match=words) as caught:
        read_dose(saved(tmp_path, dataset))
    assert caught.value.where == "file.dcm" and "SECRET" not in str(caught.value).upper()


def test_signed_pixels_below_nothing_are_refused(tmp_path: Path) -> None:
    pixels = np.full(SIZE, -5, "<i4").tobytes()
    with pytest.raises(DoseRefused, match="no dose in its pixels"):
        read_dose(saved(tmp_path, rtdose(PixelRepresentation=1, PixelData=pixels)))


def test_what_the_reader_must_know_is_noted(tmp_path: Path) -> None:
    notes = read_dose(saved(tmp_path, rtdose(DoseType="EFFECTIVE", DoseSummationType="MULTI_PLAN"))).notes
    assert any("biological" in n for n in notes) and any("MULTI_PLAN" in n for n in notes)


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_dose(tmp_path / "missing.dcm")
    (tmp_path / "text.txt").write_text("dose")
    with pytest.raises(DoseRefused, match="no DICOM"):
        read_dose(tmp_path / "text.txt")


def rtplan(
    references: Any = (), groups: Any = (), uid: str = PLAN, frame: str = FRAME, patient: str = "SECRET-ID"
) -> Dataset:
    """references: (type, Gy). groups: (fractions, beam doses, target Gy or None)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RT_PLAN, uid, "RTPLAN"
    dataset.FrameOfReferenceUID, dataset.PatientID = frame, patient
    dataset.DoseReferenceSequence = [reference(kind, gy) for kind, gy in references]
    dataset.FractionGroupSequence = []
    for fractions, doses, target in groups:
        group = Dataset()
        group.NumberOfFractionsPlanned = fractions
        group.ReferencedBeamSequence = [beam(gy) for gy in doses]
        group.ReferencedDoseReferenceSequence = [reference("TARGET", target)] if target else []
        dataset.FractionGroupSequence.append(group)
    return dataset


def reference(kind: str, gy: float | None) -> Dataset:
    item = Dataset()
    item.DoseReferenceType = kind
    if gy is not None:
        item.TargetPrescriptionDose = gy
    return item


def beam(gy: float | None) -> Dataset:
    item = Dataset()
    if gy is not None:
        item.BeamDose = gy
    return item


PRESCRIPTIONS = [
    ([("TARGET", 78)], [(39, [1.0, 1.1], 60)], 78.0, "target prescription dose"),
    ([("TARGET", 60), ("TARGET", 78), ("ORGAN_AT_RISK", 90)], [], 78.0, "largest of 78, 60 Gy"),
    ([("TARGET", None), ("ORGAN_AT_RISK", 90)], [(39, [1.0, 1.0], 76.0)], 76.0, "fraction group"),
    ([], [(20, [], 40.0), (19, [], 38.0)], 78.0, "fraction group"),
    ([], [(39, [0.5, 0.7, 0.8, None], None)], 78.0, "at a point"),
    ([], [(20, [2.0], None), (19, [2.0], None)], 78.0, "at a point"),
    ([], [(39, [None], None)], None, "names no dose"),
    ([], [], None, "names no dose"),
]


@pytest.mark.parametrize(("references", "groups", "gy", "source"), PRESCRIPTIONS)
def test_where_the_prescription_stands(tmp_path: Path, references: Any, groups: Any, gy: Any, source: str) -> None:
    found = read_prescription(saved(tmp_path, rtplan(references, groups)), PLANNING)
    assert found.dose_gy == (None if gy is None else pytest.approx(gy)) and source in found.source
    assert found.plan_uid == PLAN


def test_the_plan_must_be_the_one_of_the_dose(tmp_path: Path) -> None:
    dose = read_dose(saved(tmp_path, rtdose(), "dose.dcm"))
    assert read_prescription(saved(tmp_path, rtplan([("TARGET", 78)])), PLANNING, dose).dose_gy == 78
    with pytest.raises(DoseRefused, match="another plan"):
        read_prescription(saved(tmp_path, rtplan([("TARGET", 78)], uid="1.2.9")), PLANNING, dose)
    with pytest.raises(DoseRefused, match="RTDOSE object"):
        read_prescription(tmp_path / "dose.dcm")


def test_another_scan_or_patient_is_refused_without_naming_him(tmp_path: Path) -> None:
    with pytest.raises(PatientMismatch, match="frame of reference"):
        read_dose(saved(tmp_path, rtdose(FrameOfReferenceUID="1.2.3.4")), PLANNING)
    with pytest.raises(PatientMismatch, match="frame of reference"):
        read_prescription(saved(tmp_path, rtplan(frame="1.2.3.4")), PLANNING)
    other = saved(tmp_path, rtdose(PatientID="OTHER-ID"))
    with pytest.raises(PatientMismatch, match="patient ID") as caught:
        read_dose(other, PLANNING)
    assert "OTHER-ID" not in str(caught.value) and "SECRET-ID" not in str(caught.value)
    check_truth(read_dose(other, PLANNING, allow_different_patients=True).volume)
    with pytest.raises(PatientMismatch, match="patient ID"):
        read_prescription(saved(tmp_path, rtplan(patient="OTHER-ID")), PLANNING)
