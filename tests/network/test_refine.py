"""Refinement on small analytic scans: the truth is a formula, never the tool itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.field import Field, folding_fraction
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network.refine import refine_field
from recontour.settings import RefineSettings

Points = NDArray[np.float64]
GRID = Grid.of((44, 56, 64), (1.0, 1.0, 1.0), (-20.0, 35.0, 110.0))
MIDDLE = np.array([11.5, 62.5, 131.5])  # x, y, z
SETTINGS = RefineSettings()


def scene(points: Points) -> NDArray[np.float32]:
    """A soft-edged ellipsoid and two smaller ones in a faintly textured ground, HU at (..., 3) points."""
    hu = np.full(points.shape[:-1], -90.0)
    for centre, radii, level in (
        ((0, 0, 0), (18, 14, 12), 40.0),
        ((5, 4, -2), (5, 6, 4), 90.0),
        ((-20, 12, 9), (7, 8, 9), 120.0),
        ((19, -16, -8), (9, 7, 8), 10.0),
    ):
        distance = np.sqrt((((points - MIDDLE - centre) / radii) ** 2).sum(-1)) - 1.0
        hu += (level - hu) / (1.0 + np.exp(distance * min(radii) / 0.7))
    x, y, z = np.moveaxis(points, -1, 0)
    return (hu + 12.0 * np.sin(x / 3.1 + 0.4 * y) * np.sin(y / 3.7 + 1) * np.sin(z / 4.3)).astype(np.float32)


def bump(points: Points) -> Points:
    """A smooth displacement, up to 5 mm, mm along x, y, z."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    share = np.exp(-(x**2 / 500 + y**2 / 400 + z**2 / 300))
    return np.stack([4.0 * share, -2.5 * share, 3.0 * share * np.cos(x / 15)], axis=-1)


def scans(displacement: Points) -> tuple[Volume, Volume]:
    """fixed, moving: what lies at x in fixed lies at x + displacement in moving."""
    points = GRID.points()
    return Volume(GRID, scene(points + displacement)), Volume(GRID, scene(points))


def error_mm(field: Field, truth: Points, inside: NDArray[np.bool_]) -> float:
    gap = np.moveaxis(field.array, 0, -1) - truth
    return float(np.sqrt((gap**2).sum(-1))[inside].mean())


def core(radius: float) -> NDArray[np.bool_]:
    return ((GRID.points() - MIDDLE) ** 2).sum(-1) < radius**2


def test_a_smooth_motion_is_found_to_sub_voxel() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    field = refine_field(fixed, moving, None, SETTINGS)
    assert field.array.dtype == np.float32
    assert error_mm(Field.zero(GRID), truth, core(14)) > 3.0
    assert error_mm(field, truth, core(14)) < 1.2
    assert folding_fraction(field) == 0.0


def test_the_field_points_from_fixed_to_moving_in_x_y_z() -> None:
    fixed, moving = scans(np.broadcast_to([2.0, -1.0, 3.0], (*GRID.size, 3)))
    field = refine_field(fixed, moving, None, SETTINGS)
    np.testing.assert_allclose(np.median(field.array[:, core(14)], axis=1), [2.0, -1.0, 3.0], atol=0.25)


def test_no_motion_gives_no_field() -> None:
    fixed, moving = scans(np.zeros(3))
    noise = np.random.default_rng(3).normal(0, 15, GRID.size).astype(np.float32)
    field = refine_field(Volume(GRID, fixed.array + noise), moving, None, SETTINGS)
    assert np.abs(field.array[:, core(14)]).mean() < 0.4


def test_a_second_run_gives_the_same_bits() -> None:
    fixed, moving = scans(bump(GRID.points()))
    first, second = (refine_field(fixed, moving, None, SETTINGS).array for _ in range(2))
    assert np.array_equal(first, second)


def test_offset_and_gain_of_the_scanner_do_not_matter() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    other = Volume(GRID, (0.8 * fixed.array + 25).astype(np.float32))
    assert error_mm(refine_field(other, moving, None, SETTINGS), truth, core(14)) < 1.3


def test_grids_must_agree() -> None:
    fixed, moving = scans(np.zeros(3))
    elsewhere = Grid.of(GRID.size, GRID.spacing_mm, (0, 0, 0))
    with pytest.raises(UsageError, match="moving"):
        refine_field(fixed, Volume(elsewhere, moving.array), None, SETTINGS)
    with pytest.raises(UsageError, match="start"):
        refine_field(fixed, moving, Field.zero(elsewhere), SETTINGS)
