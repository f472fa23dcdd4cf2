"""Any smooth function that is positive inside a shape -> the distance to its surface in mm, sub-voxel."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box

Array = NDArray[np.float32]
Spacing = tuple[float, float, float]  # along (z, y, x)

BAND_MM = 12.0  # beyond this distance a level set is flat: farther than any blend or margin reaches


def signed_distance(array: Array, spacing_mm: Spacing, band_mm: float = BAND_MM) -> Array:
    """(D, H, W) float32 mm, positive where `array` is: the distance to the zero surface of `array`, up to `band_mm`.

    Next to the surface it is value over slope, which a linear function has exactly; every other voxel takes the
    distance to the foot point, on the surface, of the near voxel that is closest. Sub-voxel: nothing is rounded
    to the mask.
    """
    out = np.where(array > 0, np.float32(band_mm), np.float32(-band_mm))
    reach = [int(np.ceil(band_mm / spacing)) + 1 for spacing in spacing_mm]
    box = bounding_box(array, reach)
    if box is not None:
        part = array[box]
        near = _near_surface(part > 0)
        if near.any():
            out[box] = np.clip(_from_feet(part, near, spacing_mm), -band_mm, band_mm)
    return out


def _near_surface(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels with a neighbour, across a face, on the other side of the surface."""
    near = np.zeros_like(inside)
    for axis in range(3):
        low = tuple(slice(0, -1) if k == axis else slice(None) for k in range(3))
        high = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
        changes = inside[low] != inside[high]
        near[low] |= changes
        near[high] |= changes
    return near


def _from_feet(array: Array, near: NDArray[np.bool_], spacing_mm: Spacing) -> Array:
    """(D, H, W) mm: of every voxel, the signed distance to the surface at the nearest near voxel's foot."""
    from scipy import ndimage

    height, normal = _height_and_normal(array, near, spacing_mm)
    own = np.zeros((4, *array.shape), np.float32)  # of each near voxel its height above the surface, and the normal
    own[0, near], own[1:, near] = height, normal
    seeds = cast("Any", ndimage).distance_transform_edt(~near, sampling=spacing_mm, return_indices=True)[1]
    at_seed = own[(slice(None), *seeds)]
    along, squared = at_seed[0].copy(), np.zeros(array.shape, np.float32)
    for axis in range(3):
        here = np.arange(array.shape[axis], dtype=np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        offset = (here - seeds[axis]) * np.float32(spacing_mm[axis])
        along += offset * at_seed[1 + axis]
        squared += (offset + at_seed[0] * at_seed[1 + axis]) ** 2
    # Along the normal is exact for a plane; past a sharp edge it falls short, and the way to the foot, less the
    # width of a voxel, still holds.
    least = np.sqrt(np.maximum(squared - np.float32(np.dot(spacing_mm, spacing_mm)), 0))
    out = np.maximum(np.abs(along), least) * np.where(array > 0, np.float32(1), np.float32(-1))
    out[near] = height
    return out.astype(np.float32)


def _height_and_normal(array: Array, near: NDArray[np.bool_], spacing_mm: Spacing) -> tuple[Array, Array]:
    """(N,) mm and (3, N): how far inside the surface the near voxels lie, and the unit vector that points inside.

    The height is value over slope, or what the crossings along the axes allow, if that is less: where values saturate
    within a voxel, the slope across two is too small.
    """
    at = np.nonzero(near)
    value = array[near].astype(float)
    slope, inverse_squares = np.zeros((3, len(value))), np.zeros(len(value))
    for axis in range(3):
        up, down = (_neighbour(array, at, axis, step) for step in (1, -1))
        slope[axis] = (up - down) / (2.0 * spacing_mm[axis])
        crossing = np.minimum(_crossing(value, up), _crossing(value, down)) * spacing_mm[axis]
        inverse_squares += 1.0 / np.maximum(crossing, 1e-6) ** 2
    steepness = np.maximum(np.sqrt((slope**2).sum(axis=0)), 1e-9)
    height = np.minimum(np.abs(value) / steepness, 1.0 / np.sqrt(inverse_squares)) * np.where(value > 0, 1.0, -1.0)
    return height.astype(np.float32), (slope / steepness).astype(np.float32)


def _neighbour(array: Array, at: tuple[NDArray[np.intp], ...], axis: int, step: int) -> NDArray[np.float64]:
    place = list(at)
    place[axis] = np.clip(at[axis] + step, 0, array.shape[axis] - 1)
    return array[tuple(place)].astype(float)


def _crossing(value: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the way to a neighbour where the surface is crossed; infinite where it is not."""
    crosses = (value > 0) != (other > 0)
    return np.where(crosses, value / np.where(crosses, value - other, 1.0), np.inf)
