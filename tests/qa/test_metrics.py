"""Distances and overlaps against analytic shapes, brute force, SimpleITK, DeepMind's surface-distance and MONAI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import surface_distance
from numpy.typing import NDArray
from scipy.spatial import KDTree

from recontour.errors import UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Mask
from recontour.qa.metrics import added_path_length, common_ml, dice, surface_dice, surface_distances
from recontour.qa.shape import volume_ml
from recontour.qa.surface import squared_distances, surface_of

# Unequal along every axis, and turned, so that a mixed-up axis shows.
TURNED = Grid.of(
    (26, 60, 52), (3.0, 1.0, 1.2), (-31.0, -29.0, -38.0), [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
)
FINE = Grid.around((-30, -28, -26), (32, 30, 34), 1.0)


def ball(grid: Grid, radius_mm: float, centre_mm: tuple[float, float, float] = (0.3, 0.2, 0.1)) -> LevelSet:
    distance = radius_mm - np.linalg.norm(grid.points() - np.asarray(centre_mm), axis=-1)
    return LevelSet(grid, np.clip(distance, -8, 8).astype(np.float32))


def ellipsoid(grid: Grid, half_axes: tuple[float, float, float]) -> LevelSet:
    reach = np.linalg.norm((grid.points() - [1.0, 2.0, 3.0]) / np.asarray(half_axes), axis=-1)
    return LevelSet(grid, ((1 - reach) * min(half_axes)).astype(np.float32))


@pytest.mark.parametrize("grow_mm", [0.0, 0.13, 0.5, 2.0, 5.0])
def test_concentric_balls_are_their_radii_apart(grow_mm: float) -> None:
    found = surface_distances(ball(FINE, 18), ball(FINE, 18 + grow_mm))
    assert found.msd_mm == pytest.approx(grow_mm, abs=0.01)
    assert found.hd95_mm == pytest.approx(grow_mm, abs=0.02)
    assert found.hd_mm == pytest.approx(grow_mm, abs=0.03)


@pytest.mark.parametrize("shift_mm", [(0.4, 0.0, 0.0), (0.0, 3.0, 0.0), (1.0, -2.0, 2.0)])
def test_a_shifted_ball(shift_mm: tuple[float, float, float]) -> None:
    """A point of one ball at angle t to the shift is |sqrt(R² + d² + 2 R d cos t) - R| from the other."""
    radius, moved = 20.0, float(np.linalg.norm(shift_mm))
    centre = tuple(float(c) for c in np.asarray((0.3, 0.2, 0.1)) + shift_mm)
    found = surface_distances(ball(FINE, radius), ball(FINE, radius, (centre[0], centre[1], centre[2])))
    cosine = (np.arange(20000) + 0.5) / 10000 - 1  # equal steps of the cosine are equal areas of a sphere
    distance = np.abs(np.sqrt(radius**2 + moved**2 + 2 * radius * moved * cosine) - radius)
    assert found.msd_mm == pytest.approx(distance.mean(), abs=0.01)
    assert found.hd95_mm == pytest.approx(np.quantile(distance, 0.95), abs=0.03)
    assert found.hd_mm == pytest.approx(moved, abs=0.03)


def test_distances_do_not_ask_for_one_grid() -> None:
    found = surface_distances(ball(TURNED, 18), ball(FINE, 19))
    assert found.msd_mm == pytest.approx(1.0, abs=0.04)


def test_the_nearest_triangles_hold_the_nearest_place() -> None:
    a, b = surface_of(ellipsoid(TURNED, (12, 20, 16))), surface_of(ball(TURNED, 17))
    some = a.points[::29]
    corners = b.points[b.triangles]
    brute = [np.sqrt(squared_distances(np.repeat([p], len(corners), axis=0), corners).min()) for p in some]
    np.testing.assert_allclose(b.distance_of(some), brute, atol=0.02)


@pytest.mark.parametrize(
    ("point", "distance"),
    [
        ((1.0, 1.0, 5.0), 5.0),  # above the inside
        ((-3.0, -4.0, 0.0), 5.0),  # beyond corner a
        ((2.0, -2.0, 0.0), 2.0),  # beside edge ab
        ((4.0, 3.0, 0.0), np.sqrt(2.0)),  # beside the slanting edge x + y = 5
        ((9.0, 0.0, 3.0), 5.0),  # beyond corner b
    ],
)
def test_point_to_triangle(point: tuple[float, float, float], distance: float) -> None:
    triangle = np.array([[[0.0, 0, 0], [5, 0, 0], [0, 5, 0]]])
    assert np.sqrt(squared_distances(np.array([point]), triangle)[0]) == pytest.approx(distance)


def test_area_is_that_of_a_sphere() -> None:
    assert surface_of(ball(FINE, 20)).area_mm2 == pytest.approx(4 * np.pi * 20**2, rel=2e-3)


def test_area_weights_make_the_mean_blind_to_the_mesh() -> None:
    """A box stretched along z: faces of known areas at known distances, cut into cells of 3 x 1 x 1.2 mm."""

    def block(high_z: float) -> LevelSet:
        p = TURNED.points() - [-4.0, -3.0, -2.0]
        half = np.array([12.0, 9.0, 15.0])
        outside = np.maximum(np.abs(p) - half, 0)
        outside[..., 2] = np.maximum(np.maximum(p[..., 2] - high_z, -p[..., 2] - 15.0), 0)
        inside = np.minimum.reduce(
            [half[0] - np.abs(p[..., 0]), half[1] - np.abs(p[..., 1]), p[..., 2] + 15.0, high_z - p[..., 2]]
        )
        return LevelSet(TURNED, np.where(inside > 0, inside, -np.linalg.norm(outside, axis=-1)).astype(np.float32))

    found = surface_distances(block(15.0), block(18.0))
    top, side = 24 * 18, 2 * (24 + 18)
    there = top * 3.0 / (2 * top + side * 30)  # the lower top is 3 mm inside the taller block
    back = (top * 3.0 + side * 3 * 1.5) / (2 * top + side * 33)  # the taller top, and the band of sides below it
    assert found.msd_mm == pytest.approx((there + back) / 2, rel=0.06)


def test_hd95_takes_the_worse_direction() -> None:
    """An island with 7 % of one surface: the 95th percentile there lies on the island, the other way it is zero."""
    whole = ball(FINE, 14, (0.3, 0.2, -10.0))
    island = ball(FINE, 4, (0.3, 0.2, 24.0))
    both = LevelSet(FINE, np.maximum(whole.array, island.array))
    for pair in ((whole, both), (both, whole)):
        found = surface_distances(*pair)
        assert found.hd95_mm > 16.0  # the island begins 16 mm from the ball and ends 24 mm from it
        assert found.hd_mm == pytest.approx(24.0, abs=0.1)
        mean = 16 / (196 + 16) * (20 + 16 / 3 / 34)  # the mean of |x - c| over a sphere is d + r² / 3 d
        assert found.msd_mm == pytest.approx(mean / 2, rel=0.02)


def test_agrees_with_simpleitk_on_masks() -> None:
    """Hausdorff and Dice of voxel masks; the surfaces differ by definition by up to half a voxel diagonal."""
    a, b = ball(FINE, 14, (-4.0, 1, 2)).mask(), ellipsoid(FINE, (9, 15, 20)).mask()
    images = [_image(mask.array) for mask in (a, b)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert dice(a, b) == pytest.approx(overlap.GetDiceCoefficient())
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    assert surface_distances(a, b).hd_mm == pytest.approx(hausdorff.GetHausdorffDistance(), abs=0.9)


def on_ellipsoid(half_axes: tuple[float, float, float], steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) points on it, 180 / `steps` degrees apart, and the area |du x dv| that each stands for."""
    u, v = np.meshgrid((np.arange(steps) + 0.5) * np.pi / steps, np.arange(2 * steps) * np.pi / steps, indexing="ij")
    scale = np.asarray(half_axes)
    points = scale * np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], -1)
    along_u = scale * np.stack([np.cos(u) * np.cos(v), np.cos(u) * np.sin(v), -np.sin(u)], -1)
    along_v = scale * np.stack([-np.sin(u) * np.sin(v), np.sin(u) * np.cos(v), 0 * u], -1)
    return points.reshape(-1, 3), np.linalg.norm(np.cross(along_u, along_v), axis=-1).ravel()


def ellipsoids_apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Mean and largest distance of two concentric ellipsoids, by brute force."""
    directed: list[tuple[float, float]] = []
    for start, end in ((a, b), (b, a)):
        points, areas = on_ellipsoid(start, 40)
        distance = np.asarray(KDTree(on_ellipsoid(end, 200)[0]).query(points)[0])
        directed.append((float(np.average(distance, weights=areas)), float(distance.max())))
    return (directed[0][0] + directed[1][0]) / 2, max(directed[0][1], directed[1][1])


def test_concentric_ellipsoids() -> None:
    """Of the largest half axis the tip is (k - 1) a from the other ellipsoid, and nothing is farther."""
    inner, outer = (10.0, 14.0, 18.0), (12.0, 16.8, 21.6)
    mean, largest = ellipsoids_apart(inner, outer)
    small, large = ellipsoid(FINE, inner), ellipsoid(FINE, outer)
    found = surface_distances(small, large)
    assert largest == pytest.approx(0.2 * 18, abs=0.03)
    assert found.hd_mm == pytest.approx(0.2 * 18, abs=0.05)
    assert found.msd_mm == pytest.approx(mean, abs=0.02)
    assert dice(small, large) == pytest.approx(2 / (1 + 1.2**3), abs=3e-3)
    assert volume_ml(large) == pytest.approx(4 / 3 * np.pi * 12 * 16.8 * 21.6 / 1000, rel=5e-3)


VOXEL_MM = np.array((1.0, 0.5, 0.65))  # z, y, x: unequal along every axis
DIAGONAL_MM = float(np.linalg.norm(VOXEL_MM))


def turned_ellipsoid(
    half_axes: tuple[float, float, float], centre: tuple[float, float, float], angle: float, voxels: float
) -> LevelSet:
    """Turned about z, on voxels `voxels` times as large as VOXEL_MM; the distance is right to first order at the
    surface."""
    spacing = voxels * VOXEL_MM
    grid = Grid.of(np.ceil(np.array((62, 52, 60)) / spacing), spacing, (-30.0, -26.0, -31.0))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points = (grid.points() - np.asarray(centre)) @ turn.T
    reach = np.linalg.norm(points / half_axes, axis=-1)
    steepness = np.linalg.norm(points / np.square(half_axes), axis=-1)
    return LevelSet(grid, np.clip((1 - reach) * reach / np.maximum(steepness, 1e-6), -12, 12).astype(np.float32))


def pair_of(name: str, voxels: float = 1.0) -> tuple[LevelSet, LevelSet]:
    first, second = {
        "two ellipsoids": (((12, 20, 16), (1, 2, 3), 0.4), ((14, 17, 20), (3, 0, 1), -0.3)),
        "concentric balls": (((15, 15, 15), (1, 0, 0), 0.0), ((18, 18, 18), (1, 0, 0), 0.0)),
        "shifted balls": (((15, 15, 15), (1, 0, 0), 0.0), ((15, 15, 15), (1, 4, 0), 0.0)),
    }[name]
    return turned_ellipsoid(*first, voxels), turned_ellipsoid(*second, voxels)


PAIRS = ("two ellipsoids", "concentric balls", "shifted balls")


def deepmind(a: LevelSet, b: LevelSet) -> dict[str, Any]:
    return surface_distance.compute_surface_distances(a.mask().array, b.mask().array, a.grid.spacing_mm)


def deepmind_msd_mm(a: LevelSet, b: LevelSet) -> float:
    return float(np.mean(surface_distance.compute_average_surface_distance(deepmind(a, b))))


@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_deepminds_surface_distance(name: str) -> None:
    """It knows masks only, and puts a surface on the corners of all voxels that differ from a neighbour: a shell up to
    half a voxel diagonal to both sides of the true surface. A distance between two shells is off by a diagonal at most.
    Over a mean the starting points' share of it cancels, and the nearest place on the other shell is too near, by half
    a diagonal at most.
    """
    a, b = pair_of(name)
    theirs, ours = deepmind(a, b), surface_distances(a, b)
    assert 0 < ours.msd_mm - deepmind_msd_mm(a, b) < DIAGONAL_MM / 2
    for share, value in ((95, ours.hd95_mm), (100, ours.hd_mm)):
        assert surface_distance.compute_robust_hausdorff(theirs, share) == pytest.approx(value, abs=DIAGONAL_MM)
    for tolerance in (2.0, 3.0):
        their_share = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert surface_dice(a, b, tolerance - DIAGONAL_MM) <= their_share
        assert their_share <= surface_dice(a, b, tolerance + DIAGONAL_MM)
    both = a.mask(), b.mask()
    assert dice(*both) == pytest.approx(surface_distance.compute_dice_coefficient(*(m.array for m in both)))


@pytest.mark.parametrize("name", PAIRS)
def test_deepminds_mean_comes_closer_as_voxels_shrink(name: str) -> None:
    """Its error is of the first order in the voxel: half the voxel, about half the error; ours is there already."""
    coarse, fine = (pair_of(name, voxels) for voxels in (2.0, 1.0))
    ours = surface_distances(*fine).msd_mm
    assert surface_distances(*coarse).msd_mm == pytest.approx(ours, abs=0.01)
    assert ours - deepmind_msd_mm(*fine) < 0.75 * (ours - deepmind_msd_mm(*coarse))


@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_monai(name: str) -> None:
    """Its surface is the centres of the mask's outermost voxels: all inside the true surface, by up to a diagonal. What
    both surfaces have in common of that cancels; the rest is at most half a diagonal in a mean, with which its count of
    voxels instead of areas may interfere, and a diagonal in a maximum or percentile."""
    import monai.metrics
    import torch

    a, b = pair_of(name)
    ours = surface_distances(a, b)
    masks = [torch.from_numpy(shape.mask().array[None, None].astype(np.float32)) for shape in (a, b)]
    space: dict[str, Any] = {"include_background": True, "spacing": list(a.grid.spacing_mm)}
    mean = monai.metrics.compute_average_surface_distance(*masks, symmetric=True, **space)
    assert float(mean) == pytest.approx(ours.msd_mm, abs=DIAGONAL_MM / 2)
    for share, value in ((95, ours.hd95_mm), (100, ours.hd_mm)):
        theirs = monai.metrics.compute_hausdorff_distance(*masks, percentile=share, **space)
        assert float(theirs) == pytest.approx(value, abs=DIAGONAL_MM)
    overlap = float(monai.metrics.compute_dice(*masks))
    assert dice(a.mask(), b.mask()) == pytest.approx(overlap, abs=1e-6)
    assert dice(a, b) == pytest.approx(overlap, abs=0.005)  # voxels at the rim, in or out


def test_dice_of_concentric_balls() -> None:
    for grid in (FINE, TURNED):
        expected = 2 * 14**3 / (14**3 + 17**3)
        assert dice(ball(grid, 14), ball(grid, 17)) == pytest.approx(expected, abs=2e-3)


def test_dice_sees_less_than_a_voxel() -> None:
    assert dice(ball(FINE, 18), ball(FINE, 18.1)) == pytest.approx(2 * 18**3 / (18**3 + 18.1**3), abs=2e-4)


def test_common_volume_of_two_balls() -> None:
    """The lens of two equal balls: pi (4 R + d) (2 R - d)² / 12."""
    lens = np.pi * (4 * 15 + 12) * (2 * 15 - 12) ** 2 / 12 / 1000
    found = common_ml(ball(FINE, 15, (0.3, 0.2, -5)), ball(FINE, 15, (0.3, 0.2, 7)))
    assert found == pytest.approx(lens, rel=5e-3)


def test_surface_dice_of_a_step() -> None:
    a, b = ball(FINE, 18), ball(FINE, 19)
    assert surface_dice(a, b, 0.9) == 0.0
    assert surface_dice(a, b, 1.1) == 1.0
    shifted = ball(FINE, 18, (0.3, 0.2, 4.1))  # within 2 mm where |cos t| is below about a half
    cosine = (np.arange(20000) + 0.5) / 10000 - 1
    near = np.abs(np.sqrt(18**2 + 16 + 2 * 18 * 4 * cosine) - 18) <= 2
    assert surface_dice(a, shifted, 2.0) == pytest.approx(near.mean(), abs=0.02)


def test_empty_shapes() -> None:
    nothing, something = LevelSet(FINE, np.full(FINE.size, -5, np.float32)), ball(FINE, 10)
    assert surface_distances(nothing, nothing).msd_mm == 0.0
    assert surface_distances(nothing, something).hd_mm == np.inf
    assert (dice(nothing, nothing), dice(nothing, something)) == (1.0, 0.0)
    assert (surface_dice(nothing, nothing, 1.0), surface_dice(something, nothing, 1.0)) == (1.0, 0.0)


def test_a_prism_whose_sides_lie_on_voxel_centres_has_a_surface() -> None:
    """Its level set is exactly 0 there: the smallest box of what is not outside holds nothing negative."""
    grid = Grid.of((16, 18, 24), (1, 1, 1), (0, 0, 0))
    half, middle = np.array([4.0, 3.0, 3.0]), np.array([9.0, 8.0, 8.0])
    there, moved = (
        LevelSet(grid, (half - np.abs(grid.points() - middle - (shift, 0, 0))).min(axis=-1).astype(np.float32))
        for shift in (0.0, 3.0)
    )
    assert surface_distances(there, moved).hd_mm == pytest.approx(3.0, abs=1e-4)


def test_a_shape_cut_by_its_grid_gets_no_invented_surface() -> None:
    cut = FINE.crop((0, 0, 0), (26, 59, 63))  # ends at z = -1, through the ball
    found = surface_of(ball(cut, 18))
    height = -1 - (0.1 - 18)
    assert found.area_mm2 == pytest.approx(2 * np.pi * 18 * height, rel=5e-3)


def square(low_mm: float, high_mm: float, x_mm: float = 0.0, z_mm: float = 4.0) -> NDArray[np.float64]:
    corners = [(low_mm, low_mm), (high_mm, low_mm), (high_mm, high_mm), (low_mm, high_mm)]
    return np.array([(x + x_mm, y, z_mm) for x, y in corners])


def circle(radius_mm: float, z_mm: float = 4.0) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    return np.stack([radius_mm * np.cos(angle), radius_mm * np.sin(angle), np.full(720, z_mm)], axis=1)


def test_added_path_of_a_square_that_moved() -> None:
    """20 mm wide, moved 3 mm to the right. The result's left side is the line x = 3, from y = 0 to 20.

        reference   +----+---------+ - +     The reference's left side is 3 mm from it: all 20 mm are drawn anew. Of
                    |    |         |   |     its top and bottom the first 2 mm are more than 1 mm from x = 3: 4 mm. Its
                    |    |         |   |     right side, x = 20, is 3 mm from x = 23 but its ends touch the result's
                    +----+---------+ - +     top and bottom: of 20 mm, 18 mm are more than 1 mm from them.
    result at x     0    3         20  23
    """
    found = added_path_length([[square(0, 20)]], [[square(0, 20, x_mm=3.0)]])
    assert found == pytest.approx(20 + 4 + 18, abs=0.4)  # steps of 0.1 mm at four places where it begins or ends
    assert added_path_length([[square(0, 20)]], [[square(0, 20, x_mm=0.9)]]) == 0.0
    assert added_path_length([[square(0, 20)]], [[square(0, 20, x_mm=3.0)]], 3.1) == 0.0


def test_added_path_of_circles_and_slices() -> None:
    one = 2 * np.pi * 10
    assert added_path_length([[circle(10)]], [[circle(11.1)]]) == pytest.approx(one, rel=1e-4)
    assert added_path_length([[circle(10)]], [[circle(10.9)]]) == 0.0
    hole = [circle(10), circle(5)]  # the result has no hole: its whole rim is drawn
    assert added_path_length([hole], [[circle(10)]]) == pytest.approx(2 * np.pi * 5, rel=1e-4)
    assert added_path_length([[circle(10)], []], [[], [circle(10, 7.0)]]) == pytest.approx(one, rel=1e-4)
    assert added_path_length([[], []], [[circle(10)], []]) == 0.0
    with pytest.raises(UsageError, match="1 and 2 slices"):
        added_path_length([[]], [[], []])


def test_overlaps_ask_for_one_grid_and_one_kind() -> None:
    with pytest.raises(UsageError, match="different grids"):
        dice(ball(FINE, 10), ball(TURNED, 10))
    with pytest.raises(UsageError, match="mask"):
        dice(ball(FINE, 10), Mask(FINE, np.ones(FINE.size, bool)))


def _image(array: NDArray[np.bool_]) -> sitk.Image:
    return sitk.GetImageFromArray(array.astype(np.uint8))
