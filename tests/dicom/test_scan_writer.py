"""Written scans, read by pydicom and plain arithmetic, not by our own reader."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from recontour.dicom.references import PatientHeader
from recontour.dicom.scan_writer import ScanToWrite, position_of, write_series
from recontour.errors import OutputRefused, ScanRefused, UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

# Columns: array axes z, y, x as LPS vectors.
DIRECTIONS = {
    "HFS": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "HFP": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
    "FFS": ((0, 0, -1), (0, 1, 0), (-1, 0, 0)),
    "FFP": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
}


def ramp(points_mm):
    return np.rint(30 + 2.0 * points_mm[..., 0] - 3.0 * points_mm[..., 1] + 5.0 * points_mm[..., 2]).astype(np.float32)


def volume(axes=DIRECTIONS["HFS"], size=(4, 5, 3)):
    grid = Grid.of(size, (2.5, 1.5, 0.75), (-12.25, 7.0, -31.0625), np.array(axes, float).T)
    return Volume(grid, ramp(grid.points()))


def points_of(image):
    """(rows, columns, 3) LPS mm by the equation of PS3.3 C.7.6.2.1.1."""
    origin, orientation = np.array(image.ImagePositionPatient, float), np.array(image.ImageOrientationPatient, float)
    between_rows, between_columns = (float(v) for v in image.PixelSpacing)
    j, i = np.meshgrid(np.arange(image.Rows), np.arange(image.Columns), indexing="ij")
    return origin + i[..., None] * between_columns * orientation[:3] + j[..., None] * between_rows * orientation[3:]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_pixel_lies_where_the_volume_says(tmp_path, name):
    series = write_series(tmp_path, volume(DIRECTIONS[name]), ScanToWrite("seed 1"))
    files = sorted(tmp_path.glob("*.dcm"))
    assert len(files) == 4
    for image in map(pydicom.dcmread, files):
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        np.testing.assert_array_equal(hu, ramp(points_of(image)))
        assert all(len(str(v)) <= 16 for v in image.ImagePositionPatient)
    np.testing.assert_array_equal(series.volume.array, ramp(series.volume.grid.points()))


@pytest.mark.parametrize("axes, position", [(a, n) for n, a in DIRECTIONS.items()])
def test_patient_position(axes, position):
    grid = volume(axes).grid
    head_up = np.cross(*np.array(grid.direction)[:, ::-1].T[:2])[2] > 0
    assert position_of(grid) == ("HF" if head_up else "FF") + ("S" if axes[1][1] > 0 else "P")


def test_header(tmp_path):
    patient = PatientHeader("Phantom^One", "P1", "19500101", "M")
    about = ScanToWrite("seed 1", patient, series_description="daily", patient_position="HFS", study_date="20240305")
    identity = write_series(tmp_path, volume(), about).identity
    assert identity.patient == patient
    assert (identity.series_description, identity.patient_position, identity.study_date) == ("daily", "HFS", "20240305")
    assert len(set(identity.sop_instance_uids)) == 4


def test_uids_follow_from_the_entropy(tmp_path):
    def uids(name, *more):
        i = write_series(tmp_path / name, volume(), ScanToWrite(*more[:1], study_entropy=more[1])).identity
        return i.series_instance_uid, *i.sop_instance_uids, i.study_instance_uid, i.frame_of_reference_uid

    first, again, other = uids("a", "1", ""), uids("b", "1", ""), uids("c", "2", "")
    assert first == again
    assert not set(first) & set(other)
    assert uids("d", "3", "visit")[-2:] == uids("e", "4", "visit")[-2:]


def test_values_are_rounded_and_clipped(tmp_path):
    grid = Grid.of((3, 1, 4), (1, 1, 1), (0, 0, 0))
    array = np.tile(np.array([-3000.0, -0.6, 40.4, 9000.0], np.float32), (3, 1, 1))
    read = write_series(tmp_path, Volume(grid, array), ScanToWrite("1")).volume.array
    np.testing.assert_array_equal(read[1, 0], [-1024, -1, 40, 3071])


def test_refusals(tmp_path):
    write_series(tmp_path / "a", volume(), ScanToWrite("1"))
    with pytest.raises(OutputRefused, match="already a file"):
        write_series(tmp_path / "a", volume(), ScanToWrite("2"))
    with pytest.raises(ScanRefused, match="coronal"):
        write_series(tmp_path / "b", volume(((0, 1, 0), (0, 0, -1), (1, 0, 0))), ScanToWrite("1"))
    with pytest.raises(UsageError, match="entropy"):
        ScanToWrite("")
    with pytest.raises(UsageError, match="HFX"):
        ScanToWrite("1", patient_position="HFX")
