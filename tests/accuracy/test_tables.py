"""Tables of numbers that were worked out by hand."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

from recontour.accuracy.rows import DICE, MSD, methods_of, ordered, organs_of, slug, undisturbed
from recontour.accuracy.tables import csv_of, field_table, measure_table, time_table
from tests.accuracy.made_outcomes import OURS, STRONG, WIDE, organ, outcome

FOUR = [outcome(f"p{k}", OURS, organ("rectum", mm), seconds=float(k)) for k, mm in enumerate((1.0, 2.0, 3.0, 10.0), 1)]


def test_statistics_of_four() -> None:
    """Mean 4, squared deviations 9, 4, 1 and 36: sd sqrt(50 / 3) = 4.08; 95 %: 3 + 0.85 x 7."""
    assert "| rectum | recontour refine | 4 | 2.50 | 4.00 ± 4.08 | 8.95 | 10.00 | 0 |\n" in measure_table(FOUR, MSD)


def test_of_dice_the_low_side_is_the_bad_one() -> None:
    """Mean 0.8, deviations 0.1, 0.1, 0 and 0.2: sd sqrt(0.06 / 3); the 5th percentile: 0.6 + 0.15 x 0.2."""
    rows = [outcome(f"p{k}", OURS, organ("rectum", 1.0, dice=dice)) for k, dice in enumerate((0.9, 0.9, 0.8, 0.6))]
    assert "| rectum | recontour refine | 4 | 0.850 | 0.800 ± 0.141 | 0.630 | 0.600 | 0 |\n" in measure_table(
        rows, DICE
    )


def test_a_lost_organ_is_counted_and_takes_the_mean_with_it() -> None:
    table = measure_table([*FOUR[:3], outcome("p4", OURS, organ("rectum", math.inf))], MSD)
    assert "| rectum | recontour refine | 4 | 2.50 | lost | lost | lost | 1 |\n" in table


def test_fields_and_folding() -> None:
    rows = [
        outcome("p1", OURS, organ("rectum", 1.0, spread=0.1, folding=0.0)),
        outcome("p2", OURS, organ("rectum", 1.0, spread=0.3, folding=0.01)),
    ]
    assert "| rectum | recontour refine | 2 | 0.200 | 0.300 | 0.500 % | 1.000 % | 1 |\n" in field_table(rows)


def test_seconds_leave_out_what_failed() -> None:
    table = time_table([*FOUR, outcome("p5", OURS, organ("rectum", math.inf), seconds=0.0, error="gave up")])
    assert "| recontour refine | 5 | 2.5 | 2.5 | 4.0 | 1 |\n" in table
    assert "| (alignment, shared by all) | 5 | 1.0 | 1.0 | 1.0 |  |\n" in table


def test_seconds_count_where_others_left_the_processors_alone() -> None:
    """A pair counts whole or not at all: methods are compared on it."""
    shares = {("quiet", OURS): 0.02, ("quiet", STRONG): 0.1, ("mixed", OURS): 0.0, ("mixed", STRONG): 0.11}
    rows = [replace(outcome(pair, method), others_share=share) for (pair, method), share in shares.items()]
    unknown = outcome("unknown", OURS)
    assert {o.pair for o in undisturbed([*rows, unknown])} == {"quiet"}
    failed = outcome("quiet", WIDE, organ("rectum", math.inf), error="gave up")
    assert {o.pair for o in undisturbed([*rows, failed])} == {"quiet"}


def test_a_method_that_was_never_timed_is_not_among_the_seconds_and_spoils_none() -> None:
    rows = [replace(outcome("p", name), others_share=0.02) for name in (OURS, STRONG)]
    assert methods_of(undisturbed([*rows, outcome("p", WIDE)])) == [OURS, STRONG]


def test_ours_come_after_the_rivals_whatever_the_journals_order() -> None:
    mixed = [outcome("p2", OURS), outcome("p2", STRONG), outcome("p1", OURS), outcome("p2", WIDE)]
    assert [(o.pair, o.method) for o in ordered(mixed)] == [("p1", OURS), ("p2", WIDE), ("p2", STRONG), ("p2", OURS)]
    assert methods_of(mixed, own=False) == [STRONG, WIDE]
    assert organs_of([outcome("p", OURS, organ("CTV", 1.0), organ("rectum", 1.0))]) == ["rectum", "CTV"]


def test_every_organ_has_its_line_in_the_csv() -> None:
    rival = outcome("p1", STRONG, organ("rectum", 0.25, planned_ml=80.0))
    rows = list(csv.DictReader(io.StringIO(csv_of([*FOUR[:1], rival]))))
    assert [(r["method"], r["organ"], r["msd_mm"], r["planned_ml"]) for r in rows] == [
        (OURS, "rectum", "1.0000", "100.0000"),
        (STRONG, "rectum", "0.2500", "80.0000"),
    ]


def test_names_of_files() -> None:
    assert slug("real scan, moved") == "real-scan-moved"
