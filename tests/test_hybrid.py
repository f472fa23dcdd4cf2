"""Scans drawn from spheres and a cylinder, so that what is gas, bladder and tissue is known to the voxel."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.align.maps import BSPLINE_STRONG
from recontour.errors import UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Mask, Volume
from recontour.hybrid import gas_near, inside_body, painted, prepared, register_hybrid

GRID = Grid.of((24, 60, 64), (2.0, 1.0, 1.0), (-30.0, -25.0, 5.0))
TISSUE_HU, AIR_HU, GAS_HU = 40.0, -1000.0, -900.0


def ball(centre_xyz: tuple[float, float, float], radius_mm: float, grid: Grid = GRID) -> np.ndarray:
    return np.linalg.norm(grid.points() - np.asarray(centre_xyz), axis=-1) <= radius_mm


@pytest.fixture
def scan() -> Volume:
    """A body, 24 mm in radius along z, in air; gas in the rectum and, 40 mm away from it, in the bowel."""
    points = GRID.points()
    body = np.hypot(points[..., 0] - 1.0, points[..., 1] - 4.0) <= 24.0
    array = np.where(body, TISSUE_HU, AIR_HU)
    array[ball((1.0, -10.0, 25.0), 5.0)] = GAS_HU
    array[ball((1.0, 20.0, 47.0), 4.0)] = GAS_HU
    return Volume(GRID, array.astype(np.float32))


RECTUM = Mask(GRID, ball((1.0, -10.0, 25.0), 7.0))


def test_gas_is_found_near_the_rectum_alone_and_inside_the_body(scan: Volume) -> None:
    assert np.array_equal(gas_near(scan, RECTUM), ball((1.0, -10.0, 25.0), 5.0))
    assert not gas_near(scan, Mask(GRID, np.zeros(GRID.size, bool))).any()


def test_the_body_holds_its_gas_and_no_air(scan: Volume) -> None:
    points = GRID.points()
    assert np.array_equal(inside_body(scan), np.hypot(points[..., 0] - 1.0, points[..., 1] - 4.0) <= 24.0)


def test_gas_takes_the_value_of_the_tissue_around_it(scan: Volume) -> None:
    filled = prepared(scan, RECTUM).array
    assert filled[ball((1.0, -10.0, 25.0), 5.0)] == pytest.approx(TISSUE_HU)
    assert (filled[ball((1.0, 20.0, 47.0), 4.0)] == -150.0).all()  # bowel gas stays, clipped as all is
    assert filled.min() == -150.0


def test_the_bladder_is_painted_with_a_ramp_at_its_wall() -> None:
    """A slab with its wall between the voxels at x = 0 and 1: half a voxel from either centre, 1/8 of a 4 mm ramp."""
    grid = Grid.of((6, 6, 20), (1, 1, 1), (-9.0, 0.0, 0.0))  # x from -9 to 10
    inside = np.broadcast_to(np.arange(-9, 11) > 0, grid.size)
    line = painted(Volume(grid, np.full(grid.size, TISSUE_HU, np.float32)), Mask(grid, inside)).array[3, 3]
    share = dict(zip(range(-9, 11), (line - TISSUE_HU) / (300.0 - TISSUE_HU), strict=True))
    assert [share[x] for x in (-2, -1, 0, 1, 2, 3)] == pytest.approx([0.0, 0.125, 0.375, 0.625, 0.875, 1.0], abs=1e-6)


def test_no_bladder_is_painted_where_there_is_none(scan: Volume) -> None:
    assert np.array_equal(painted(scan, Mask(GRID, np.zeros(GRID.size, bool))).array, scan.array)


GRID_1MM = Grid.of((40, 44, 48), (1, 1, 1), (0, 0, 0))
FAST = BSPLINE_STRONG.changed("fast", MaximumNumberOfIterations=120)


def registered_shift_x(bladders: tuple[Mask, Mask]) -> float:
    """At the bladder, of two scans that show noise and no bladder at all."""
    rng = np.random.default_rng(3)
    fixed, moving = (Volume(GRID_1MM, rng.normal(40, 2, GRID_1MM.size).astype(np.float32)) for _ in range(2))
    field = register_hybrid(fixed, moving, bladders, Mask(GRID_1MM, np.zeros(GRID_1MM.size, bool)), FAST)
    return float(field.array[0][bladders[0].array].mean())


def test_the_registration_follows_a_bladder_that_the_scans_do_not_show() -> None:
    daily, planned = (Mask(GRID_1MM, ball((x, 22, 20), 8.0, GRID_1MM)) for x in (21.0, 26.0))
    assert registered_shift_x((daily, planned)) == pytest.approx(5.0, abs=0.5)


def test_a_bladder_found_in_one_scan_alone_is_painted_in_neither() -> None:
    """Painted in one, it would pull the tissue of the other towards it."""
    rng = np.random.default_rng(4)
    scan = Volume(GRID_1MM, rng.normal(40, 100, GRID_1MM.size).astype(np.float32))
    nothing = Mask(GRID_1MM, np.zeros(GRID_1MM.size, bool))
    lost = register_hybrid(scan, scan, (nothing, Mask(GRID_1MM, ball((26, 22, 20), 8.0, GRID_1MM))), nothing, FAST)
    plain = register_hybrid(scan, scan, (nothing, nothing), nothing, FAST)
    assert np.array_equal(lost.array, plain.array)


def test_one_grid_for_all(scan: Volume) -> None:
    other = Mask(GRID_1MM, np.zeros(GRID_1MM.size, bool))
    with pytest.raises(UsageError, match="different grids"):
        register_hybrid(scan, scan, (other, other), RECTUM)
