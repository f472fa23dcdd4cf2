"""The error against the bladder's filling, by hand."""

from __future__ import annotations

import pytest

from recontour.accuracy.filling import Point, binned, bladder_ratio, filling_table, growth, points
from recontour.evaluate.journal import Outcome
from tests.accuracy.made_outcomes import OURS, STRONG, organ, outcome


def day(pair: str, ratio: float, rectum_mm: float, method: str = OURS) -> Outcome:
    bladder = organ("bladder", 0.5, planned_ml=80.0, true_ml=80.0 * ratio)
    return outcome(pair, method, bladder, organ("rectum", rectum_mm))


def test_the_ratio_is_of_the_true_daily_volume() -> None:
    assert bladder_ratio(day("p", 1.5, 1.0)) == pytest.approx(1.5)
    assert bladder_ratio(outcome("p", OURS, organ("rectum", 1.0))) is None


def test_a_ratio_on_an_edge_belongs_above_it() -> None:
    bins = binned([Point(ratio, 1.0) for ratio in (0.49, 0.5, 0.74, 0.75, 1.0, 1.4, 1.99, 2.0, 5.0)])
    assert [[p.ratio for p in found] for found in bins] == [[0.49], [0.5, 0.74], [0.75, 1.0], [1.4, 1.99], [2.0, 5.0]]


def test_growth_is_of_medians_within_a_factor_of_two() -> None:
    """About the same: 1, 2, 3 mm. Half or twice as full: 2, 3, 4 mm. What is beyond does not count."""
    ratios = {0.2: 50.0, 0.6: 2.0, 0.8: 1.0, 1.0: 2.0, 1.2: 3.0, 1.5: 3.0, 1.9: 4.0, 3.0: 60.0}
    found = points([day(f"p{k}", ratio, mm) for k, (ratio, mm) in enumerate(ratios.items())], OURS, "rectum")
    assert growth(binned(found)) == pytest.approx(1.5)
    assert growth(binned(found[2:5])) is None


def test_the_table_has_medians_and_counts() -> None:
    rows = [day("p1", 1.0, 0.4), day("p2", 1.1, 0.6), day("p3", 1.5, 0.75), day("p1", 1.0, 2.0, STRONG)]
    table = filling_table(rows)
    assert "| rectum | recontour refine |  |  | 0.50 (2) | 0.75 (1) |  | 1.50 |\n" in table
    assert f"| rectum | {STRONG} |  |  | 2.00 (1) |  |  |  |\n" in table
    assert filling_table([outcome("p", OURS, organ("rectum", 1.0))]) == ""
