"""The contour that was carried over and the contour that was found on the day's scan -> one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.fuse.distance import signed_distance
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet

Rule = str | float  # "registration", "segmentation", or the segmentation's weight in a blend

_SURE = 0.001  # probabilities nearer than this to 0 or 1 are no further from the surface


def combine(registered: LevelSet, segmented: LevelSet | None, rule: Rule) -> LevelSet:
    """One shape of two on the same grid.

    `rule`: "registration" or "segmentation" takes that one; a number from 0 to 1 is the segmentation's weight in a
    blend of both distances, so that the surface runs that share of the way from the registered to the segmented one.
    Without a segmentation, or with an empty one in a blend, the registered shape is the answer. Raises UsageError
    for another rule or unequal grids.
    """
    if isinstance(rule, str) and rule not in ("registration", "segmentation"):
        raise UsageError(f"rule {rule!r}", where="fuse.combine", allowed="registration, segmentation or 0 to 1")
    weight = {"registration": 0.0, "segmentation": 1.0}[rule] if isinstance(rule, str) else float(rule)
    if not 0.0 <= weight <= 1.0:
        raise UsageError(f"weight {weight}", where="fuse.combine", allowed="0 (registration) to 1 (segmentation)")
    if segmented is None or weight == 0.0:
        return registered
    _same_grid(registered, segmented)
    if weight == 1.0:
        return segmented
    if not (segmented.array > 0).any() or not (registered.array > 0).any():
        return registered
    return _blend(registered, segmented, np.float32(weight))


def level_set_from_probability(probability: NDArray[np.floating], grid: Grid) -> LevelSet:
    """The surface of probability one half as a level set in mm.

    probability: (D, H, W), 0 to 1. The surface lies where its log-odds, which run straight through the edge of an
    organ where the probability bends, are zero. Raises UsageError where the shape is not the grid's.
    """
    if probability.shape != grid.size:
        raise UsageError(f"shape {probability.shape}", where="probability", allowed=f"the grid's size {grid.size}")
    p = np.clip(probability.astype(np.float32), _SURE, 1 - _SURE)
    odds = np.log(p / (1 - p)).astype(np.float32)
    return LevelSet(grid, signed_distance(odds, grid.spacing_mm))


def _blend(registered: LevelSet, segmented: LevelSet, weight: np.float32) -> LevelSet:
    first, second = (signed_distance(shape.array, shape.grid.spacing_mm) for shape in (registered, segmented))
    return LevelSet(registered.grid, (first + weight * (second - first)).astype(np.float32))


def _same_grid(a: LevelSet, b: LevelSet) -> None:
    if not a.grid.same_as(b.grid):
        raise UsageError("two level sets on different grids", where="fuse", allowed="level sets on one grid")
