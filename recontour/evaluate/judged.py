"""A propagation judged as `recontour run` judges it, where there are no files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from recontour.geometry.crop import crop_field, crop_level_set, crop_volume
from recontour.geometry.volume import Volume
from recontour.pipeline import PlannedRoi, Propagation
from recontour.qa.checks import RoiFacts, StudyFacts, Verdict, judge
from recontour.qa.measure import Day, alignment_of, measure_roi
from recontour.qa.metal import metal_ml
from recontour.qa.order import out_of_order
from recontour.qa.shape import centroid_mm
from recontour.qa.view import share_out_of_view
from recontour.settings import QaSettings


@dataclass(frozen=True, eq=False)
class Judged:
    """facts, verdicts: by ROI name. study: of the whole fraction."""

    facts: dict[str, RoiFacts]
    verdicts: dict[str, Verdict]
    study: StudyFacts


def judge_propagation(
    planned: list[PlannedRoi], result: Propagation, planning: Volume, daily: Volume, settings: QaSettings
) -> Judged:
    """What the checks measure and say of a result; planning, daily: the whole scans, HU."""
    order = _order(planned, result)

    def measure(roi: PlannedRoi) -> RoiFacts:
        fact = _measured(roi, result, daily)
        out_of_view = share_out_of_view(result.level_sets[roi.name], result.fixed)
        return replace(fact, out_of_view=out_of_view, order=order.get(roi.organ, ""))

    with ThreadPoolExecutor(2) as pool:
        facts = {fact.name: fact for fact in pool.map(measure, planned)}
    affine = result.affine_daily_to_planning
    moved = alignment_of(affine, np.mean(result.region.bounds_mm(), axis=0))
    study = StudyFacts(
        moved.rotation_degrees,
        moved.scale,
        result.alignment_match,
        metal_then_ml=metal_ml(planning, result.region, affine),
        metal_now_ml=metal_ml(daily, result.region),
    )
    return Judged(facts, {name: judge(fact, settings) for name, fact in facts.items()}, study)


def _measured(roi: PlannedRoi, result: Propagation, daily: Volume) -> RoiFacts:
    shape = result.level_sets[roi.name]
    day = Day(
        result.affine_daily_to_planning,
        crop_field(result.field_daily_to_planning, shape.grid),
        daily.grid,
        crop_volume(result.fixed, shape.grid),
        crop_volume(result.warped, shape.grid),
    )
    found = result.segmented.get(roi.name)
    paths = (result.registered[roi.name], crop_level_set(found, shape.grid)) if found else None
    return measure_roi(roi.name, roi.organ or roi.name, roi.level_set, shape, day, paths)


def _order(planned: list[PlannedRoi], result: Propagation) -> dict[str, str]:
    centres = {roi.organ: centroid_mm(result.level_sets[roi.name]) for roi in planned if roi.organ}
    return out_of_order({organ: centre for organ, centre in centres.items() if centre is not None})
