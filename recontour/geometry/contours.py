"""Polygons in mm <-> smooth level sets: sub-voxel both ways, with holes and branches.

A contour speaks for its slice: between slices the shape is interpolated, and the first and last contour reach half a
slice further, with flat caps, so that the volume is the sum of area x thickness that planning systems report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recontour.errors import StructuresRefused, UsageError
from recontour.geometry.cutting import contours_from_level_set
from recontour.geometry.grid import Grid
from recontour.geometry.planar import Edges, signed_distance
from recontour.geometry.planes import Contour, SlicePlane
from recontour.geometry.volume import LevelSet

__all__ = ["Contour", "SlicePlane", "contours_from_level_set", "level_set_from_contours", "organ_grid"]

# Wide enough that an affine and a field of some mm, interpolated between voxels 3 mm apart, never mix the clipped
# values into the surface, that shapes which move by 2 cm between slices still interpolate, and that two level sets
# which are a centimetre apart can be blended; narrow enough to be quick.
BAND_MM = 10.0
PLANARITY_MM = 0.2  # a contour may leave its plane by this much: rounding of oriented coordinates, not tilt
SAME_PLANE_MM = 0.1  # contours closer than this lie on one slice
LONGEST_GAP = 3.5  # of the usual distance of contours: 2 in a row may be missing; a longer gap parts the organ


def level_set_from_contours(
    contours: Sequence[Contour], grid: Grid, spacing_between_mm: float | None = None, where: str = ""
) -> LevelSet:
    """The shape that closed planar contours draw, as a level set on `grid` in mm, clipped at BAND_MM.

    The contours lie in planes orthogonal to array axis 0 of `grid`, at any position along it, evenly spaced or not.
    In a plane the value is the exact distance to the polygons' edges, even-odd: holes, keyholes and branches are
    kept. Between planes the distances are interpolated at their true positions (shape-based interpolation, Raya and
    Udupa, IEEE TMI 1990), unless the planes are further apart than LONGEST_GAP times the slice spacing and the median
    distance of contours; half of `spacing_between_mm` beyond the last ones the shape ends flat. `spacing_between_mm`
    is that of the slices the contours were drawn on; where it is not given, the median distance of contour planes is
    taken, which is more where only every second slice was drawn on.

    Raises StructuresRefused, naming the ROI `where`: no closed contour, contours out of the grid's planes, or wholly
    outside the grid.
    """
    polygons = [np.asarray(contour, float) for contour in contours if len(contour) >= 3]
    if not polygons:
        raise StructuresRefused("no closed contour", where=where, allowed="at least one contour of 3 or more points")
    flat = [_in_grid_mm(polygon, grid) for polygon in polygons]
    heights = np.array([_height(points, where) for points in flat])
    positions, plane = _planes_of(heights)
    usual = float(np.median(np.diff(positions))) if len(positions) > 1 else grid.spacing_mm[0]
    spacing = spacing_between_mm or usual
    edges = Edges.of([points[:, :2] for points in flat], plane.tolist())
    out = np.full(grid.size, -BAND_MM, np.float32)
    rows, columns = _window(edges, grid, where)
    v_mm, u_mm = (_axis_mm(grid, k)[part] for k, part in ((1, rows), (2, columns)))
    planar = signed_distance(edges, u_mm, v_mm, len(positions), BAND_MM)
    weights, depth = _stacking(positions, _axis_mm(grid, 0), spacing / 2, LONGEST_GAP * max(spacing, usual))
    near = np.flatnonzero(depth > -BAND_MM)
    stacked = np.tensordot(weights[near].astype(np.float32), planar, axes=1)
    out[near, rows, columns] = _capped(stacked, depth[near].astype(np.float32)[:, None, None])
    return LevelSet(grid, out)


def _axis_mm(grid: Grid, axis: int) -> NDArray[np.float64]:
    """Coordinates of the voxels along an array axis of `grid`, mm from its first."""
    return np.arange(grid.size[axis], dtype=np.float64) * grid.spacing_mm[axis]


def _in_grid_mm(points_mm: Contour, grid: Grid) -> NDArray[np.float64]:
    """(N, 3) LPS to (N, 3): mm along the grid's array axes (x, y, z) from its first voxel."""
    return (grid.index_at(points_mm) * grid.spacing_mm)[:, ::-1]


def _height(points: NDArray[np.float64], where: str) -> float:
    spread = float(np.ptp(points[:, 2]))
    if spread > PLANARITY_MM:
        raise StructuresRefused(
            f"a contour leaves the planes of the scan by {spread:.1f} mm",
            where=where,
            allowed=f"contours that lie in the slices to within {PLANARITY_MM} mm",
        )
    return float(points[:, 2].mean())


def _planes_of(heights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The distinct positions (P,), increasing, and for each height the index of its own."""
    order = np.argsort(heights, kind="stable")
    group = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > SAME_PLANE_MM)]).astype(np.intp)
    positions = np.bincount(group, weights=heights[order]) / np.bincount(group)
    plane = np.empty(len(heights), np.intp)
    plane[order] = group
    return positions, plane


def _window(edges: Edges, grid: Grid, where: str) -> tuple[slice, slice]:
    """The rows and columns of `grid` within BAND_MM of the contours."""
    spacing = np.array([grid.spacing_mm[2], grid.spacing_mm[1]])
    count = np.array([grid.size[2], grid.size[1]])
    ends = np.concatenate([edges.start, edges.end])
    if not len(ends):
        raise StructuresRefused("contours without area", where=where, allowed="contours that enclose an area")
    low = np.maximum(np.floor((ends.min(axis=0) - BAND_MM) / spacing).astype(int), 0)
    high = np.minimum(np.ceil((ends.max(axis=0) + BAND_MM) / spacing).astype(int) + 1, count)
    if (high <= low).any():
        raise StructuresRefused("contours outside the scan", where=where, allowed="contours on the scan's own slices")
    return slice(low[1], high[1]), slice(low[0], high[0])


def _stacking(
    positions: NDArray[np.float64], z_mm: NDArray[np.float64], beyond_mm: float, longest_gap_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per slice of the grid: (G, P) weights of the contour planes, and (G,) mm to the nearer flat end, positive
    inside."""
    weights = np.zeros((len(z_mm), len(positions)))
    depth = np.full(len(z_mm), -np.inf)
    cuts = np.flatnonzero(np.diff(positions) > longest_gap_mm) + 1
    for part in np.split(np.arange(len(positions)), cuts):
        inside = np.minimum(z_mm - positions[part[0]], positions[part[-1]] - z_mm) + beyond_mm
        mine = inside > depth
        depth[mine] = inside[mine]
        weights[mine] = 0
        weights[np.ix_(mine, part)] = _cubic_weights(positions[part], z_mm[mine])
    return weights, depth


def _cubic_weights(positions: NDArray[np.float64], z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, P): cubic Hermite interpolation between neighbouring positions, the end's own value beyond it.

    Slopes are those of the parabola through three positions, so uneven ones are taken as they are. A straight line
    would cut every bulge short: of contours left out and predicted from the rest, it loses 3 % of the area.
    """
    count = len(positions)
    if count < 3:
        return np.stack([np.interp(z_mm, positions, row) for row in np.eye(count)], axis=1)
    gap = np.diff(positions)
    low = np.clip(np.searchsorted(positions, z_mm, side="right") - 1, 0, count - 2)
    t = np.clip((z_mm - positions[low]) / gap[low], 0, 1)[:, None]
    slope, value, step = _parabola_slopes(gap), np.eye(count), gap[low][:, None]
    start = (2 * t + 1) * (t - 1) ** 2 * value[low] + step * t * (t - 1) ** 2 * slope[low]
    return start + t**2 * (3 - 2 * t) * value[low + 1] + step * t**2 * (t - 1) * slope[low + 1]


def _parabola_slopes(gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, P): the slope at each of P positions, `gap` (P - 1,) apart, as weights of the values there."""
    chord = np.diff(np.eye(len(gap) + 1), axis=0) / gap[:, None]
    share = (gap[1:] / (gap[1:] + gap[:-1]))[:, None]
    inner = share * chord[:-1] + (1 - share) * chord[1:]
    return np.concatenate([[2 * chord[0] - inner[0]], inner, [2 * chord[-1] - inner[-1]]])


def _capped(planar: NDArray[np.float32], depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The extruded shape between its flat ends: outside both, the distance to the rim."""
    outside = -np.hypot(np.minimum(planar, 0), np.minimum(depth, 0))
    inside = np.minimum(planar, depth)
    return np.maximum(np.where(inside > 0, inside, outside), -BAND_MM).astype(np.float32)


def organ_grid(contours: Sequence[Contour], planes: Sequence[SlicePlane], margin_mm: float = 15.0) -> Grid:
    """A tight grid around `contours` along the axes of `planes`: 1 mm in-plane, and along the normal steps of at most
    1.5 mm that include the planes' own positions where these are evenly spaced; `margin_mm` on every side.

    Array axis 0 runs along the planes' normal.
    """
    if not contours or not planes:
        raise UsageError("no contours or no planes", where="organ_grid", allowed="at least one of each")
    first = planes[0]
    direction = np.column_stack([first.normal, first.column_direction, first.row_direction])
    positions = np.sort([plane.position_mm for plane in planes])
    apart = float(np.diff(positions).min()) if len(positions) > 1 else 1.0
    spacing = np.array([apart / np.ceil(apart / 1.5 - 1e-6), 1.0, 1.0])
    points = np.concatenate(list(contours)) @ direction  # mm along the normal, the columns and the rows
    anchor = np.array([positions[0], 0.0, 0.0]) + np.array([0.0, *(np.asarray(first.origin_mm) @ direction)[1:]])
    low = np.floor((points.min(axis=0) - margin_mm - anchor) / spacing + 1e-6)
    high = np.ceil((points.max(axis=0) + margin_mm - anchor) / spacing - 1e-6)
    return Grid.of(high - low + 1, spacing, direction @ (anchor + low * spacing), direction)
