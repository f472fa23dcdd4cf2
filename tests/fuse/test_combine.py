"""Blends and probabilities against balls, whose distances are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.fuse.combine import combine, level_set_from_probability
from recontour.fuse.distance import signed_distance
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet
from recontour.qa.metrics import surface_distances

GRID = Grid.of((38, 44, 48), (1.2, 1.0, 0.9), (-20.0, -22.0, -23.0))


def distance_to_ball(radius_mm: float, centre_mm: tuple[float, float, float] = (0.3, -0.4, 1.1)) -> np.ndarray:
    return radius_mm - np.linalg.norm(GRID.points() - np.asarray(centre_mm), axis=-1)


def ball(radius_mm: float, centre_mm: tuple[float, float, float] = (0.3, -0.4, 1.1)) -> LevelSet:
    return LevelSet(GRID, np.clip(distance_to_ball(radius_mm, centre_mm), -12, 12).astype(np.float32))


@pytest.mark.parametrize("steepness_per_mm", [1.0, 2.5])
def test_the_half_way_surface_of_a_probability(steepness_per_mm: float) -> None:
    true = distance_to_ball(14)
    found = level_set_from_probability(1 / (1 + np.exp(-steepness_per_mm * true)), GRID)
    apart = surface_distances(found, ball(14))
    assert apart.msd_mm < 0.01
    assert apart.hd_mm < 0.05
    near = np.abs(true) < 6
    assert np.abs(found.array - true)[near].mean() < 0.05


def test_a_hard_mask_keeps_its_surface_half_a_voxel_out() -> None:
    inside = np.zeros(GRID.size)
    inside[8:30, 10:30, 12:40] = 1.0
    found = level_set_from_probability(inside, GRID).array
    np.testing.assert_allclose(found[15:20, 20, 11:14][0], [-0.45, 0.45, 1.35], atol=0.01)
    np.testing.assert_allclose(found[6:10, 20, 25], [-1.8, -0.6, 0.6, 1.8], atol=0.01)


def test_distances_are_restored_after_a_stretch() -> None:
    true = distance_to_ball(13)
    stretched = (true * (1.5 + 0.02 * GRID.points()[..., 0])).astype(np.float32)
    found = signed_distance(stretched, GRID.spacing_mm)
    near = np.abs(true) < 5
    assert np.abs(found - true)[near].max() < 0.25
    assert np.abs(found - true)[near].mean() < 0.03


def test_distances_are_flat_beyond_the_band() -> None:
    found = signed_distance(ball(13).array, GRID.spacing_mm, band_mm=4.0)
    assert (found.min(), found.max()) == (-4.0, 4.0)
    assert signed_distance(np.full((3, 3, 3), -1, np.float32), (1.0, 1.0, 1.0)).max() < 0


@pytest.mark.parametrize(("weight", "radius_mm"), [(0.25, 11.0), (0.5, 12.0), (0.75, 13.0)])
def test_a_blend_lies_its_share_of_the_way(weight: float, radius_mm: float) -> None:
    found = combine(ball(10), ball(14), weight)
    assert surface_distances(found, ball(radius_mm)).hd_mm < 0.1


def test_the_blend_does_not_depend_on_the_level_sets_scales() -> None:
    steep = LevelSet(GRID, (3 * distance_to_ball(14)).astype(np.float32))
    assert surface_distances(combine(ball(10), steep, 0.5), ball(12)).hd_mm < 0.1


def test_one_path_is_taken_as_it_is() -> None:
    registered, segmented, nothing = ball(10), ball(14), LevelSet(GRID, np.full(GRID.size, -9, np.float32))
    assert combine(registered, segmented, "registration") is registered
    assert combine(registered, segmented, "segmentation") is segmented
    assert combine(registered, None, "segmentation") is registered
    assert combine(registered, nothing, 0.5) is registered


@pytest.mark.parametrize("rule", ["registered", 1.5, -0.1, float("nan")])
def test_other_rules_are_refused(rule: float) -> None:
    with pytest.raises(UsageError):
        combine(ball(10), ball(12), rule)


def test_grids_must_be_one() -> None:
    other = GRID.crop((1, 0, 0), GRID.size)
    with pytest.raises(UsageError, match="grids"):
        combine(ball(10), LevelSet(other, ball(10).array[1:]), 0.5)
