"""Training pairs: labels where the organs are, and a pool that is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet
from recontour.network.catalogue import LABELS
from recontour.train.dataset import (
    PARTS,
    ROIS,
    TRAINING,
    VALIDATION,
    ScanPair,
    label_map,
    read_pair,
    read_pool,
    write_pair,
)

CENTRES = {"bladder": (5, 0, 62), "rectum": (0, 40, 45), "seminal_vesicles": (-4, 18, 55), "prostate": (3, 5, 35)}
RADII = {"bladder": 14.0, "rectum": 11.0, "seminal_vesicles": 8.0, "prostate": 12.0}


def ball(organ: str, spacing_mm: float = 2.0) -> LevelSet:
    c, r = np.array(CENTRES[organ], float), RADII[organ]
    grid = Grid.around(c - r - 6, c + r + 6, spacing_mm)
    return LevelSet(grid, (r - np.linalg.norm(grid.points() - c, axis=-1)).astype(np.float32))


def test_a_label_map_has_each_organ_where_it_is():
    grid = Grid.around((-40, -30, 10), (40, 70, 90), 2.0)
    shift = Affine.shift((6.0, 0.0, -4.0))  # from the grid's frame to the shapes': they show at centre - shift
    labels = label_map({organ: ball(organ) for organ in ROIS}, grid, shift)
    for organ in ("prostate", "rectum"):
        own = grid.points()[labels == LABELS.index(organ)]
        assert np.allclose(own.mean(axis=0), np.subtract(CENTRES[organ], (6, 0, -4)), atol=0.3)
        assert len(own) * grid.voxel_ml == pytest.approx(4 / 3 * np.pi * RADII[organ] ** 3 / 1000, rel=0.05)


def test_a_pool_is_read_back_and_a_half_written_pair_left_out(tmp_path: Path):
    rng = np.random.default_rng(4)
    for name, parts in (("000001-00000100", PARTS), ("000001-00000101", PARTS[:2])):
        (tmp_path / name).mkdir()
        for part in parts:
            np.save(tmp_path / name / f"{part}.npy", rng.integers(0, 5, (3, 4, 5)).astype(np.int16))
    pairs = read_pool(tmp_path)
    assert len(pairs) == 1 and pairs[0].fixed_hu.shape == (3, 4, 5)
    with pytest.raises(UsageError, match="no training pairs"):
        read_pool(tmp_path / "nothing")


def a_pair(seed: int) -> ScanPair:
    rng = np.random.default_rng(seed)
    hu = [rng.integers(-1000, 1000, (3, 4, 5)).astype(np.int16) for _ in range(2)]
    return ScanPair(*hu, *(rng.integers(0, 5, (3, 4, 5)).astype(np.uint8) for _ in range(2)), organs=("rectum",))


def test_a_written_pair_is_read_as_it_was_and_never_written_over(tmp_path: Path):
    folder = tmp_path / "pool" / "000007-00000701"
    write_pair(folder, a_pair(1))
    write_pair(folder, a_pair(2))  # as a second process would that was later
    back = read_pair(folder)
    assert all(np.array_equal(getattr(back, part), getattr(a_pair(1), part)) for part in PARTS)
    assert back.organs == ("rectum",) and back.name == folder.name
    assert isinstance(back.fixed_hu, np.memmap)
    assert [path.name for path in tmp_path.rglob("*.new")] == []


def test_seeds_for_training_validation_and_tests_are_apart():
    assert not set(TRAINING) & set(VALIDATION) and max(*TRAINING, *VALIDATION) < 100_000
