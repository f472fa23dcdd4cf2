"""A coarse scan of a phantom: what a radiographer would look for, and where the contours say it is."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.resample import resample_level_set
from recontour.phantom.anatomy import ROI_NAMES, Anatomy, Body, make_anatomy

COARSE = (6.0, 3.6, 3.6)


@pytest.fixture(scope="module")
def man() -> Anatomy:
    return make_anatomy(4, COARSE)


def inside(man: Anatomy, name: str, depth_mm: float) -> np.ndarray:
    return man.volume.array[resample_level_set(man.level_sets[name], man.volume.grid).array > depth_mm]


def test_every_roi_is_there_with_a_man_s_volumes(man: Anatomy) -> None:
    assert tuple(man.level_sets) == ROI_NAMES
    ml = {name: shape.volume_ml for name, shape in man.level_sets.items()}
    assert 15 < ml["Prostate"] < 95 and 2 < ml["SeminalVes"] < 20 and 40 < ml["Bladder"] < 420
    assert 40 < ml["Rectum"] < 220 and 70 < ml["Femur_Head_L"] < 180
    assert ml["Femur_Head_L"] == pytest.approx(ml["Femur_Head_R"], rel=0.1)
    assert ml["Prostate"] < ml["CTV"] < ml["Prostate"] + ml["SeminalVes"] + 3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("Prostate", 28, 52), ("Bladder", 0, 20), ("Femur_Head_L", 70, 700)],  # a thin man of little bone to a dense one
)
def test_hu_inside_the_contours(man: Anatomy, name: str, low: float, high: float) -> None:
    assert low < np.median(inside(man, name, 6.0)) < high


def test_where_things_lie(man: Anatomy) -> None:
    middle = {n: s.grid.points()[s.array > 0].mean(axis=0) for n, s in man.level_sets.items()}
    assert middle["Femur_Head_L"][0] > middle["Prostate"][0] + 60  # left is +x
    assert middle["Rectum"][1] > middle["Prostate"][1] + 15  # behind is +y
    assert middle["Bladder"][2] > middle["Prostate"][2] + 15  # above is +z
    assert middle["SeminalVes"][2] > middle["Prostate"][2] and middle["SeminalVes"][1] > middle["Prostate"][1]


def test_organs_do_not_overlap(man: Anatomy) -> None:
    grid = man.level_sets["CTV"].grid
    organs = [
        resample_level_set(man.level_sets[n], grid).array for n in ("Prostate", "SeminalVes", "Bladder", "Rectum")
    ]
    assert (sum((a > 0.3).astype(int) for a in organs) <= 1).all()


def test_air_couch_fat_muscle_and_bone(man: Anatomy) -> None:
    hu = man.volume.array
    assert (hu < -900).mean() > 0.3
    body = resample_level_set(man.level_sets["EXTERNAL"], man.volume.grid).array > 3
    share = [((hu > a) & (hu < b))[body].mean() for a, b in ((-130, -70), (30, 80), (150, 1300))]
    assert share[0] > 0.2 and share[1] > 0.15 and 0.03 < share[2] < 0.2
    below = man.volume.grid.points()[..., 1] > man.level_sets["EXTERNAL"].grid.bounds_mm()[1][1]
    assert (hu[below] > -800).any()  # the couch


def test_noise_is_on_the_planning_scan_only(man: Anatomy) -> None:
    noise = man.planning.array - man.volume.array
    assert np.array_equal(man.planning.array, man.planning.array)
    middle = noise[tuple(slice(n // 3, 2 * n // 3) for n in noise.shape)]
    assert middle.std() == pytest.approx(man.noise_hu, rel=0.2)


def test_men_differ_and_the_same_man_is_the_same(man: Anatomy) -> None:
    assert Body.draw(1) == Body.draw(1) != Body.draw(2)
    volumes = [Body.draw(seed).bladder_ml for seed in range(40)]
    assert min(volumes) < 100 and max(volumes) > 300
    again = make_anatomy(4, COARSE)
    assert np.array_equal(man.volume.array, again.volume.array)
    assert all(np.array_equal(man.level_sets[n].array, again.level_sets[n].array) for n in ROI_NAMES)
