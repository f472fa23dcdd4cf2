"""Contrast medium in drawn bladders: what every voxel holds is known before and after."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.contents import without_medium

GRID = Grid.of((50, 60, 56), (2.0, 1.5, 1.5), (-40.0, 20.0, 100.0))
MIDDLE = np.array([1.0, 64.0, 148.0])  # x, y, z
FAT, WALL, URINE = -90.0, 40.0, 8.0
POINTS = GRID.points()

Array = NDArray[np.floating]


def depth(radius_mm: float, centre: NDArray[np.float64] = MIDDLE) -> Array:
    """mm inside a ball."""
    return radius_mm - np.linalg.norm(POINTS - centre, axis=-1)


def bladder(radius_mm: float, centre: NDArray[np.float64] = MIDDLE) -> LevelSet:
    return LevelSet(GRID, depth(radius_mm, centre).clip(-10, 10).astype(np.float32))


def scan(inside: Array, held: Array | float) -> Volume:
    """A wall of 5 mm around what the bladder holds, in fat; every edge a voxel wide."""
    lumen, organ = (np.clip((inside - rim) / 1.5 + 0.5, 0.0, 1.0) for rim in (5.0, 0.0))
    hu = FAT + organ * (WALL - FAT) + lumen * (held - WALL)
    return Volume(GRID, hu.astype(np.float32))


@pytest.mark.parametrize("day_has_it", [True, False])
def test_medium_of_one_day_becomes_urine(day_has_it: bool) -> None:
    medium, plain = scan(depth(20), 300.0), scan(depth(20), URINE)
    pair = (medium, plain) if day_has_it else (plain, medium)
    fixed, moving = without_medium(*pair, bladder(20))
    np.testing.assert_array_equal(medium.array, scan(depth(20), 300.0).array)  # what is shown stays as it was
    changed, same = (fixed, moving) if day_has_it else (moving, fixed)
    assert same is plain
    # Every voxel at the rim keeps its shares of wall and lumen, so the scan is what urine would have made it.
    np.testing.assert_allclose(changed.array, plain.array, atol=0.01)


def test_nothing_changes_without_medium_however_noisy() -> None:
    noise = np.random.default_rng(5).normal(0, 70, GRID.size).astype(np.float32)
    fixed, moving = (Volume(GRID, scan(depth(r), URINE).array + noise) for r in (20, 18))
    assert without_medium(fixed, moving, bladder(20)) == (fixed, moving)


def test_medium_that_sank_is_filled_and_the_urine_above_is_left() -> None:
    y = POINTS[..., 1]  # towards the back
    layered = scan(depth(20), np.where(y > MIDDLE[1] + 4.0, 250.0, URINE))
    fixed, _ = without_medium(layered, scan(depth(20), URINE), bladder(20))
    np.testing.assert_allclose(fixed.array, scan(depth(20), URINE).array, atol=0.01)


def test_a_daily_bladder_that_grew_and_moved_is_filled_whole() -> None:
    elsewhere = MIDDLE + np.array([4.0, -6.0, 6.0])
    daily = scan(depth(24, elsewhere), 300.0)
    fixed, _ = without_medium(daily, scan(depth(18), URINE), bladder(18))
    np.testing.assert_allclose(fixed.array, scan(depth(24, elsewhere), URINE).array, atol=0.01)


def test_bone_beside_the_medium_is_left() -> None:
    bone = np.linalg.norm((POINTS - MIDDLE - [0.0, -29.0, 0.0])[..., 1:], axis=-1) < 4.0
    daily = scan(depth(20), 300.0)
    daily = Volume(GRID, np.where(bone, np.float32(450.0), daily.array))
    fixed, _ = without_medium(daily, scan(depth(20), URINE), bladder(20))
    assert (fixed.array[bone] == 450.0).all()
    assert fixed.array[depth(20) > 8].max() < URINE + 0.01


def test_bone_that_reaches_into_a_misplaced_shape_is_not_taken_for_medium() -> None:
    bone = np.linalg.norm((POINTS - MIDDLE)[..., 1:] - [-12.0, 0.0], axis=-1) < 9.0  # a bar along x
    daily = Volume(GRID, np.where(bone, np.float32(450.0), np.float32(FAT)))
    fixed, _ = without_medium(daily, scan(depth(14), URINE), bladder(14))
    assert fixed is daily


@pytest.mark.parametrize("day_has_it", [True, False])
def test_medium_that_touches_a_bone_of_its_own_brightness_is_filled(day_has_it: bool) -> None:
    beside = (np.abs(POINTS - MIDDLE - [0.0, -40.0, 0.0]) < [60.0, 20.0, 60.0]).all(axis=-1)
    with_bone = [np.where(beside, np.float32(300.0), scan(depth(20), held).array) for held in (300.0, URINE)]
    medium, plain = (Volume(GRID, hu) for hu in with_bone)
    fixed, moving = without_medium(*((medium, plain) if day_has_it else (plain, medium)), bladder(20))
    changed, same = (fixed, moving) if day_has_it else (moving, fixed)
    assert same is plain
    np.testing.assert_allclose(changed.array[depth(20) > 7], URINE, atol=0.01)
    assert (changed.array[beside & (depth(20) < -8)] == 300.0).all()


def test_noise_in_the_medium_makes_no_holes() -> None:
    noise = np.random.default_rng(6).normal(0, 35, GRID.size).astype(np.float32)
    noisy = Volume(GRID, scan(depth(20), 180.0).array + noise)
    fixed, _ = without_medium(noisy, scan(depth(20), URINE), bladder(20))
    inside = depth(20) > 8
    assert abs(float(fixed.array[inside].mean()) - URINE) < 3.0
    assert fixed.array[inside].max() < WALL + 1.0


def test_the_shape_may_lie_on_a_part_of_the_grid() -> None:
    whole = bladder(20)
    low, high = (8, 10, 12), (48, 55, 50)
    part = LevelSet(GRID.crop(low, high), whole.array[8:48, 10:55, 12:50])
    fixed, _ = without_medium(scan(depth(20), 300.0), scan(depth(20), URINE), part)
    np.testing.assert_allclose(fixed.array, scan(depth(20), URINE).array, atol=0.01)


def test_an_empty_shape_changes_nothing() -> None:
    daily = scan(depth(20), 300.0)
    empty = LevelSet(GRID, np.full(GRID.size, -10.0, np.float32))
    assert without_medium(daily, daily, empty) == (daily, daily)
