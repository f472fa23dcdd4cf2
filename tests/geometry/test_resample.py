"""Resampling and warping of ramps, on which linear interpolation is exact, in asymmetric anisotropic grids."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import (
    resample_field,
    resample_level_set,
    resample_mask,
    resample_volume,
    sample,
    transform_points,
)
from recontour.geometry.volume import LevelSet, Mask, Volume

SOURCE = Grid((9, 11, 13), (3.0, 2.0, 1.5), (-9.0, -10.0, -12.0))
TARGET = Grid((5, 4, 6), (1.1, 1.3, 0.9), (-3.0, -2.5, -4.0))
FEET_FIRST = Grid((9, 11, 13), (3.0, 2.0, 1.5), (9.0, -10.0, 12.0), ((0, 0, -1), (0, 1, 0), (-1, 0, 0)))


def ramp(points: np.ndarray) -> np.ndarray:
    return points @ np.array([2.0, -3.0, 5.0]) + 7.0


def on(grid: Grid) -> Volume:
    return Volume(grid, ramp(grid.points()).astype(np.float32))


@pytest.mark.parametrize("source", [SOURCE, FEET_FIRST])
def test_a_ramp_stays_a_ramp_on_another_grid(source: Grid) -> None:
    got = resample_volume(on(source), TARGET)
    assert np.allclose(got.array, ramp(TARGET.points()), atol=1e-3)


def test_target_takes_the_source_at_affine_of_x() -> None:
    affine = Affine.rotation([3, -5, 8], [1, 2, 3])
    got = resample_volume(on(SOURCE), TARGET, affine)
    assert np.allclose(got.array, ramp(affine.apply(TARGET.points())), atol=1e-3)


@pytest.mark.parametrize("source", [SOURCE, FEET_FIRST])
def test_field_is_added_before_the_affine(source: Grid) -> None:
    affine = Affine.rotation([0, 0, 10], [0, 0, 0])
    u = np.stack([0.1 * TARGET.points()[..., 0], np.full(TARGET.size, 0.7), -0.2 * TARGET.points()[..., 2]])
    field = Field(TARGET, u.astype(np.float32))
    want = ramp(affine.apply(TARGET.points() + np.moveaxis(u, 0, -1)))
    assert np.allclose(resample_volume(on(source), TARGET, affine, field).array, want, atol=1e-3)
    some = TARGET.points_at([[2, 1, 3], [4, 0, 5]])
    assert np.allclose(ramp(transform_points(some, affine, field)), [want[2, 1, 3], want[4, 0, 5]], atol=1e-4)
    assert np.allclose(transform_points(some[1], affine, field), transform_points(some, affine, field)[1])


def test_field_on_another_grid_is_resampled_first() -> None:
    coarse = Grid((3, 3, 3), (6.0, 6.0, 6.0), (-8.0, -8.0, -8.0))
    field = Field(coarse, np.stack([0.25 * coarse.points()[..., k] for k in range(3)]).astype(np.float32))
    got = resample_volume(on(SOURCE), TARGET, None, field)
    assert np.allclose(got.array, ramp(1.25 * TARGET.points()), atol=1e-3)
    assert np.allclose(resample_field(field, TARGET).array[1], 0.25 * TARGET.points()[..., 1], atol=1e-5)


def test_outside_is_air_for_scans_and_outside_for_organs() -> None:
    beyond = Grid((2, 2, 2), (1.0, 1.0, 1.0), (100.0, 0.0, 0.0))
    assert (resample_volume(on(SOURCE), beyond).array == -1000).all()
    ball = LevelSet(SOURCE, np.float32(5.0) - np.linalg.norm(SOURCE.points(), axis=-1).astype(np.float32))
    assert (resample_level_set(ball, beyond).array < -1).all()
    assert (resample_level_set(ball, beyond, Affine.shift([0.01, 0, 0])).array < -1).all()


def test_partly_outside_only_the_outside_is_filled() -> None:
    grid = Grid((3, 3, 8), (1.0, 1.0, 1.0), (6.0, 0.0, 0.0))  # x from 6 to 13, the source ends at 9
    got = resample_volume(on(SOURCE), grid).array
    assert np.allclose(got[..., :4], ramp(grid.points())[..., :4], atol=1e-3)
    assert (got[..., 4:] == -1000).all()


def test_mask_is_cut_at_one_half() -> None:
    mask = Mask(SOURCE, SOURCE.points()[..., 0] > 0.1)  # last False voxel at x = 0, first True at x = 1.5
    got = resample_mask(mask, TARGET)
    assert (got.array == (TARGET.points()[..., 0] > 0.75)).all()


def test_sample_at_points() -> None:
    points = np.array([[0.3, 0.2, -0.4], [90.0, 0.0, 0.0]])
    got = sample(on(SOURCE).array, SOURCE, points, -5.0)
    assert np.allclose(got, [ramp(points[0]), -5.0], atol=1e-4)


def test_coarser_target_is_smoothed_first() -> None:
    noise = np.random.default_rng(3).normal(0, 100, (40, 40, 40)).astype(np.float32)
    fine = Grid((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    coarse = Grid((8, 8, 8), (4.0, 4.0, 4.0), (4.0, 4.0, 4.0))
    assert resample_volume(Volume(fine, noise), coarse).array.std() < 15  # a point sample would keep 100


def test_a_warped_ball_is_exact_near_its_surface_and_right_in_sign_elsewhere() -> None:
    source = Grid((30, 44, 50), (2.0, 1.3, 1.1), (-27.0, -28.0, -29.0))
    ball = LevelSet(source, (14.0 - np.linalg.norm(source.points(), axis=-1)).clip(-12, 12).astype(np.float32))
    target = Grid((37, 41, 43), (1.2, 1.1, 1.0), (-22.0, -22.0, -22.0))
    x, y, z = np.moveaxis(target.points(), -1, 0)
    u = np.stack([2.0 * np.sin(y / 9.0), 1.5 * np.cos(z / 8.0), np.sin(x / 7.0)]).astype(np.float32)
    got = resample_level_set(ball, target, Affine.rotation([0, 0, 7], [0, 0, 0]), Field(target, u)).array
    want = 14.0 - np.linalg.norm(target.points() + np.moveaxis(u, 0, -1), axis=-1)  # a ball looks the same turned
    near = np.abs(want) < 2.5
    assert np.abs(got - want)[near].max() < 0.07  # what trilinear interpolation of the source leaves: 2^2 / 8 / 14 ...
    assert ((got > 0) == (want > 0))[~near].all()
    assert np.abs(got - want.clip(-12, 12))[np.abs(want) < 8].max() < 0.6


def test_thick_slices_blur_no_pixels() -> None:
    """A pattern of single pixels stays as it is on thicker slices of the same pixels; across slices it is averaged."""
    fine = Grid.of((24, 10, 10), (1.0, 0.9, 0.9), (0.0, 0.0, 0.0))
    thick = Grid.of((8, 10, 10), (3.0, 0.9, 0.9), (0.0, 0.0, 0.0))
    in_plane = np.indices(fine.size)[1:].sum(axis=0) % 2 * 100.0
    assert np.allclose(resample_volume(Volume(fine, in_plane.astype(np.float32)), thick).array[4], in_plane[0])
    across = np.indices(fine.size)[0] % 2 * 100.0
    found = resample_volume(Volume(fine, across.astype(np.float32)), thick).array[2:6]
    assert np.allclose(found, 50.0, atol=2.0)
