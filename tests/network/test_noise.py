"""Noise that was put into a scan is read from it, whatever else the scan shows."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network.noise import noise_hu


def scan(sd_hu: float, spacing_mm: float = 1.0, side: int = 120) -> Volume:
    """White noise on an organ of 40 HU in fat of -90 HU, beside gas and bone, which have none and sharp edges."""
    grid = Grid.of((side, side, side), (spacing_mm,) * 3, (0.0, 0.0, 0.0))
    _, y, x = np.indices(grid.size)
    hu = np.where(np.hypot(y - side / 2, x - side / 2) < side / 4, 40.0, -90.0)
    hu += np.random.default_rng(7).normal(0, sd_hu, grid.size)
    hu[:, :4], hu[:, -4:] = -1000.0, 900.0
    return Volume(grid, hu.astype(np.float32))


@pytest.mark.parametrize("sd_hu", [4.0, 12.0, 24.0])
def test_noise_in_means_over_2_mm_is_that_of_8_voxels(sd_hu: float) -> None:
    assert noise_hu(scan(sd_hu)) == pytest.approx(sd_hu / 8**0.5, rel=0.1)


def test_voxels_of_2_mm_and_more_are_taken_as_they_are() -> None:
    assert noise_hu(scan(8.0, spacing_mm=2.0)) == pytest.approx(8.0, rel=0.1)
    assert noise_hu(scan(8.0, spacing_mm=3.0)) == pytest.approx(8.0, rel=0.1)


def test_a_scan_without_noise_has_none_and_one_without_tissue_says_nothing() -> None:
    assert noise_hu(scan(0.0)) == 0.0
    air = scan(0.0)
    assert noise_hu(Volume(air.grid, np.full_like(air.array, -1000.0))) is None
