"""What is written into a journal is what is read from it, and old facts can be judged by new checks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from recontour.errors import UsageError
from recontour.evaluate.journal import (
    OrganOutcome,
    Outcome,
    PathOutcome,
    append_outcome,
    read_journal,
    read_journals,
    roi_facts,
)
from recontour.evaluate.scores import Score

SCORE = Score("bladder", 0.5, 1.5, 2.5, 0.97, 1.1, 0.8, 0.9, 100.0, 110.0, 100.0)
FACTS = {"name": "Vescica", "organ": "bladder", "before_ml": 90.0, "after_ml": 110.0, "shift_mm": [1.0, 2.0, -3.0]}
PATHS = (PathOutcome("registration", 0.6, 1.6, 0.96), PathOutcome("segmentation", math.inf, math.inf, 0.0))
ROW = OrganOutcome(SCORE, "Vescica", 90.0, 0.2, 0.0, "review", ("It reaches the edge.",), FACTS, PATHS)
OURS = Outcome("p1", "phantoms", "Luca", "ours", 2.5, 0.5, (ROW,), own=True, model="m", stages={"fuse": 0.1})
RIVAL = replace(OURS, method="rival", organs=(OrganOutcome(SCORE, "Vescica", 90.0),), own=False, error="gave up")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    journal = tmp_path / "a.jsonl"
    for outcome in (OURS, RIVAL):
        append_outcome(journal, outcome)
    assert read_journal(journal) == [OURS, RIVAL]
    assert read_journal(tmp_path / "none.jsonl") == []


def test_a_line_holds_what_calibration_needs(tmp_path: Path) -> None:
    append_outcome(tmp_path / "a.jsonl", OURS)
    organ = json.loads((tmp_path / "a.jsonl").read_text())["organs"][0]
    assert (organ["score"]["msd_mm"], organ["score"]["hd95_mm"], organ["score"]["dice"]) == (0.5, 1.5, 0.97)
    assert (organ["light"], organ["facts"], organ["planned_ml"]) == ("review", FACTS, 90.0)


def test_a_line_that_was_cut_short_is_passed_over_and_not_written_to(tmp_path: Path) -> None:
    journal = tmp_path / "a.jsonl"
    journal.write_text('{"pair": "p1", "meth')
    append_outcome(journal, OURS)
    assert read_journal(journal) == [OURS]


def test_of_several_journals_each_outcome_counts_once(tmp_path: Path) -> None:
    first, second = tmp_path / "a.part-1-of-2.jsonl", tmp_path / "a.jsonl"
    for journal, outcomes in ((first, [OURS, RIVAL]), (second, [replace(OURS, seconds=9.0)])):
        for outcome in outcomes:
            append_outcome(journal, outcome)
    assert {(o.method, o.seconds) for o in read_journals([first, second])} == {("ours", 9.0), ("rival", 2.5)}


@pytest.mark.parametrize(
    "line",
    [
        '{"pair": "p", "group": "g", "method": "m", "seconds": 1.0, "align_seconds": 1.0, "scores": []}',
        '{"pair": "p", "organs": [{"score": {"organ": "bladder", "msd_mm": 1.0}}]}',
        '{"pair": "p", "organs": [3]}',
        "[]",
        "17",
    ],
)
def test_a_journal_with_other_measures_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=r"another version.*a\.jsonl"):
        read_journal(tmp_path / "a.jsonl")


def test_facts_of_another_version_can_be_judged() -> None:
    """A fact that is not known any more is passed over, one that was not measured then has its default."""
    found = roi_facts({**FACTS, "temperature": 36.6})
    assert (found.name, found.after_ml, found.shift_mm) == ("Vescica", 110.0, (1.0, 2.0, -3.0))
    assert (found.folding, found.image_match) == (0.0, None)
