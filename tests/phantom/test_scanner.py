"""A scanner pictures edges, slabs and water: widths, moments and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.phantom.noise import draw_noise
from recontour.phantom.scanner import AIR_HU, MEDIUM_BLUR_MM, TOP_HU, Scanner, as_scanned

GRID = Grid.of((9, 40, 200), (2.0, 1.5, 0.25), (-25.0, -30.0, -8.0))
X = GRID.points()[..., 0]


def pictured(array: np.ndarray, scanner: Scanner, held_mm: float = 0.0, grid: Grid = GRID) -> np.ndarray:
    volume = Volume(grid, np.asarray(array, np.float32))
    return as_scanned(volume, scanner, 0.0, np.random.default_rng(1), held_mm).array


def width_mm(profile: np.ndarray) -> float:
    """Between 16 and 84 per cent of a rising edge: two standard deviations of a Gaussian."""
    x = GRID.spacing_mm[2] * np.arange(len(profile))
    share = (profile - profile[0]) / (profile[-1] - profile[0])
    return float(np.interp(0.8413, share, x) - np.interp(0.1587, share, x))


@pytest.mark.parametrize("kernel", [0.18, 0.25, 0.45])
def test_an_edge_is_as_soft_as_the_kernel(kernel: float) -> None:
    edge = pictured(np.where(X > 0.1, 50.0, -100.0), Scanner(kernel))[4, 20]
    assert width_mm(edge) == pytest.approx(2 / (2 * math.pi * kernel), rel=0.1)


def test_a_blur_that_is_held_already_is_not_made_twice() -> None:
    step = np.where(X > 0.1, 50.0, -100.0)
    assert np.array_equal(pictured(step, Scanner(), MEDIUM_BLUR_MM), step.astype(np.float32))
    soft = pictured(step, Scanner(0.18), MEDIUM_BLUR_MM)[4, 20]
    missing = math.sqrt((1 / (2 * math.pi * 0.18)) ** 2 - MEDIUM_BLUR_MM**2)
    assert width_mm(soft) == pytest.approx(2 * missing, rel=0.15)


def test_a_sharp_kernel_overshoots_by_what_it_is_told() -> None:
    edge = pictured(np.where(X > 0.1, 50.0, -100.0), Scanner(0.45, overshoot=0.4))[4, 20]
    over, under = edge.max() - 50.0, -100.0 - edge.min()
    assert over == pytest.approx(under, rel=0.1) and 0.4 * 150 * 0.2 < over < 0.4 * 150 * 0.5


@pytest.mark.parametrize("slice_mm", [3.0, 5.0])
def test_a_thick_slice_shows_its_neighbours(slice_mm: float) -> None:
    array = np.zeros(GRID.size)
    array[4] = 100.0
    column = pictured(array, Scanner(slice_mm=slice_mm))[:, 20, 100]
    z = GRID.spacing_mm[0] * (np.arange(9) - 4)
    assert column.sum() == pytest.approx(100.0, abs=0.1) and column @ z == pytest.approx(0.0, abs=0.1)
    assert column @ z**2 / 100 == pytest.approx((slice_mm**2 - 1) / 12, rel=0.02)  # of boxes; 1 mm is painted
    assert np.allclose(pictured(array, Scanner(slice_mm=1.0)), array, atol=1e-3)


def test_calibration_is_a_factor_and_an_offset_and_12_bits_are_the_end() -> None:
    array = np.full(GRID.size, 0.0)
    array[:, :, 100:] = 20_000.0
    array[:, :, :50] = -1000.0
    shown = pictured(array, Scanner(hu_scale=1.015, hu_offset=-4.0))
    assert shown[0, 0, 75] == pytest.approx(1015 - 4 - 1000) and shown[0, 0, 0] == pytest.approx(-1004)
    assert shown[0, 0, 150] == TOP_HU and shown.min() >= AIR_HU


def test_the_field_of_view_ends_in_a_circle_and_the_body_cut_by_it_brightens() -> None:
    grid = Grid.of((2, 101, 101), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    shown = pictured(np.full(grid.size, 40.0), Scanner().cut_to(300.0), grid=grid)
    away = np.hypot(*(grid.points()[0, ..., a] - 200.0 for a in (0, 1)))
    assert (shown[0][away > 151] == AIR_HU).all() and (shown[0][away < 149] >= 40.0).all()
    assert shown[0][(away > 143) & (away < 149)].mean() > 80.0  # 80 HU at the rim, a third of it 14 mm inside
    assert shown[0][away < 80].mean() == pytest.approx(40.0, abs=1.5)


def test_a_soft_kernel_s_noise_is_coarser_and_no_stronger() -> None:
    grid = Grid.of((8, 160, 180), (2.5, 0.9, 0.95), (0.0, 0.0, 0.0))
    beside = []
    for kernel in (0.18, 0.45):
        middle = draw_noise(grid, 12.0, np.random.default_rng(1), kernel)[:, 60:100, 70:110]
        assert middle.std() == pytest.approx(12.0, rel=0.1)
        beside.append(np.corrcoef(middle[:, :, :-1].ravel(), middle[:, :, 1:].ravel())[0, 1])
    assert beside[0] > beside[1] + 0.25


def test_rows_that_cross_the_hips_are_streaked_along_x() -> None:
    grid = Grid.of((12, 60, 120), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    array = np.full(grid.size, 40.0)
    array[:, 25:35, 20:40] = array[:, 25:35, 80:100] = 900.0
    volume = Volume(grid, array.astype(np.float32))
    shown = as_scanned(volume, Scanner(starvation=1.0), 10.0, np.random.default_rng(3)).array
    plain = as_scanned(volume, Scanner(), 10.0, np.random.default_rng(3)).array
    streaks = shown - plain
    through, beside = streaks[:, 26:34, 50:70], streaks[:, 5:15, 50:70]
    assert 7 < through.std() < 25 and beside.std() < 0.4 * through.std()
    assert np.corrcoef(through[:, :, 5].ravel(), through[:, :, 12].ravel())[0, 1] > 0.5
