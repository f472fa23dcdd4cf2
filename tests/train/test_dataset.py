"""Training pairs: labels where the organs are, scans and labels of one anatomy, and a pool that is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.catalogue import LABELS
from recontour.phantom.motion import Motion, prepare
from recontour.train.dataset import PARTS, ROIS, TRAINING, VALIDATION, label_map, make_pair, read_pool

CENTRES = {"bladder": (5, 0, 62), "rectum": (0, 40, 45), "seminal_vesicles": (-4, 18, 55), "prostate": (3, 5, 35)}
RADII = {"bladder": 14.0, "rectum": 11.0, "seminal_vesicles": 8.0, "prostate": 12.0}
HU = {"bladder": 200, "rectum": 300, "seminal_vesicles": 400, "prostate": 500}


def ball(organ: str, spacing_mm: float = 2.0) -> LevelSet:
    c, r = np.array(CENTRES[organ], float), RADII[organ]
    grid = Grid.around(c - r - 6, c + r + 6, spacing_mm)
    return LevelSet(grid, (r - np.linalg.norm(grid.points() - c, axis=-1)).astype(np.float32))


def balls() -> tuple[Volume, dict[str, LevelSet]]:
    """A soft block with four balls, each of its own HU, in air."""
    grid = Grid.around((-60, -50, -10), (60, 90, 110), 3.0)
    points = grid.points()
    hu = np.where(np.abs(points - (0, 20, 50)).max(axis=-1) < 55, 0.0, -1000.0)
    for organ, centre in CENTRES.items():
        hu[np.linalg.norm(points - centre, axis=-1) < RADII[organ]] = HU[organ]
    return Volume(grid, hu.astype(np.float32)), {ROIS[organ]: ball(organ) for organ in ROIS}


def test_a_label_map_has_each_organ_where_it_is():
    grid = Grid.around((-40, -30, 10), (40, 70, 90), 2.0)
    shift = Affine.shift((6.0, 0.0, -4.0))  # from the grid's frame to the shapes': they show at centre - shift
    labels = label_map({organ: ball(organ) for organ in ROIS}, grid, shift)
    for organ in ("prostate", "rectum"):
        own = grid.points()[labels == LABELS.index(organ)]
        assert np.allclose(own.mean(axis=0), np.subtract(CENTRES[organ], (6, 0, -4)), atol=0.3)
        assert len(own) * grid.voxel_ml == pytest.approx(4 / 3 * np.pi * RADII[organ] ** 3 / 1000, rel=0.05)


def test_both_scans_of_a_pair_show_what_their_labels_say():
    planning, shapes = balls()
    man = prepare(planning, shapes, None, 0.0, clean=True)
    pair = make_pair(planning, man, Motion(seed=3, shift_mm=(4.0, -6.0, 5.0), bladder_factor=1.6))
    assert len({getattr(pair, part).shape for part in PARTS}) == 1
    for hu, labels in ((pair.fixed_hu, pair.fixed_labels), (pair.moving_hu, pair.moving_labels)):
        assert hu.dtype == np.int16 and labels.dtype == np.uint8
        for organ, value in HU.items():
            shown = np.percentile(hu[labels == LABELS.index(organ)], 80)  # half of a small ball is its blurred rim
            assert abs(shown - value) < 80, organ
    grown = (pair.fixed_labels == 1).sum() / (pair.moving_labels == 1).sum()
    assert 1.3 < grown < 1.9
    # the set-up of 9 mm is taken off, but for the small error of an affine
    where = [np.argwhere(a == LABELS.index("rectum")).mean(axis=0) for a in (pair.fixed_labels, pair.moving_labels)]
    assert 0.1 < np.linalg.norm(where[0] - where[1]) < 6.0


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


def test_seeds_for_training_validation_and_tests_are_apart():
    assert not set(TRAINING) & set(VALIDATION) and max(*TRAINING, *VALIDATION) < 100_000
