"""Polygons in mm <-> smooth level sets: sub-voxel both ways, with holes and branches.

A contour speaks for its slice: between slices the shape is interpolated, and the first and last contour reach half a
slice further, with flat caps, so that the volume is the sum of area x thickness that planning systems report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import StructuresRefused, UsageError
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.planar import Edges, signed_distance
from recontour.geometry.simplify import simplify_closed
from recontour.geometry.volume import LevelSet

Contour = NDArray[np.float64]  # (N, 3) LPS mm, one closed polygon in a plane, the first point not repeated

# Wide enough that an affine and a field of some mm, interpolated between voxels 3 mm apart, never mix the clipped
# values into the surface, that shapes which move by 2 cm between slices still interpolate, and that two level sets
# which are a centimetre apart can be blended; narrow enough to be quick.
BAND_MM = 10.0
PLANARITY_MM = 0.2  # a contour may leave its plane by this much: rounding of oriented coordinates, not tilt
SAME_PLANE_MM = 0.1  # contours closer than this lie on one slice
LONGEST_GAP_SLICES = 3.5  # up to 2 slices in a row without a contour are interpolated; a longer gap parts the organ
SPECK_MM2 = 1.0  # about a pixel: smaller islands and holes are noise, and break other readers
SIMPLIFY_MM = 0.02  # what leaving out points may move an outline: a fiftieth of a pixel
SAMPLING_MM = 1.0  # in-plane step at which a level set is cut, at most


@dataclass(frozen=True)
class SlicePlane:
    """The plane of one image.

    origin_mm: LPS point of the centre of pixel (0, 0), ImagePositionPatient.
    row_direction: LPS unit vector along increasing column index, ImageOrientationPatient[:3] (PS3.3 C.7.6.2.1.1).
    column_direction: LPS unit vector along increasing row index, ImageOrientationPatient[3:].
    row_spacing_mm: distance between rows, PixelSpacing[0]; column_spacing_mm: between columns, PixelSpacing[1].
    rows, columns: pixels.
    """

    origin_mm: Triple
    row_direction: Triple
    column_direction: Triple
    row_spacing_mm: float
    column_spacing_mm: float
    rows: int
    columns: int

    def __post_init__(self) -> None:
        axes = np.array([self.row_direction, self.column_direction], float)
        if axes.shape != (2, 3) or not np.allclose(axes @ axes.T, np.eye(2), atol=1e-4):
            raise UsageError("directions not orthonormal", where="SlicePlane", allowed="two orthogonal unit vectors")
        if not (self.row_spacing_mm > 0 and self.column_spacing_mm > 0 and self.rows > 0 and self.columns > 0):
            raise UsageError("spacing or size not positive", where="SlicePlane", allowed="above 0")

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) LPS unit vector: row_direction x column_direction."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def position_mm(self) -> float:
        """Where the plane lies along its normal."""
        return float(np.dot(self.origin_mm, self.normal))

    def points_at(self, row_mm: NDArray[np.float64], column_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) LPS points `row_mm` along row_direction and `column_mm` along column_direction from the origin."""
        out = np.asarray(row_mm)[..., None] * np.asarray(self.row_direction)
        out = out + np.asarray(column_mm)[..., None] * np.asarray(self.column_direction)
        return out + np.asarray(self.origin_mm)


def level_set_from_contours(
    contours: Sequence[Contour], grid: Grid, spacing_between_mm: float | None = None, where: str = ""
) -> LevelSet:
    """The shape that closed planar contours draw, as a level set on `grid` in mm, clipped at BAND_MM.

    The contours lie in planes orthogonal to array axis 0 of `grid`, at any position along it, evenly spaced or not.
    In a plane the value is the exact distance to the polygons' edges, even-odd: holes, keyholes and branches are
    kept. Between planes, up to LONGEST_GAP_SLICES apart, the distances are interpolated at their true positions
    (shape-based interpolation, Raya and Udupa, IEEE TMI 1990); half of `spacing_between_mm` beyond the last ones the
    shape ends flat. `spacing_between_mm` is that of the slices the contours were drawn on; where it is not given, the
    median distance of contour planes. Raises StructuresRefused, naming the ROI `where`: no closed contour, contours
    out of the grid's planes, or wholly outside the grid.
    """
    polygons = [np.asarray(contour, float) for contour in contours if len(contour) >= 3]
    if not polygons:
        raise StructuresRefused("no closed contour", where=where, allowed="at least one contour of 3 or more points")
    flat = [_in_grid_mm(polygon, grid) for polygon in polygons]
    heights = np.array([_height(points, where) for points in flat])
    positions, plane = _planes_of(heights)
    spacing = spacing_between_mm or (float(np.median(np.diff(positions))) if len(positions) > 1 else grid.spacing_mm[0])
    edges = Edges.of([points[:, :2] for points in flat], plane.tolist())
    out = np.full(grid.size, -BAND_MM, np.float32)
    rows, columns = _window(edges, grid, where)
    v_mm, u_mm = (_axis_mm(grid, k)[part] for k, part in ((1, rows), (2, columns)))
    planar = signed_distance(edges, u_mm, v_mm, len(positions), BAND_MM)
    weights, depth = _stacking(positions, _axis_mm(grid, 0), spacing)
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
    positions: NDArray[np.float64], z_mm: NDArray[np.float64], spacing_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per slice of the grid: (G, P) weights of the contour planes, and (G,) mm to the nearer flat end, positive
    inside."""
    weights = np.zeros((len(z_mm), len(positions)))
    depth = np.full(len(z_mm), -np.inf)
    cuts = np.flatnonzero(np.diff(positions) > LONGEST_GAP_SLICES * spacing_mm) + 1
    for part in np.split(np.arange(len(positions)), cuts):
        inside = np.minimum(z_mm - positions[part[0]], positions[part[-1]] - z_mm) + spacing_mm / 2
        mine = inside > depth
        depth[mine] = inside[mine]
        weights[mine] = 0
        weights[np.ix_(mine, part)] = _linear_weights(positions[part], z_mm[mine])
    return weights, depth


def _linear_weights(positions: NDArray[np.float64], z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, P): linear interpolation between neighbouring positions, the end's own value beyond it."""
    identity = np.eye(len(positions))
    return np.stack([np.interp(z_mm, positions, row) for row in identity], axis=1)


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


def contours_from_level_set(level_set: LevelSet, planes: Sequence[SlicePlane]) -> list[list[Contour]]:
    """Where `level_set` is zero on each plane: one list of closed polygons per plane, empty where there are none.

    Planes may lie anywhere and in any orientation. The level set is sampled, trilinear, on a lattice in each plane no
    coarser than SAMPLING_MM or its own spacing, and cut there by linear interpolation. Holes are polygons of their
    own (even-odd); islands and holes below SPECK_MM2 are left out; points that do not matter to within SIMPLIFY_MM
    too. Every point lies on its plane.
    """
    out: list[list[Contour]] = [[] for _ in planes]
    flat: list[NDArray[np.float64]] = []
    owners: list[int] = []
    box = _box_of(level_set)
    if box is None:
        return out
    for number, plane in enumerate(planes):
        for polygon in _cut(level_set, box, plane):
            flat.append(polygon)
            owners.append(number)
    for owner, polygon in zip(owners, simplify_closed(flat, SIMPLIFY_MM), strict=True):
        out[owner].append(planes[owner].points_at(polygon[:, 0], polygon[:, 1]))
    return out


def _box_of(level_set: LevelSet) -> NDArray[np.float64] | None:
    """(8, 3) LPS corners of the box of all voxels inside, and one more around it; None where there are none."""
    inside = level_set.array > 0
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        hits = np.flatnonzero(inside.any(axis=others))
        if not len(hits):
            return None
        low[axis], high[axis] = hits[0] - 1, hits[-1] + 1
    choice = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    return level_set.grid.points_at(np.where(choice, high, low))


def _cut(level_set: LevelSet, box: NDArray[np.float64], plane: SlicePlane) -> list[NDArray[np.float64]]:
    """Closed polygons (N, 2) of the zero line on `plane`, mm along its row and its column direction."""
    from contourpy import contour_generator

    heights = (box - np.asarray(plane.origin_mm)) @ plane.normal
    if heights.min() > 0 or heights.max() < 0:
        return []
    u_mm = _lattice(level_set.grid, box, plane, plane.row_direction)
    v_mm = _lattice(level_set.grid, box, plane, plane.column_direction)
    values = _sampled(level_set, plane.points_at(*np.meshgrid(u_mm, v_mm)))
    values[[0, -1]] = values[:, [0, -1]] = -1.0  # closed at the border
    lines: list[NDArray[np.float64]] = contour_generator(u_mm, v_mm, values).lines(0.0)  # type: ignore[assignment]
    return [line[:-1] for line in lines if len(line) >= 4 and abs(_area(line[:-1])) >= SPECK_MM2]


def _lattice(grid: Grid, box: NDArray[np.float64], plane: SlicePlane, axis: Triple) -> NDArray[np.float64]:
    """Coordinates along `axis` from the plane's origin, over the box and one more step on either side. They pass
    through the grid's own voxel centres where its axes are the plane's: sampling there adds no error."""
    step = min(SAMPLING_MM, *grid.spacing_mm)
    reach = (box - np.asarray(plane.origin_mm)) @ np.asarray(axis)
    anchor = float(np.dot(np.subtract(grid.origin_mm, plane.origin_mm), axis))
    low, high = np.floor((reach.min() - anchor) / step) - 1, np.ceil((reach.max() - anchor) / step) + 1
    return anchor + step * np.arange(low, high + 1)


def _sampled(level_set: LevelSet, points_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Trilinear at (..., 3) LPS points; beyond the grid its border value, so that rounding costs no border slice."""
    from scipy.ndimage import map_coordinates

    grid = level_set.grid
    index = np.moveaxis(grid.index_at(points_mm), -1, 0)
    last = np.reshape(np.array(grid.size) - 1, (3, 1, 1))
    beyond = ((index < -1e-3) | (index > last + 1e-3)).any(axis=0)
    values = map_coordinates(level_set.array, index, np.float32, 1, "nearest")
    values[beyond] = -1.0
    return values


def _area(polygon: NDArray[np.float64]) -> float:
    """Shoelace, mm2, positive counter-clockwise."""
    x, y = polygon[:, 0], polygon[:, 1]
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
