"""What the checks measure and say of a propagation: for a study on disk, and for pairs whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from recontour.geometry.volume import Volume
from recontour.pipeline import PlannedRoi, Propagation
from recontour.qa.checks import RoiFacts, StudyFacts, Verdict, judge, judge_study
from recontour.qa.likeness import measures_of, unlike
from recontour.qa.measure import AlignmentFacts, Day, alignment_of, measure_roi
from recontour.qa.metal import metal_ml
from recontour.qa.order import out_of_order
from recontour.qa.shape import centroid_mm
from recontour.qa.view import share_out_of_view
from recontour.settings import QaSettings


@dataclass(frozen=True, eq=False)
class Judged:
    """facts, verdicts: by ROI name. alignment, study, verdict: of the whole fraction."""

    facts: dict[str, RoiFacts]
    verdicts: dict[str, Verdict]
    alignment: AlignmentFacts
    study: StudyFacts
    verdict: Verdict


def judge_propagation(
    planned: Sequence[PlannedRoi],
    result: Propagation,
    planning: Volume,
    daily: Volume,
    settings: QaSettings,
    same_patient: bool = True,
    missed: tuple[str, ...] = (),
) -> Judged:
    """planning, daily: the whole scans, HU. same_patient: whether both name one. missed: ROIs that were asked for and
    could not be brought over."""
    order = _order(planned, result)
    affine = result.affine_daily_to_planning
    day = Day(affine, result.field_daily_to_planning, daily.grid, result.fixed, result.warped)

    def measure(roi: PlannedRoi) -> RoiFacts:
        fact = _measured(roi, result, day)
        out_of_view = share_out_of_view(result.level_sets[roi.name], result.fixed)
        return replace(fact, out_of_view=out_of_view, order=order.get(roi.organ, ""))

    with ThreadPoolExecutor(2) as pool:
        facts = {fact.name: fact for fact in pool.map(measure, planned)}
    moved = alignment_of(affine, np.mean(result.region.bounds_mm(), axis=0))
    study = StudyFacts(
        moved.rotation_degrees,
        moved.scale,
        result.alignment_match,
        same_patient,
        missed,
        _unlike(planned, result, planning, settings),
        metal_then_ml=metal_ml(planning, result.region, affine),
        metal_now_ml=metal_ml(daily, result.region),
    )
    verdicts = {name: judge(fact, settings) for name, fact in facts.items()}
    return Judged(facts, verdicts, moved, study, judge_study(study, verdicts.values(), settings))


def _measured(roi: PlannedRoi, result: Propagation, day: Day) -> RoiFacts:
    shape = result.level_sets[roi.name]
    found = result.segmented.get(roi.name)
    paths = (result.registered[roi.name], found) if found else None
    return measure_roi(roi.name, roi.organ or roi.name, roi.level_set, shape, day, paths)


def _unlike(
    planned: Sequence[PlannedRoi], result: Propagation, planning: Volume, settings: QaSettings
) -> tuple[str, ...]:
    """What the network has not seen: () where there is none, or its card does not say what it was trained on."""
    if not result.seen:
        return ()
    organs = [roi for roi in planned if roi.organ]
    then = {roi.organ: measures_of(planning, roi.level_set) for roi in organs}
    now = {roi.organ: measures_of(result.fixed, result.level_sets[roi.name]) for roi in organs}
    looks = {organ: {name: v for name, v in found.items() if name != "volume_ml"} for organ, found in now.items()}
    slack = settings.unlike_review
    return (*unlike(then, "planning", result.seen, slack), *unlike(looks, "daily", result.seen, slack))


def _order(planned: Sequence[PlannedRoi], result: Propagation) -> dict[str, str]:
    centres = {roi.organ: centroid_mm(result.level_sets[roi.name]) for roi in planned if roi.organ}
    return out_of_order({organ: centre for organ, centre in centres.items() if centre is not None})
