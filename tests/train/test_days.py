"""A day made on the device against the motion engine, scipy, and shapes whose place is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_field, resample_volume, sample, transform_points
from recontour.geometry.volume import Volume
from recontour.network.catalogue import LABELS
from recontour.network.warp import warp
from recontour.phantom.motion import Motion
from recontour.phantom.move import move_prepared
from recontour.train.dataset import PARTS, ROIS, label_map
from recontour.train.days import Day, dense_day, resample, spread
from recontour.train.moved import AFFINE_ERROR_DEG, AFFINE_ERROR_MM, CoarseDay, coarse_day, slices_of
from recontour.train.sampling import cut_patch
from tests.train.balls import CENTRES, HU, RADII, ball_man

CPU = torch.device("cpu")
DAY = Motion(
    seed=3, shift_mm=(4.0, -6.0, 5.0), rotation_deg=(2.0, -1.0, 3.0), bladder_factor=1.6, hu_scale=1.01,
    prostate_shift_mm=(1.0, -3.0, 2.0), background_mm=1.0, gas_goes=True, gas_pockets=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def coarse() -> CoarseDay:
    return coarse_day(ball_man(noise_hu=10.0), DAY)


@pytest.fixture(scope="module")
def day(coarse: CoarseDay) -> Day:
    return dense_day(coarse, CPU)


def places(labels: torch.Tensor, organ: str, grid: Grid) -> np.ndarray:
    """(N, 3) LPS mm of the voxels of an organ."""
    return grid.points_at(np.argwhere(labels.numpy() == LABELS.index(organ)))


def test_resampling_is_that_of_the_geometry_room():
    rng = np.random.default_rng(1)
    source = Grid.of((14, 17, 23), (3.0, 1.5, 1.2), (-12.0, 5.0, -20.0))
    target = Grid.of((24, 24, 19), (1.7, 1.0, 1.3), (-15.0, 2.0, -22.0))
    lattice = Grid.of((6, 7, 8), (8.0, 7.0, 6.0), (-18.0, 0.0, -24.0))
    field = Field(lattice, rng.normal(0, 3, (3, *lattice.size)).astype(np.float32))
    affine = Affine.shift((3.0, -2.0, 4.0)).after(Affine.rotation((5.0, -8.0, 11.0), (0.0, 10.0, 0.0)))
    array = rng.normal(0, 100, source.size).astype(np.float32)
    expected = resample_volume(Volume(source, array), target, affine, field, fill_hu=-777.0).array
    displacement = spread(torch.from_numpy(field.array), lattice, target)
    assert np.allclose(displacement.numpy(), resample_field(field, target).array, atol=1e-4)
    got = resample(torch.from_numpy(array), source, target, affine, displacement, -777.0).numpy()
    assert 0.2 < (expected == -777.0).mean() < 0.8
    assert np.array_equal(got == -777.0, expected == -777.0)
    assert np.allclose(got, expected, atol=0.02)
    straight = resample(torch.from_numpy(array), source, target, affine, None, -777.0).numpy()
    assert np.allclose(
        straight, resample_volume(Volume(source, array), target, affine, fill_hu=-777.0).array, atol=0.02
    )


def test_the_scans_are_those_of_the_motion_engine(coarse: CoarseDay, day: Day):
    man = ball_man(noise_hu=10.0)
    slices = move_prepared(man.movable, DAY, slices_of(coarse.scanned)).volume
    fixed = resample_volume(slices, coarse.scanned).array
    assert np.abs(day.fixed_hu.numpy() - fixed).max() < 0.6  # whole HU
    assert fixed[50, 60:70, 80:90].std() > 4.0  # there is noise
    moving = resample_volume(man.planning, coarse.scanned, affine=coarse.affine_scanned_to_planning).array
    assert np.percentile(np.abs(day.moving_hu.numpy() - moving), 99.9) < 0.6  # a voxel on the rim is in or out


def test_the_daily_scan_shows_what_the_displacement_says():
    man, quiet = ball_man(), replace(DAY, noise=0.0, hu_scale=1.0, gas_goes=False, gas_pockets=0)
    coarse = coarse_day(replace(man, movable=replace(man.movable, held_mm=9.0)), quiet)  # no kernel on top
    day = dense_day(coarse, CPU)
    rng = np.random.default_rng(0)
    low, high = coarse.daily.grid.size[0] // 4, 3 * coarse.daily.grid.size[0] // 4
    index = np.stack([2 * rng.integers(low, high, 500), *(rng.integers(30, 75, 500) for _ in "yx")], axis=-1)
    shown = day.fixed_hu.numpy()[tuple(index.T)]
    planned = transform_points(
        coarse.scanned.points_at(index), coarse.affine_daily_to_planning, coarse.field_daily_to_planning
    )
    expected = sample(man.movable.volume.array, man.movable.volume.grid, planned, -1000.0)
    assert np.abs(shown - expected).max() < 0.7
    assert np.ptp(expected) > 300


def test_the_labels_are_those_of_the_motion_engine(coarse: CoarseDay, day: Day):
    moved = move_prepared(ball_man(noise_hu=10.0).movable, DAY, coarse.scanned)
    fixed = label_map({organ: moved.level_sets[roi] for organ, roi in ROIS.items()}, coarse.scanned)
    moving = label_map(coarse.shapes, coarse.scanned, coarse.affine_scanned_to_planning)
    assert np.array_equal(day.moving_labels.numpy(), moving)
    for organ in ROIS:
        ours = places(day.fixed_labels, organ, coarse.scanned)
        theirs = coarse.scanned.points_at(np.argwhere(fixed == LABELS.index(organ)))
        assert len(ours) == pytest.approx(len(theirs), rel=0.02), organ
        assert np.allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.05), organ


def test_a_rigid_day_puts_every_organ_where_hand_arithmetic_says():
    man = ball_man()
    coarse = coarse_day(man, Motion(seed=8, shift_mm=(7.0, -5.0, 4.0), noise=0.0))
    day = dense_day(coarse, CPU)
    for organ in ("bladder", "rectum", "prostate"):
        shown = places(day.fixed_labels, organ, coarse.scanned)
        assert np.allclose(shown.mean(axis=0), np.add(CENTRES[organ], (7.0, -5.0, 4.0)), atol=0.15), organ
        assert len(shown) == pytest.approx(4 / 3 * np.pi * RADII[organ] ** 3, rel=0.04), organ
        planned = places(day.moving_labels, organ, coarse.scanned).mean(axis=0)
        left = np.linalg.norm(shown.mean(axis=0) - planned)  # of the set-up of 9.5 mm: what an affine would leave
        assert 0.05 < left < 4 * AFFINE_ERROR_MM + 40 * np.deg2rad(4 * AFFINE_ERROR_DEG), organ


def test_both_scans_show_what_their_labels_say(coarse: CoarseDay):
    day = dense_day(coarse_day(ball_man(), replace(DAY, gas_pockets=0, gas_goes=False)), CPU)
    for hu, labels in ((day.fixed_hu, day.fixed_labels), (day.moving_hu, day.moving_labels)):
        assert hu.dtype == torch.int16 and labels.dtype == torch.uint8
        for organ, value in HU.items():
            inside = hu.numpy()[labels.numpy() == LABELS.index(organ)]
            assert abs(np.percentile(inside, 80) - value) < 60, organ  # half of a small ball is its blurred rim
    grown = (day.fixed_labels == 1).sum() / (day.moving_labels == 1).sum()
    assert float(grown) == pytest.approx(DAY.bladder_factor, rel=0.06)


def test_the_true_motion_carries_each_scan_s_labels_to_the_other(coarse: CoarseDay, day: Day):
    centre, side = tuple(n // 2 for n in day.fixed_hu.shape), 96
    _, _, fixed, moving = day.cut(centre, side)
    motion = day.cut_motion(centre, side)[None]
    for field, here, there in ((motion[:, :3], fixed, moving), (motion[:, 3:], moving, fixed)):
        for organ in ("bladder", "rectum", "prostate"):
            mask = (there == LABELS.index(organ)).float()[None, None]
            carried, drawn = warp(mask, field)[0, 0] > 0.5, here == LABELS.index(organ)
            before = mask[0, 0] > 0.5
            overlap = [float(2 * (m & drawn).sum() / (m.sum() + drawn.sum())) for m in (before, carried)]
            assert overlap[1] > 0.97 > overlap[0], (organ, overlap)


def test_the_true_motion_of_a_rigid_day_is_what_the_affine_leaves():
    coarse = coarse_day(ball_man(), Motion(seed=8, shift_mm=(7.0, -5.0, 4.0), rotation_deg=(3.0, 0.0, 0.0), noise=0.0))
    day = dense_day(coarse, CPU)
    motion = day.cut_motion((30, 40, 50), 8).numpy()
    voxels = np.stack(np.meshgrid(*(np.arange(c - 4, c + 4) for c in (30, 40, 50)), indexing="ij"), axis=-1)
    here = coarse.scanned.points_at(voxels)
    shown = coarse.affine_scanned_to_planning.apply(here + np.moveaxis(motion[:3], 0, -1))
    assert np.allclose(shown, coarse.affine_daily_to_planning.apply(here), atol=2e-3)
    back = here + np.moveaxis(motion[3:], 0, -1)
    assert np.allclose(
        coarse.affine_daily_to_planning.apply(back), coarse.affine_scanned_to_planning.apply(here), atol=0.02
    )


def test_in_larger_voxels_a_day_is_the_same_day(coarse: CoarseDay, day: Day):
    double = dense_day(coarse, CPU, 2)
    size = tuple(-(-n // 2) for n in day.fixed_hu.shape)
    assert double.fixed_hu.shape == double.moving_labels.shape == size
    block = day.fixed_hu[40:42, 60:62, 50:52].float().mean()
    assert abs(float(double.fixed_hu[20, 30, 25]) - float(block)) <= 0.5
    for organ in ROIS:
        k = LABELS.index(organ)
        assert 8 * int((double.fixed_labels == k).sum()) == pytest.approx(int((day.fixed_labels == k).sum()), rel=0.08)
    fine = day.cut_motion((40, 60, 50), 2).mean(dim=(1, 2, 3))  # voxels 39, 40: the middle is the corner of blocks
    assert torch.allclose(double.cut_motion((20, 30, 25), 2).mean(dim=(1, 2, 3)), fine, atol=0.05)


def scene() -> Day:
    labels = np.zeros((6, 7, 9), np.uint8)
    labels[1, 1, 1:9] = LABELS.index("bladder")  # 8 voxels
    labels[2, 2, 2] = LABELS.index("rectum")  # 1 voxel
    labels[3, 3, 3] = LABELS.index("prostate")
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:4] = np.arange(4 * 7 * 9).reshape(4, 7, 9)
    fixed, shown = torch.from_numpy(hu), torch.from_numpy(labels)
    voxels = {k: torch.from_numpy(np.flatnonzero(labels == k).astype(np.int32)) for k in (1, 2, 4)}
    return Day(fixed, fixed + 1000, shown, shown.clone(), voxels)


def test_groups_and_organs_are_drawn_equally_whatever_their_size():
    day, rng = scene(), np.random.default_rng(2)
    labels = day.fixed_labels.numpy()
    centres = [day.draw_centre(rng) for _ in range(3000)]
    share = {LABELS[k]: n / 3000 for k, n in Counter(int(labels[c]) for c in centres).items()}
    # a third each for targets, organs at risk, torso; the torso's own organs are 10 of its 252 voxels
    assert abs(share["prostate"] - 1 / 3) < 0.05
    assert abs(share["bladder"] - 1 / 6) < 0.05 and abs(share["rectum"] - 1 / 6) < 0.05
    assert abs(share["background"] - 1 / 3) < 0.05 and "seminal_vesicles" not in share
    assert all(day.fixed_hu[c] > -1000 for c in centres)


def test_nothing_but_air_still_draws_a_voxel():
    air = torch.full((3, 4, 5), -1000, dtype=torch.int16)
    z, y, x = Day(air, air, air, air, {}).draw_centre(np.random.default_rng(0))
    assert z < 3 and y < 4 and x < 5


def test_a_patch_is_cut_at_the_same_place_in_all_four_as_on_disk():
    day = scene()
    for centre in ((2, 3, 4), (0, 0, 8), (5, 6, 0)):
        for part, patch in zip(PARTS, day.cut(centre, 4), strict=True):
            assert np.array_equal(patch.numpy(), cut_patch(getattr(day, part).numpy(), centre, 4))


def test_an_organ_out_of_sight_is_not_drawn(coarse: CoarseDay):
    low = coarse.scanned.crop((0, 0, 0), (30, *coarse.scanned.size[1:]))  # ends below every ball
    day = dense_day(replace(coarse, scanned=low), CPU)
    seen = {LABELS.index(organ) for organ in ROIS if (day.fixed_labels == LABELS.index(organ)).any()}
    assert set(day.voxels) == seen and len(seen) < 4
