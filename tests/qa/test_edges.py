"""How far a contour is from the edges of a scan, against shapes whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.edges import FARTHEST_MM, REACH_MM, EdgeGaps, edge_gaps
from recontour.settings import QaSettings

GRID = Grid.of((66, 70, 74), (1.0, 1.0, 1.0), (-36.0, -35.0, -33.0))
ORGAN_HU, FAT_HU, GAS_HU = 45.0, -90.0, -950.0


def away(centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), grid: Grid = GRID) -> NDArray[np.float64]:
    return np.linalg.norm(grid.points() - np.asarray(centre_mm), axis=-1)


def ball(radius_mm: float, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), grid: Grid = GRID) -> LevelSet:
    return LevelSet(grid, np.clip(radius_mm - away(centre_mm, grid), -15, 15).astype(np.float32))


def scan(shape: LevelSet, noise_hu: float = 0.0, seed: int = 0) -> Volume:
    """The organ in fat, its edge a ramp of one voxel, with noise as in a CT."""
    share = np.clip(0.5 + shape.array, 0.0, 1.0)
    noise = np.random.default_rng(seed).normal(0.0, noise_hu, shape.array.shape)
    return Volume(shape.grid, (FAT_HU + (ORGAN_HU - FAT_HU) * share + noise).astype(np.float32))


def gaps(fixed: Volume, warped: Volume, daily: LevelSet, registered: LevelSet | None = None) -> EdgeGaps:
    found = edge_gaps(fixed, warped, daily, registered)
    assert found is not None
    return found


@pytest.mark.parametrize("move_mm", [(4.0, 0.0, 0.0), (0.0, -4.0, 0.0), (0.0, 0.0, 4.0), (2.4, 0.0, -3.2)])
def test_an_organ_that_moved_by_4_mm(move_mm: tuple[float, float, float]) -> None:
    """The gap along the normal is 4 |cos| of the angle to the move, which is even over a ball: mean 2, 95 % at 3.8."""
    found = gaps(scan(ball(18, move_mm), 15, 1), scan(ball(18), 15, 2), ball(18))
    assert found.mean_mm == pytest.approx(2.0, abs=0.35)
    assert found.p95_mm == pytest.approx(3.8, abs=0.5)


@pytest.mark.parametrize("wrong_mm", [-5.0, -3.0, 3.0, 6.0])
def test_an_organ_that_is_larger_or_smaller(wrong_mm: float) -> None:
    found = gaps(scan(ball(18 + wrong_mm), 15, 1), scan(ball(18), 15, 2), ball(18))
    assert (found.mean_mm, found.p95_mm) == pytest.approx((abs(wrong_mm), abs(wrong_mm)), abs=0.4)


def test_a_contour_on_its_edge_is_nowhere_off() -> None:
    found = gaps(scan(ball(18), 20, 1), scan(ball(18), 20, 2), ball(18))
    assert found.p95_mm == 0.0
    assert found.mean_mm < 0.05


def test_slices_are_thick_and_the_numbers_the_same() -> None:
    grid = Grid.of((26, 60, 80), (2.5, 1.2, 0.9), (-34.0, -36.0, -30.0))
    found = gaps(scan(ball(18, (0.0, 0.0, 4.0), grid)), scan(ball(18, grid=grid)), ball(18, grid=grid))
    assert found.mean_mm == pytest.approx(2.0, abs=0.4)
    assert found.p95_mm == pytest.approx(3.8, abs=0.6)


def test_a_dent_shows_in_the_worst_twentieth() -> None:
    """A bump as large as a tenth of the surface, and one that is smaller than a twentieth of it."""
    x = GRID.points()[..., 0] / np.maximum(away(), 1e-6)  # the share of a ball's surface with x above c is (1 - c) / 2

    def bumped(from_cosine: float) -> LevelSet:
        return LevelSet(GRID, np.where(x > from_cosine, ball(24).array, ball(18).array))

    large = gaps(scan(bumped(0.8), 15, 1), scan(ball(18), 15, 2), ball(18))
    small = gaps(scan(bumped(0.98), 15, 1), scan(ball(18), 15, 2), ball(18))
    assert large.p95_mm == pytest.approx(6.0, abs=0.6)
    assert 0.3 < large.mean_mm < 0.8
    assert small.p95_mm == 0.0


@pytest.mark.parametrize("away_mm", [9, 11, 12])
def test_an_edge_farther_off_than_the_reach_is_told_as_the_reach(away_mm: int) -> None:
    found = gaps(scan(ball(18 + away_mm), 15, 1), scan(ball(18), 15, 2), ball(18))
    assert found.p95_mm == REACH_MM > QaSettings().edges_review_mm


def test_an_edge_farther_off_than_anything_is_read_is_not_seen() -> None:
    """Another blind spot: within 14 mm of the contour the daily scan shows nothing but the organ."""
    assert FARTHEST_MM == 14.0
    assert gaps(scan(ball(18 + 14.5)), scan(ball(18)), ball(18)).p95_mm == 0.0


@pytest.mark.parametrize("gas_in", ["daily", "planning"])
def test_gas_that_comes_or_goes_is_no_error(gas_in: str) -> None:
    quiet = scan(ball(18), 15, 1)
    gassy = Volume(GRID, np.where(away() < 16, np.float32(GAS_HU), scan(ball(18), 15, 2).array))
    fixed, warped = (gassy, quiet) if gas_in == "daily" else (quiet, gassy)
    assert gaps(fixed, warped, ball(18)).p95_mm < 1.0


def test_contrast_medium_inside_is_no_error() -> None:
    brighter = scan(ball(18), 15, 1)
    bright = np.where(away() < 16, brighter.array + 60, brighter.array).astype(np.float32)
    assert gaps(Volume(GRID, bright), scan(ball(18), 15, 2), ball(18)).p95_mm < 1.0


def test_a_contour_that_is_not_where_its_organ_was_registered() -> None:
    """The scans agree, and so the organ is where it was registered: 3 mm within the contour that was found."""
    same = scan(ball(18))
    found = gaps(same, same, ball(21), ball(18))
    assert (found.mean_mm, found.p95_mm) == pytest.approx((3.0, 3.0), abs=0.3)
    right = gaps(scan(ball(21)), scan(ball(18)), ball(21), ball(18))
    assert right.p95_mm == 0.0


def test_where_nothing_is_to_be_seen_nothing_is_found() -> None:
    """The blind spot of this measure: no edge, no error. Other rules have to see it."""
    one, other = (np.random.default_rng(k).normal(30.0, 40.0, GRID.size).astype(np.float32) for k in (1, 2))
    assert gaps(Volume(GRID, one), Volume(GRID, other), ball(18)).p95_mm == 0.0


def test_an_organ_without_surface_has_none() -> None:
    flat = Volume(GRID, np.full(GRID.size, 30.0, np.float32))
    assert edge_gaps(flat, flat, LevelSet(GRID, np.full(GRID.size, -5.0, np.float32))) is None
    assert edge_gaps(flat, flat, LevelSet(GRID, np.full(GRID.size, 5.0, np.float32))) is None
