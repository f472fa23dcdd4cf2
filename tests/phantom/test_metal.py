"""Streaks of two steel cylinders and of a marker in water."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.phantom.metal import metal_streaks, throws_far

GRID = Grid.of((3, 120, 160), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0))
Y, X = (np.arange(n) * 2.0 for n in GRID.size[1:])
HIPS = ((120.0, 70.0), (120.0, 250.0))  # y, x


def water(*discs: tuple[tuple[float, float], float], hu: float) -> Volume:
    array = np.zeros(GRID.size, np.float32)
    for (y, x), radius in discs:
        array[1][np.hypot(Y[:, None] - y, X[None, :] - x) < radius] = hu
    return Volume(GRID, array)


@pytest.fixture(scope="module")
def two() -> np.ndarray:
    streaks = metal_streaks(water((HIPS[0], 14.0), (HIPS[1], 14.0), hu=12_000.0), np.random.default_rng(2))
    assert streaks is not None
    return streaks.array


def test_metal_itself_and_slices_without_it_are_left_alone(two: np.ndarray) -> None:
    volume = water((HIPS[0], 14.0), (HIPS[1], 14.0), hu=12_000.0)
    assert throws_far(volume) and two[1].any()
    assert not two[[0, 2]].any() and not two[volume.array > 5000].any()


def test_the_band_between_two_hips_is_dark(two: np.ndarray) -> None:
    between = two[1, 56:65, 50:110].mean()
    assert -400 < between < -40
    above, below = two[1, 15:24, 50:110].mean(), two[1, 96:105, 50:110].mean()
    assert between < min(above, below) - 40


def test_streaks_fall_with_the_distance_from_the_metal() -> None:
    volume = water((HIPS[0], 16.0), hu=12_000.0)
    streaks = metal_streaks(volume, np.random.default_rng(2))
    assert streaks is not None
    away = np.hypot(Y[:, None] - HIPS[0][0], X[None, :] - HIPS[0][1])
    energy = [np.square(streaks.array[1][(away > a) & (away < b)]).mean() for a, b in ((18, 30), (45, 70), (100, 180))]
    assert energy[0] > 1.5 * energy[1] > 1.5 * 1.5 * energy[2] > 0


def test_a_marker_throws_both_bright_and_dark_rays_and_not_far() -> None:
    volume = water(((100.0, 100.0), 1.5), hu=8000.0)
    assert not throws_far(volume)
    streaks = metal_streaks(volume, np.random.default_rng(2))
    assert streaks is not None
    away = np.hypot(Y[:, None] - 100.0, X[None, :] - 100.0)
    near, ring = (streaks.array[1][(away > a) & (away < b)] for a, b in ((2, 10), (30, 38)))
    assert near.max() > 20 and near.min() < -20 and np.abs(streaks.array[1]).max() < 600
    assert ring.std() < 0.3 * near.std() and not streaks.array[1][away > 70].any()


def test_no_metal_no_streaks() -> None:
    assert metal_streaks(water((HIPS[0], 20.0), hu=1500.0), np.random.default_rng(0)) is None
