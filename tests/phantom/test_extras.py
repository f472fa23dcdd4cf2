"""Men made to order: what only some have is in the picture where it must be, and the ROIs know nothing of contents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recontour.geometry.resample import resample_level_set, sample
from recontour.phantom.anatomy import ROI_NAMES, Anatomy, anatomy_of
from recontour.phantom.body import Body, Extras
from recontour.phantom.contents import Urine
from recontour.phantom.metal import METAL_HU
from recontour.phantom.picture import GOLD_HU
from recontour.phantom.scanner import TOP_HU

SEED, VOXEL = 3, (4.0, 2.0, 2.0)
PLAIN = replace(Body.draw(SEED), extras=Extras(), urine=Urine(8.0), bladder_ml=180.0, bladder_wall_mm=3.0)


@pytest.fixture(scope="module")
def plain() -> Anatomy:
    return anatomy_of(PLAIN, SEED, VOXEL)


@pytest.fixture(scope="module")
def metal() -> Anatomy:
    """A hip, markers, lime and a bladder half full of contrast medium."""
    extras = Extras(gold_seeds=4, hip_left=True, lime=0.6)
    return anatomy_of(replace(PLAIN, extras=extras, urine=Urine(8.0, 300.0, 0.5, 2.0)), SEED, VOXEL)


@pytest.fixture(scope="module")
def devices() -> Anatomy:
    """A rectal balloon of 90 ml of air, and a catheter."""
    return anatomy_of(replace(PLAIN, extras=Extras(balloon_ml=90.0, catheter=True)), SEED, VOXEL)


def depth(man: Anatomy, name: str) -> np.ndarray:
    return resample_level_set(man.level_sets[name], man.volume.grid).array


def test_contents_and_metal_leave_the_contours_alone(plain: Anatomy, metal: Anatomy) -> None:
    for name in ROI_NAMES:
        assert np.array_equal(plain.level_sets[name].array, metal.level_sets[name].array), name


def test_contrast_medium_lies_at_the_back_up_to_a_level(metal: Anatomy) -> None:
    y = metal.volume.grid.points()[..., 1]
    lumen = depth(metal, "Bladder") > 6.0
    hu, height = metal.volume.array[lumen], y[lumen]
    low, high = height.min(), height.max()
    assert np.allclose(hu[height > high - 0.25 * (high - low)], 308.0, atol=2.0)
    assert np.allclose(hu[height < low + 0.25 * (high - low)], 8.0, atol=2.0)


def test_the_picture_s_lumen_has_the_contour_s_volume(metal: Anatomy, plain: Anatomy) -> None:
    """Mixed contrast medium, cut where the picture is halfway between it and the wall."""
    mixed = anatomy_of(replace(PLAIN, urine=Urine(8.0, 400.0)), SEED, VOXEL)
    excess = (mixed.volume.array - plain.volume.array) / 400.0  # the share of each voxel that is lumen
    shape = mixed.level_sets["Bladder"]
    lumen = (shape.array > PLAIN.bladder_wall_mm).sum() * shape.grid.voxel_ml
    assert excess.sum() * mixed.volume.grid.voxel_ml == pytest.approx(lumen, rel=0.03)
    assert lumen < 0.9 * shape.volume_ml


def test_a_prosthesis_replaces_the_head_on_its_side(plain: Anatomy, metal: Anatomy) -> None:
    for name, there in (("Femur_Head_L", True), ("Femur_Head_R", False)):
        shape = metal.level_sets[name]
        top = shape.grid.points()[shape.array > 9.0]
        middle = top[top[:, 2] > np.percentile(top[:, 2], 60)].mean(axis=0)
        hu = sample(metal.volume.array, metal.volume.grid, middle, 0.0)
        assert (hu > METAL_HU) == there, name
    shown = metal.planning.array
    assert shown.max() == TOP_HU and metal.volume.array.max() > 10_000
    change = np.abs(shown - plain.planning.array)
    slices = np.flatnonzero((metal.volume.array > 5000).sum(axis=(1, 2)) > 20)
    assert change[slices].mean() > 1.25 * change[:4].mean()  # streaks, beside noise that is drawn anew


def test_gold_is_in_the_prostate_with_its_mass(plain: Anatomy, metal: Anatomy) -> None:
    inside = depth(metal, "Prostate") > 0
    excess = (metal.volume.array - plain.volume.array) * inside
    mm3 = excess.sum() / GOLD_HU * metal.volume.grid.voxel_ml * 1000
    least, most = np.pi * 0.45**2 * 3.0, np.pi * 0.6**2 * 5.0 + 4 / 3 * np.pi * 0.6**3
    assert 4 * 0.9 * least < mm3 < 4 * 1.1 * most
    assert ((excess > 500) & (depth(metal, "Prostate") > 2)).sum() >= 4


def test_lime_is_in_the_vessels_of_the_groin(plain: Anatomy, metal: Anatomy) -> None:
    left, middle = (metal.level_sets[n].grid.points().mean(axis=(0, 1, 2)) for n in ("Femur_Head_R", "Prostate"))
    points = metal.volume.grid.points()
    front = (points[..., 1] < middle[1] - 20) & (points[..., 0] < middle[0])  # the right side, away from the prosthesis
    fresh = (metal.volume.array - plain.volume.array > 30) & front & (points[..., 2] < left[2] + 40)
    assert 3 < fresh.sum() < 300


def test_a_balloon_fills_and_widens_the_rectum(plain: Anatomy, devices: Anatomy) -> None:
    rectum, prostate = depth(devices, "Rectum"), depth(devices, "Prostate")
    assert devices.level_sets["Rectum"].volume_ml > plain.level_sets["Rectum"].volume_ml + 10
    air = (devices.volume.array < -500) & (rectum > 1.0)
    assert 60 < air.sum() * devices.volume.grid.voxel_ml < 140  # other gas lies above it
    middle = np.flatnonzero((prostate > 0).any(axis=(1, 2)))
    plane = int(middle[len(middle) // 2])
    assert (devices.volume.array[plane][rectum[plane] > 6] < -900).mean() > 0.95
    assert not ((rectum > 0.3) & (prostate > 0.3)).any()


def test_a_catheter_runs_through_the_prostate_to_its_balloon(plain: Anatomy, devices: Anatomy) -> None:
    change = devices.volume.array - plain.volume.array
    prostate = depth(devices, "Prostate") > 3.0
    bright = (change > 60) & prostate
    planes = np.flatnonzero(prostate.any(axis=(1, 2)))
    assert (bright[planes].any(axis=(1, 2))).mean() > 0.8
    points = devices.volume.grid.points()[bright]
    assert np.ptp(points[:, 0]) < 9.0  # a line, not a plane
    assert ((change > 20) & (depth(devices, "Bladder") > 4.0)).sum() > 10
