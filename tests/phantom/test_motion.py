"""The motion engine on a man of balls: a pelvis of analytic shapes, so that the truth can be measured in the image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field, folding_fraction, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, sample, transform_points
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.contents import Urine
from recontour.phantom.motion import Motion
from recontour.phantom.movable import Movable, prepare
from recontour.phantom.move import move, move_prepared
from recontour.phantom.noise import draw_noise, noise_level_hu, without_noise

GRID = Grid.of((60, 72, 80), (3.0, 2.5, 2.5), (-99.0, -90.0, -80.0))
HEADS = ((72.0, 0.0, 0.0), (-72.0, 0.0, 0.0))
BLADDER_HU, PROSTATE_HU, RECTUM_HU, FAT_HU, BONE_HU = 300.0, 85.0, 60.0, -100.0, 700.0


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return (radius - np.linalg.norm(GRID.points() - centre, axis=-1)).astype(np.float32)


def body() -> tuple[Volume, dict[str, LevelSet]]:
    x, y, z = np.moveaxis(GRID.points(), -1, 0)
    rectum = np.minimum(14 - np.hypot(x, y - 40), 55 - np.abs(z)).astype(np.float32)
    shapes = {"Bladder": ball((4.0, -18.0, 26.0), 30.0), "Prostate": ball((0.0, -4.0, -28.0), 19.0), "Rectum": rectum}
    hu = np.full(GRID.size, FAT_HU, np.float32)
    for name, value in (("Bladder", BLADDER_HU), ("Prostate", PROSTATE_HU), ("Rectum", RECTUM_HU)):
        share = np.clip(shapes[name] / 2.5 + 0.5, 0, 1)
        hu += share * (value - hu)
    for centre in HEADS:
        hu[ball(centre, 21.0) > 0] = BONE_HU
    hu[np.hypot(x / 98, y / 88) > 1] = -1000.0
    return Volume(GRID, hu), {name: LevelSet(GRID, array) for name, array in shapes.items()}


@pytest.fixture(scope="module")
def man() -> Movable:
    volume, shapes = body()
    return prepare(volume, shapes, noise_hu=0.0)


SET_UP = {"shift_mm": (7.0, -5.0, 4.0), "rotation_deg": (2.0, -1.5, 3.0), "frame_offset_mm": (60.0, -110.0, 35.0)}
QUIET = {
    "seed": 5, "noise": 0.0, "hu_scale": 1.0, "hu_offset": 0.0, "gas_goes": False, "gas_pockets": 0, "urine": None,
    "kernel_per_mm": 0.25, "overshoot": 0.0, "slice_mm": 0.0, "fov_share": math.inf,
}  # fmt: skip


def day(**changes: object) -> Motion:
    return Motion(**(QUIET | changes))  # type: ignore[arg-type]


def test_a_rigid_day_is_the_affine_and_nothing_else(man: Movable) -> None:
    moved = move_prepared(man, day(**SET_UP))
    assert np.abs(moved.field_daily_to_planning.array).max() < 1e-5
    # By hand: turn about the middle of the grid, then shift, then the frame.
    low, high = GRID.bounds_mm()
    turned = Affine.rotation(SET_UP["rotation_deg"], (low + high) / 2).apply(HEADS[1])
    expected = turned + np.array(SET_UP["shift_mm"]) + np.array(SET_UP["frame_offset_mm"])
    assert np.allclose(moved.affine_daily_to_planning.apply(expected), HEADS[1], atol=1e-9)
    bone = moved.volume.array > 450
    right = moved.volume.grid.points()[bone]
    right = right[right[:, 0] < expected[0] + 40]
    assert np.allclose(right.mean(axis=0), expected, atol=0.25)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_the_bladder_fills_by_the_factor_in_shape_and_image(man: Movable, factor: float) -> None:
    moved = move_prepared(man, day(bladder_factor=factor, **SET_UP))
    before = 4 / 3 * np.pi * 30.0**3 / 1000
    assert moved.level_sets["Bladder"].volume_ml == pytest.approx(factor * before, rel=0.05)
    # In the image: what is brighter than halfway between urine and fat, away from bone.
    points = moved.affine_daily_to_planning.apply(moved.volume.grid.points())
    near = (np.linalg.norm(points - (4, -18, 36), axis=-1) < 52) & (np.abs(points[..., 0]) < 48)
    bright = (moved.volume.array > (BLADDER_HU + FAT_HU) / 2) & near
    assert bright.sum() * GRID.voxel_ml == pytest.approx(factor * before, rel=0.05)


def test_where_the_image_shows_an_organ_its_contour_is(man: Movable) -> None:
    moved = move_prepared(man, day(prostate_shift_mm=(1.0, -5.0, 3.0), background_mm=1.0, **SET_UP))
    shape = moved.level_sets["Prostate"]
    truth = shape.grid.points()[shape.array > 0].mean(axis=0)
    inside = (moved.volume.array > -80) & (moved.volume.array < 200)
    points = moved.volume.grid.points()
    close = inside & (np.linalg.norm(points - truth, axis=-1) < 21.5)
    weight = np.clip((moved.volume.array - FAT_HU) / (PROSTATE_HU - FAT_HU), 0, 1) * close
    shown = (points * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()
    assert np.allclose(shown, truth, atol=0.4)
    resting = move_prepared(man, day(**SET_UP)).level_sets["Prostate"]
    step = truth - resting.grid.points()[resting.array > 0].mean(axis=0)
    assert step[1] < -3.0 and step[2] > 1.5  # it did go forward and up


def test_image_and_truth_agree_at_any_point(man: Movable) -> None:
    moved = move_prepared(man, Motion.draw(11))
    quiet = move_prepared(man, day(**{**vars(Motion.draw(11)), **QUIET, "seed": 11}))
    rng = np.random.default_rng(0)
    index = np.stack([rng.integers(4, n - 4, 400) for n in quiet.volume.grid.size], axis=-1)
    daily = quiet.volume.grid.points_at(index)
    planning = transform_points(daily, quiet.affine_daily_to_planning, quiet.field_daily_to_planning)
    expected = sample(man.volume.array, GRID, planning, -1000.0)
    assert np.allclose(quiet.volume.array[tuple(index.T)], expected, atol=0.1)
    assert np.array_equal(moved.field_daily_to_planning.array, quiet.field_daily_to_planning.array)


@pytest.mark.parametrize("seed", range(6))
def test_bones_stay_rigid_and_nothing_folds(man: Movable, seed: int) -> None:
    moved = move_prepared(man, Motion.draw(seed, severity=1.5))
    rng = np.random.default_rng(seed)
    for centre in HEADS:
        away = rng.normal(size=(60, 3))
        planned = np.array(centre) + away / np.linalg.norm(away, axis=1, keepdims=True) * rng.uniform(2, 20, (60, 1))
        daily = moved.affine_daily_to_planning.inverse().apply(planned)
        shown = transform_points(daily, moved.affine_daily_to_planning, moved.field_daily_to_planning)
        assert np.linalg.norm(shown - planned, axis=1).max() < 0.05
    field = moved.field_daily_to_planning
    assert jacobian_determinant(field).min() > 0.05
    assert folding_fraction(field) == 0.0


def test_all_motion_ends_within_the_field_so_that_outside_it_is_zero(man: Movable) -> None:
    array = move_prepared(man, Motion.draw(2)).field_daily_to_planning.array
    for axis in (1, 2, 3):
        assert np.abs(np.take(array, (0, -1), axis)).max() < 1e-3


def test_the_same_day_twice_and_another_day(man: Movable) -> None:
    volume, shapes = body()
    one, two = (move(volume, shapes, Motion.draw(4), noise_hu=10.0) for _ in range(2))
    assert np.array_equal(one.volume.array, two.volume.array)
    assert np.array_equal(one.field_daily_to_planning.array, two.field_daily_to_planning.array)
    other = move(volume, shapes, Motion.draw(5), noise_hu=10.0)
    assert not np.array_equal(one.volume.array, other.volume.array)
    assert Motion.draw(4) != Motion.draw(5)


def test_a_scan_without_known_organs_still_moves() -> None:
    volume, _ = body()
    moved = move(volume, {}, Motion.draw(1), noise_hu=0.0)
    assert moved.level_sets == {}
    assert 0.3 < np.abs(moved.field_daily_to_planning.array).max() < 15


def test_severity_zero_is_a_day_of_the_same_man(man: Movable) -> None:
    calm = Motion.draw(8, severity=0.0)
    assert calm.shift_mm == (0.0, 0.0, 0.0) and calm.bladder_factor == 1.0
    assert np.abs(move_prepared(man, calm).field_daily_to_planning.array).max() < 1e-5


def test_noise_is_as_strong_as_asked_and_correlated_in_the_slice_only() -> None:
    noise = draw_noise(Grid.of((12, 160, 180), (2.5, 0.9, 0.95), (0.0, 0.0, 0.0)), 12.0, np.random.default_rng(1))
    middle = noise[:, 60:100, 70:110]
    assert middle.std() == pytest.approx(12.0, rel=0.1)
    assert np.corrcoef(middle[:, :, :-1].ravel(), middle[:, :, 1:].ravel())[0, 1] > 0.3
    assert abs(np.corrcoef(middle[:-1].ravel(), middle[1:].ravel())[0, 1]) < 0.1


def test_a_scan_s_noise_is_measured_and_shrunk_before_it_is_moved() -> None:
    rng = np.random.default_rng(2)
    half = np.where(np.arange(80) < 40, 50.0, -100.0) + np.zeros(GRID.size)  # muscle beside fat
    noisy = Volume(GRID, (half + rng.normal(0, 11.0, GRID.size)).astype(np.float32))
    assert noise_level_hu(noisy) == pytest.approx(11.0, rel=0.1)
    calm = without_noise(noisy, 11.0).array
    assert (calm - half)[:, :, :36].std() < 6.0
    assert np.allclose(calm[:, :, 37:43].mean(axis=(0, 1)), half[0, 0, 37:43], atol=12.0)  # the edge stays an edge


def test_a_field_of_the_wrong_sign_would_be_seen(man: Movable) -> None:
    moved = move_prepared(man, day(prostate_shift_mm=(0.0, -6.0, 0.0)))
    turned = Field(moved.field_daily_to_planning.grid, -moved.field_daily_to_planning.array)
    centre = np.array([0.0, -8.0, -28.0])
    there = transform_points(centre, moved.affine_daily_to_planning, moved.field_daily_to_planning)
    wrong = transform_points(centre, moved.affine_daily_to_planning, turned)
    assert there[1] > centre[1] + 2 and wrong[1] < centre[1] - 2


def test_days_reach_from_empty_to_full_and_their_scanners_differ() -> None:
    days = [Motion.draw(seed) for seed in range(400)]
    factor = np.array([d.bladder_factor for d in days])
    assert (
        factor.min() < 0.34 and factor.max() > 3.0 and 0.6 < np.quantile(factor, 0.2) < np.quantile(factor, 0.8) < 1.7
    )
    rectum = np.array([d.rectum_log_change for d in days])
    assert rectum.min() < -1.4 and rectum.max() > 1.4 and np.median(np.abs(rectum)) < 0.6
    contrast = np.array([d.urine is not None and d.urine.contrast_hu > 0 for d in days])
    assert 0.01 < contrast.mean() < 0.08  # 8 % of the half that is refilled
    assert 0.02 < np.mean([d.fov_share < 1.0 for d in days]) < 0.1
    for name, low, high in (("kernel_per_mm", 0.18, 0.45), ("hu_scale", 0.98, 1.02), ("slice_mm", 0.5, 5.0)):
        values = np.array([getattr(d, name) for d in days])
        assert low <= values.min() < values.mean() - 0.2 * (high - low) * 0.5 and values.max() <= high


@pytest.mark.parametrize("factor", [0.36, 2.6])
def test_a_bladder_is_emptied_and_filled_as_far_as_days_are_drawn(man: Movable, factor: float) -> None:
    moved = move_prepared(man, day(bladder_factor=factor))
    before = 4 / 3 * np.pi * 30.0**3 / 1000
    assert moved.level_sets["Bladder"].volume_ml == pytest.approx(factor * before, rel=0.12)
    assert jacobian_determinant(moved.field_daily_to_planning).min() > 0.05


@pytest.mark.parametrize(("change", "low", "high"), [(1.5, 2.0, 5.0), (-1.5, 0.2, 0.5)])
def test_a_rectum_is_filled_and_emptied(man: Movable, change: float, low: float, high: float) -> None:
    moved = move_prepared(man, day(rectum_log_change=(change,) * 5))
    before = man.level_sets["Rectum"].volume_ml
    assert low < moved.level_sets["Rectum"].volume_ml / before < high


def test_contrast_medium_of_the_day_shows_in_the_bladder_and_nowhere_else(man: Movable) -> None:
    urine = Urine(10.0, 250.0, 0.5, 2.0)
    with_it, without = (move_prepared(man, day(bladder_factor=1.3, urine=u, **SET_UP)) for u in (urine, None))
    shape = resample_level_set(with_it.level_sets["Bladder"], with_it.volume.grid).array
    changed = np.abs(with_it.volume.array - without.volume.array) > 0.5
    assert changed.any() and not changed[shape < -1.0].any()
    lumen = shape > 6
    y, hu = with_it.volume.grid.points()[..., 1][lumen], with_it.volume.array[lumen]
    assert np.allclose(hu[y > np.percentile(y, 80)], 260.0, atol=4.0)
    assert np.allclose(hu[y < np.percentile(y, 20)], 10.0, atol=4.0)
    assert np.array_equal(with_it.field_daily_to_planning.array, without.field_daily_to_planning.array)


def test_the_day_s_scanner_sets_the_scale_and_the_field_of_view(man: Movable) -> None:
    plain, other = (move_prepared(man, day(**c)).volume for c in ({}, {"hu_offset": 5.0, "fov_share": 0.9}))
    away = np.hypot(*(plain.grid.points()[0, ..., a] - plain.grid.points().mean(axis=(0, 1, 2))[a] for a in (0, 1)))
    width = 2 * 98.0  # of the ellipse that is his body
    assert (other.array[:, away > 0.92 * width / 2] == -1024.0).all()
    centre = other.array[:, away < 30] - plain.array[:, away < 30]
    assert np.median(centre) == pytest.approx(5.0, abs=1.0)


def test_streaks_are_the_day_s_own_and_only_made_scans_get_them() -> None:
    volume, shapes = body()
    array = np.array(volume.array)
    for centre in HEADS:
        array[ball(centre, 15.0) > 0] = 12_000.0
    steel = Volume(GRID, array)
    made, real = (
        move_prepared(prepare(steel, shapes, None, 0.0, clean=c), day(shift_mm=(0.0, 0.0, 9.0))) for c in (True, False)
    )
    fat = (np.abs(GRID.points()[..., 0]) < 40) & (np.abs(GRID.points()[..., 1] - 5) < 20)
    slices = {
        name: [k for k in range(60) if abs(GRID.origin_mm[2] + 3 * k - z) < 4] for name, z in (("in", 9), ("off", 60))
    }
    streak = {name: np.abs((made.volume.array - real.volume.array)[k][fat[k]]).mean() for name, k in slices.items()}
    assert streak["in"] > 20.0 > 4 * streak["off"]
    assert made.volume.array.max() <= 3071.0
