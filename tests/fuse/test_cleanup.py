"""Parts, holes and overlaps on balls and boxes that are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from recontour.errors import UsageError
from recontour.fuse.cleanup import (
    clean_up,
    count_parts,
    fill_cavities,
    fill_slice_holes,
    keep_largest_parts,
    overlapping_pairs,
    separate,
)
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet
from recontour.qa.metrics import common_ml, surface_distances
from recontour.qa.shape import volume_ml

GRID = Grid.of((34, 42, 60), (1.4, 1.1, 0.9), (-26.0, -22.0, -23.0))
Point = tuple[float, float, float]


def ball(radius_mm: float, centre_mm: Point = (0.3, -0.4, 1.1), grid: Grid = GRID) -> LevelSet:
    distance = radius_mm - np.linalg.norm(grid.points() - np.asarray(centre_mm), axis=-1)
    return LevelSet(grid, np.clip(distance, -10, 10).astype(np.float32))


def joined(*shapes: LevelSet) -> LevelSet:
    return LevelSet(shapes[0].grid, np.maximum.reduce([shape.array for shape in shapes]))


def without(shape: LevelSet, hole: LevelSet) -> LevelSet:
    return LevelSet(shape.grid, np.minimum(shape.array, -hole.array))


LEFT, RIGHT = ball(9, (-14.0, 0, 0)), ball(6, (12.0, 2.0, 3.0))


def test_the_largest_part_stays_and_its_surface_is_untouched() -> None:
    found = keep_largest_parts(joined(LEFT, RIGHT), 1)
    assert surface_distances(found, LEFT).hd_mm == pytest.approx(0.0, abs=1e-6)
    assert volume_ml(found) == pytest.approx(volume_ml(LEFT), rel=1e-6)
    assert LevelSet(GRID, found.array).volume_ml == pytest.approx(LEFT.volume_ml, rel=1e-6)


def test_a_removed_part_close_by_leaves_the_surface_alone() -> None:
    """What the surface of the kept part is made of, its voxels and their neighbours, stays as it was."""
    speck = ball(2, (-14.0 + 9 + 2 + 1.8, 0, 0))  # 1.8 mm, under two voxels, from the surface of LEFT
    daily = joined(LEFT, speck)
    found = keep_largest_parts(daily, 1)
    near = binary_dilation(LEFT.array > 0, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(found.array[near], daily.array[near])
    assert (found.array[(speck.array > 0) & ~near] < -1).all()


def test_as_many_parts_as_the_plan_had() -> None:
    speck = ball(2.5, (0.0, 14.0, 12.0))
    daily = joined(LEFT, RIGHT, speck)
    assert count_parts(daily) == 3
    both = clean_up({"nodes": daily}, {"nodes": joined(LEFT, RIGHT)})["nodes"]
    assert count_parts(both) == 2
    assert surface_distances(both, joined(LEFT, RIGHT)).hd_mm == pytest.approx(0.0, abs=1e-6)
    assert count_parts(clean_up({"prostate": daily}, {"prostate": RIGHT})["prostate"]) == 1


def test_what_a_thin_neck_joined_in_the_plan_is_not_lost_where_the_motion_parts_it() -> None:
    """Two seminal vesicles, drawn as one: no half of them is a stray part; a speck that another path found is."""
    speck = ball(2.5, (0.0, 14.0, 12.0))
    neck = LevelSet(GRID, np.minimum.reduce([ball(14, (0, 1, 1)).array, ball(60, (0, -56.5, 1)).array]))
    plan, carried = joined(LEFT, RIGHT, neck), joined(LEFT, RIGHT)
    assert (count_parts(plan), count_parts(carried)) == (1, 2)
    found = clean_up({"vesicles": joined(LEFT, RIGHT, speck)}, {"vesicles": plan}, carried={"vesicles": carried})
    assert surface_distances(found["vesicles"], carried).hd_mm == pytest.approx(0.0, abs=1e-6)


def test_a_cavity_is_closed_and_the_outside_untouched() -> None:
    whole, hole = ball(13), ball(4, (2.0, 1.0, 0.0))
    found = fill_cavities(without(whole, hole))
    assert surface_distances(found, whole).hd_mm == pytest.approx(0.0, abs=1e-6)


def test_a_planned_cavity_stays_and_a_second_one_goes() -> None:
    large, small = ball(4, (-4.0, 0.0, 1.0)), ball(2.5, (6.0, 1.0, 0.0))
    daily = without(without(ball(13), large), small)
    found = clean_up({"wall": daily}, {"wall": without(ball(12), large)})["wall"]
    assert surface_distances(found, without(ball(13), large)).hd_mm == pytest.approx(0.0, abs=1e-6)


def tunnel(shape: LevelSet, radius_mm: float) -> LevelSet:
    p = shape.grid.points()
    pipe = radius_mm - np.hypot(p[..., 0] - 1.0, p[..., 1] - 0.5)
    return LevelSet(shape.grid, np.minimum(shape.array, -pipe).astype(np.float32))


def test_a_hole_on_slices_is_closed_where_the_plan_had_none() -> None:
    whole, holed = ball(13), tunnel(ball(13), 3.0)
    found = fill_slice_holes(holed)
    assert volume_ml(holed) < 0.93 * volume_ml(whole)
    assert volume_ml(found) == pytest.approx(volume_ml(whole), rel=0.005)  # the open ends stay dented
    kept = clean_up({"wall": holed}, {"wall": tunnel(ball(12), 3.0)})["wall"]
    assert volume_ml(kept) == pytest.approx(volume_ml(holed), rel=1e-6)


def test_a_wide_opening_on_slices_is_a_dent_and_stays() -> None:
    holed = tunnel(ball(14), 7.0)  # 154 mm²
    assert fill_slice_holes(holed) is holed


def test_what_needs_nothing_comes_back_as_it_was() -> None:
    shapes = {"bladder": LEFT, "prostate": RIGHT}
    found = clean_up(shapes, shapes)
    assert found["bladder"] is LEFT
    assert found["prostate"] is RIGHT
    assert list(found) == ["bladder", "prostate"]


def test_overlap_is_cut_half_way_and_only_there() -> None:
    """Two equal balls overlap by 4 mm along x: the plane between them becomes the border of both."""
    a, b = ball(12, (-10.0, 0.2, 0.3)), ball(12, (10.0, 0.2, 0.3))
    out = separate({"a": a, "b": b}, set())
    plane = GRID.points()[..., 0]
    sides = ((a, -plane), (b, plane))
    left, right = (LevelSet(GRID, np.minimum(s.array, side).astype(np.float32)) for s, side in sides)
    assert surface_distances(out["a"], left).msd_mm < 0.01
    assert surface_distances(out["b"], right).msd_mm < 0.01
    assert surface_distances(out["a"], left).hd_mm < 0.3  # the edge, where no level set is smooth


def test_nothing_overlaps_any_more_not_even_between_voxels() -> None:
    a, b, c = ball(12, (-7.0, 0.2, 0.3)), ball(9, (7.0, 1.2, -2.3)), ball(8, (-1.0, 9.0, 4.0))
    fine = Grid.around((-15, -12, -12), (15, 14, 14), 0.45)
    for order in (("a", "b", "c"), ("c", "b", "a")):
        out = separate({name: {"a": a, "b": b, "c": c}[name] for name in order}, set())
        dense = [resample_level_set(shape, fine).array > 0 for shape in out.values()]
        assert int(sum(part.astype(int) for part in dense).max()) == 1
    assert common_ml(a, b) > 0.1


def test_the_plan_says_what_may_overlap() -> None:
    prostate, ctv, rectum = ball(10), ball(12), ball(7, (0.3, 15.9, 1.1))
    own_grid = Grid.of((40, 50, 52), (1.0, 1.0, 1.0), (-24.0, -24.0, -18.0))
    planned = {"prostate": ball(10, grid=own_grid), "CTV": ctv, "rectum": ball(7, (0.3, 17.0, 1.1)), "lost": LEFT}
    planned["lost"] = LevelSet(GRID, np.full(GRID.size, -5, np.float32))
    assert overlapping_pairs(planned) == {frozenset(("prostate", "CTV")), frozenset(("CTV", "rectum"))}
    out = clean_up({"prostate": prostate, "CTV": ctv, "rectum": rectum}, planned)
    assert out["CTV"] is ctv
    assert common_ml(out["prostate"], out["rectum"]) == pytest.approx(0.0, abs=0.02)
    assert common_ml(out["CTV"], out["rectum"]) > 0.05


def test_touching_neighbours_of_the_plan_may_not_overlap() -> None:
    assert overlapping_pairs({"a": ball(9, (-9.2, 0, 0)), "b": ball(9, (8.6, 0, 0))}) == set()


def test_empty_and_unplanned_rois() -> None:
    nothing = LevelSet(GRID, np.full(GRID.size, -5, np.float32))
    out = clean_up({"lost": nothing, "new": joined(LEFT, RIGHT)}, {"lost": LEFT})
    assert out["lost"] is nothing
    assert count_parts(out["new"]) == 1


def test_grids_must_share_their_voxels() -> None:
    other = Grid.of(GRID.size, GRID.spacing_mm, np.add(GRID.origin_mm, 0.4), GRID.direction)
    with pytest.raises(UsageError, match="grids"):
        clean_up({"a": LEFT, "b": LevelSet(other, RIGHT.array)}, {})


def test_parts_of_one_grid_are_cut_apart_as_the_whole_is() -> None:
    a, b = ball(8.0, (-5.0, 0.0, 1.0)), ball(7.0, (6.0, 2.0, -1.0))
    whole = clean_up({"a": a, "b": b}, {})
    part = GRID.crop((1, 2, 3), GRID.size)
    cut = clean_up({"a": a, "b": LevelSet(part, b.array[1:, 2:, 3:])}, {})
    assert np.array_equal(cut["a"].array, whole["a"].array)
    assert np.array_equal(cut["b"].array, whole["b"].array[1:, 2:, 3:])
    assert (whole["a"].array != a.array).any()
