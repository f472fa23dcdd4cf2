"""What was flagged is counted anew from facts, by whatever limits."""

from __future__ import annotations

import math
from dataclasses import replace

from recontour.accuracy.failures import Detection, detection_table, detections
from recontour.evaluate.journal import Outcome
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


def test_counts_by_hand() -> None:
    found = detections(pairs(), LIMITS)
    assert found == [Detection(OURS, "prostate", 3, 2, 2, 1), Detection(OURS, "", 3, 2, 2, 1)]
    assert "| recontour refine | prostate | 3 | 2 (67%) | 2 | 1 (50%) |" in detection_table(found)


def test_other_limits_need_no_other_run() -> None:
    looser = replace(LIMITS, match_review=0.6)
    assert detections(pairs(), looser)[0] == Detection(OURS, "prostate", 3, 2, 2, 0)


def test_organs_are_counted_apart_and_together() -> None:
    rectum = organ("rectum", 4.0, 9.0, facts={**facts(100.0), "name": "Rectum", "organ": "rectum"})
    found = detections([outcome("p1", OURS, organ("prostate", 1.0, facts=facts()), rectum)], LIMITS)
    assert found == [
        Detection(OURS, "prostate", 0, 0, 1, 0),
        Detection(OURS, "rectum", 1, 0, 0, 0),
        Detection(OURS, "", 1, 0, 1, 0),
    ]
    assert "| recontour refine | prostate | 0 | none | 1 | 0 (0%) |" in detection_table(found)
