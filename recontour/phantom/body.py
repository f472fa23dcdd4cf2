"""What varies from man to man and from scanner to scanner: every fact is drawn here, once, from the man's seed.

Ranges and where they come from: docs/phantom.md. Common things vary in every man; each rare one has its probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Triple
from recontour.phantom.contents import Urine
from recontour.phantom.scanner import Scanner

CONTRAST_SHARE = 0.08  # of men: contrast medium in the bladder
SEEDS_SHARE = 0.15  # gold markers in the prostate
HIP_SHARE = 0.04  # a hip prosthesis, every fourth time on both sides
BALLOON_SHARE = 0.05  # a rectal balloon
CATHETER_SHARE = 0.05  # a urinary catheter
CUT_SHARE = 0.06  # a field of view that cuts the body
IV_SHARE = 0.2  # contrast medium in the vessels
STONES_SHARE = 0.4  # lime in the prostate
LIME_SHARE = 0.4  # lime in the arteries; phleboliths likewise

_SLICES_MM = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
_SLICES_SHARE = (0.03, 0.07, 0.2, 0.25, 0.3, 0.08, 0.07)


@dataclass(frozen=True)
class Tissue:
    """HU of one man's tissues, and how uneven they are.

    mottle_hu: standard deviation of gland tissue. marbling: 0 lean to 1, muscle shot through with fat. haze: 0 to 1,
    how much of the fat around the pelvic organs is veins and strands. bone_density: factor on what bone exceeds 0 by.
    """

    fat: float = -106.0
    muscle: float = 56.0
    prostate: float = 40.0
    vesicles: float = 30.0
    bladder_wall: float = 38.0
    rectum_wall: float = 40.0
    vessels: float = 46.0
    skin: float = 25.0
    mottle_hu: float = 6.0
    marbling: float = 0.3
    haze: float = 0.3
    bone_density: float = 1.0

    @staticmethod
    def draw(rng: np.random.Generator) -> Tissue:
        """Soft tissues lie around a level of the man's own, at times so close to it that only texture and fat part
        them, as in real CT without contrast medium."""
        level, apart = rng.normal(44.0, 5.0), rng.uniform(1.0, 8.0)
        muscle, prostate, vesicles, bladder, rectum = level + apart * rng.normal((0.9, -0.3, -1.2, -0.8, -0.4), 0.8)
        iv = rng.uniform(5.0, 25.0) if rng.random() < IV_SHARE else 0.0
        return Tissue(
            fat=float(rng.uniform(-115.0, -85.0)),
            muscle=float(np.clip(muscle + 0.4 * iv, 40.0, 70.0)),
            prostate=float(np.clip(prostate + iv, 30.0, 55.0 + iv)),
            vesicles=float(np.clip(vesicles + 0.5 * iv, 15.0, 50.0)),
            bladder_wall=float(np.clip(bladder + 0.7 * iv, 25.0, 65.0)),
            rectum_wall=float(np.clip(rectum + iv, 28.0, 75.0)),
            vessels=float(np.clip(rng.normal(44.0, 4.0) + (4.0 + 3.0 * rng.random()) * iv, 34.0, 220.0)),
            skin=float(rng.uniform(-10.0, 50.0)),
            mottle_hu=float(rng.uniform(2.0, 9.0)),
            marbling=float(rng.beta(1.5, 2.5)),
            haze=float(rng.beta(1.5, 2.0)),
            bone_density=float(rng.uniform(0.6, 1.3)),
        )


@dataclass(frozen=True)
class Extras:
    """What only some men have.

    gold_seeds: markers in the prostate, 0 or 2 to 4. hip_left, hip_right: prostheses. balloon_ml: of a rectal
    balloon, 0 for none; balloon_hu: air or water in it. catheter: through the urethra, its balloon in the bladder.
    stones: specks of lime in the prostate. lime: of the arteries' walls that show, 0 to 1. phleboliths: their number.
    median_lobe_mm: how far the prostate stands into the bladder, 0 for not.
    """

    gold_seeds: int = 0
    hip_left: bool = False
    hip_right: bool = False
    balloon_ml: float = 0.0
    balloon_hu: float = -1000.0
    catheter: bool = False
    stones: int = 0
    lime: float = 0.0
    phleboliths: int = 0
    median_lobe_mm: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> Extras:
        """Each by its own chance (the shares above)."""
        hip, both, side = rng.random() < HIP_SHARE, rng.random() < 0.25, rng.random() < 0.5
        return Extras(
            gold_seeds=_if(rng, SEEDS_SHARE) * int(rng.integers(2, 5)),
            hip_left=bool(hip and (both or side)),
            hip_right=bool(hip and (both or not side)),
            balloon_ml=_if(rng, BALLOON_SHARE) * float(rng.uniform(60.0, 100.0)),
            balloon_hu=float(rng.choice([-1000.0, 2.0])),
            catheter=bool(rng.random() < CATHETER_SHARE),
            stones=_if(rng, STONES_SHARE) * int(rng.integers(1, 12)),
            lime=_if(rng, LIME_SHARE) * float(rng.uniform(0.1, 0.7)),
            phleboliths=_if(rng, LIME_SHARE) * int(rng.integers(1, 6)),
            median_lobe_mm=_if(rng, 0.2) * float(rng.uniform(4.0, 14.0)),
        )


@dataclass(frozen=True)
class Body:
    """One man and his planning scan. Lengths in mm, volumes in ml.

    scale: of the skeleton; width: of it along x, beyond that. fat_mm: under the skin; belly_mm: of it in front.
    square: exponent of the trunk's outline, 2 an ellipse. muscle_mm: by how much muscles exceed a lean man's, gap_mm:
    fat between them. bone_wobble_mm: how far bones depart from the average man's. rectum_radius, rectum_aside: at
    seven stations from the anal canal to the sigmoid. gas: chances that become pockets. urine: what the bladder
    holds. spacing_mm (z, y, x), z_low, z_high: the planning scan. noise_hu: of every scan of this man.
    """

    scale: float
    width: float
    fat_mm: float
    belly_mm: float
    square: float
    muscle_mm: float
    gap_mm: float
    bone_wobble_mm: float
    prostate_ml: float
    prostate_mm: Triple
    bladder_ml: float
    bladder_wall_mm: float
    rectum_radius: tuple[float, ...]
    rectum_aside: tuple[float, ...]
    gas: tuple[float, ...]
    origin_mm: Triple
    spacing_mm: Triple
    z_low: float
    z_high: float
    noise_hu: float
    urine: Urine
    tissue: Tissue
    extras: Extras
    scanner: Scanner

    @staticmethod
    def draw(seed: int) -> Body:
        """The man of this seed: slim to obese, prostate 18 to 120 ml, bladder 40 to 600 ml, rectum collapsed to 5 cm
        wide when drawn (their neighbours dent them a little)."""
        rng = np.random.default_rng((seed, 10))
        jitter = _floats(rng.normal(size=3) * (1.0, 1.0, 4.0))
        fat = float(5.0 + 43.0 * rng.beta(1.5, 2.2))
        scale, width = _around(rng, 1.0, 0.035, 0.92, 1.08), _around(rng, 1.0, 0.03, 0.94, 1.06)
        across = 2.0 * (176.0 * scale * width + 0.9 * fat)
        spacing, scanner = _planning_scanner(rng, across)
        return Body(
            scale=scale,
            width=width,
            fat_mm=fat,
            belly_mm=float(rng.uniform(-8.0, 30.0)),
            square=float(rng.uniform(2.25, 2.9)),
            muscle_mm=float(rng.uniform(1.5, 5.5)),
            gap_mm=float(rng.uniform(0.3, 2.0)),
            bone_wobble_mm=float(rng.uniform(1.5, 4.5)),
            prostate_ml=float(np.clip(rng.lognormal(math.log(42.0), 0.45), 18.0, 120.0)),
            prostate_mm=(jitter[0], jitter[1], min(max(jitter[2] - 14.0, -22.0), -6.0)),
            bladder_ml=float(np.clip(rng.lognormal(math.log(165.0), 0.7), 40.0, 600.0)),
            bladder_wall_mm=float(1.8 + 3.7 * rng.beta(1.3, 3.0)),
            rectum_radius=_rectum_radius(rng),
            rectum_aside=_floats(rng.normal(size=7) * (0.5, 1, 2, 4, 6, 6, 4)),
            gas=_floats(rng.uniform(0, 1, 4)),
            origin_mm=(float(rng.uniform(-30, 30)), float(rng.uniform(-200, 30)), float(rng.uniform(-900, 900))),
            spacing_mm=spacing,
            z_low=float(rng.uniform(-105, -90)),
            z_high=float(rng.uniform(115, 140)),
            noise_hu=float(np.clip(rng.lognormal(math.log(8.0 + 0.2 * fat), 0.35), 5.0, 35.0)),
            urine=Urine.draw(rng, CONTRAST_SHARE),
            tissue=Tissue.draw(rng),
            extras=Extras.draw(rng),
            scanner=scanner,
        )


def _planning_scanner(rng: np.random.Generator, across_mm: float) -> tuple[Triple, Scanner]:
    """Its voxel, and how it pictures. Pixels of 0.8 mm and more, so wide that 512 of them hold the couch's edge."""
    spacing = float(rng.choice(_SLICES_MM, p=_SLICES_SHARE))
    pixel = max(float(rng.choice([0.8, 0.9, 0.977, 1.074, 1.17, 1.27])), round(across_mm / 490.0, 3))
    scanner = Scanner.draw(rng, slice_mm=spacing)
    if rng.random() < CUT_SHARE:
        scanner = scanner.cut_to(across_mm * float(rng.uniform(0.82, 0.96)))
    return (spacing, min(pixel, 1.27), min(pixel, 1.27)), scanner


def _rectum_radius(rng: np.random.Generator) -> tuple[float, ...]:
    """From collapsed everywhere to 25 mm somewhere: how full on the whole, then station by station."""
    least = np.array((8.5, 7.0, 6.5, 6.5, 6.5, 6.5, 7.0))
    most = np.array((11.0, 17.0, 23.0, 25.0, 25.0, 23.0, 18.0))
    fullness = np.clip(rng.beta(1.3, 1.5) + rng.normal(0.0, 0.2, 7), 0.0, 1.0)
    return _floats(least + fullness * (most - least))


def _if(rng: np.random.Generator, share: float) -> int:
    return int(rng.random() < share)


def _around(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, sd), low, high))


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
