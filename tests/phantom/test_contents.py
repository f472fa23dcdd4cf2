"""Rectal gas comes and goes inside the rectum only."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.contents import WALL_MM, Urine, refill, refill_bladder

GRID = Grid.of((30, 40, 44), (3.0, 1.5, 1.25), (-25.0, 10.0, 100.0))


def rectum_with_gas() -> tuple[Volume, LevelSet]:
    x, y, z = np.moveaxis(GRID.points(), -1, 0)
    depth = np.minimum(17 - np.hypot(x - 2, y - 40), 36 - np.abs(z - 145)).astype(np.float32)
    gas = (7 - np.hypot(x - 2, y - 34) > 0) & (np.abs(z - 140) < 20)
    outside_gas = np.hypot(x - 22, y - 15) < 3  # bowel beside it
    hu = np.where(depth > 0, 40.0, -90.0)
    hu[gas | outside_gas] = -950.0
    return Volume(GRID, hu.astype(np.float32)), LevelSet(GRID, np.clip(depth, -10, 10))


@pytest.mark.parametrize("gas_goes", [True, False])
@pytest.mark.parametrize("pockets", [0, 3])
def test_only_the_rectum_changes(gas_goes: bool, pockets: int) -> None:
    volume, rectum = rectum_with_gas()
    after = refill(volume, rectum, np.random.default_rng(1), gas_goes=gas_goes, pockets=pockets)
    changed = np.abs(after.array - volume.array) > 1e-3
    assert changed.any() and not changed[rectum.array <= 0].any()
    was, new = (a < -500 for a in (volume.array, after.array))
    inside = rectum.array > 0
    if gas_goes and not pockets:
        assert was[inside].sum() > 200 and new[inside].sum() == 0
    if pockets:
        fresh = new & ~was & inside
        assert fresh.sum() > 50
        assert rectum.array[fresh].min() > WALL_MM - 1.0  # the wall stays tissue
    if not gas_goes:
        assert not (was & ~new).any()


def test_gas_over_the_contour_goes_with_the_rest_and_distant_gas_stays() -> None:
    volume, rectum = rectum_with_gas()
    tight = LevelSet(GRID, np.minimum(rectum.array, 40.0 - GRID.points()[..., 1] + 8.0).astype(np.float32))
    tight = LevelSet(GRID, np.minimum(tight.array, GRID.points()[..., 1] - 29.0).astype(np.float32))  # cuts through gas
    after = refill(volume, tight, np.random.default_rng(1), gas_goes=True, pockets=0)
    beside = np.hypot(GRID.points()[..., 0] - 22, GRID.points()[..., 1] - 15) < 3
    assert (after.array[beside] < -900).all()
    assert not (after.array[~beside] < -500).any()


def test_a_bladder_s_wall_stays_when_its_contents_change() -> None:
    volume, shape = rectum_with_gas()  # any organ will do: 17 mm around y = 40
    after = refill_bladder(volume, shape, Urine(8.0, 200.0, 0.25, 1.0))
    y = GRID.points()[..., 1]
    wall, lumen = shape.array < 2.0, shape.array > 4.5
    assert np.array_equal(after.array[wall], volume.array[wall])
    level = 54.0 - 0.25 * 28.0  # the lumen reaches 14 mm to both sides of y = 40
    assert np.allclose(after.array[lumen & (y > level + 3)], 208.0, atol=2.0)
    assert np.allclose(after.array[lumen & (y < level - 3)], 8.0, atol=2.0)


def test_a_contour_outside_the_scan_changes_nothing() -> None:
    volume, rectum = rectum_with_gas()
    far = LevelSet(Grid.of(GRID.size, GRID.spacing_mm, (900.0, 900.0, 900.0)), rectum.array)
    after = refill(volume, far, np.random.default_rng(1), gas_goes=True, pockets=2)
    assert np.array_equal(after.array, volume.array)
    assert np.array_equal(refill_bladder(volume, far, Urine(99.0)).array, volume.array)
