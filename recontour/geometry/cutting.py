"""Level sets cut to polygons on the planes of a scan: the one place where a smooth shape becomes points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.planes import Contour, SlicePlane
from recontour.geometry.simplify import neighbours, simplify_closed
from recontour.geometry.volume import LevelSet

Points = NDArray[np.float64]

SPECK_MM2 = 1.0  # about a pixel: smaller islands and holes are noise, and break other readers
SIMPLIFY_MM = 0.015  # what leaving out points may move an outline: as many points as clinicians' contours have
SAMPLING_MM = 1.0  # in-plane step at which a level set is cut, at most
_TOUCH_MM = 1e-3  # a plane this far beyond the grid lies on its border, but for rounding
_RIM = 6  # voxels: beyond them nothing of the cubic spline reaches the surface
_SETTLE_MM = 0.1  # how far points may move when they settle on the smooth surface; trilinear is not off by more
_PROBE_MM = 0.3  # over this distance the slope of the level set across its contour is measured


def contours_from_level_set(level_set: LevelSet, planes: Sequence[SlicePlane]) -> list[list[Contour]]:
    """Where `level_set` is zero on each plane: one list of closed polygons per plane, empty where there are none.

    Planes may lie anywhere and in any orientation. The level set is sampled, trilinear, on a lattice in each plane no
    coarser than SAMPLING_MM or its own spacing, and cut there (marching squares); the points, and those halfway
    between, then settle on the zero of its cubic spline, since straight interpolation cuts every bulge short. Holes
    are polygons of their own (even-odd); islands and holes below SPECK_MM2 are left out, and so are points that do
    not matter to within SIMPLIFY_MM. Every point lies on its plane.
    """
    out: list[list[Contour]] = [[] for _ in planes]
    tight = _tight(level_set)
    if tight is None:
        return out
    cut = [(number, polygon) for number, plane in enumerate(planes) for polygon in _cut(tight, plane)]
    if not cut:
        return out
    settled = _settled(tight, planes, [polygon for _, polygon in cut], [number for number, _ in cut])
    for (number, _), polygon in zip(cut, simplify_closed(settled, SIMPLIFY_MM), strict=True):
        out[number].append(planes[number].points_at(polygon[:, 0], polygon[:, 1]))
    return out


def _tight(level_set: LevelSet) -> LevelSet | None:
    """The part of it that holds all voxels inside, with a rim; None where there are none. Regions are large, organs
    are not."""
    box = bounding_box(level_set.array, _RIM)
    if box is None:
        return None
    return LevelSet(level_set.grid.part(box), level_set.array[box])


def _cut(level_set: LevelSet, plane: SlicePlane) -> list[Points]:
    """Closed polygons (N, 2) of the zero line on `plane`, mm along its row and its column direction."""
    from contourpy import contour_generator

    box = level_set.grid.corners_mm()
    heights = (box - np.asarray(plane.origin_mm)) @ plane.normal
    if heights.min() > _TOUCH_MM or heights.max() < -_TOUCH_MM:
        return []
    u_mm = _lattice(level_set.grid, box, plane, plane.row_direction)
    v_mm = _lattice(level_set.grid, box, plane, plane.column_direction)
    values = _sampled(level_set, plane.points_at(*np.meshgrid(u_mm, v_mm)))
    values[[0, -1]] = values[:, [0, -1]] = -1.0  # closed at the border
    lines = cast(list[Points], contour_generator(u_mm, v_mm, values).lines(0.0))
    opened: list[Points] = [line[:-1] for line in lines]
    return [line for line in opened if len(line) >= 3 and abs(_area(line)) >= SPECK_MM2]


def _lattice(grid: Grid, box: Points, plane: SlicePlane, axis: Triple) -> Points:
    """Coordinates along `axis` from the plane's origin, over the box and one more step on either side. They pass
    through the grid's own voxel centres where its axes are the plane's: sampling there adds no error."""
    step = min(SAMPLING_MM, *grid.spacing_mm)
    reach = (box - np.asarray(plane.origin_mm)) @ np.asarray(axis)
    anchor = float(np.dot(np.subtract(grid.origin_mm, plane.origin_mm), axis))
    low, high = np.floor((reach.min() - anchor) / step) - 1, np.ceil((reach.max() - anchor) / step) + 1
    return anchor + step * np.arange(int(low), int(high) + 1, dtype=np.float64)


def _sampled(level_set: LevelSet, points_mm: Points) -> NDArray[np.float32]:
    """Trilinear at (..., 3) LPS points; just beyond the grid its border value, so that rounding costs no slice."""
    from scipy.ndimage import map_coordinates

    grid = level_set.grid
    index = np.moveaxis(grid.index_at(points_mm), -1, 0)
    last = np.reshape(np.array(grid.size) - 1, (3, 1, 1))
    touch = np.reshape(_TOUCH_MM / np.array(grid.spacing_mm), (3, 1, 1))
    beyond = ((index < -touch) | (index > last + touch)).any(axis=0)
    values = map_coordinates(level_set.array, index, np.float32, 1, "nearest")
    values[beyond] = -1.0
    return values


def _settled(
    level_set: LevelSet, planes: Sequence[SlicePlane], polygons: Sequence[Points], plane_of: Sequence[int]
) -> list[Points]:
    """The polygons with a point halfway along every edge, each moved across the outline, in its plane, to the zero of
    the level set's cubic spline: one secant step."""
    from scipy.ndimage import map_coordinates, spline_filter

    points, ring = _halved(polygons)
    across = _normals(points, ring)
    owner = np.asarray(plane_of)[ring]
    origin, row, column = (
        np.array([getattr(plane, name) for plane in planes])[owner]
        for name in ("origin_mm", "row_direction", "column_direction")
    )
    spline = spline_filter(level_set.array, 3, np.float32, "mirror")

    def value_at(offset_mm: float) -> Points:
        moved = points + offset_mm * across
        index = level_set.grid.index_at(origin + moved[:, :1] * row + moved[:, 1:] * column)
        return map_coordinates(spline, index.T, np.float64, 3, "mirror", prefilter=False)

    slope = (value_at(_PROBE_MM) - value_at(-_PROBE_MM)) / (2 * _PROBE_MM)
    steep = np.abs(slope) > 0.2  # elsewhere the surface grazes the plane: stay
    step = np.where(steep, -value_at(0.0) / np.where(steep, slope, 1.0), 0.0)
    settled = points + np.clip(step, -_SETTLE_MM, _SETTLE_MM)[:, None] * across
    return np.split(settled, np.flatnonzero(np.diff(ring)) + 1)


def _halved(polygons: Sequence[Points]) -> tuple[Points, NDArray[np.intp]]:
    """All points, with those halfway to the next after each, and the number of the polygon of each."""
    parts = [np.stack([p, (p + np.roll(p, -1, axis=0)) / 2], axis=1).reshape(-1, 2) for p in polygons]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _normals(points: Points, ring: NDArray[np.intp]) -> Points:
    """(N, 2) unit vectors across the outline at each point; zero where its neighbours coincide."""
    before, after = neighbours(ring)
    tangent = points[after] - points[before]
    length = np.hypot(tangent[:, 0], tangent[:, 1])[:, None]
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.maximum(length, 1e-9)


def _area(polygon: Points) -> float:
    """Shoelace, mm2, positive counter-clockwise."""
    following = np.roll(polygon, -1, axis=0)
    return 0.5 * float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum())
