"""The translation search: from far off, in any orientation, and refused where there is nothing to find."""

import itertools

import numpy as np
import pytest

from recontour.align.search import find_translation
from recontour.align.shrink import shrink
from recontour.errors import AlignmentFailed
from recontour.geometry.affine import Affine
from recontour.geometry.grid import AXIAL, Grid
from recontour.geometry.volume import Volume
from tests.align.torso_scene import grid_over, residual_mm, scan

OFF_BY_150 = [(150, 0, 0), (0, -150, 0), (0, 0, 150), (87, -87, -86)]


@pytest.mark.parametrize("offset", OFF_BY_150)
def test_finds_home_from_150_mm_with_half_the_z_range_shared(offset: tuple[float, float, float]) -> None:
    planning = scan(grid_over(-150, 90))
    truth = Affine.shift(np.negative(offset))
    daily = scan(grid_over(-30, 210, offset), truth, seed=1)
    found = find_translation(daily, planning)
    assert residual_mm(found, truth) < 8.0


@pytest.mark.parametrize("degrees", [(10, 0, 0), (0, -10, 0), (0, 0, 10), (-6, 6, -5)])
def test_ten_degrees_do_not_mislead_it(degrees: tuple[float, float, float]) -> None:
    planning = scan(grid_over(-150, 90))
    truth = Affine.rotation(degrees, (0, 10, 10)).after(Affine.shift((-40, 60, 130)))
    daily = scan(grid_over(-30, 210, (40, -60, -130)), truth, seed=1)
    assert residual_mm(find_translation(daily, planning), truth) < 15.0


@pytest.mark.parametrize(("flip_z", "flip_y", "flip_x"), itertools.product((False, True), repeat=3))
def test_the_order_of_the_array_does_not_matter(flip_z: bool, flip_y: bool, flip_x: bool) -> None:
    planning = scan(grid_over(-150, 90))
    truth = Affine.shift((30, -50, 70))
    plain = scan(grid_over(-30, 210, (-30, 50, -70)), truth, seed=1)
    turned = _turned(plain, (flip_z, flip_y, flip_x))
    assert np.allclose(find_translation(turned, planning).matrix, find_translation(plain, planning).matrix, atol=8.1)
    assert residual_mm(find_translation(turned, planning), truth) < 8.0


def test_another_part_of_the_world_is_refused() -> None:
    planning = scan(grid_over(-150, 90))
    rng = np.random.default_rng(3)
    noise = Volume(planning.grid, rng.normal(0, 300, planning.grid.size).astype(np.float32))
    with pytest.raises(AlignmentFailed, match="same region"):
        find_translation(noise, planning)
    air = Volume(planning.grid, np.full(planning.grid.size, -1000, np.float32))
    with pytest.raises(AlignmentFailed):
        find_translation(air, planning)


def test_shrinking_keeps_every_centroid_in_place() -> None:
    grid = Grid.of((9, 26, 31), (3.0, 1.0, 1.5), (7, -3, 11), -np.asarray(AXIAL))
    small = shrink(Volume(grid, (grid.points() @ [1.0, 2.0, 3.0]).astype(np.float32)), 6.0)
    assert small.grid.size == (4, 4, 7)  # blocks of 2, 6 and 4 voxels
    assert small.grid.spacing_mm == (6.0, 6.0, 6.0)
    assert np.allclose(small.array, small.grid.points() @ [1.0, 2.0, 3.0], atol=1e-3)


def test_shrinking_clips_first() -> None:
    grid = Grid.of((2, 2, 2), (1.0, 1.0, 1.0), (0, 0, 0))
    array = np.zeros(grid.size, np.float32)
    array[0, 0, 0] = 3071.0
    assert shrink(Volume(grid, array), 2.0).array == pytest.approx(1000.0 / 8)


def _turned(volume: Volume, flips: tuple[bool, bool, bool]) -> Volume:
    axes = [k for k, flip in enumerate(flips) if flip]
    corner = [n - 1 if flip else 0 for n, flip in zip(volume.grid.size, flips, strict=True)]
    direction = np.asarray(volume.grid.direction) * np.where(flips, -1.0, 1.0)
    grid = Grid.of(volume.grid.size, volume.grid.spacing_mm, volume.grid.points_at(corner), direction)
    return Volume(grid, np.ascontiguousarray(np.flip(volume.array, axes)))
