"""How far two contours of one organ are apart: each measure with its one definition.

Surfaces are the zero surfaces of level sets (the half-way surfaces of masks) by marching cubes, so nothing is rounded
to voxels. Means are weighted by area: finely cut triangles weigh no more than their share. Distances go from the mesh
points of one surface to the nearest place on the other's triangles. Where both shapes are empty they agree; where one
is, distances are infinite and overlaps 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.contours import Contour
from recontour.geometry.volume import LevelSet, Mask
from recontour.qa.shape import volume_ml
from recontour.qa.surface import Shape, Surface, surface_of

Values = NDArray[np.float64]

PATH_TOLERANCE_MM = 1.0  # about a pixel of a planning CT, which is what pixels of one contour had to share at first
_PATH_STEP_MM = 0.1  # contours are followed in steps this short: distances of 1 mm are right to 0.002 mm


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


@dataclass(frozen=True, eq=False)
class Gaps:
    """Both directed distances between two surfaces.

    there_mm: (N,) from each point of the first to the second surface; there_mm2: (N,) the area it stands for.
    back_mm, back_mm2: (M,) the other way. An empty surface has no points, and everything is infinitely far from it.
    """

    there_mm: Values
    there_mm2: Values
    back_mm: Values
    back_mm2: Values

    def distances(self) -> SurfaceDistances:
        """Mean, 95th percentile and largest."""
        if not (len(self.there_mm) and len(self.back_mm)):
            gap = np.inf if len(self.there_mm) or len(self.back_mm) else 0.0
            return SurfaceDistances(gap, gap, gap)
        both = (self.there_mm, self.there_mm2), (self.back_mm, self.back_mm2)
        means = [np.average(values, weights=weights) for values, weights in both]
        tails = [weighted_percentile(values, weights, 0.95) for values, weights in both]
        return SurfaceDistances(
            float(sum(means)) / 2.0, max(tails), float(max(self.there_mm.max(), self.back_mm.max()))
        )

    def surface_dice(self, tolerance_mm: float) -> float:
        """The share of both areas within `tolerance_mm` of the other surface; 1 where both are empty."""
        area = self.there_mm2.sum() + self.back_mm2.sum()
        near = self.there_mm2[self.there_mm <= tolerance_mm].sum() + self.back_mm2[self.back_mm <= tolerance_mm].sum()
        return float(near / area) if area else 1.0


def gaps_between(a: Surface, b: Surface) -> Gaps:
    """How far every point of either surface is from the other, once for all measures."""
    there = np.full(len(a.points), np.inf) if b.empty else b.distance_of(a.points)
    back = np.full(len(b.points), np.inf) if a.empty else a.distance_of(b.points)
    return Gaps(there, a.area_at_points, back, b.area_at_points)


def distances_between(a: Surface, b: Surface) -> SurfaceDistances:
    """The same of two surfaces that are at hand."""
    return gaps_between(a, b).distances()


def surface_dice(a: Shape, b: Shape, tolerance_mm: float) -> float:
    """The share of both surfaces' area that lies within `tolerance_mm` of the other surface (Nikolov et al. 2021)."""
    return gaps_between(surface_of(a), surface_of(b)).surface_dice(tolerance_mm)


def added_path_length(
    reference: Sequence[Sequence[Contour]], result: Sequence[Sequence[Contour]], tolerance_mm: float = PATH_TOLERANCE_MM
) -> float:
    """The length, mm, of the reference's contours that would have to be drawn anew.

    reference, result: for every slice its closed polygons, each (N, 3) LPS mm, as contours_from_level_set gives them.
    A piece of a reference contour counts where no contour of the result on the same slice comes within `tolerance_mm`
    of it, in the plane; summed over the slices. It is not symmetric: what the result has too much is rubbed out, not
    drawn. A slice on which the result has nothing counts whole.

    Vaassen et al., Phys Imaging Radiat Oncol 2020;13:1-6, doi 10.1016/j.phro.2019.12.001, who count the pixels of the
    reference contour that are none of the other contour's; here lengths are those of the polygons, so that it does not
    depend on the pixels. Raises UsageError where the slices are not as many.
    """
    if len(reference) != len(result):
        found = f"{len(reference)} and {len(result)} slices"
        raise UsageError(found, where="added path length", allowed="contours on the same slices")
    return sum(_added_on_slice(*slices, tolerance_mm) for slices in zip(reference, result, strict=True))


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


def weighted_percentile(values: Values, weights: Values, share: float) -> float:
    """The lowest value that at least `share` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, share * reached[-1])]])


def _added_on_slice(reference: Sequence[Contour], result: Sequence[Contour], tolerance_mm: float) -> float:
    from scipy.spatial import KDTree

    if not reference:
        return 0.0
    points, lengths = _pieces(reference)
    if not result:
        return float(lengths.sum())
    away_mm = np.asarray(KDTree(_pieces(result)[0]).query(points)[0], float)
    return float(lengths[away_mm > tolerance_mm].sum())


def _pieces(polygons: Sequence[Contour]) -> tuple[Values, Values]:
    """Closed polygons cut into pieces of at most _PATH_STEP_MM: (P, 3) their middles, (P,) their lengths, mm."""
    start = np.concatenate(list(polygons))
    step = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons]) - start
    length = np.linalg.norm(step, axis=1)
    count = np.maximum(np.ceil(length / _PATH_STEP_MM).astype(int), 1)
    edge = np.repeat(np.arange(len(start)), count)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    middles = start[edge] + ((within + 0.5) / count[edge])[:, None] * step[edge]
    return middles, (length / count)[edge]
