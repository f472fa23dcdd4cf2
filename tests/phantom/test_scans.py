"""Folders of DICOM that read back as the pair that was made."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from recontour.dicom.series import read_series
from recontour.dicom.structures import read_structures
from recontour.errors import OutputRefused, ScanRefused
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import transform_points
from recontour.phantom.anatomy import ROI_NAMES
from recontour.phantom.scans import phantom_pair, write_moved, write_phantom

COARSE = (6.0, 3.6, 3.6)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scans") / "patient"
    write_phantom(out, 3, spacing_mm=COARSE)
    return out


@pytest.fixture(scope="module")
def moved(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moved") / "patient"
    write_moved(out, phantom / "planning", 8)
    return out


def centroid(folder: Path, roi: str) -> np.ndarray:
    """Of the slices' areas, by the shoelace formula: no code of ours."""
    sums, area = np.zeros(3), 0.0
    for contour in next(r for r in read_structures(folder).rois if r.name == roi).contours:
        x, y = contour[:, 0], contour[:, 1]
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        signed = cross.sum() / 2
        middle = [((v + np.roll(v, -1)) * cross).sum() / (6 * signed) for v in (x, y)]
        sums += abs(signed) * np.array([*middle, contour[0, 2]])
        area += abs(signed)
    return sums / area


@pytest.mark.parametrize("which", ["phantom", "moved"])
def test_the_truth_takes_daily_contours_to_planning(which: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(which)
    stored = np.load(out / "truth" / "field.npz")
    grid = Grid.of(stored["field_mm"].shape[1:], stored["field_spacing_mm"], stored["field_origin_mm"])
    affine, field = Affine(stored["affine_daily_to_planning"]), Field(grid, stored["field_mm"])
    for roi in ("Prostate", "Femur_Head_R"):
        there = transform_points(centroid(out / "truth", roi), affine, field)
        assert np.linalg.norm(there - centroid(out / "planning", roi)) < 2.0  # slices of 6 mm
    assert np.linalg.norm(centroid(out / "truth", "Prostate") - centroid(out / "planning", "Prostate")) > 10


def test_what_is_in_the_folders(phantom: Path) -> None:
    planning, daily = read_series(phantom / "planning"), read_series(phantom / "daily")
    assert planning.identity.frame_of_reference_uid != daily.identity.frame_of_reference_uid
    assert planning.identity.patient.identifier == daily.identity.patient.identifier
    assert not planning.volume.grid.same_as(daily.volume.grid)
    assert planning.volume.grid.spacing_mm != daily.volume.grid.spacing_mm
    plan = read_structures(phantom / "planning", planning)
    truth = read_structures(phantom / "truth", daily)
    assert {r.name for r in plan.rois} == {r.name for r in truth.rois} == set(ROI_NAMES)
    assert sorted(p.name for p in (phantom / "truth").iterdir()) == ["field.npz", "registration.dcm", "rtstruct.dcm"]


def test_a_moved_folder_holds_a_copy_of_the_planning_one(phantom: Path, moved: Path) -> None:
    for file in (phantom / "planning").iterdir():
        assert (moved / "planning" / file.name).read_bytes() == file.read_bytes()


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutputRefused, match="not empty"):
        write_phantom(tmp_path, 1)
    assert os.listdir(tmp_path) == ["note.txt"]


def test_nothing_is_left_where_it_fails(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanRefused):
        write_moved(tmp_path / "out", tmp_path / "empty", 1)
    assert os.listdir(tmp_path) == ["empty"]


def test_a_man_has_other_days() -> None:
    """The same planning scan; another day moves it otherwise, as the man of that seed would be moved."""
    (planning, _, first), (again, _, other) = (phantom_pair(3, 1.0, COARSE, seed) for seed in (None, 8))
    np.testing.assert_array_equal(planning.array, again.array)
    assert (first.motion.seed, other.motion.seed) == (3, 8)
    assert first.motion.bladder_factor != other.motion.bladder_factor
    assert not first.volume.grid.same_as(other.volume.grid)
