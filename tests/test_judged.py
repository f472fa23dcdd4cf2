"""What a study, and a method among rivals, have their results judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recontour.geometry.volume import Volume
from recontour.pipeline import Stopwatch
from recontour.settings import Settings
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
