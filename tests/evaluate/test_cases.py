"""Scores, tables and the journal on small balls whose distances are known."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from recontour.errors import AlignmentFailed, UsageError
from recontour.evaluate import cases
from recontour.evaluate.cases import Case, Pair, read_journal, run_accuracy
from recontour.evaluate.scores import Score, score, slices_of, summarise
from recontour.evaluate.tables import Outcome, markdown_of
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.motion import MovedScan

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
    return Pair("phantom", scan, planned, ORGANS, moved)


def grown(case: Case, by_mm: float) -> tuple[dict[str, LevelSet], float]:
    radii = {"Vescica": 14, "Prostata": 9}
    return {name: ball(case.region, radius + by_mm) for name, radius in radii.items()}, 2.5 * by_mm


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
    markdown, table = tmp_path / "accuracy.md", tmp_path / "accuracy.csv"
    made: list[str] = []
    runs: list[str] = []

    def maker(name: str) -> Pair:
        made.append(name)
        return pair()

    def counted(case: Case) -> tuple[dict[str, LevelSet], float]:
        runs.append("a")
        return grown(case, 0.5)

    pairs = {name: (lambda name=name: maker(name)) for name in ("p1", "p2")}
    first = run_accuracy({"p1": pairs["p1"]}, {"half": counted}, markdown, table)
    journal = table.with_suffix(".jsonl")
    journal.write_text(journal.read_text() + '{"pair": "p2", "meth')  # power went while it was written
    again = run_accuracy(pairs, {"half": counted, "one": lambda case: grown(case, 1.0)}, markdown, table)
    assert again[0] == first[0]
    assert (made, len(runs), len(aligned)) == (["p1", "p1", "p2"], 2, 3)
    assert [(o.pair, o.method) for o in again] == [("p1", "half"), ("p1", "one"), ("p2", "half"), ("p2", "one")]
    third = run_accuracy(pairs, {"half": counted, "one": counted}, markdown, table)
    assert third == again
    assert len(made) == 3
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(r["pair"], r["method"], r["organ"]) for r in rows][:3] == [
        ("p1", "half", "bladder"),
        ("p1", "half", "prostate"),
        ("p1", "one", "bladder"),
    ]
    assert float(rows[2]["msd_mm"]) == pytest.approx(1.0, abs=0.03)
    assert "| bladder | one | 1.00 |" in markdown.read_text()
    assert "| one | 2.5 | 2.5 | 0 |" in markdown.read_text()


def test_a_failure_counts_as_lost_and_does_not_stop_the_rest(tmp_path: Path, aligned: list[int]) -> None:
    def fails(case: Case) -> tuple[dict[str, LevelSet], float]:
        raise RuntimeError("elastix gave up")

    methods = {"rival": fails, "ours": lambda case: grown(case, 0.0)}
    found = run_accuracy({"p": pair}, methods, tmp_path / "a.md", tmp_path / "a.csv")
    assert [(o.method, o.error) for o in found] == [("rival", "elastix gave up"), ("ours", "")]
    text = (tmp_path / "a.md").read_text()
    assert "| bladder | rival | lost | lost | lost | lost | lost | lost | 0.000 | 0.000 |" in text
    assert "| rival | nan | nan | 1 |" in text
    assert read_journal(tmp_path / "a.jsonl") == found


def test_an_alignment_that_fails_fails_every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(daily: Volume, planning: Volume) -> Affine:
        raise AlignmentFailed("no overlap")

    monkeypatch.setattr(cases, "align_scans", lost)
    found = run_accuracy({"p": pair}, {"ours": lambda case: grown(case, 0.0)}, tmp_path / "a.md", tmp_path / "a.csv")
    assert [o.error for o in found] == ["no overlap"]
    assert all(math.isinf(s.msd_mm) for s in found[0].scores)


def test_a_journal_with_other_measures_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "a.jsonl"
    journal.write_text('{"pair": "p", "group": "g", "method": "m", "seconds": 1.0, "align_seconds": 1.0, '
                       '"scores": [{"organ": "bladder", "msd_mm": 1.0}], "error": ""}\n')  # fmt: skip
    with pytest.raises(UsageError, match=r"another version.*a\.jsonl"):
        read_journal(journal)


def test_groups_have_tables_of_their_own() -> None:
    def one(group: str, msd_mm: float) -> Outcome:
        row = Score("rectum", msd_mm, 2.0, 3.0, 0.9, 1.0, 0.8, 0.9, 100.0, 50.0, 50.0)
        return Outcome(group + "-1", group, "ours", 3.0, 1.0, (row,))

    text = markdown_of([one("real", 0.25), one("phantom", 0.5)])
    assert text.index("## real: 1 pair") < text.index("| rectum | ours | 0.25 |") < text.index("## phantom")
    assert "| rectum | ours | 0.50 | 0.50 ± 0.00 | 0.50 | 0.50 | 2.00 | 2.00 | 0.900 | 0.900 |" in text
