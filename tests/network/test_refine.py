"""Refinement on small analytic scans: the truth is a formula, never the tool itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recontour.errors import SettingsError, UsageError
from recontour.geometry.field import Field, folding_fraction
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.lattice import Axis, adjoint, apply, cosines, cubic
from recontour.network.refine import local_correlation, refine_field
from recontour.network.similarity import LocalCorrelation, Windows
from recontour.settings import RefineSettings

Points = NDArray[np.float64]
GRID = Grid.of((44, 56, 64), (1.0, 1.0, 1.0), (-20.0, 35.0, 110.0))
MIDDLE = np.array([11.5, 62.5, 131.5])  # x, y, z
SETTINGS = RefineSettings()


def scene(points: Points) -> NDArray[np.float32]:
    """A soft-edged ellipsoid and two smaller ones in a faintly textured ground, HU at (..., 3) points."""
    hu = np.full(points.shape[:-1], -90.0)
    for centre, radii, level in (
        ((0, 0, 0), (18, 14, 12), 40.0),
        ((5, 4, -2), (5, 6, 4), 90.0),
        ((-20, 12, 9), (7, 8, 9), 120.0),
        ((19, -16, -8), (9, 7, 8), 10.0),
    ):
        distance = np.sqrt((((points - MIDDLE - centre) / radii) ** 2).sum(-1)) - 1.0
        hu += (level - hu) / (1.0 + np.exp(distance * min(radii) / 0.7))
    x, y, z = np.moveaxis(points, -1, 0)
    return (hu + 30.0 * np.sin(x / 3.1 + 0.4 * y) * np.sin(y / 3.7 + 1) * np.sin(z / 4.3)).astype(np.float32)


def bump(points: Points) -> Points:
    """A smooth displacement, up to 5 mm, mm along x, y, z."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    share = np.exp(-(x**2 / 500 + y**2 / 400 + z**2 / 300))
    return np.stack([4.0 * share, -2.5 * share, 3.0 * share * np.cos(x / 15)], axis=-1)


def scans(displacement: Points) -> tuple[Volume, Volume]:
    """fixed, moving: what lies at x in fixed lies at x + displacement in moving."""
    points = GRID.points()
    return Volume(GRID, scene(points + displacement)), Volume(GRID, scene(points))


def error_mm(field: Field, truth: Points, inside: NDArray[np.bool_]) -> float:
    gap = np.moveaxis(field.array, 0, -1) - truth
    return float(np.sqrt((gap**2).sum(-1))[inside].mean())


def core(radius: float) -> NDArray[np.bool_]:
    return ((GRID.points() - MIDDLE) ** 2).sum(-1) < radius**2


def test_a_smooth_motion_is_found_to_sub_voxel() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    field = refine_field(fixed, moving, None, SETTINGS)
    assert field.array.dtype == np.float32
    assert error_mm(Field.zero(GRID), truth, core(14)) > 3.0
    assert error_mm(field, truth, core(14)) < 0.7
    assert folding_fraction(field) == 0.0


def test_the_field_points_from_fixed_to_moving_in_x_y_z() -> None:
    fixed, moving = scans(np.broadcast_to([2.0, -1.0, 3.0], (*GRID.size, 3)))
    field = refine_field(fixed, moving, None, SETTINGS)
    np.testing.assert_allclose(np.median(field.array[:, core(14)], axis=1), [2.0, -1.0, 3.0], atol=0.25)


def test_no_motion_gives_no_field() -> None:
    fixed, moving = scans(np.zeros(3))
    noise = np.random.default_rng(3).normal(0, 15, GRID.size).astype(np.float32)
    field = refine_field(Volume(GRID, fixed.array + noise), moving, None, SETTINGS)
    assert np.abs(field.array[:, core(14)]).mean() < 0.2


def test_stiffness_grows_with_the_square_of_the_noise_that_the_scans_have() -> None:
    """Where the setting is for noise a quarter lower, stiffness is 16/9 of it; and three times as much at most."""
    fixed, moving = scans(bump(GRID.points()))
    noise = np.random.default_rng(4).normal(0, 20, (2, *GRID.size)).astype(np.float32)  # in means over 2 mm: 7.1 HU
    noisy = [Volume(GRID, scan.array + n) for scan, n in zip((fixed, moving), noise, strict=True)]

    def field(**changed: float) -> NDArray[np.float32]:
        return refine_field(*noisy, None, replace(SETTINGS, **changed)).array

    meant_for_less = field(bending_noise_hu=6.75, bending=14.0 * 9 / 16)
    np.testing.assert_allclose(field(bending_noise_hu=9.0), meant_for_less, atol=1e-5)
    np.testing.assert_allclose(field(bending_noise_hu=0.5), field(bending_noise_hu=0.1), atol=1e-5)
    assert np.abs(field(bending_noise_hu=9.0) - field(bending_noise_hu=6.75)).max() > 0.01


def test_a_second_run_gives_the_same_bits() -> None:
    fixed, moving = scans(bump(GRID.points()))
    first, second = (refine_field(fixed, moving, None, SETTINGS).array for _ in range(2))
    assert np.array_equal(first, second)


def test_offset_and_gain_of_the_scanner_do_not_matter() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    other = Volume(GRID, (0.95 * fixed.array + 15).astype(np.float32))
    assert error_mm(refine_field(other, moving, None, SETTINGS), truth, core(14)) < 0.6


def test_grids_must_agree() -> None:
    fixed, moving = scans(np.zeros(3))
    elsewhere = Grid.of(GRID.size, GRID.spacing_mm, (0, 0, 0))
    with pytest.raises(UsageError, match="moving"):
        refine_field(fixed, Volume(elsewhere, moving.array), None, SETTINGS)
    with pytest.raises(UsageError, match="start"):
        refine_field(fixed, moving, Field.zero(elsewhere), SETTINGS)


def test_gas_that_appears_does_not_move_the_wall() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    seen = np.linalg.norm((GRID.points() + truth - MIDDLE) / (18, 14, 12), axis=-1)
    gassy = Volume(GRID, np.where(seen < 0.8, -950.0, fixed.array).astype(np.float32))  # a wall of 2 to 4 mm is left
    field = refine_field(gassy, moving, None, SETTINGS)
    at_wall = np.abs(seen - 1.0) < 0.1
    assert error_mm(Field.zero(GRID), truth, at_wall) > 2.0
    assert error_mm(field, truth, at_wall) < 0.55
    assert folding_fraction(field) == 0.0


def test_contrast_medium_inside_an_organ_does_not_tear_the_field() -> None:
    truth = bump(GRID.points())
    fixed, moving = scans(truth)
    seen = np.linalg.norm((GRID.points() + truth - MIDDLE) / (18, 14, 12), axis=-1)
    brighter = Volume(GRID, (fixed.array + 100.0 * (seen < 1.0)).astype(np.float32))
    field = refine_field(brighter, moving, None, SETTINGS)
    assert error_mm(field, truth, np.abs(seen - 1.0) < 0.1) < 1.5
    assert folding_fraction(field) == 0.0


def test_scans_that_show_nothing_give_no_field() -> None:
    blank = Volume(GRID, np.full(GRID.size, 20.0, np.float32))
    assert np.abs(refine_field(blank, blank, None, SETTINGS).array).max() < 1e-4


def ball_at(shift_mm: float) -> Volume:
    """A ball of 8 mm radius, `shift_mm` along x from the middle."""
    r = np.linalg.norm(GRID.points() - MIDDLE - (shift_mm, 0.0, 0.0), axis=-1)
    return Volume(GRID, (-90 + 130 / (1 + np.exp(r - 8))).astype(np.float32))


def uniform(shift_mm: float) -> Field:
    array = np.zeros((3, *GRID.size), np.float32)
    array[0] = shift_mm
    return Field(GRID, array)


@pytest.mark.parametrize(
    ("moved_mm", "offered_mm"),
    [(38.0, 36.0), (2.0, 38.0), (2.0, -26.0)],
    ids=["out of reach but for the start", "start beyond", "start the other way"],
)
def test_a_start_is_taken_where_it_helps_and_does_no_harm_elsewhere(moved_mm: float, offered_mm: float) -> None:
    fixed, moving = ball_at(-moved_mm / 2), ball_at(moved_mm / 2)
    inside = np.linalg.norm(GRID.points() - MIDDLE - (-moved_mm / 2, 0.0, 0.0), axis=-1) < 8
    field = refine_field(fixed, moving, uniform(offered_mm), SETTINGS)
    assert abs(float(np.median(field.array[0][inside])) - moved_mm) < 0.3


@pytest.mark.parametrize("side", range(41, 45))
def test_a_start_is_taken_over_whatever_the_scans_size(side: int) -> None:
    """Knots reach beyond the scans, for some sizes further than for others."""
    grid = Grid.of((side, 44, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    r = np.linalg.norm(grid.points() - np.array([20.0, 22.0, side / 2]), axis=-1)
    scan = Volume(grid, (-90 + 130 / (1 + np.exp(r - 8))).astype(np.float32))
    field = refine_field(scan, scan, Field(grid, np.full((3, *grid.size), 2.0, np.float32)), SETTINGS)
    assert np.isfinite(field.array).all() and np.abs(field.array[:, r < 8]).max() < 0.5


def test_labels_find_what_the_scans_do_not_show() -> None:
    blank = Volume(GRID, np.full(GRID.size, 20.0, np.float32))
    distance = np.linalg.norm(GRID.points() - MIDDLE, axis=-1)
    planned, daily = (LevelSet(GRID, (r - distance).astype(np.float32)) for r in (10.0, 13.0))
    probability = Volume(GRID, (daily.array > 0).astype(np.float32))
    for found in (daily, probability):
        field = refine_field(blank, blank, None, SETTINGS, "cpu", {"bladder": planned}, {"bladder": found})
        warped = np.linalg.norm(GRID.points() + np.moveaxis(field.array, 0, -1) - MIDDLE, axis=-1)
        on_surface = np.abs(daily.array) < 0.5
        assert abs(float(warped[on_surface].mean()) - 10.0) < 0.5


def test_agreement_is_one_where_scans_agree_and_low_where_they_do_not() -> None:
    fixed, _ = scans(np.zeros(3))
    shuffled = fixed.array.copy()
    shuffled[:, :, 40:] = np.random.default_rng(5).normal(20, 200, shuffled[:, :, 40:].shape)
    quality = local_correlation(fixed, Volume(GRID, shuffled), SETTINGS)
    assert quality.shape == GRID.size and quality.dtype == np.float32
    assert quality[:, :, :26].min() > 0.95
    assert quality[:, :, 50:].mean() < 0.5


def test_the_gradient_of_local_correlation_is_that_of_differences() -> None:
    """Against central differences of the energy itself, in float64, for one voxel after another."""
    rng = np.random.default_rng(1)
    axes = (Axis(0, 1, 9), Axis(0, 1, 8), Axis(0, 1, 7))
    centres = (Axis(0, 2, 5), Axis(0, 2, 4), Axis(0, 2, 4))
    fixed, other = (torch.tensor(rng.normal(0, 1, (9, 8, 7))) for _ in range(2))
    moving = fixed + 0.5 * other
    around = Windows.between(axes, centres, 1.5, torch.device("cpu"))
    exact = Windows(
        tuple(m.double() for m in around.to_centres),  # pyright: ignore[reportArgumentType]
        tuple(m.double() for m in around.to_voxels),  # pyright: ignore[reportArgumentType]
        around.share,
    )
    term = LocalCorrelation(fixed, exact, 0.1)
    _, gradient, curvature = term.linearised(moving, torch.ones_like(moving))
    assert bool((curvature >= 0).all())
    for voxel in ((0, 0, 0), (4, 3, 2), (8, 5, 6)):
        step = torch.zeros_like(moving)
        step[voxel] = 1e-4
        change = term.linearised(moving + step, moving * 0 + 1)[0] - term.linearised(moving - step, moving * 0 + 1)[0]
        assert 2 * float(gradient[voxel]) == pytest.approx(change / 2e-4 * moving.numel(), rel=1e-3, abs=1e-6)


def test_splines_and_cosines_are_what_they_say() -> None:
    knots, points = Axis(-4.0, 4.0, 8), Axis(0.0, 1.0, 20)
    coefficients = 3.0 * knots.positions().float() - 5.0
    np.testing.assert_allclose(cubic(knots, points) @ coefficients, 3.0 * points.positions() - 5.0, rtol=1e-5)
    transform, stiffness = cosines(Axis(0.0, 2.0, 6))
    np.testing.assert_allclose(transform @ transform.T, np.eye(6), atol=1e-6)
    second = (np.diag([1.0, 2, 2, 2, 2, 1]) - np.diag(np.ones(5), 1) - np.diag(np.ones(5), -1)) / 4.0
    np.testing.assert_allclose(transform.T @ torch.diag(stiffness) @ transform, second, atol=1e-6)


def test_an_adjoint_is_one() -> None:
    rng = np.random.default_rng(2)
    maps = tuple(torch.tensor(rng.normal(size=s)) for s in ((3, 5), (4, 6), (9, 7)))
    a, b = torch.tensor(rng.normal(size=(2, 5, 6, 7))), torch.tensor(rng.normal(size=(2, 3, 4, 9)))
    there, back = (apply(maps, a) * b).sum(), (a * apply(adjoint(maps), b)).sum()  # pyright: ignore[reportArgumentType]
    assert float(there) == pytest.approx(float(back))


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="steps"):
        RefineSettings(levels_mm=(4.0, 2.0), steps=(5,))
    with pytest.raises(SettingsError, match="window_hu"):
        RefineSettings(window_hu=(300.0, -150.0))
