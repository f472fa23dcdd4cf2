"""What the checks are worth, by hand arithmetic on contours whose errors are given."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from recontour.calibrate import read_contours, rule_flags, separations
from recontour.errors import UsageError
from recontour.evaluate.flagged import Contour
from recontour.evaluate.journal import OrganOutcome, Outcome, append_outcome
from recontour.evaluate.scores import Score
from recontour.qa.checks import RoiFacts
from recontour.settings import QaSettings

QUIET = RoiFacts("P", "prostate", 40.0, 40.0, image_match=0.9, edge_p95_mm=1.0, edge_mean_mm=0.2)


def contour(hd95_mm: float, method: str = "ours", organ: str = "prostate", **facts: object) -> Contour:
    return Contour(method, organ, hd95_mm, replace(QUIET, organ=organ, **facts))  # type: ignore[arg-type]


def score(organ: str, hd95_mm: float) -> Score:
    return Score(organ, 1.0, hd95_mm, 9.0, 0.9, 1.0, 0.9, 0.9, 0.0, 40.0, 40.0)


def outcome(method: str, hd95_mm: float, facts: RoiFacts | None, error: str = "") -> Outcome:
    plain = None if facts is None else json.loads(json.dumps(asdict(facts)))
    row = OrganOutcome(score("prostate", hd95_mm), "P", 40.0, facts=plain)
    return Outcome("day 1", "phantoms", "man", method, 1.0, 1.0, (row,), error=error, own=facts is not None)


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    """Wrong: 2, 4, 6; good: 1, 2, 5, 0. Of 12 pairs are right 2 + 1/2 tie, 3, 4."""
    wrong = [contour(9.0, edge_p95_mm=v) for v in (2.0, 4.0, 6.0)]
    good = [contour(1.0, edge_p95_mm=v) for v in (1.0, 2.0, 5.0, 0.0)]
    (found,) = (s for s in separations([*wrong, *good]) if s.fact.name.startswith("edges off, worst"))
    assert (found.wrong, found.good) == (3, 4)
    assert found.auc == pytest.approx(9.5 / 12)
    assert found.limit == pytest.approx(2.0) and found.limit < 2.0  # all three beyond it: 95 % of three
    assert found.alarms == pytest.approx(2 / 4)  # 2 and 5
    assert (found.quiet_limit, found.caught) == (5.0, pytest.approx(1 / 3))


def test_one_in_twenty_wrong_ones_may_be_missed_and_one_in_ten_good_ones_flagged() -> None:
    wrong = [contour(9.0, edge_p95_mm=float(v)) for v in range(1, 41)]  # 38 of 40 are 95 %: those above 2
    good = [contour(1.0, edge_p95_mm=v / 10) for v in range(1, 21)]  # 2 of 20 are 10 %: those above 1.8
    found = separations([*wrong, *good])[0]
    assert found.limit == pytest.approx(3.0) and sum(float(v) > found.limit for v in range(1, 41)) == 38
    assert found.alarms == 0.0
    assert found.quiet_limit == pytest.approx(1.8)
    assert found.caught == pytest.approx(39 / 40)


def test_where_less_is_worse() -> None:
    contours = [contour(9.0, image_match=0.2), contour(9.0, image_match=0.5), contour(1.0, image_match=0.8)]
    (found,) = (s for s in separations(contours) if s.fact.name == "image match")
    assert (found.auc, found.caught) == (1.0, 1.0)
    assert 0.5 < found.limit < 0.51


def test_a_fact_that_was_not_measured_separates_nothing() -> None:
    contours = [contour(9.0, image_match=None), contour(1.0)]
    assert "image match" not in [s.fact.name for s in separations(contours)]


def test_what_each_rule_flags_and_which_of_it_no_other_does() -> None:
    contours = [
        contour(9.0, edge_p95_mm=8.0, image_match=0.1),
        contour(9.0, edge_p95_mm=8.0),
        contour(1.0, touches_border=True),
        contour(float("inf"), after_ml=0.0, edge_p95_mm=8.0),
    ]
    found = {r.rule: (r.wrong.flagged, r.good.flagged, r.alone) for r in rule_flags(contours, QaSettings())}
    assert found == {"lost": (1, 0, 1), "edges": (2, 0, 1), "match": (1, 0, 0), "border": (0, 1, 0)}


def test_journals_are_read_without_rivals_and_failures(tmp_path: Path) -> None:
    journal = tmp_path / "accuracy.jsonl"
    for one in (
        outcome("ours", 6.0, QUIET),
        outcome("elastix", 1.0, None),
        outcome("broken", float("inf"), QUIET, error="it failed"),
        outcome("network", 2.0, replace(QUIET, edge_p95_mm=4.0)),
    ):
        append_outcome(journal, one)
    found = read_contours([journal])
    assert [(c.method, c.hd95_mm, c.wrong, c.facts.edge_p95_mm) for c in found] == [
        ("ours", 6.0, True, 1.0),
        ("network", 2.0, False, 4.0),
    ]
    assert [c.method for c in read_contours([journal], ["network"])] == ["network"]
    with pytest.raises(UsageError, match="network, ours"):
        read_contours([journal], ["elastix"])
    with pytest.raises(UsageError, match="no such journal"):
        read_contours([tmp_path / "none.jsonl"])
