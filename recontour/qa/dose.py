"""The planning dose on the daily anatomy: placed by the alignment, in the planned and the new contours, against goals.

What that means and does not: docs/dose.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.dvh import DoseHistogram, dose_in_shape, dvh
from recontour.qa.fraction import DoseReport, Dvh, RoiPicture
from recontour.qa.goals import Goal, Goals, judge_goals, read_goals

__all__ = ["DoseHistogram", "Goal", "Goals", "dose_in_shape", "dvh", "judge_goals", "make_dose_report", "read_goals"]

STEP_GY = 0.1  # of the curves that are drawn; goals are judged on finer ones
PLACED = (
    "The planning dose was placed on the daily scan by the alignment alone. It was not computed anew on the daily "
    "anatomy, and it is not the dose that was delivered."
)
_TURN_DEGREES, _SCALE, _SHARE, _SAME_GY = 1.0, 0.005, 0.001, 0.05  # above these it is said


def make_dose_report(
    dose: Volume,
    affine_daily_to_planning: Affine,
    region: Grid,
    rois: Sequence[RoiPicture],
    planned: Mapping[str, LevelSet],
    goals: Goals | None = None,
    prescription_gy: float | None = None,
) -> DoseReport:
    """The dose report of a fraction.

    dose: Gy, in the planning frame. region: where it is to be shown, in the daily frame. rois: their names, organs
    and daily shapes are used. planned: by ROI name, the shapes in the planning frame, where the planned dose is taken
    without any alignment; an ROI that is not there gets no curve, which is said. prescription_gy: the plan's; that of
    `goals` goes before it. Raises SettingsError for a goal in percent of a prescription that is not known.
    """
    goals = goals or Goals()
    affine = affine_daily_to_planning
    there = [roi for roi in rois if roi.record.name in planned]

    def both(roi: RoiPicture) -> tuple[DoseHistogram, DoseHistogram]:
        return dose_in_shape(planned[roi.record.name], dose), dose_in_shape(roi.daily, dose, affine)

    with ThreadPoolExecutor(2) as pool:
        shown = pool.submit(resample_volume, dose, region, affine, None, 0.0)
        doses = dict(zip([roi.record.name for roi in there], pool.map(both, there), strict=True))
    prescribed = goals.prescription_gy or prescription_gy
    organs = {roi.record.name: roi.record.organ for roi in there}
    results, unjudged = judge_goals(goals.goals, doses, organs, prescribed)
    remarks = (PLACED, *_of_alignment(affine), *_of_prescription(goals.prescription_gy, prescription_gy))
    missing = tuple(f"{roi.record.name}: no planned shape at hand, no dose." for roi in rois if roi not in there)
    return DoseReport(
        shown.result(), _curves(doses), results, prescribed, (*remarks, *_of_cover(doses), *missing, *unjudged)
    )


def _curves(doses: Mapping[str, tuple[DoseHistogram, DoseHistogram]]) -> tuple[Dvh, ...]:
    """On one axis for all, up to where the last one has fallen to 0."""
    highest = max((part.top_gy for pair in doses.values() for part in pair), default=0.0)
    axis = np.arange(int(np.ceil(highest / STEP_GY)) + 1, dtype=np.float64) * STEP_GY
    return tuple(
        Dvh(
            name,
            axis,
            then.share_at_least(axis),
            now.share_at_least(axis),
            then.volume_ml,
            now.volume_ml,
            now.covered,
        )
        for name, (then, now) in doses.items()
    )


def _of_alignment(affine: Affine) -> tuple[str, ...]:
    """What else the alignment does to the dose than to shift it."""
    left, scales, right = np.linalg.svd(affine.matrix[:3, :3])
    turned = np.clip((np.trace(left @ right) - 1) / 2, -1.0, 1.0)
    degrees, scale = float(np.degrees(np.arccos(turned))), float(scales[np.abs(scales - 1).argmax()])
    remarks: list[str] = []
    if degrees > _TURN_DEGREES:
        remarks.append(f"The alignment turned the dose by {degrees:.1f}°.")
    if abs(scale - 1) > _SCALE:
        percent = 100 * (1 / scale - 1)  # the affine leads from the daily frame to the dose's
        remarks.append(f"The alignment also stretched the dose, by up to {percent:+.1f} % in one direction.")
    return tuple(remarks)


def _of_prescription(of_goals: float | None, of_plan: float | None) -> tuple[str, ...]:
    if not of_goals or not of_plan or abs(of_goals - of_plan) <= _SAME_GY:
        return ()
    return (f"The prescription of the goals, {of_goals:g} Gy, was used; the plan says {of_plan:g} Gy.",)


def _of_cover(doses: Mapping[str, tuple[DoseHistogram, DoseHistogram]]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {100 * (1 - part.covered):.1f} % of the {which} volume lies outside the dose grid and counts as 0 Gy."
        for name, pair in doses.items()
        for which, part in zip(("planned", "daily"), pair, strict=True)
        if 1 - part.covered > _SHARE
    )
