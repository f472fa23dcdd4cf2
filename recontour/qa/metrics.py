"""How far two contours of one organ are apart: each measure with its one definition.

Surfaces are the zero surfaces of level sets (the half-way surfaces of masks) by marching cubes, so nothing is rounded
to voxels. Means are weighted by area: finely cut triangles weigh no more than their share. Distances go from the mesh
points of one surface to the nearest place on the other's triangles. Where both shapes are empty they agree; where one
is, distances are infinite and overlaps 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.volume import LevelSet, Mask
from recontour.qa.shape import volume_ml
from recontour.qa.surface import Shape, Surface, surface_of

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """Symmetric distances between two surfaces, mm.

    msd_mm: mean surface distance: the mean of both directed means (eq. 10 of Elmahdy et al., IEEE Access 2021), with
        area weights, and distances to the surface itself rather than to its nearest mesh point.
    hd95_mm: the larger of both directed 95th percentiles, by area.
    hd_mm: Hausdorff distance, the larger of both directed maxima (eq. 11).
    """

    msd_mm: float
    hd95_mm: float
    hd_mm: float


def surface_distances(a: Shape, b: Shape) -> SurfaceDistances:
    """Mean, 95th percentile and largest distance between the surfaces of `a` and `b`, mm; grids may differ."""
    return distances_between(surface_of(a), surface_of(b))


def distances_between(a: Surface, b: Surface) -> SurfaceDistances:
    """The same of two surfaces that are at hand."""
    if a.empty or b.empty:
        gap = 0.0 if a.empty and b.empty else np.inf
        return SurfaceDistances(gap, gap, gap)
    there, back = b.distance_of(a.points), a.distance_of(b.points)
    means = np.average(there, weights=a.area_at_points), np.average(back, weights=b.area_at_points)
    tails = _percentile(there, a.area_at_points, 0.95), _percentile(back, b.area_at_points, 0.95)
    return SurfaceDistances(float(sum(means)) / 2.0, max(tails), float(max(there.max(), back.max())))


def surface_dice(a: Shape, b: Shape, tolerance_mm: float) -> float:
    """The share of both surfaces' area that lies within `tolerance_mm` of the other surface (Nikolov et al. 2021)."""
    first, second = surface_of(a), surface_of(b)
    if first.empty or second.empty:
        return float(first.empty and second.empty)
    near = first.area_at_points[second.distance_of(first.points) <= tolerance_mm].sum()
    near += second.area_at_points[first.distance_of(second.points) <= tolerance_mm].sum()
    return float(near / (first.area_mm2 + second.area_mm2))


def dice(a: Shape, b: Shape) -> float:
    """Twice the common volume over the sum of both (eq. 9), from sub-voxel coverage; 1 where both are empty.

    The common part of two level sets is their minimum. Raises UsageError where the grids differ.
    """
    total = volume_ml(a) + volume_ml(b)
    return 2.0 * common_ml(a, b) / total if total else 1.0


def common_ml(a: Shape, b: Shape) -> float:
    """The volume that both shapes cover, millilitres. Raises UsageError where the grids or the kinds differ."""
    if not a.grid.same_as(b.grid):
        raise UsageError("two shapes on different grids", where="overlap", allowed="shapes on one grid")
    if isinstance(a, LevelSet) and isinstance(b, LevelSet):
        return volume_ml(LevelSet(a.grid, np.minimum(a.array, b.array)))
    if isinstance(a, Mask) and isinstance(b, Mask):
        return volume_ml(Mask(a.grid, a.array & b.array))
    raise UsageError("a mask and a level set", where="overlap", allowed="two level sets, or two masks")


def _percentile(values: Values, weights: Values, share: float) -> float:
    """The lowest value that at least `share` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, share * reached[-1])]])
