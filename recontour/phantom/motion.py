"""What may happen between two days, to the patient and to the scanner: drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Triple
from recontour.phantom.body import CONTRAST_SHARE, CUT_SHARE
from recontour.phantom.contents import Urine
from recontour.phantom.scanner import MEDIUM_PER_MM, Scanner

_STATIONS = 5  # along the rectum, from its lower to its upper end


@dataclass(frozen=True)
class Motion:
    """What happened between two days. Lengths in mm, angles in degrees about LPS x, y, z.

    shift_mm, rotation_deg: the patient's set-up, about the middle of the planning scan.
    frame_offset_mm: where the daily frame of reference puts its origin; no motion, but it sits in the affine.
    bladder_factor: daily over planning volume, kept between 40 and 600 ml.
    rectum_log_change: log of the local volume change of the rectum at stations from its lower to its upper end.
    prostate_shift_mm, prostate_rotation_deg: of the prostate beyond what its neighbours push it.
    vesicle_shift_mm: of the seminal vesicles, beyond that.
    background_mm: standard deviation of the smooth motion of all soft tissue, per component.
    gas_goes, gas_pockets: whether rectal gas is gone, and how many pockets are new.
    urine: what the bladder holds instead of what it held; None leaves it.
    hu_scale, noise: factor on (HU + 1000), and the daily noise relative to the planning scan's.
    hu_offset, kernel_per_mm, overshoot, slice_mm, starvation: of the daily scanner, as in `Scanner`.
    fov_share: diameter of the daily field of view over the body's width; below 1 it cuts the body.
    """

    seed: int = 0
    shift_mm: Triple = (0.0, 0.0, 0.0)
    rotation_deg: Triple = (0.0, 0.0, 0.0)
    frame_offset_mm: Triple = (0.0, 0.0, 0.0)
    bladder_factor: float = 1.0
    rectum_log_change: tuple[float, ...] = (0.0,) * _STATIONS
    prostate_shift_mm: Triple = (0.0, 0.0, 0.0)
    prostate_rotation_deg: Triple = (0.0, 0.0, 0.0)
    vesicle_shift_mm: Triple = (0.0, 0.0, 0.0)
    background_mm: float = 0.0
    gas_goes: bool = False
    gas_pockets: int = 0
    hu_scale: float = 1.0
    noise: float = 1.0
    urine: Urine | None = None
    hu_offset: float = 0.0
    kernel_per_mm: float = MEDIUM_PER_MM
    overshoot: float = 0.0
    slice_mm: float = 0.0
    starvation: float = 0.0
    fov_share: float = math.inf

    @staticmethod
    def draw(seed: int, severity: float = 1.0, frame_offset_mm: float = 0.0) -> Motion:
        """A day. `severity` scales all motion; 1 is what clinics report: bladder mostly 0.5 to 2 times, in one
        day of eight up to 3.5 times, prostate 1 to 3 mm standard deviation, most of it front-back and up-down (Langen
        and Jones, IJROBP 2001). `frame_offset_mm`: the largest offset of the daily frame along each axis."""
        rng = np.random.default_rng((seed, 1))
        s = severity
        gas = int(rng.choice(4, p=(0.3, 0.3, 0.25, 0.15)))
        of_scanner = Scanner.draw(rng, float(rng.choice((1.0, 2.0, 2.5, 3.0, 5.0))))
        return Motion(
            seed=seed,
            shift_mm=_drawn(rng, (6.0, 5.0, 6.0), s, 20.0),
            rotation_deg=_drawn(rng, (1.2, 0.8, 1.2), s, 4.0),
            frame_offset_mm=_triple(rng.uniform(-1, 1, 3) * frame_offset_mm),
            bladder_factor=_bladder_change(rng, s),
            rectum_log_change=_station_changes(rng, s),
            prostate_shift_mm=_drawn(rng, (0.8, 2.0, 1.8), s, 8.0),
            prostate_rotation_deg=_drawn(rng, (3.5, 1.0, 1.0), s, 12.0),
            vesicle_shift_mm=_drawn(rng, (0.7, 2.0, 1.2), s, 6.0),
            background_mm=float(rng.uniform(0.6, 1.6) * s),
            gas_goes=bool(rng.random() < 0.6),
            gas_pockets=gas,
            hu_scale=of_scanner.hu_scale,
            noise=float(rng.uniform(0.7, 1.5)),
            urine=Urine.draw(rng, CONTRAST_SHARE) if rng.random() < 0.5 else None,
            hu_offset=of_scanner.hu_offset,
            kernel_per_mm=of_scanner.kernel_per_mm,
            overshoot=of_scanner.overshoot,
            slice_mm=of_scanner.slice_mm,
            starvation=of_scanner.starvation,
            fov_share=float(rng.uniform(0.82, 0.96)) if rng.random() < CUT_SHARE else math.inf,
        )

    def scanner(self, body_mm: float) -> Scanner:
        """The daily one; `body_mm`: the body's width."""
        facts = (self.kernel_per_mm, self.overshoot, self.slice_mm, self.hu_scale, self.hu_offset, self.starvation)
        scanner = Scanner(*facts)
        return scanner.cut_to(self.fov_share * body_mm) if self.fov_share < math.inf else scanner

    def without_frame_offset(self) -> Motion:
        """The same day in the planning scan's own frame."""
        return replace(self, frame_offset_mm=(0.0, 0.0, 0.0))


def _drawn(rng: np.random.Generator, sd: Triple, severity: float, limit: float) -> Triple:
    return _triple(np.clip(rng.normal(size=3) * sd * severity, -limit, limit))


def _bladder_change(rng: np.random.Generator, severity: float) -> float:
    spread = 0.95 if rng.random() < 0.125 else 0.42
    return float(np.exp(np.clip(rng.normal(0.0, spread), -1.25, 1.25) * severity))


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _station_changes(rng: np.random.Generator, severity: float) -> tuple[float, ...]:
    """Stool moves on: neighbouring stations change alike, distant ones need not. On one day of eight the rectum is
    emptied or filled as a whole."""
    whole = rng.normal(0.0, 0.9 if rng.random() < 0.125 else 0.25)
    steps = whole + np.cumsum(rng.normal(0.0, 0.28, _STATIONS)) - rng.normal(0.0, 0.2)
    return tuple(float(v) for v in np.clip(steps, -1.6, 1.6) * severity)
