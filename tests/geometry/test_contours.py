"""Analytic shapes in, analytic shapes out, read by a reader of its own: even-odd, at pixel centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recontour.errors import StructuresRefused, UsageError
from recontour.geometry.contours import (
    SlicePlane,
    contours_from_level_set,
    level_set_from_contours,
    organ_grid,
)
from recontour.geometry.grid import Grid
from recontour.geometry.simplify import simplify_closed
from recontour.geometry.volume import LevelSet


def axial(z_mm, pixel_mm=(0.9, 0.7), origin=(-40.0, -33.0), size=(80, 110)):
    """Planes of a head-first supine scan, with rows and columns that differ."""
    return [SlicePlane((*origin, float(z)), (1.0, 0, 0), (0, 1.0, 0), *pixel_mm, *size) for z in z_mm]


def crossings_inside(polygon, x, y):
    """Whether points are inside one polygon: count the edges that a ray towards +x crosses, edge by edge."""
    inside = np.zeros(np.broadcast(x, y).shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def pixels_inside(contours, plane):
    """(rows, columns) bool, at pixel centres as PS3.3 C.7.6.2.1.1 places them."""
    origin = np.array(plane.origin_mm)
    along_row, along_column = np.array(plane.row_direction), np.array(plane.column_direction)
    x = np.arange(plane.columns)[None, :] * plane.column_spacing_mm
    y = np.arange(plane.rows)[:, None] * plane.row_spacing_mm
    inside = np.zeros((plane.rows, plane.columns), bool)
    for contour in contours:
        flat = np.column_stack([(contour - origin) @ along_row, (contour - origin) @ along_column])
        inside ^= crossings_inside(flat, x, y)
    return inside


def read_mm3(contours, planes, thickness_mm):
    pixels = sum(int(pixels_inside(c, p).sum()) for c, p in zip(contours, planes, strict=True))
    return pixels * planes[0].row_spacing_mm * planes[0].column_spacing_mm * thickness_mm


def circle(radius, z, centre=(0.0, 0.0), count=180):
    angle = np.arange(count) / count * 2 * np.pi
    return np.column_stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle), np.full(count, z)])


def rectangle(low, high, z):
    return np.array([[low[0], low[1], z], [high[0], low[1], z], [high[0], high[1], z], [low[0], high[1], z]], float)


def shape(inside_mm, low, high, spacing=1.0):
    """A level set from a function of LPS points."""
    grid = Grid.around(low, high, spacing)
    return LevelSet(grid, inside_mm(grid.points()).astype(np.float32))


def area(contours):
    total = 0.0
    for c in contours:
        total += 0.5 * (np.dot(c[:, 0], np.roll(c[:, 1], -1)) - np.dot(c[:, 1], np.roll(c[:, 0], -1)))
    return total


SPHERE = np.array([0.3, -0.2, 0.1])


@pytest.mark.parametrize("radius", [8.0, 15.0, 30.0])
def test_exported_spheres_keep_their_volume(radius):
    level_set = shape(lambda p: radius - np.linalg.norm(p - SPHERE, axis=-1), [-radius - 4.3] * 3, [radius + 4] * 3)
    planes = axial(np.arange(-radius - 2, radius + 2.5, 1.0) + 0.37, pixel_mm=(0.5, 0.4), size=(150, 200))
    contours = contours_from_level_set(level_set, planes)
    assert read_mm3(contours, planes, 1.0) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    off = [
        np.abs(np.hypot(*(c[:, :2] - SPHERE[:2]).T) - np.sqrt(radius**2 - (c[0, 2] - SPHERE[2]) ** 2)).mean()
        for cs in contours
        for c in cs
    ]
    assert np.mean(off) < 0.01
    for plane, cs in zip(planes, contours, strict=True):
        assert all((c[:, 2] == plane.origin_mm[2]).all() for c in cs)


def test_exported_rings_and_cylinders_keep_hole_and_volume():
    def ring(p):
        radius = np.hypot(p[..., 0] - 1.2, p[..., 1] + 0.4)
        return np.minimum(np.minimum(16.0 - radius, radius - 8.0), 9.0 - np.abs(p[..., 2] - 0.5))

    planes = axial(np.arange(-12, 13, 2.0) + 0.5, pixel_mm=(0.6, 0.5), size=(110, 160))
    contours = contours_from_level_set(shape(ring, [-22] * 3, [22] * 3), planes)
    drawn = [len(cs) for cs in contours if cs]
    assert set(drawn) == {2}
    # 9 slices lie wholly inside 18 mm of height
    assert read_mm3(contours, planes, 2.0) == pytest.approx(np.pi * (16**2 - 8**2) * 18, rel=0.01)


def test_exported_branches_stay_apart():
    def branches(p):
        shift = np.clip(p[..., 2], 0, 20) * 0.9
        legs = [9.0 - np.hypot(p[..., 0] - side * shift, p[..., 1]) for side in (-1, 1)]
        return np.minimum(np.maximum(*legs), 24.0 - np.abs(p[..., 2]))

    planes = axial(np.arange(-20, 21, 2.5))
    contours = contours_from_level_set(shape(branches, [-34, -14, -30], [34, 14, 30]), planes)
    by_z = {p.origin_mm[2]: cs for p, cs in zip(planes, contours, strict=True)}
    assert len(by_z[-10.0]) == 1 and len(by_z[20.0]) == 2
    assert sum(abs(area([c])) for c in by_z[20.0]) == pytest.approx(2 * np.pi * 81, rel=0.01)
    assert abs(area(by_z[-10.0])) == pytest.approx(np.pi * 81, rel=0.01)


@pytest.mark.parametrize(
    ("row_direction", "column_direction"),
    [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1))],
    ids=["HFS", "HFP", "FFS", "sagittal"],
)
def test_planes_of_any_orientation_cut_the_same_body(row_direction, column_direction):
    radii = np.array([14.0, 10.0, 18.0])
    centre = np.array([5.0, -7.0, 11.0])
    low, high = centre - radii - 4, centre + radii + 4
    ellipsoid = shape(lambda p: (1 - np.linalg.norm((p - centre) / radii, axis=-1)) * 10, low, high)
    row, column = np.array(row_direction, float), np.array(column_direction, float)
    normal = np.cross(row, column)
    planes = [
        SlicePlane(tuple(centre - 20 * row - 25 * column + k * normal), tuple(row), tuple(column), 0.6, 0.5, 90, 90)
        for k in np.arange(-20, 20.5, 1.0)
    ]
    contours = contours_from_level_set(ellipsoid, planes)
    everywhere = np.concatenate([c for cs in contours for c in cs])
    assert np.linalg.norm((everywhere - centre) / radii, axis=1) == pytest.approx(1.0, abs=0.005)
    for plane, cs in zip(planes, contours, strict=True):
        for c in cs:
            assert (c - plane.origin_mm) @ plane.normal == pytest.approx(0.0, abs=1e-9)
    assert read_mm3(contours, planes, 1.0) == pytest.approx(4 / 3 * np.pi * radii.prod(), rel=0.02)


@pytest.mark.parametrize("thickness", [2.0, 3.0])
@pytest.mark.parametrize("radius", [8.0, 20.0])
def test_contours_come_back_where_they_were(radius, thickness):
    z = np.arange(-radius - 4, radius + 4, thickness) + 0.4
    drawn = [circle(np.sqrt(radius**2 - v**2), v, (3.2, -1.7)) for v in z if abs(v) < radius - 0.2]
    planes = axial(z, origin=(-40.0, -40.0), size=(100, 120))
    contours = contours_from_level_set(level_set_from_contours(drawn, organ_grid(drawn, planes, 8), thickness), planes)
    assert sum(len(cs) for cs in contours) == len(drawn)
    for c in (c for cs in contours for c in cs):
        off = np.hypot(c[:, 0] - 3.2, c[:, 1] + 1.7) - np.sqrt(radius**2 - c[0, 2] ** 2)
        assert np.abs(off).mean() < 0.05
    there = sum(abs(area([c])) for c in drawn)
    assert sum(abs(area(cs)) for cs in contours) == pytest.approx(there, rel=0.01)


def test_shape_between_slices_bulges_as_the_sphere_does():
    z = np.arange(-18, 19, 3.0)
    drawn = [circle(np.sqrt(400 - v**2), v) for v in z]
    level_set = level_set_from_contours(drawn, organ_grid(drawn, axial(z), 8), 3.0)
    planes = axial(np.arange(-10.5, 11, 3.0))
    for (c,) in contours_from_level_set(level_set, planes):
        assert np.hypot(*c[:, :2].T) == pytest.approx(np.sqrt(400 - c[0, 2] ** 2), abs=0.04)


def test_caps_are_flat_half_a_slice_beyond_the_ends():
    drawn = [rectangle((-12, -9), (13, 8), z) for z in (0.0, 3.0, 6.0)]
    level_set = level_set_from_contours(drawn, Grid.of((40, 60, 60), (0.5, 1, 1), (-30, -30, -7)), 3.0)
    planes = axial([-1.6, -1.4, 7.4, 7.6])
    below, first, last, above = contours_from_level_set(level_set, planes)
    assert below == [] and above == []
    assert abs(area(first)) == pytest.approx(25 * 17, rel=0.03)
    assert abs(area(last)) == pytest.approx(25 * 17, rel=0.03)
    assert level_set.volume_ml == pytest.approx(25 * 17 * 9 / 1000, rel=0.02)


def test_level_set_is_the_exact_distance_in_the_plane():
    drawn = [rectangle((-10.3, -4.1), (7.2, 12.9), z) for z in np.arange(-30, 31, 2.0)]
    grid = Grid.of((3, 50, 40), (1, 1, 1.2), (-24, -20, 0))
    x, y = (np.moveaxis(grid.points(), -1, 0)[k][1] for k in (0, 1))
    dx, dy = np.maximum(-10.3 - x, x - 7.2), np.maximum(-4.1 - y, y - 12.9)
    expected = np.where(np.maximum(dx, dy) < 0, -np.maximum(dx, dy), -np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)))
    got = level_set_from_contours(drawn, grid, 2.0).array[1]
    assert got == pytest.approx(np.clip(expected, -10, 10), abs=1e-4)


def test_holes_islands_in_holes_and_several_contours_a_slice():
    drawn = []
    for z in (0.0, 2.0, 4.0):
        drawn += [circle(20, z), circle(12, z)[::-1], circle(5, z), circle(6, z, (32, 0))]
    planes = axial([2.0])
    grid = Grid.of((9, 70, 90), (1, 1, 1), (-30, -35, -2))
    (contours,) = contours_from_level_set(level_set_from_contours(drawn, grid, 2.0), planes)
    assert len(contours) == 4
    expected = np.pi * (20**2 - 12**2 + 5**2 + 6**2)
    wide = axial([2.0], origin=(-30, -30), pixel_mm=(0.3, 0.3), size=(200, 240))
    assert read_mm3([contours], wide, 1.0) == pytest.approx(expected, rel=0.01)


def test_keyhole_leaves_no_trace():
    def keyhole(z):
        outer, inner = circle(20, z, count=90), circle(8, z, count=45)[::-1]
        start = np.argmin(np.abs(inner[:, 0] - 8) + np.abs(inner[:, 1]))
        inner = np.roll(inner, -start, axis=0)
        return np.concatenate([outer, outer[:1], inner, inner[:1]])

    grid = Grid.of((5, 56, 56), (1, 1, 1), (-27.5, -28, -2))
    level_set = level_set_from_contours([keyhole(z) for z in np.arange(-10.0, 11, 2.0)], grid, 2.0)
    on_channel = level_set.array[2, 28, 41]  # at x = 13.5, y = 0
    assert on_channel == pytest.approx(5.5, abs=0.05)
    (contours,) = contours_from_level_set(level_set, axial([0.0]))
    assert len(contours) == 2


def test_leaning_cylinder_keeps_its_place_on_uneven_slices():
    drawn = [circle(15.0, z, (-0.8 * z, 0.5 * z)) for z in (0.0, 2.0, 3.0, 6.0, 10.0)]
    grid = Grid.of((40, 60, 60), (0.5, 1, 1), (-36, -28, -3))
    planes = axial([1.0, 4.5, 8.0])
    for (c,) in contours_from_level_set(level_set_from_contours(drawn, grid, 3.0), planes):
        z = c[0, 2]
        assert np.hypot(c[:, 0] + 0.8 * z, c[:, 1] - 0.5 * z) == pytest.approx(15.0, abs=0.15)


def test_short_gaps_are_filled_and_long_ones_are_not():
    grid = Grid.of((60, 40, 40), (1, 1, 1), (-20, -20, -5))

    def areas(positions):
        level_set = level_set_from_contours([circle(10, z) for z in positions], grid, 3.0)
        return [abs(area(cs)) for cs in contours_from_level_set(level_set, axial([16.0]))]

    assert areas([0, 3, 6, 9, 12, 21, 24, 27]) == pytest.approx([np.pi * 100], rel=0.01)  # two slices missing
    assert areas([0, 3, 6, 9, 12, 24, 27, 30]) == [0]  # three


def test_organ_drawn_on_every_fourth_slice_is_whole():
    grid = Grid.of((70, 40, 40), (1, 1, 1), (-20, -20, -5))
    level_set = level_set_from_contours([circle(10, z) for z in range(0, 49, 12)], grid, 3.0)
    first, middle, cap, beyond = contours_from_level_set(level_set, axial([0.0, 18.0, 49.0, 50.0]))
    assert [abs(area(cs)) for cs in (first, middle, cap)] == pytest.approx([np.pi * 100] * 3, rel=0.03)
    assert beyond == []


def test_single_contour_is_one_slice_thick():
    grid = Grid.of((20, 40, 40), (0.5, 1, 1), (-20, -20, -5))
    assert level_set_from_contours([circle(10, 0.0)], grid, 3.0).volume_ml == pytest.approx(np.pi * 0.3, rel=0.03)


def test_oriented_grid_puts_the_body_at_its_physical_place():
    turn = np.deg2rad(20)
    normal = np.array([0.0, np.sin(turn), np.cos(turn)])
    column = np.array([0.0, -np.cos(turn), np.sin(turn)])
    row = np.cross(column, normal)
    centre = np.array([40.0, -25.0, 130.0])
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)[:, None]
    disc = 11 * np.cos(angle) * row + 7 * np.sin(angle) * column
    drawn = [centre + k * normal + disc for k in np.arange(-8, 9, 2.0)]
    first = centre - 9 * normal - 30 * row - 20 * column
    planes = [SlicePlane(tuple(first + k * normal), tuple(row), tuple(column), 1.0, 1.2, 60, 60) for k in range(20)]
    grid = organ_grid(drawn, planes, 10.0)
    level_set = level_set_from_contours(drawn, grid, 2.0, "node")
    weight = np.clip(level_set.array + 0.5, 0, 1)
    assert (grid.points() * weight[..., None]).sum((0, 1, 2)) / weight.sum() == pytest.approx(centre, abs=0.05)
    with pytest.raises(StructuresRefused, match="node"):
        level_set_from_contours(drawn, Grid.of((40, 40, 40), (1, 1, 1), centre - 20), 2.0, "node")


def test_organ_grid_holds_the_planes_and_the_margin():
    planes = axial(np.arange(-100, 100, 3.0) + 0.4)
    drawn = [circle(12, planes[k].origin_mm[2], (5, 9)) for k in (30, 31, 32)]
    grid = organ_grid(drawn, planes, 10.0)
    low, high = grid.bounds_mm()
    points = np.concatenate(drawn)
    assert (low <= points.min(axis=0) - 10).all() and (high >= points.max(axis=0) + 10).all()
    assert (high - low < [47, 47, 30]).all()
    heights = grid.index_at([[0, 0, planes[k].origin_mm[2]] for k in (30, 31, 32)])[:, 0]
    assert heights == pytest.approx(np.rint(heights), abs=1e-6)


@pytest.mark.parametrize(
    "contours",
    [
        [],
        [np.zeros((2, 3))],
        [np.zeros((4, 3))],
        [circle(5, 0.0, (900, 0))],
        [circle(9, 0.0) @ np.array([[1, 0, 0.05], [0, 1, 0], [0, 0, 1]])],
    ],
    ids=["none", "two points", "one point, repeated", "outside", "tilted"],
)
def test_contours_that_cannot_be_used_are_refused_by_name(contours):
    with pytest.raises(StructuresRefused, match="left node"):
        level_set_from_contours(contours, Grid.of((20, 40, 40), (1, 1, 1), (-20, -20, -5)), 2.0, "left node")


def test_nothing_inside_and_planes_elsewhere_give_no_contours():
    grid = Grid.around([-9] * 3, [9] * 3, 1.0)
    nothing = LevelSet(grid, np.full(grid.size, -3.0, np.float32))
    ball = LevelSet(grid, (6 - np.linalg.norm(grid.points(), axis=-1)).astype(np.float32))
    assert contours_from_level_set(nothing, axial([0, 1])) == [[], []]
    assert contours_from_level_set(ball, axial([-40, 6.5])) == [[], []]


def test_specks_are_left_out():
    grid = Grid.around([-9] * 3, [9] * 3, 1.0)
    speck = LevelSet(grid, (0.5 - np.linalg.norm(grid.points(), axis=-1)).astype(np.float32))
    assert contours_from_level_set(speck, axial([0.0])) == [[]]


def test_shape_that_reaches_the_border_of_its_grid_is_closed_there():
    grid = Grid.around([-9] * 3, [9] * 3, 1.0)
    (contours,) = contours_from_level_set(LevelSet(grid, np.ones(grid.size, np.float32)), axial([9.0]))
    assert abs(area(contours)) == pytest.approx(19 * 19, rel=0.12)


def test_simplified_outline_stays_within_its_tolerance():
    many = circle(25, 0.0, count=2000)[:, :2]
    square = np.array([[0, 0], [5, 0], [10, 0], [10, 3], [10, 10], [0, 10], [0, 4], [0, 2]], float)
    triangle = np.array([[0, 0], [4, 0], [0, 3]], float)
    round_one, corners, kept = simplify_closed([many, square, triangle], 0.02)
    assert 40 < len(round_one) < 160
    middle = (round_one + np.roll(round_one, -1, axis=0)) / 2
    assert np.hypot(*middle.T).min() > 25 - 0.0201
    assert sorted(map(tuple, corners)) == [(0, 0), (0, 10), (10, 0), (10, 10)]
    assert (kept == triangle).all()
    assert simplify_closed([], 0.02) == []


def test_plane_that_is_none_is_refused():
    with pytest.raises(UsageError, match="orthonormal"):
        SlicePlane((0, 0, 0), (1, 0, 0), (0.5, 1, 0), 1, 1, 5, 5)
    with pytest.raises(UsageError, match="positive"):
        SlicePlane((0, 0, 0), (1, 0, 0), (0, 1, 0), 0, 1, 5, 5)
    with pytest.raises(UsageError):
        organ_grid([], axial([0]))


def to_outline(points, contours):
    """(N,) distance of in-plane points to the nearest edge of any contour, the textbook way."""
    best = np.full(len(points), np.inf)
    for c in contours:
        a, b = c[:, :2], np.roll(c[:, :2], -1, axis=0)
        along = b - a
        share = ((points[:, None] - a) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        foot = a + np.clip(share, 0, 1)[..., None] * along
        best = np.minimum(best, np.linalg.norm(points[:, None] - foot, axis=-1).min(axis=1))
    return best


def test_real_contours_come_back(real_planning: Path):
    """No motion: every closed ROI of a real plan but the body, to 0.1 mm in the mean, both ways, and its volume."""
    pydicom = pytest.importorskip("pydicom")
    plan = pydicom.dcmread(next(real_planning.glob("RS*")))
    names = {item.ROINumber: item.ROIName for item in plan.StructureSetROISequence}
    planes = axial(60.6 + 3 * np.arange(163), pixel_mm=(1, 1), size=(512, 512))
    for item in plan.ROIContourSequence:
        name = names[item.ReferencedROINumber]
        if name == "External":
            continue
        drawn = [np.array(c.ContourData, float).reshape(-1, 3) for c in item.ContourSequence]
        back = contours_from_level_set(level_set_from_contours(drawn, organ_grid(drawn, planes), 3.0, name), planes)
        there, here = {}, {}
        for c in drawn:
            there.setdefault(round(c[0, 2], 1), []).append(c)
        for cs in back:
            for c in cs:
                here.setdefault(round(c[0, 2], 1), []).append(c)
        assert here.keys() == there.keys(), name
        off = [to_outline(c[:, :2], here[z]) for z in there for c in there[z]]
        off += [to_outline(c[:, :2], there[z]) for z in there for c in here[z]]
        assert np.concatenate(off).mean() < 0.03, name
        ours, theirs = (sum(abs(area([c])) for cs in side.values() for c in cs) for side in (here, there))
        assert ours == pytest.approx(theirs, rel=0.005), name
