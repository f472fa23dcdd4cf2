"""Registration objects, followed by hand with the equations of PS3.3 C.20.2.1.1 and C.20.3.1.1."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from recontour.dicom import registration
from recontour.dicom.references import PatientHeader, SeriesIdentity
from recontour.dicom.registration import read_registration, write_registration
from recontour.errors import InputRefused, OutputRefused
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import transform_points

CT = "1.2.840.10008.5.1.4.1.1.2"


def a_scan(number, study):
    identity = SeriesIdentity(
        study_instance_uid=f"2.25.{study}",
        series_instance_uid=f"2.25.{number}1",
        frame_of_reference_uid=f"2.25.{number}2",
        sop_class_uid=CT,
        sop_instance_uids=tuple(f"2.25.{number}{k}" for k in range(30, 34)),
        patient=PatientHeader("Doe^John", "7", "19400131", "M"),
        study_date="20240229",
        study_time="101112",
    )
    return SimpleNamespace(identity=identity)


DAILY, PLANNING = a_scan(7, 5), a_scan(8, 6)
AFFINE = Affine(
    np.array([[0.98, -0.03, 0.01, 12.5], [0.04, 1.02, -0.02, -7.25], [0.0, 0.03, 0.99, 140.125], [0, 0, 0, 1.0]])
)
POINT = np.array([11.0, 25.0, -3.0])

# Row direction, column direction and plane direction, the last once against the right hand
GRIDS = {
    "axial": ((0, 0, 1.0), (0, 1.0, 0), (1.0, 0, 0)),
    "prone": ((0, 0, 1.0), (0, -1.0, 0), (-1.0, 0, 0)),
    "left-handed": ((0, 0, -1.0), (0, 1.0, 0), (1.0, 0, 0)),
    "turned": ((0, 0, 1.0), (-0.6, 0.8, 0), (0.8, 0.6, 0)),
}


def a_field(kind):
    """A field that is linear in the point, so that any right interpolation finds it exactly."""
    direction = np.column_stack(GRIDS[kind])
    size, spacing = (9, 14, 17), (2.0, 1.5, 1.25)
    half = direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    grid = Grid.of(size, spacing, POINT + np.array([1.3, -0.7, 0.4]) - half, direction)
    p = grid.points()
    u = np.stack([0.1 * p[..., 1] - 2, 0.05 * p[..., 2] + 0.02 * p[..., 0], 4 - 0.1 * p[..., 0]])
    return Field(grid, u.astype(np.float32))


def linear_u(p):
    return np.array([0.1 * p[1] - 2, 0.05 * p[2] + 0.02 * p[0], 4 - 0.1 * p[0]])


def matrix_of(item):
    return np.array([float(v) for v in item.FrameOfReferenceTransformationMatrix]).reshape(4, 4)


def follow(item, point):
    """source = M_post (M_pre x + d(x)), d by trilinear interpolation of the bytes, term by term."""
    grid = item.DeformableRegistrationGridSequence[0]
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.array([row, column, np.cross(row, column)])
    i, j, k = axes @ (point - np.array(grid.ImagePositionPatient, float)) / np.array(grid.GridResolution)
    nx, ny, _ = grid.GridDimensions
    values = np.frombuffer(grid.VectorGridData, "<f4")
    offset = np.zeros(3)
    for dk in (0, 1):
        for dj in (0, 1):
            for di in (0, 1):
                x, y, z = int(i) + di, int(j) + dj, int(k) + dk
                share = (1 - abs(i - x)) * (1 - abs(j - y)) * (1 - abs(k - z))
                start = 3 * (x + nx * (y + ny * z))
                offset += share * values[start : start + 3]
    assert "PreDeformationMatrixRegistrationSequence" not in item
    moved = matrix_of(item.PostDeformationMatrixRegistrationSequence[0]) @ np.append(point + offset, 1)
    return moved[:3]


def test_matrix_takes_planning_points_to_the_daily_frame(tmp_path):
    write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE)
    read = pydicom.dcmread(tmp_path / "reg.dcm")
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.1" and read.Modality == "REG"
    assert read.FrameOfReferenceUID == "2.25.72" and read.StudyInstanceUID == "2.25.5"
    here, there = read.RegistrationSequence
    assert (here.FrameOfReferenceUID, there.FrameOfReferenceUID) == ("2.25.72", "2.25.82")
    to_daily = [item.MatrixRegistrationSequence[0].MatrixSequence[0] for item in (here, there)]
    assert (matrix_of(to_daily[0]) == np.eye(4)).all()
    planning_point = AFFINE.matrix[:3, :3] @ POINT + AFFINE.matrix[:3, 3]
    assert (matrix_of(to_daily[1]) @ np.append(planning_point, 1))[:3] == pytest.approx(POINT, abs=1e-6)
    assert [m.FrameOfReferenceTransformationMatrixType for m in to_daily] == ["RIGID", "AFFINE"]


@pytest.mark.parametrize("kind", GRIDS)
def test_field_and_matrix_take_a_daily_point_to_the_planning_scan(kind, tmp_path):
    field = a_field(kind)
    write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE, field)
    read = pydicom.dcmread(tmp_path / "reg.dcm")
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.3"
    assert read.FrameOfReferenceUID == "2.25.72"
    here, there = read.DeformableRegistrationSequence
    assert (here.SourceFrameOfReferenceUID, there.SourceFrameOfReferenceUID) == ("2.25.72", "2.25.82")
    expected = AFFINE.matrix[:3, :3] @ (POINT + linear_u(POINT)) + AFFINE.matrix[:3, 3]
    assert follow(there, POINT) == pytest.approx(expected, abs=1e-4)
    assert transform_points(POINT[None], AFFINE, field)[0] == pytest.approx(expected, abs=1e-4)
    back = read_registration(tmp_path / "reg.dcm")
    assert back.planning_frame_of_reference_uid == "2.25.82" and back.field_daily_to_planning
    got = transform_points(POINT[None], back.affine_daily_to_planning, back.field_daily_to_planning)
    assert got[0] == pytest.approx(expected, abs=1e-4)


def test_affine_alone_reads_back(tmp_path):
    write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE)
    back = read_registration(tmp_path / "reg.dcm")
    assert back.field_daily_to_planning is None
    assert back.affine_daily_to_planning.matrix == pytest.approx(AFFINE.matrix, abs=1e-7)


def test_all_images_and_both_studies_are_referenced(tmp_path):
    for name, planning, elsewhere in (("a", PLANNING, ["2.25.6"]), ("b", a_scan(8, 5), [])):
        write_registration(tmp_path / name, DAILY, planning, AFFINE)
        read = pydicom.dcmread(tmp_path / name)
        items = read.RegistrationSequence
        images = [[i.ReferencedSOPInstanceUID for i in item.ReferencedImageSequence] for item in items]
        assert images == [list(scan.identity.sop_instance_uids) for scan in (DAILY, planning)]
        other = read.get("StudiesContainingOtherReferencedInstancesSequence", [])
        assert [study.StudyInstanceUID for study in other] == elsewhere
        assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == "2.25.71"
        assert len(read.ReferencedSeriesSequence) + len(other) == 2


def test_large_field_is_written_coarser_and_still_maps_right(tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "LARGEST_FIELD_MB", 0.006)
    field = a_field("turned")
    write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE, field)
    item = pydicom.dcmread(tmp_path / "reg.dcm").DeformableRegistrationSequence[1]
    grid = item.DeformableRegistrationGridSequence[0]
    assert 3000 < len(grid.VectorGridData) <= 6000 < field.array.nbytes
    assert f"{grid.GridResolution[0]:.2f}" in item.FrameOfReferenceTransformationComment
    expected = AFFINE.matrix[:3, :3] @ (POINT + linear_u(POINT)) + AFFINE.matrix[:3, 3]
    assert follow(item, POINT) == pytest.approx(expected, abs=1e-4)


def test_existing_file_stays_unless_asked(tmp_path):
    path = tmp_path / "reg.dcm"
    path.write_bytes(b"before")
    with pytest.raises(OutputRefused, match=r"reg\.dcm"):
        write_registration(path, DAILY, PLANNING, AFFINE)
    assert path.read_bytes() == b"before"
    write_registration(path, DAILY, PLANNING, AFFINE, overwrite=True)
    assert read_registration(path).daily_frame_of_reference_uid == "2.25.72"


@pytest.mark.parametrize("broken", ["_decimals", "_matrix_item", "_right_handed"])
def test_what_does_not_read_back_leaves_no_file(broken, tmp_path, monkeypatch):
    if broken == "_decimals":
        monkeypatch.setattr(registration, broken, lambda values: ["1"] * len(values))
        field = None
    elif broken == "_matrix_item":
        honest = registration._matrix_item
        monkeypatch.setattr(registration, broken, lambda identity, affine: honest(DAILY.identity, affine))
        field = None
    else:
        monkeypatch.setattr(registration, broken, lambda field: field)
        field = a_field("left-handed")
    with pytest.raises(OutputRefused, match="read back"):
        write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE, field)
    assert not os.listdir(tmp_path)


def test_other_objects_are_refused(tmp_path):
    write_registration(tmp_path / "reg.dcm", DAILY, PLANNING, AFFINE, a_field("axial"))
    read = pydicom.dcmread(tmp_path / "reg.dcm")
    item = read.DeformableRegistrationSequence[1]
    item.PreDeformationMatrixRegistrationSequence = item.PostDeformationMatrixRegistrationSequence
    read.save_as(tmp_path / "pre.dcm")
    with pytest.raises(InputRefused, match="before the field"):
        read_registration(tmp_path / "pre.dcm")
    read.SOPClassUID = CT
    read.save_as(tmp_path / "ct.dcm")
    with pytest.raises(InputRefused, match="no registration"):
        read_registration(tmp_path / "ct.dcm")


def test_dciodvfy_finds_no_error(tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        assert "CI" not in os.environ, "dciodvfy is missing"
        pytest.skip("dciodvfy is not at hand")
    same_study = SimpleNamespace(identity=replace(PLANNING.identity, study_instance_uid="2.25.5"))
    write_registration(tmp_path / "SpatialRegistration", DAILY, PLANNING, AFFINE)
    write_registration(tmp_path / "DeformableSpatialRegistration", DAILY, same_study, AFFINE, a_field("turned"))
    for name in ("SpatialRegistration", "DeformableSpatialRegistration"):
        said = subprocess.run([tool, str(tmp_path / name)], capture_output=True, text=True, check=False)
        report = said.stdout + said.stderr
        assert name in report
        assert "Error" not in report, report
