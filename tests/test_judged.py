"""What a study, and a method among rivals, have their results judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet, Volume
from recontour.judged import judge_propagation
from recontour.pipeline import PlannedRoi, Propagation, Stopwatch
from recontour.settings import QaSettings, Settings
from recontour.study import StudyRequest, compute, load


def test_what_only_the_whole_day_shows_is_said_of_each_roi(phantom: Path, tmp_path: Path) -> None:
    """Two organs have each other's name, and a strip of the scan shows nothing."""
    swapped = {"bladder": "Prostate", "prostate": "Bladder"}
    affine = Settings(method="affine")
    request = StudyRequest(phantom / "planning", phantom / "daily", tmp_path / "rtstruct.dcm", affine, swapped)
    whole = load(request, Stopwatch())
    scan = whole.daily.volume
    columns = np.arange(scan.grid.size[2]) / scan.grid.size[2]
    cut = Volume(scan.grid, np.where((columns > 0.53) & (columns < 0.65), np.float32(-1000.0), scan.array))
    strangers = replace(whole, daily=replace(whole.daily, volume=cut), same_patient=False)
    judged = compute(strangers, Stopwatch()).judged
    assert {name for name, fact in judged.facts.items() if fact.order} >= {"Bladder", "Prostate"}
    assert any(fact.out_of_view > 0 for fact in judged.facts.values())
    assert judged.facts.keys() == judged.verdicts.keys()
    assert judged.verdict.light == "reject" and not judged.study.same_patient


REGION = Grid.of((70, 72, 74), (1.0, 1.0, 1.0), (-36.0, -35.0, -34.0))
BEYOND_MM = np.abs(REGION.points()).max(axis=-1) - 14
CUBE = LevelSet(REGION, np.clip(-BEYOND_MM, -15, 15).astype(np.float32))


def cube_under_fat(half_mm: float, seed: int) -> Volume:
    """45 HU, 3 mm of fat, and 60 HU beyond, in noise."""
    away = BEYOND_MM + 14 - half_mm
    hu = np.where(away < 0, 45.0, np.where(away < 3, -90.0, 60.0))
    return Volume(REGION, (hu + np.random.default_rng(seed).normal(0, 15, hu.shape)).astype(np.float32))


def propagated(shape: LevelSet, daily: Volume, warped: Volume, **more: object) -> Propagation:
    still, contour = Field.zero(REGION), {"P": shape}
    return Propagation(REGION, Affine.identity(), still, contour, contour, {}, daily, warped, **more)  # type: ignore[arg-type]


def test_edges_are_looked_for_beyond_the_part_of_the_region_that_a_shape_lies_on() -> None:
    """A cube under 3 mm of fat that lies 7 mm within where the day has it: its contour's own grid ends 8 mm from it,
    where the day shows fat, and the profile that belongs there is found from 1 to 13 mm."""
    shape = resample_level_set(CUBE, Grid.around((-22, -22, -22), (22, 22, 22), 1.0))
    daily, warped = cube_under_fat(21, 1), cube_under_fat(14, 2)
    judged = judge_propagation([PlannedRoi("P", CUBE)], propagated(shape, daily, warped), warped, daily, QaSettings())
    assert judged.facts["P"].edge_p95_mm == pytest.approx(7.0, abs=0.5)


def test_what_a_network_was_not_trained_on_is_to_be_reviewed() -> None:
    """A prostate of 28 x 28 x 28 mm, 22 ml, and a contour of the day with the organ where fat should be."""
    daily, planning = cube_under_fat(21, 1), cube_under_fat(14, 2)
    seen = tuple(
        {"organ": "prostate", "measure": measure, "low": low, "high": high, "scans": 12}
        for measure, low, high in (("volume_ml", 30, 50), ("inside_hu", 40, 50), ("around_hu", -130, -30))
    )
    plan = [PlannedRoi("P", CUBE, "prostate")]
    known = judge_propagation(plan, propagated(CUBE, daily, planning, seen=seen), planning, daily, QaSettings()).study
    assert [phrase.split(":")[0] for phrase in known.unlike] == [
        "prostate of the planning scan, volume",
        "prostate of the daily scan, median around",
    ]
    assert ": 22.0 ml (30 to 50 in the 12 scans" in known.unlike[0] or ": 21.9 ml" in known.unlike[0]
    unknown = judge_propagation(plan, propagated(CUBE, daily, planning), planning, daily, QaSettings()).study
    assert unknown.unlike == ()
