"""Arrays that know where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: `array` (D, H, W) float32 in HU, or a dose in Gy, on `grid`."""

    grid: Grid
    array: NDArray[np.float32]

    def __post_init__(self) -> None:
        _must_fit(self.grid, self.array.shape, "Volume.array")


@dataclass(frozen=True, eq=False)
class Mask:
    """A region: `array` (D, H, W) bool on `grid`."""

    grid: Grid
    array: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _must_fit(self.grid, self.array.shape, "Mask.array")

    @property
    def volume_ml(self) -> float:
        """Voxels counted, in millilitres."""
        return float(self.array.sum()) * self.grid.voxel_ml


@dataclass(frozen=True, eq=False)
class LevelSet:
    """An organ's shape: `array` (D, H, W) float32, approximate distance to the surface in mm, positive
    inside, zero on the surface, clipped at a band around it."""

    grid: Grid
    array: NDArray[np.float32]

    def __post_init__(self) -> None:
        _must_fit(self.grid, self.array.shape, "LevelSet.array")

    def mask(self) -> Mask:
        """Voxels whose centre lies inside."""
        return Mask(self.grid, self.array > 0)

    @property
    def volume_ml(self) -> float:
        """Volume in millilitres, with the share of each surface voxel taken from its distance."""
        share = np.clip(self.array / min(self.grid.spacing_mm) + 0.5, 0.0, 1.0)
        return float(share.sum(dtype=np.float64)) * self.grid.voxel_ml


def _must_fit(grid: Grid, shape: tuple[int, ...], where: str) -> None:
    if shape != grid.size:
        raise UsageError(f"array of shape {shape}", where=where, allowed=f"the grid's size {grid.size}")
