"""The facts of an organ against motions and fields that are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.measure import Day, alignment_of, image_match, jacobian_inside, measure_roi, touches_border

PLAN = Grid.of((20, 46, 50), (3.0, 1.0, 1.1), (-26.0, -20.0, 71.0))
DAILY = Grid.of((44, 40, 48), (1.0, 1.0, 1.0), (-20.0, -23.0, -24.0))
SCAN = Grid.of((30, 60, 70), (3.0, 1.0, 1.0), (-40.0, -30.0, -40.0))


def ball(grid: Grid, radius_mm: float, centre_mm: tuple[float, float, float]) -> LevelSet:
    distance = radius_mm - np.linalg.norm(grid.points() - np.asarray(centre_mm), axis=-1)
    return LevelSet(grid, np.clip(distance, -10, 10).astype(np.float32))


def linear_field(matrix: list[list[float]]) -> Field:
    return Field(DAILY, np.moveaxis(DAILY.points() @ np.asarray(matrix).T, -1, 0).astype(np.float32))


TO_PLANNING = Affine.shift((0.0, 4.0, 100.0))


def test_volume_and_shift_after_alignment() -> None:
    planned, daily = ball(PLAN, 12, (1.0, 3.0, 99.0)), ball(DAILY, 13, (3.0, -4.0, -2.0))
    facts = measure_roi("Vescica", "bladder", planned, daily, Day(TO_PLANNING, None, SCAN))
    assert facts.before_ml == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=2e-3)
    assert facts.after_ml == pytest.approx(4 / 3 * np.pi * 13**3 / 1000, rel=2e-3)
    # alignment alone puts the planned centre (1, 3, 99) at (1, -1, -1) of the day
    np.testing.assert_allclose(facts.shift_mm, (2.0, -3.0, -1.0), atol=0.03)
    assert (facts.parts_before, facts.parts_after, facts.touches_border) == (1, 1, False)
    assert (facts.disagreement_mm, facts.image_match, facts.jacobian_min, facts.folding) == (None, None, 1.0, 0.0)


def test_jacobian_inside_only() -> None:
    """x is stretched by 1.5 and z halved: 0.75 everywhere inside; a fold far from the organ is not its fault."""
    field = linear_field([[0.5, 0, 0], [0, 0, 0], [0, 0, -0.5]])
    field.array[:, :5] *= -7.0
    daily = ball(DAILY, 10, (0.0, 0.0, 2.0))
    facts = measure_roi("P", "prostate", ball(PLAN, 10, (0, 0, 100)), daily, Day(TO_PLANNING, field, SCAN))
    assert (facts.jacobian_min, facts.jacobian_max) == pytest.approx((0.75, 0.75), abs=1e-4)
    assert facts.folding == 0.0


def test_folding_is_the_share_of_the_organ() -> None:
    """x runs backwards (factor -0.5) where z is above 2, which is the organ's middle."""
    field = linear_field([[-1.5, 0, 0], [0, 0, 0], [0, 0, 0]])
    field.array[:, DAILY.points()[..., 2] < 2.0] = 0.0
    found = jacobian_inside(field, ball(DAILY, 10, (0.0, 0.0, 2.0)))
    assert (found <= 0).mean() == pytest.approx(0.5, abs=0.08)
    assert found.min() == pytest.approx(-0.5, abs=1e-4)


def test_the_paths_disagreement_is_their_mean_distance() -> None:
    daily = ball(DAILY, 10, (0.0, 0.0, 0.0))
    paths = ball(DAILY, 10, (0.0, 0.0, 0.0)), ball(DAILY, 12, (0.0, 0.0, 0.0))
    facts = measure_roi("P", "prostate", ball(PLAN, 10, (0, 4, 100)), daily, Day(TO_PLANNING, None, SCAN), paths)
    assert facts.disagreement_mm == pytest.approx(2.0, abs=0.02)


def test_a_lost_organ_has_no_volume() -> None:
    nothing = LevelSet(DAILY, np.full(DAILY.size, -5, np.float32))
    facts = measure_roi("P", "prostate", ball(PLAN, 10, (0, 4, 100)), nothing, Day(TO_PLANNING, None, SCAN))
    assert (facts.after_ml, facts.parts_after) == (0.0, 0)
    assert facts.before_ml > 4.0


def test_image_match_looks_around_the_organ_only() -> None:
    organ = ball(DAILY, 9, (0.0, 0.0, 0.0))
    pattern = 100 * np.sin(DAILY.points() @ [0.5, 0.3, 0.7])
    scan = Volume(DAILY, pattern.astype(np.float32))
    far = np.linalg.norm(DAILY.points(), axis=-1) > 15
    elsewhere = Volume(DAILY, np.where(far, -pattern, 0.5 * pattern + 20).astype(np.float32))
    assert image_match(scan, elsewhere, organ) == pytest.approx(1.0, abs=1e-6)
    shell = np.abs(organ.array) < 5
    noisy = pattern + np.random.default_rng(3).normal(0, 60, DAILY.size)
    expected = np.corrcoef(np.clip(pattern, -150, 300)[shell], np.clip(noisy, -150, 300)[shell])[0, 1]
    assert image_match(scan, Volume(DAILY, noisy.astype(np.float32)), organ) == pytest.approx(expected, abs=1e-4)
    assert image_match(scan, Volume(DAILY, np.zeros(DAILY.size, np.float32)), organ) is None


@pytest.mark.parametrize(
    ("centre_mm", "touches"),
    [
        ((0.0, 0.0, 0.0), False),
        ((0.0, 0.0, 39.0), True),  # the last slice of the scan is at z = 47
        ((0.0, 0.0, -31.5), True),  # the first at z = -40
        ((0.0, 0.0, 36.0), False),  # up to 44.8: between the second last slice and the last one's layer
        ((0.0, 21.0, 0.0), True),  # the last row at y = 29
    ],
)
def test_an_organ_cut_by_the_scan(centre_mm: tuple[float, float, float], touches: bool) -> None:
    grid = Grid.of((95, 70, 60), (1.0, 1.0, 1.0), (-30.0, -35.0, -45.0))
    assert touches_border(ball(grid, 8.9, centre_mm), SCAN) is touches


def test_alignment_in_the_clinics_terms() -> None:
    stretch = Affine(np.diag([1.0, 0.96, 1.01, 1.0]))
    middle = np.array([10.0, -20.0, 30.0])
    affine = Affine.shift((3.0, -2.0, 1.0)).after(Affine.rotation((0.0, 0.0, 6.0), (10.0, -20.0, 30.0)))
    found = alignment_of(affine, middle)
    np.testing.assert_allclose(found.shift_mm, (3.0, -2.0, 1.0), atol=1e-9)
    assert found.rotation_degrees == pytest.approx(6.0)
    assert found.scale == pytest.approx(1.0)
    turned = alignment_of(affine.after(stretch), middle)
    assert turned.scale == pytest.approx(0.96)
    assert turned.rotation_degrees == pytest.approx(6.0)


def test_field_and_scans_lie_around_the_shape_and_on_one_grid() -> None:
    daily = ball(DAILY, 10, (0.0, 0.0, 0.0))
    upper = Grid.around((-20, -20, 0), (20, 20, 40), 1.0)
    around = Grid.around((-20, -20, -20), (20, 20, 20), 1.0)
    with pytest.raises(UsageError, match="grids differ"):
        measure_roi("P", "prostate", daily, daily, Day(TO_PLANNING, Field.zero(upper), SCAN))
    with pytest.raises(UsageError, match="grids differ"):
        scan = Volume(around, np.zeros(around.size, np.float32))
        measure_roi("P", "prostate", daily, daily, Day(TO_PLANNING, Field.zero(DAILY), SCAN, scan, scan))
    with pytest.raises(UsageError, match="share no voxels"):
        between = Grid.around((-20.5, -20, -20), (20, 20, 20), 1.0)
        measure_roi("P", "prostate", daily, daily, Day(TO_PLANNING, Field.zero(between), SCAN))
