"""The only place where volumes, masks, level sets and fields are warped or resampled: once, from source to target.

Everywhere: the target's voxel at x takes the source's value at affine(x + field(x)), so `affine` and `field` map
points of the target's frame to points of the source's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Mask, Volume

Array = NDArray[np.float32]

NARROW_BAND_MM = 4.0  # above what a warped distance can change between neighbours of the coarse lattice
_COARSE_STEP = 3
_SLAB_VOXELS = 1_000_000  # bounds the memory for coordinates: 24 bytes a voxel


def resample_volume(
    source: Volume, target: Grid, affine: Affine | None = None, field: Field | None = None, fill_hu: float = -1000.0
) -> Volume:
    """`source` on `target`, trilinear, `fill_hu` outside the source. Coarser targets are smoothed first."""
    array = _smooth_for(source.array, source.grid, target)
    return Volume(target, _resample(array, source.grid, target, affine, field, fill_hu))


def resample_level_set(
    source: LevelSet, target: Grid, affine: Affine | None = None, field: Field | None = None
) -> LevelSet:
    """`source` on `target`, trilinear; outside the source's grid its lowest value holds.

    With a field, voxels further than NARROW_BAND_MM from the surface, by their neighbours' distance, are interpolated
    from every third one: only near the surface does a warped organ need its exact value.
    """
    outside = float(min(source.array.min(), -1.0))
    if field is None or min(target.size) < 2 * _COARSE_STEP:
        return LevelSet(target, _resample(source.array, source.grid, target, affine, field, outside))
    on_target = field if field.grid.same_as(target) else resample_field(field, target)
    coarse = _every_third(on_target)
    rough = _resample(source.array, source.grid, coarse.grid, affine, coarse, outside)
    out = _resample(rough, coarse.grid, target, None, None, None)
    near = np.flatnonzero(np.abs(out) < NARROW_BAND_MM)
    index = np.stack(np.unravel_index(near, target.size), axis=-1)
    points = target.points_at(index) + on_target.array.reshape(3, -1)[:, near].T
    out.reshape(-1)[near] = sample(source.array, source.grid, (affine or Affine.identity()).apply(points), outside)
    return LevelSet(target, out)


def _every_third(field: Field) -> Field:
    """The field at every third voxel along each axis, and one more beyond the last, where the border value holds."""
    grid = field.grid
    part, counts = field.array, [len(range(0, n + _COARSE_STEP - 1, _COARSE_STEP)) for n in grid.size]
    for axis, count in enumerate(counts):
        part = np.take(part, np.minimum(np.arange(count) * _COARSE_STEP, grid.size[axis] - 1), axis + 1)
    return Field(Grid.of(counts, np.asarray(grid.spacing_mm) * _COARSE_STEP, grid.origin_mm, grid.direction), part)


def resample_mask(source: Mask, target: Grid, affine: Affine | None = None, field: Field | None = None) -> Mask:
    """`source` on `target`: linear in its values, cut at one half."""
    values = _resample(source.array.astype(np.float32), source.grid, target, affine, field, 0.0)
    return Mask(target, values > 0.5)


def resample_field(field: Field, target: Grid) -> Field:
    """The same displacements, in mm, on another grid of the same frame; the nearest border value outside."""
    parts = [_resample(component, field.grid, target, None, None, None) for component in field.array]
    return Field(target, np.stack(parts))


def sample(array: Array, grid: Grid, points_mm: NDArray[np.float64], fill: float) -> Array:
    """(...) float32: the value of `array` (D, H, W) on `grid` at (..., 3) LPS points, trilinear."""
    return _at_index(array, np.moveaxis(grid.index_at(points_mm), -1, 0), fill)


def transform_points(points_mm: NDArray[np.float64], affine: Affine, field: Field | None = None) -> NDArray[np.float64]:
    """(..., 3) points x to affine(x + field(x)), mm."""
    points = np.asarray(points_mm, float)
    if field is None:
        return affine.apply(points)
    index = np.moveaxis(field.grid.index_at(points), -1, 0)
    moved = points + np.stack([_at_index(component, index, None) for component in field.array], axis=-1)
    return affine.apply(moved)


def _resample(
    array: Array, grid: Grid, target: Grid, affine: Affine | None, field: Field | None, fill: float | None
) -> Array:
    to_index = np.linalg.inv(grid.matrix) @ (affine.matrix if affine else np.eye(4)) @ target.matrix
    if field is None:
        return _straight(array, to_index, target, fill)
    on_target = field if field.grid.same_as(target) else resample_field(field, target)
    return _curved(array, to_index, target, on_target, fill)


def _straight(array: Array, to_index: NDArray[np.float64], target: Grid, fill: float | None) -> Array:
    """No field: the index transform is affine. Axis by axis where it only scales and shifts, which is far faster."""
    linear, offset = to_index[:3, :3], to_index[:3, 3]
    if np.abs(linear - np.diag(np.diag(linear))).max() < 1e-9:
        return _axis_by_axis(array, np.diag(linear), offset, target, fill)
    from scipy.ndimage import affine_transform

    mode = "nearest" if fill is None else "constant"
    values, out = np.asarray(array, np.float32), np.empty(target.size, np.float32)
    affine_transform(values, linear, offset, output=out, order=1, mode=mode, cval=fill or 0.0)
    return out


def _axis_by_axis(
    array: Array, scale: NDArray[np.float64], offset: NDArray[np.float64], target: Grid, fill: float | None
) -> Array:
    out = np.asarray(array, np.float32)
    positions = [offset[k] + scale[k] * np.arange(target.size[k]) for k in range(3)]
    for axis in np.argsort([target.size[k] / array.shape[k] for k in range(3)]):  # shrink first, then grow
        out = _along(out, positions[axis], int(axis))
    if fill is not None:
        for axis, position in enumerate(positions):
            outside = (position < -1e-6) | (position > array.shape[axis] - 1 + 1e-6)
            np.moveaxis(out, axis, 0)[outside] = fill
    return out


def _along(array: Array, position: NDArray[np.float64], axis: int) -> Array:
    """Linear interpolation along one axis at fractional `position`s, the border value outside."""
    last = array.shape[axis] - 1
    clipped = np.clip(position, 0, last)
    low = np.minimum(clipped.astype(np.intp), max(last - 1, 0))
    share = (clipped - low).astype(np.float32)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = share.reshape(shape)
    below = np.take(array, low, axis)
    if not share.any():
        return below
    above = np.take(array, np.minimum(low + 1, last), axis)
    return np.asarray(below + weight * (above - below), np.float32)


def _curved(array: Array, to_index: NDArray[np.float64], target: Grid, field: Field, fill: float | None) -> Array:
    """With a field on `target`, in slabs of bounded memory, two at a time."""
    mm_to_index = to_index[:3, :3] @ np.linalg.inv(target.matrix[:3, :3])
    y, x = np.arange(target.size[1])[:, None], np.arange(target.size[2])
    out = np.empty(target.size, np.float32)

    def fill_slab(slab: slice) -> None:
        z = np.arange(int(slab.start), int(slab.stop))[:, None, None]
        index = np.empty((3, len(z), *target.size[1:]))
        for row, step, shift, start in zip(index, to_index, mm_to_index, to_index[:3, 3], strict=False):
            np.add(step[0] * z + step[1] * y, step[2] * x + start, out=row)
            for k in range(3):
                row += shift[k] * field.array[k, slab]
        out[slab] = _at_index(array, index, fill)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill_slab, _slabs(target)))
    return out


def _slabs(grid: Grid) -> Iterator[slice]:
    planes = max(1, _SLAB_VOXELS // (grid.size[1] * grid.size[2]))
    for start in range(0, grid.size[0], planes):
        yield slice(start, min(start + planes, grid.size[0]))


def _at_index(array: Array, index: NDArray[np.float64], fill: float | None) -> Array:
    """Trilinear at (3, ...) fractional indices; `fill` outside, or the border value where it is None."""
    from scipy.ndimage import map_coordinates

    mode = "nearest" if fill is None else "constant"
    flat = index.reshape(3, -1)  # scipy refuses a single point otherwise
    values = map_coordinates(np.asarray(array, np.float32), flat, np.float32, 1, mode, fill or 0.0)
    return values.reshape(index.shape[1:])


def _smooth_for(array: Array, grid: Grid, target: Grid) -> Array:
    """A coarser target would alias: smooth with half the step from one target voxel to the next, in voxels of the
    source, along each of its axes: thick slices blur no pixels."""
    from scipy.ndimage import gaussian_filter

    steps = grid.index_at(target.points_at(np.eye(3))) - grid.index_at(target.points_at(np.zeros(3)))
    ratio = np.abs(steps).max(axis=0)
    sigma = np.where(ratio > 1.5, 0.5 * ratio, 0.0)
    return gaussian_filter(array, sigma, mode="nearest") if sigma.any() else array
