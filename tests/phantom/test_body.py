"""What is drawn of a man: wide enough, never beyond what is said, and rare things as rare as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recontour.phantom import body as shares
from recontour.phantom.body import Body

MEN = [Body.draw(seed) for seed in range(400)]


def of(name: str) -> np.ndarray:
    where, _, fact = name.rpartition(".")
    return np.array([getattr(getattr(man, where) if where else man, fact) for man in MEN])


# fact: the allowed range, and a lower and an upper value that the 400 men must go beyond
SPREAD = {
    "prostate_ml": (18, 120, 22, 90),
    "bladder_ml": (40, 600, 50, 500),
    "fat_mm": (5, 48, 10, 38),
    "muscle_mm": (1.5, 5.5, 2, 5),
    "noise_hu": (5, 35, 7, 22),
    "scale": (0.92, 1.08, 0.95, 1.05),
    "bladder_wall_mm": (1.8, 5.5, 2.1, 4),
    "tissue.fat": (-115, -85, -113, -87),
    "tissue.muscle": (40, 70, 41, 60),
    "tissue.prostate": (30, 80, 34, 55),
    "tissue.bone_density": (0.6, 1.3, 0.65, 1.25),
    "urine.hu": (0, 20, 1, 19),
    "scanner.kernel_per_mm": (0.18, 0.45, 0.2, 0.43),
    "scanner.slice_mm": (0.5, 5, 1.01, 4),
    "scanner.hu_scale": (0.98, 1.02, 0.99, 1.01),
    "scanner.hu_offset": (-8, 8, -5, 5),
}


@pytest.mark.parametrize("fact", SPREAD)
def test_common_things_vary_over_their_range(fact: str) -> None:
    lowest, highest, low, high = SPREAD[fact]
    values = of(fact)
    assert lowest <= values.min() < low and high < values.max() <= highest


def test_a_rectum_is_collapsed_or_5_cm_wide_or_anything_between() -> None:
    widest = np.array([max(man.rectum_radius[1:]) for man in MEN])
    assert widest.min() < 9 and widest.max() > 24.5 and all(max(m.rectum_radius) <= 25 for m in MEN)
    assert all(min(man.rectum_radius) >= 6 for man in MEN)
    assert np.ptp(np.histogram(widest, 4)[0]) < 300  # no one size rules


@pytest.mark.parametrize(
    ("there", "share"),
    [
        (of("urine.contrast_hu") > 0, shares.CONTRAST_SHARE),
        (of("extras.gold_seeds") > 0, shares.SEEDS_SHARE),
        (of("extras.hip_left") | of("extras.hip_right"), shares.HIP_SHARE),
        (of("extras.balloon_ml") > 0, shares.BALLOON_SHARE),
        (of("extras.catheter"), shares.CATHETER_SHARE),
        (of("scanner.fov_mm") < math.inf, shares.CUT_SHARE),
        (of("extras.stones") > 0, shares.STONES_SHARE),
    ],
    ids=["contrast", "gold", "hip", "balloon", "catheter", "cut", "stones"],
)
def test_rare_things_are_as_rare_as_said(there: np.ndarray, share: float) -> None:
    error = math.sqrt(share * (1 - share) / len(MEN))
    assert there.mean() > 0 and abs(there.mean() - share) < 3 * error


def test_what_rare_things_are_like_when_they_are_there() -> None:
    contrast, balloon, seeds = of("urine.contrast_hu"), of("extras.balloon_ml"), of("extras.gold_seeds")
    assert ((contrast == 0) | ((contrast >= 100) & (contrast <= 400))).all()
    assert ((balloon == 0) | ((balloon >= 60) & (balloon <= 100))).all()
    assert set(seeds) == {0, 2, 3, 4}


def test_soft_tissues_are_at_times_all_but_alike_and_at_times_apart() -> None:
    apart = np.abs(of("tissue.prostate") - of("tissue.muscle"))
    wall = np.abs(of("tissue.prostate") - of("tissue.rectum_wall"))
    assert (np.maximum(apart, wall) < 4).mean() > 0.1 and (apart > 10).mean() > 0.1


def test_pixels_are_a_clinic_s_and_the_field_of_view_holds_the_body_unless_it_is_to_cut_it() -> None:
    pixel = np.array([man.spacing_mm[2] for man in MEN])
    across = 2 * (176 * of("scale") * of("width") + 0.9 * of("fat_mm"))
    assert pixel.min() == 0.8 and pixel.max() == 1.27 and (512 * pixel > across).all()
    cut = of("scanner.fov_mm") / across
    assert ((cut > 1.0) | ((cut > 0.8) & (cut < 0.97))).all()
    assert {man.spacing_mm[0] for man in MEN} == {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0}
