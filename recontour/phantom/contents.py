"""What a rectum holds: stool with texture, and gas that comes and goes. Changes stay inside the rectum's contour."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid, Index
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet, Volume

Array = NDArray[np.float32]

WALL_MM = 3.0
_GAS_BELOW_HU = -200.0
_RIM_MM = 4.0


def refill(volume: Volume, rectum: LevelSet, rng: np.random.Generator, *, gas_goes: bool, pockets: int) -> Volume:
    """The scan with other rectal contents: gas that was there replaced by stool where `gas_goes`, the stool's texture
    drawn anew, and `pockets` new pockets of gas under the front wall (the patient lies on his back).

    Nothing outside `rectum` changes, but for gas that reaches up to 4 mm over its contour and goes with the rest.
    """
    low, high = _box(volume.grid, rectum)
    if min(np.subtract(high, low)) < 2:
        return volume
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = volume.grid.crop(low, high)
    depth = resample_level_set(rectum, grid).array
    array = np.array(volume.array)
    inside = volume.array[part]
    full = _stool(inside, depth, grid, rng, gas_goes)
    array[part] = _with_gas(full, depth, grid, rng, pockets)
    return Volume(volume.grid, array)


def _box(grid: Grid, shape: LevelSet) -> tuple[Index, Index]:
    """The voxels of `grid` that hold the inside of `shape`: first, and one past the last, (z, y, x)."""
    inside = np.argwhere(shape.array > 0)
    if not len(inside):
        return (0, 0, 0), (0, 0, 0)
    first, last = inside.min(axis=0), inside.max(axis=0) + 1
    corners = grid.index_at(shape.grid.points_at(list(itertools.product(*zip(first, last, strict=True)))))
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 3, 0, grid.size)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 4, 0, grid.size)
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def _stool(inside: Array, depth: Array, grid: Grid, rng: np.random.Generator, gas_goes: bool) -> Array:
    """New texture in the lumen; old gas filled, or left as it is."""
    from scipy.ndimage import binary_dilation

    # Gas is lumen, wherever the contour was drawn: a rim of it left outside would look like a tear.
    gas = np.asarray(binary_dilation((inside < _GAS_BELOW_HU) & (depth > -_RIM_MM), iterations=2))
    lumen = np.clip((depth - WALL_MM) / 1.5, 0.0, 1.0)
    texture = stool_texture(grid, rng)
    weight = lumen * rng.uniform(0.5, 1.0)  # some of the old texture may stay
    of_gas = np.clip((depth + _RIM_MM) / 1.5, 0.0, 1.0) if gas_goes else np.zeros_like(depth)
    weight = np.where(gas, of_gas, weight)
    return (inside + weight * (texture - inside)).astype(np.float32)


def stool_texture(grid: Grid, rng: np.random.Generator) -> Array:
    """(D, H, W) HU: soft stool around 25 to 55 HU, mottled, with fat-like and gas-speckled clumps."""
    mean, clump, speckle = rng.uniform(20, 50), rng.uniform(8, 22), rng.uniform(0, 140)
    coarse = smooth_noise(grid, 6.0, rng)
    fine = smooth_noise(grid, 2.2, rng)
    holes = np.clip(fine - 1.6 + 0.4 * coarse, 0.0, 1.5)
    return (mean + clump * coarse + 0.5 * clump * fine - speckle * holes).astype(np.float32)


def smooth_noise(grid: Grid, sigma_mm: float, rng: np.random.Generator) -> Array:
    """(D, H, W): Gaussian noise of unit standard deviation with blobs of `sigma_mm`."""
    from scipy.ndimage import gaussian_filter

    sigma = sigma_mm / np.asarray(grid.spacing_mm)
    out = gaussian_filter(rng.standard_normal(grid.size, np.float32), sigma, mode="wrap")
    return out / np.float32(max(float(out.std()), 1e-6))


def _with_gas(inside: Array, depth: Array, grid: Grid, rng: np.random.Generator, pockets: int) -> Array:
    planes = np.flatnonzero((depth > WALL_MM + 2.0).any(axis=(1, 2)))
    if not len(planes) or not pockets:
        return inside
    out = inside
    for _ in range(pockets):
        k = int(planes[int(rng.uniform(0.05, 0.95) * len(planes))])
        gas = np.minimum(depth - WALL_MM, _pocket(depth[k], k, grid, rng))
        weight = np.clip(gas / 1.2 + 0.5, 0.0, 1.0)
        out = out + weight * (np.float32(rng.uniform(-980, -850)) - out)
    return out.astype(np.float32)


def _pocket(depth: Array, plane: int, grid: Grid, rng: np.random.Generator) -> Array:
    """Signed distance, positive inside, of an ellipsoid under the front wall of the lumen in one plane."""
    from scipy.ndimage import distance_transform_edt

    # Level sets are clipped at a band around the surface: the middle of a wide lumen needs a true distance.
    distance = np.asarray(distance_transform_edt(depth > 0, grid.spacing_mm[1:]))
    row, column = np.unravel_index(int(np.argmax(distance)), depth.shape)
    radius = max(float(distance[row, column]) - WALL_MM, 2.0)
    z, y, x = np.meshgrid(
        (np.arange(grid.size[0]) - plane) * grid.spacing_mm[0],
        (np.arange(grid.size[1]) - int(row)) * grid.spacing_mm[1] + rng.uniform(0.0, 0.5) * radius,
        (np.arange(grid.size[2]) - int(column)) * grid.spacing_mm[2] + rng.normal(0.0, 0.2) * radius,
        indexing="ij",
        sparse=True,
    )
    a, b, c = radius * rng.uniform(0.6, 1.2), radius * rng.uniform(0.5, 1.0), rng.uniform(6.0, 22.0)
    relative = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    return ((1.0 - relative) * min(a, b, c)).astype(np.float32)
