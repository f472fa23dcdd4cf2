"""All that a report of one fraction shows, in memory: made once, drawn as a page, as a PDF, and in a course.

The frame is the daily scan's (LPS, mm). "Planned" shapes and the "rigid" scan are the planning ones, placed by the
alignment (the affine) alone; "daily" shapes and the "warped" scan are what the registration made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.manifest import Manifest, RoiRecord


@dataclass(frozen=True)
class SurfaceChange:
    """How far the daily surface lies from the planned one, mm: mean, 95th percentile, largest; and where the largest
    is (`worst_mm`, LPS): the place to look at first."""

    mean_mm: float
    p95_mm: float
    largest_mm: float
    worst_mm: Triple


@dataclass(frozen=True, eq=False)
class RoiPicture:
    """One ROI of the fraction.

    record: its facts and verdict, as in the manifest. colour: RGB, 0 to 255, the plan's. planned, daily: its shapes,
    each on a part of the region; empty (all negative) where nothing is left of it. change: None where either is empty.
    """

    record: RoiRecord
    colour: tuple[int, int, int]
    planned: LevelSet
    daily: LevelSet
    change: SurfaceChange | None


@dataclass(frozen=True, eq=False)
class Dvh:
    """Cumulative dose-volume histograms of one ROI: the share of its volume (0 to 1) that gets at least dose_gy.

    planned: of the planning contour on the planning dose; daily: of the new contour, with the dose placed rigidly.
    Both (N,) on dose_gy (N,), rising from 0. covered: the share of the daily volume that the dose grid holds.
    """

    roi: str
    dose_gy: NDArray[np.float64]
    planned: NDArray[np.float64]
    daily: NDArray[np.float64]
    planned_ml: float
    daily_ml: float
    covered: float = 1.0


@dataclass(frozen=True)
class GoalResult:
    """One clinical goal as it was asked ("Rectum V70Gy < 15 %"), with its value then and now, in `unit`."""

    goal: str
    roi: str
    unit: str
    planned: float
    daily: float
    met_then: bool
    met_now: bool


@dataclass(frozen=True, eq=False)
class DoseReport:
    """The planning dose on the daily anatomy. dose: Gy, on the report's region. remarks: what the reader must know,
    such as that the dose was placed by the alignment and not computed anew."""

    dose: Volume
    dvhs: tuple[Dvh, ...]
    goals: tuple[GoalResult, ...] = ()
    prescription_gy: float | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Fraction:
    """One fraction.

    pseudonym: the same for the same patient, tells nothing of him. identity: "" unless the user asked for the name.
    planned_on, treated_on: the scans' dates as "2026-11-20", or "". region: 1 mm, axial. fixed, rigid, warped: HU on
    the region. field_daily_to_planning: on the region, None where it is not at hand (then no displacement is shown).
    remarks: what was not at hand, in words.
    """

    pseudonym: str
    manifest: Manifest
    region: Grid
    fixed: Volume
    rigid: Volume
    warped: Volume
    field_daily_to_planning: Field | None
    rois: tuple[RoiPicture, ...]
    identity: str = ""
    planned_on: str = ""
    treated_on: str = ""
    dose: DoseReport | None = None
    remarks: tuple[str, ...] = field(default_factory=tuple)
