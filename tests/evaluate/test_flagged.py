"""What was flagged is counted anew from facts, by whatever limits."""

from __future__ import annotations

import math
from dataclasses import replace

from recontour.accuracy.tables import flags_table
from recontour.evaluate.flagged import Contour, Flags, Share, contours_of, flags
from recontour.evaluate.journal import Outcome
from recontour.qa.checks import RoiFacts
from recontour.settings import QaSettings
from tests.accuracy.made_outcomes import OURS, STRONG, facts, organ, outcome

LIMITS = QaSettings(match_review=0.7, match_reject=0.4)


def pairs() -> list[Outcome]:
    """Wrong: above 5 mm. Flagged: beyond 120 ml, or of an image match below 0.7."""
    return [
        outcome("p1", OURS, organ("prostate", 3.0, 5.1, facts=facts(125.0))),  # wrong, flagged
        outcome("p2", OURS, organ("prostate", 3.0, 9.0, facts=facts(100.0))),  # wrong, overlooked
        outcome("p3", OURS, organ("prostate", 1.0, 5.0, facts=facts(119.0))),  # good, passed
        outcome("p4", OURS, organ("prostate", 1.0, 1.0, facts=facts(100.0, image_match=0.65))),  # good, flagged
        outcome("p5", OURS, organ("prostate", math.inf, math.inf, facts=facts(0.0))),  # lost, flagged
        outcome("p6", OURS, organ("prostate", math.inf, math.inf), error="no overlap"),  # loud: not counted
        outcome("p1", STRONG, organ("prostate", 3.0, 9.0)),  # rivals are not judged
    ]


def shares(found: Flags) -> tuple[tuple[int, int], tuple[int, int]]:
    """Flagged and all, of the wrong and of the good ones."""
    return (found.wrong.flagged, found.wrong.count), (found.good.flagged, found.good.count)


def test_counts_by_hand() -> None:
    found = flags(contours_of(pairs()), LIMITS)
    assert [(f.method, f.organ, *shares(f)) for f in found] == [
        (OURS, "prostate", (2, 3), (1, 2)),
        (OURS, "", (2, 3), (1, 2)),
    ]
    assert "| recontour refine | prostate | 3 | 2 (67%) | 2 | 1 (50%) |" in flags_table(found)


def test_other_limits_need_no_other_run() -> None:
    looser = replace(LIMITS, match_review=0.6)
    assert shares(flags(contours_of(pairs()), looser)[0]) == ((2, 3), (0, 2))


def test_organs_and_methods_are_counted_apart_and_together() -> None:
    def contour(hd95_mm: float, method: str = "ours", organ: str = "prostate", **known: float) -> Contour:
        quiet = RoiFacts("P", organ, 40.0, 40.0, image_match=0.9, edge_p95_mm=1.0)
        return Contour(method, organ, hd95_mm, replace(quiet, **known))

    contours = [
        contour(6.0, edge_p95_mm=8.0),
        contour(7.0, organ="rectum"),
        contour(math.inf, after_ml=0.0),
        contour(4.0, edge_p95_mm=5.0),
        contour(2.0),
        contour(2.0, "theirs", "rectum"),
    ]
    found = flags(contours, QaSettings())
    assert [(f.method, f.organ, *shares(f)) for f in found] == [
        ("ours", "prostate", (2, 2), (1, 2)),
        ("ours", "rectum", (0, 1), (0, 0)),
        ("ours", "", (2, 3), (1, 2)),
        ("theirs", "rectum", (0, 0), (0, 1)),
        ("theirs", "", (0, 0), (0, 1)),
    ]
    assert found[2].fine == Share(0, 1)
    assert "| theirs | all organs | 0 | none | 1 | 0 (0%) |" in flags_table(found)


def test_what_is_not_a_number_is_wrong() -> None:
    (contour,) = contours_of([outcome("p1", OURS, organ("prostate", math.nan, math.nan, facts=facts()))])
    assert contour.wrong
    assert contours_of([]) == []
