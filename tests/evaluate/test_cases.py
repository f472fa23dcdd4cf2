"""Scores, tables and the journal on small balls whose distances are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recontour.errors import AlignmentFailed, UsageError
from recontour.evaluate import cases
from recontour.evaluate.cases import Case, Found, Method, Pair, Task, own_method, run_accuracy
from recontour.evaluate.journal import read_journal, roi_facts
from recontour.evaluate.scores import score, slices_of, summarise
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.move import MovedScan
from recontour.qa.checks import judge
from recontour.settings import Settings

GRID = Grid.of((24, 40, 44), (2.0, 1.2, 1.0), (-22.0, -24.0, -24.0))
TIGHT = Grid.around((-19, -18, -17), (23, 20, 20), 1.0)
ORGANS = {"Vescica": "bladder", "Prostata": "prostate"}


def ball(grid: Grid, radius_mm: float, centre_mm: tuple[float, float, float] = (2.0, 1.0, 0.5)) -> LevelSet:
    distance = radius_mm - np.linalg.norm(grid.points() - np.asarray(centre_mm), axis=-1)
    return LevelSet(grid, np.clip(distance, -10, 10).astype(np.float32))


def pair() -> Pair:
    scan = Volume(GRID, np.zeros(GRID.size, np.float32))
    truth = {"Vescica": ball(TIGHT, 14), "Prostata": ball(TIGHT, 9), "CTV": ball(TIGHT, 10)}
    planned = {name: ball(GRID, 10) for name in truth}
    moved = MovedScan(scan, truth, Affine.identity(), Field.zero(TIGHT))
    return Pair("phantom", scan, planned, ORGANS, moved, "Luca")


def grown(case: Case, by_mm: float) -> Found:
    radii = {"Vescica": 14, "Prostata": 9}
    return Found({name: ball(case.region, radius + by_mm) for name, radius in radii.items()}, 2.5 * by_mm)


def test_scores_of_a_known_growth_on_another_grid() -> None:
    row = score({"Vescica": ball(GRID, 15)}, {"Vescica": ball(TIGHT, 14)}, ORGANS)[0]
    assert row.organ == "bladder"
    assert row.msd_mm == pytest.approx(1.0, abs=0.03)
    assert row.hd_mm == pytest.approx(1.0, abs=0.1)
    assert row.dice == pytest.approx(2 * 14**3 / (14**3 + 15**3), abs=3e-3)
    assert row.volume_ratio == pytest.approx(15**3 / 14**3, rel=3e-3)


def test_a_result_far_away_is_scored_whole() -> None:
    wide = Grid.around((-60, -60, -60), (60, 60, 60), 2.0)
    row = score({"a": ball(wide, 8, (-40.0, -40.0, -40.0))}, {"a": ball(TIGHT, 8)})[0]
    assert row.dice == 0.0
    assert row.hd_mm == pytest.approx(math.dist((-40, -40, -40), (2, 1, 0.5)) + 8 - 8, abs=8.5)
    assert row.volume_ratio == pytest.approx(1.0, rel=0.02)


def test_a_truth_that_leaves_the_results_tight_grid_counts_whole() -> None:
    tight = Grid.around((-8, -9, -9.5), (12, 11, 10.5), 1.0)  # a ball of 9 mm, and nothing around it
    row = score({"a": ball(tight, 9)}, {"a": ball(TIGHT, 14)})[0]
    assert row.dice == pytest.approx(2 * 9**3 / (9**3 + 14**3), abs=5e-3)


def test_what_a_known_growth_leaves_to_draw() -> None:
    """Balls of 14 and 15.5 mm on slices 2 mm apart: nowhere in a slice is the one within 1 mm of the other."""
    slices = slices_of(GRID)
    row = score({"a": ball(GRID, 15.5)}, {"a": ball(TIGHT, 14)}, None, slices)[0]
    assert row.volume_ml == pytest.approx(4 / 3 * np.pi * 15.5**3 / 1000, rel=5e-3)
    assert row.reference_volume_ml == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=5e-3)
    assert (row.surface_dice_1mm, row.surface_dice_2mm) == (0.0, 1.0)
    heights = np.array([plane.origin_mm[2] for plane in slices]) - 0.5
    radii = np.sqrt(14.0**2 - heights[np.abs(heights) < 14] ** 2)
    assert row.added_path_length_mm == pytest.approx(float(2 * np.pi * radii.sum()), rel=5e-3)


def test_lost_organs_are_infinitely_far_off() -> None:
    nothing = LevelSet(GRID, np.full(GRID.size, -5, np.float32))
    rows = score({"a": nothing}, {"a": ball(TIGHT, 8), "b": ball(TIGHT, 8)})
    assert [(r.organ, r.msd_mm, r.dice) for r in rows] == [("a", math.inf, 0.0), ("b", math.inf, 0.0)]
    heights = np.arange(-17, 21) - 0.5
    circles = 2 * np.pi * np.sqrt(64 - heights[np.abs(heights) < 8] ** 2)
    assert rows[0].added_path_length_mm == pytest.approx(circles.sum(), rel=5e-3)


def test_a_shape_that_fills_its_grid_has_no_distance() -> None:
    everywhere = LevelSet(TIGHT, np.full(TIGHT.size, 3.0, np.float32))
    with pytest.raises(UsageError, match="a shape without a surface"):
        score({"a": everywhere}, {"a": everywhere})


def test_summary_by_hand() -> None:
    found = summarise([1.0, 2.0, 3.0, 10.0])
    assert (found.count, found.median, found.mean, found.worst) == (4, 2.5, 4.0, 10.0)
    assert found.sd == pytest.approx(math.sqrt((9 + 4 + 1 + 36) / 3))
    assert found.p95 == pytest.approx(3 + 0.85 * 7)
    low = summarise([0.9, 0.8, 0.95], larger_is_worse=False)
    assert (low.worst, low.p95) == (0.8, pytest.approx(0.81))
    assert summarise([2.0]).sd == 0.0


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Alignment is another room's: here it is the identity, and counted."""
    calls: list[int] = []

    def identity(daily: Volume, planning: Volume) -> Affine:
        calls.append(1)
        return Affine.identity()

    monkeypatch.setattr(cases, "align_scans", identity)
    return calls


def test_a_cut_run_goes_on_where_it_stopped(tmp_path: Path, aligned: list[int]) -> None:
    journal = tmp_path / "accuracy.jsonl"
    made: list[str] = []
    runs: list[str] = []

    def maker(name: str) -> Pair:
        made.append(name)
        return pair()

    def counted(case: Case) -> Found:
        runs.append("a")
        return grown(case, 0.5)

    def tasks(names: list[str], methods: dict[str, Method]) -> dict[str, Task]:
        return {name: Task(lambda name=name: maker(name), methods) for name in names}

    half, one = {"half": Method(counted)}, {"one": Method(lambda case: grown(case, 1.0))}
    first = run_accuracy(tasks(["p1"], half), journal)
    journal.write_text(journal.read_text() + '{"pair": "p2", "meth')  # power went while it was written
    again = run_accuracy(tasks(["p1", "p2"], half | one), journal)
    assert again[0] == first[0]
    assert (made, len(runs), len(aligned)) == (["p1", "p1", "p2"], 2, 3)
    assert [(o.pair, o.method) for o in again] == [("p1", "half"), ("p1", "one"), ("p2", "half"), ("p2", "one")]
    assert again[1].organs[0].score.msd_mm == pytest.approx(1.0, abs=0.03)
    assert run_accuracy(tasks(["p1", "p2"], half | one), journal) == again
    elsewhere = tmp_path / "part.jsonl"
    assert run_accuracy(tasks(["p1", "p2"], half), elsewhere, others=[journal]) == [again[0], again[2]]
    assert len(made) == 3
    assert not elsewhere.exists()


def test_each_pair_has_methods_of_its_own(tmp_path: Path, aligned: list[int]) -> None:
    half, one = ({name: Method(lambda case, mm=mm: grown(case, mm))} for name, mm in (("half", 0.5), ("one", 1.0)))
    found = run_accuracy({"p1": Task(pair, half), "p2": Task(pair, half | one)}, tmp_path / "a.jsonl", "an abacus")
    assert [(o.pair, o.method) for o in found] == [("p1", "half"), ("p2", "half"), ("p2", "one")]
    assert {(o.machine, o.man, o.group) for o in found} == {("an abacus", "Luca", "phantom")}


def test_a_failure_counts_as_lost_and_does_not_stop_the_rest(tmp_path: Path, aligned: list[int]) -> None:
    def fails(case: Case) -> Found:
        raise RuntimeError("elastix gave up")

    methods = {"rival": Method(fails), "ours": Method(lambda case: grown(case, 0.0), own=True)}
    found = run_accuracy({"p": Task(pair, methods)}, tmp_path / "a.jsonl")
    assert [(o.method, o.error, o.own) for o in found] == [("rival", "elastix gave up", False), ("ours", "", True)]
    assert [(o.score.organ, o.score.msd_mm, o.score.dice) for o in found[0].organs] == [
        ("bladder", math.inf, 0.0),
        ("prostate", math.inf, 0.0),
    ]
    assert read_journal(tmp_path / "a.jsonl") == found


def test_an_alignment_that_fails_fails_every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(daily: Volume, planning: Volume) -> Affine:
        raise AlignmentFailed("no overlap")

    monkeypatch.setattr(cases, "align_scans", lost)
    found = run_accuracy({"p": Task(pair, {"ours": Method(lambda case: grown(case, 0.0))})}, tmp_path / "a.jsonl")
    assert [o.error for o in found] == ["no overlap"]
    assert all(math.isinf(o.score.msd_mm) for o in found[0].organs)


def test_volumes_of_plan_and_day(tmp_path: Path, aligned: list[int]) -> None:
    outcome = run_accuracy({"p": Task(pair, {"m": Method(lambda case: grown(case, 0.0))})}, tmp_path / "a.jsonl")[0]
    bladder = outcome.organs[0]
    assert (bladder.roi, bladder.score.organ) == ("Vescica", "bladder")
    assert bladder.planned_ml == pytest.approx(4 / 3 * np.pi * 10**3 / 1000, rel=0.01)
    assert bladder.score.reference_volume_ml == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.01)
    assert (bladder.jacobian_sd, bladder.folding, bladder.facts, bladder.light) == (None, None, None, "")


def test_the_field_is_judged_inside_the_true_organ(tmp_path: Path, aligned: list[int]) -> None:
    """u = a/2 (x - cx)^2 along x: its determinant is 1 + a (x - cx). Over a ball of radius r its sd is a r / sqrt(5),
    and beyond cx - 1 / a it is negative: a cap of the height h = r - 1 / a, which is h^2 (3 r - h) / (4 r^3) of it."""
    slope = 1 / 7.5

    def bent(case: Case) -> Found:
        field = Field.zero(case.region)
        field.array[0] = slope / 2 * (case.region.points()[..., 0] - 2.0) ** 2
        return replace(grown(case, 3.0), field_daily_to_planning=field)

    bladder = run_accuracy({"p": Task(pair, {"m": Method(bent)})}, tmp_path / "a.jsonl")[0].organs[0]
    assert bladder.jacobian_sd == pytest.approx(slope * 14 / math.sqrt(5), rel=0.02)
    assert bladder.folding == pytest.approx(6.5**2 * (3 * 14 - 6.5) / (4 * 14**3), rel=0.05)


def test_both_paths_are_scored(tmp_path: Path, aligned: list[int]) -> None:
    def two(case: Case) -> Found:
        paths = {"registration": grown(case, 2.0).level_sets, "segmentation": {"Vescica": ball(case.region, 15)}}
        return replace(grown(case, 0.0), paths=paths)

    organs = run_accuracy({"p": Task(pair, {"m": Method(two)})}, tmp_path / "a.jsonl")[0].organs
    assert [(p.path, round(p.msd_mm, 1)) for p in organs[0].paths] == [("registration", 2.0), ("segmentation", 1.0)]
    assert [p.path for p in organs[1].paths] == ["registration"]


def test_our_own_method_tells_all_that_the_journal_keeps(tmp_path: Path, aligned: list[int]) -> None:
    opened: list[str] = []
    settings = Settings(method="affine")

    def model() -> None:
        opened.append("asked")

    tasks = {"p": Task(pair, {"ours": own_method(settings, model)})}
    outcome = run_accuracy(tasks, tmp_path / "a.jsonl")[0]
    assert (outcome.own, set(opened)) == (True, {"asked"})
    assert outcome.seconds == pytest.approx(sum(outcome.stages.values()))
    assert {"rotation_degrees", "metal_now_ml"} <= set(outcome.study)
    bladder = outcome.organs[0]
    assert bladder.facts is not None
    assert bladder.facts["after_ml"] == pytest.approx(bladder.score.volume_ml, rel=0.02)
    assert judge(roi_facts(bladder.facts), settings.qa).light == bladder.light
