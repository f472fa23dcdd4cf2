"""How much of a shape gets how much dose: sub-voxel samples, and the cumulative histogram of them.

Definitions: docs/dose.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recontour.geometry.affine import Affine
from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume

FINEST_MM = 0.25  # of the sampling lattice
MOST_SAMPLES = 2_000_000  # in the box around a shape; larger shapes are sampled more coarsely
BIN_GY = 0.01
_ROUNDING_GY = 1e-4  # 70 Gy after float32 and interpolation is still 70 Gy


@dataclass(frozen=True, eq=False)
class DoseHistogram:
    """The dose in one shape.

    at_least_ml: (N + 1,) float64, the volume that gets at least k BIN_GY, for k = 0 ... N; falls to 0. The others say
    it without bins; all are 0 where the shape is empty. covered: the share of the volume that the dose grid holds;
    the rest counts as 0 Gy.
    """

    at_least_ml: NDArray[np.float64]
    mean_gy: float
    min_gy: float
    max_gy: float
    covered: float

    @property
    def volume_ml(self) -> float:
        """Of the whole shape, with what lies outside the dose grid."""
        return float(self.at_least_ml[0])

    @property
    def top_gy(self) -> float:
        """The dose from which on no volume is left."""
        return (len(self.at_least_ml) - 1) * BIN_GY

    def ml_at_least(self, dose_gy: ArrayLike) -> NDArray[np.float64]:
        """(...) float64 ml that get at least (...) `dose_gy`, linear within a bin."""
        return np.interp(np.asarray(dose_gy, float) / BIN_GY, np.arange(len(self.at_least_ml)), self.at_least_ml)

    def share_at_least(self, dose_gy: ArrayLike) -> NDArray[np.float64]:
        """(...) float64: the same as a share of the volume, 0 to 1; 0 where the shape is empty."""
        return self.ml_at_least(dose_gy) / max(self.volume_ml, 1e-12)

    def dose_to(self, volume_ml: float) -> float:
        """The highest dose in Gy that at least `volume_ml` of the shape get; the lowest there is where the shape is
        smaller."""
        falling = self.at_least_ml
        wanted = min(volume_ml, self.volume_ml)
        last = int(np.flatnonzero(falling >= wanted * (1 - 1e-9))[-1])
        if last == len(falling) - 1:
            return self.max_gy
        within = (falling[last] - wanted) / (falling[last] - falling[last + 1])
        return float(np.clip(BIN_GY * (last + within), self.min_gy, self.max_gy))


def dose_in_shape(shape: LevelSet, dose: Volume, affine: Affine | None = None) -> DoseHistogram:
    """`dose`, in Gy, in `shape`; `affine` takes points of the shape's frame to the dose's, where they differ.

    Sampled linearly at the middles of cells of FINEST_MM, or more in a large shape, each with the share of it that
    lies inside by the level set, and spread over the doses that its gradient makes out within the cell: where a dose
    falls along the lattice, bare samples would make stairs. Outside the dose grid's outermost voxel centres the dose
    is 0 Gy.
    """
    box = bounding_box(shape.array, 1)
    if box is None:
        return DoseHistogram(np.zeros(2), 0.0, 0.0, 0.0, 1.0)
    around = _with_rim(shape, box)
    lattice = _lattice(around.grid)
    cell_mm = float(np.prod(lattice.spacing_mm)) ** (1 / 3)
    share = np.clip(resample_level_set(around, lattice).array / cell_mm + 0.5, 0.0, 1.0)
    inside = share > 0
    volume_ml = share[inside].astype(np.float64) * lattice.voxel_ml
    gray = resample_volume(dose, lattice, affine, fill_hu=np.nan).array
    return _histogram(gray[inside].astype(np.float64), _spread(gray)[inside].astype(np.float64), volume_ml)


def dvh(shape: LevelSet, dose: Volume, edges_gy: ArrayLike, affine: Affine | None = None) -> NDArray[np.float64]:
    """(N,) float64: the share of `shape`, 0 to 1, that gets at least (N,) `edges_gy`. As `dose_in_shape`."""
    return dose_in_shape(shape, dose, affine).share_at_least(edges_gy)


def _with_rim(shape: LevelSet, box: tuple[slice, slice, slice]) -> LevelSet:
    """The part in `box` with one more voxel on every side, where the border value holds, so that its outermost
    voxels count whole."""
    array = np.pad(shape.array[box], 1, mode="edge")
    origin = shape.grid.points_at([part.start - 1 for part in box])
    return LevelSet(Grid.of(array.shape, shape.grid.spacing_mm, origin, shape.grid.direction), array)


def _lattice(rimmed: Grid) -> Grid:
    """Cells that fill the voxels of a grid but for its rim."""
    own = np.asarray(rimmed.spacing_mm)
    extent = (np.asarray(rimmed.size) - 2) * own
    aim = max(FINEST_MM, (float(np.prod(extent)) / MOST_SAMPLES) ** (1 / 3))
    count = np.maximum(np.ceil(extent / aim - 1e-6), 2)  # a change takes two
    cell = extent / count
    return Grid.of(count, cell, rimmed.points_at(0.5 + 0.5 * cell / own), rimmed.direction)


def _spread(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    """(D, H, W) Gy: how much the dose changes from end to end of each cell, by the nearer in value of its neighbours on
    both sides, so that a plateau stays one up to its edge; 0 where that is not known."""
    squared = np.zeros_like(gray)
    for axis in range(3):
        steps = np.abs(np.diff(gray, axis=axis))
        first, last = np.take(steps, [0], axis), np.take(steps, [-1], axis)
        before, after = np.concatenate([first, steps], axis), np.concatenate([steps, last], axis)
        squared += np.fmin(before, after) ** 2
    return np.nan_to_num(np.sqrt(squared))


def _histogram(gray: NDArray[np.float64], spread: NDArray[np.float64], volume_ml: NDArray[np.float64]) -> DoseHistogram:
    """All (N,) by cell. gray: Gy, not a number outside the dose grid; spread: Gy, around it."""
    held = np.isfinite(gray)
    total = float(volume_ml.sum())
    covered = float(volume_ml[held].sum()) / total
    gray = np.where(held, gray, 0.0).clip(0.0)
    wide = held & (spread > BIN_GY)
    count = int(gray.max() / BIN_GY) + 4
    sharp = np.floor((gray[~wide] + _ROUNDING_GY) / BIN_GY).astype(np.intp)
    below = np.concatenate([[0.0], np.cumsum(np.bincount(sharp, volume_ml[~wide], count))])[:count]
    low = np.maximum(gray - spread / 2, gray.min())[wide]
    high = np.minimum(gray + spread / 2, gray.max())[wide]
    below += _below(low / BIN_GY, high / BIN_GY, volume_ml[wide], count)
    at_least = np.minimum.accumulate((total - below).clip(0.0))
    at_least[-1] = 0.0
    mean = float(np.dot(gray, volume_ml)) / total
    return DoseHistogram(at_least, mean, float(gray.min()), float(gray.max()), covered)


def _below(
    low: NDArray[np.float64], high: NDArray[np.float64], volume: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """(count,) float64: the volume that lies below 0, 1, 2 ..., where each (N,) volume lies evenly from `low` to
    `high`, both from 0 up.

    Of each, that rises from 0 at its low end to its volume at its high end: a difference of two ramps. Their second
    differences are two numbers each, and summed up twice give all the ramps at once.
    """
    bends = np.zeros(count)
    for end, height in ((low, volume / (high - low)), (high, -volume / (high - low))):
        first = end.astype(np.intp)
        share = end - first
        bends += np.bincount(first + 1, height * (1 - share), count)
        bends += np.bincount(first + 2, height * share, count)
    return np.cumsum(np.cumsum(bends))
