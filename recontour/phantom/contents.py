"""What rectum and bladder hold: stool with texture and gas that comes and goes; urine with or without contrast medium.
Changes stay inside the organ's contour."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid, Index
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet, Volume

Array = NDArray[np.float32]

WALL_MM = 3.0
_GAS_BELOW_HU = -200.0
_RIM_MM = 4.0
_BLADDER_WALL_MM = 3.0


@dataclass(frozen=True)
class Urine:
    """What a bladder holds. contrast_hu: how much the contrast medium adds where it is, 0 for none. share: of the
    lumen's depth, from the back where it sinks to, that holds it; 1 where it is mixed. soft_mm: how wide its upper
    level blurs."""

    hu: float = 8.0
    contrast_hu: float = 0.0
    share: float = 1.0
    soft_mm: float = 3.0

    @staticmethod
    def draw(rng: np.random.Generator, contrast_share: float) -> Urine:
        """0 to 20 HU; with a chance of `contrast_share`, 100 to 400 HU more, layered or mixed."""
        contrast = rng.uniform(100.0, 400.0) * float(rng.random() < contrast_share)
        share = rng.uniform(0.15, 0.8) if rng.random() < 0.6 else 1.0
        return Urine(float(rng.uniform(0.0, 20.0)), float(contrast), float(share), float(rng.uniform(1.0, 12.0)))

    def at(self, y_mm: NDArray[np.floating[Any]], front_mm: float, back_mm: float) -> Array:
        """HU at heights `y_mm` of a lumen that reaches from `front_mm` to `back_mm` (LPS y, the man on his back)."""
        if self.share >= 1.0:
            return np.full(y_mm.shape, self.hu + self.contrast_hu, np.float32)
        level = back_mm - self.share * (back_mm - front_mm)
        filled = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (y_mm - level) / self.soft_mm, -50.0, 50.0)))
        return (self.hu + self.contrast_hu * filled).astype(np.float32)


def refill_bladder(volume: Volume, bladder: LevelSet, urine: Urine) -> Volume:
    """The scan with other contents in the lumen, which begins 3 mm inside `bladder`; nothing else changes. What the
    lumen held, be it contrast medium or a catheter's balloon, is gone."""
    low, high = _box(volume.grid, bladder)
    if min(np.subtract(high, low)) < 2:
        return volume
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = volume.grid.crop(low, high)
    depth = resample_level_set(bladder, grid).array
    lumen = np.clip((depth - _BLADDER_WALL_MM) / 1.5 + 0.5, 0.0, 1.0)
    y = grid.points()[..., 1]
    inside = y[lumen > 0.5]
    if not len(inside):
        return volume
    array = np.array(volume.array)
    array[part] += lumen * (urine.at(y, float(inside.min()), float(inside.max())) - array[part])
    return Volume(volume.grid, array)


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
    """(D, H, W) HU: stool around 15 to 65 HU, from even to mottled, with fat-like and gas-speckled clumps."""
    mean, clump, speckle = rng.uniform(15, 65), rng.uniform(3, 24), rng.uniform(0, 200)
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
