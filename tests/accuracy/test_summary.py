"""Which elastix is the strongest, and whether ours is better, each way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from recontour.accuracy.rows import strongest_elastix
from recontour.accuracy.summary import aims_of, best_own, compared, paths_of, summary_of
from recontour.evaluate.journal import Outcome, PathOutcome
from tests.accuracy.made_outcomes import OURS, STRONG, WIDE, organ, outcome

NETWORK = "recontour network"
# Medians of prostate and rectum: STRONG 0.5 and 1.5, WIDE 0.4 and 2.0: means 1.0 and 1.2.
MM = {
    STRONG: ((0.4, 0.5, 0.6), (1.5, 1.5, 6.0)),
    WIDE: ((0.4, 0.4, 0.4), (2.0, 2.0, 2.0)),
    OURS: ((0.45, 0.45, 0.9), (1.0, 1.0, 1.6)),
}


def three_pairs() -> list[Outcome]:
    return [
        outcome(f"p{k}", method, organ("prostate", prostate[k]), organ("rectum", rectum[k]), seconds=seconds)
        for method, seconds in ((STRONG, 8.0), (WIDE, 12.0), (OURS, 2.0))
        for prostate, rectum in [MM[method]]
        for k in range(3)
    ]


def test_the_strongest_elastix_has_the_lowest_mean_of_medians() -> None:
    assert strongest_elastix(three_pairs()) == STRONG
    assert strongest_elastix([o for o in three_pairs() if o.method == OURS]) is None


def test_medians_means_and_worst_side_by_side() -> None:
    prostate, rectum = compared(three_pairs())
    assert (prostate.organ, prostate.pairs) == ("prostate", 3)
    assert prostate.ours == pytest.approx((0.45, 0.6, 0.9))
    assert prostate.elastix == pytest.approx((0.5, 0.5, 0.6))
    assert rectum.ours == pytest.approx((1.0, 1.2, 1.6))
    assert rectum.elastix == pytest.approx((1.5, 3.0, 6.0))


def test_it_is_said_plainly_either_way() -> None:
    text = summary_of(three_pairs())
    assert f"The strongest elastix here is `{STRONG}`: its median MSD is 1.00 mm" in text
    assert "| prostate | 3 | 0.45, 0.50: better | 0.60, 0.50: worse | 0.90, 0.60: worse |" in text
    assert "| rectum | 3 | 1.00, 1.50: better | 1.20, 3.00: better | 1.60, 6.00: better |" in text
    assert "in the median in 2 of 2, mean in 1 of 2, worst in 1 of 2 organs" in text
    # WIDE has 0.4 in all of the prostate, and a mean and worst of 2.0 in the rectum.
    assert "whichever elastix is best there, in the median in 1, mean in 1, worst in 1." in text
    assert "Median 2.0 s, elastix 8.0 s: 0.25 of its time." in text


def test_a_method_for_some_men_is_compared_on_their_pairs() -> None:
    personal = outcome("p2", "recontour personalised network", organ("prostate", 0.3), organ("rectum", 1.0))
    found = [row for row in compared([*three_pairs(), personal]) if row.method == personal.method]
    assert [(row.pairs, row.elastix[0]) for row in found] == [(1, 0.6), (1, 6.0)]
    assert best_own([*three_pairs(), personal]) == OURS


def test_an_elastix_that_loses_an_organ_is_worse() -> None:
    rows = [outcome("p", STRONG, organ("rectum", math.inf)), outcome("p", OURS, organ("rectum", 1.0))]
    assert "1.00, lost: better" in summary_of(rows)


def test_the_network_alone_beside_the_papers_figures_and_half_the_affine() -> None:
    rows = [
        outcome(f"p{k}", method, organ("prostate", mm))
        for method, values in (("affine", (1.6, 2.4)), (NETWORK, (0.9, 1.18)))
        for k, mm in enumerate(values)
    ]
    assert f"| phantoms | {NETWORK} | prostate | 1.04 | 1.06 | better | 1.00 | worse |" in aims_of(rows)
    assert aims_of(three_pairs()) == ""


def test_both_paths_of_the_network_beside_each_other() -> None:
    def both(registered_mm: float, segmented_mm: float) -> tuple[PathOutcome, PathOutcome]:
        return (
            PathOutcome("registration", registered_mm, 1.0, 0.9),
            PathOutcome("segmentation", segmented_mm, 1.0, 0.9),
        )

    found = [(0.5, 1.0), (0.7, 3.0), (1.2, math.inf)]
    rows = [
        outcome(f"p{k}", NETWORK, replace(organ("rectum", 0.5), paths=both(*mm)), organ("prostate", 0.5))
        for k, mm in enumerate(found)
    ]
    table = paths_of(rows)
    assert f"| phantoms | {NETWORK} | rectum | 3 | 0.70 | 0.80 | 1.20 | 3.00 | lost | lost |" in table
    assert "prostate" not in table and paths_of(three_pairs()) == ""
