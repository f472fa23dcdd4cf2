"""Does the error grow with what the bladder filled or emptied since the plan? (paper, figures 5 and 6)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recontour.accuracy.rows import methods_of, named, on_pairs_of, organs_of, strongest_elastix
from recontour.accuracy.tables import number
from recontour.evaluate.journal import Outcome
from recontour.evaluate.markdown import markdown_table

EDGES = (0.0, 0.5, 0.75, 4 / 3, 2.0, math.inf)  # of the bladder's volume ratio, daily over planned
BINS = ("below 0.5", "0.5 to 0.75", "0.75 to 1.33", "1.33 to 2", "2 and more")
_SAME, _CHANGED = 2, (1, 3)  # places in BINS: about as full as planned; up to twice or half as full


@dataclass(frozen=True)
class Point:
    """One organ of one pair: the bladder's true daily volume over its planned one, and the organ's MSD, mm."""

    ratio: float
    msd_mm: float


def points(outcomes: Sequence[Outcome], method: str, organ: str) -> list[Point]:
    """Of every pair that has a bladder."""
    found: list[Point] = []
    for outcome in outcomes:
        if outcome.method != method:
            continue
        ratio = bladder_ratio(outcome)
        if ratio is not None:
            found += [Point(ratio, row.score.msd_mm) for row in outcome.organs if row.score.organ == organ]
    return found


def bladder_ratio(outcome: Outcome) -> float | None:
    """True daily over planned volume; None where there is no bladder."""
    for row in outcome.organs:
        if row.score.organ == "bladder" and row.planned_ml > 0:
            return row.score.reference_volume_ml / row.planned_ml
    return None


def binned(found: Sequence[Point]) -> list[list[Point]]:
    """In each of BINS; a ratio on an edge belongs to the bin above it."""
    place = np.digitize([p.ratio for p in found], EDGES[1:-1])
    return [[p for p, k in zip(found, place, strict=True) if k == bin_] for bin_ in range(len(BINS))]


def median_mm(found: Sequence[Point]) -> float:
    """Of the MSD of at least one point."""
    return float(np.median([p.msd_mm for p in found]))


def growth(bins: Sequence[Sequence[Point]]) -> float | None:
    """The median MSD where the bladder is changed by up to a factor of two, over that where it is about the same: 1
    is flat. None where either has no pairs."""
    changed = [point for k in _CHANGED for point in bins[k]]
    if not changed or not bins[_SAME]:
        return None
    before, after = median_mm(bins[_SAME]), median_mm(changed)
    return after / before if before > 0 and math.isfinite(after) else None


def rivals_shown(outcomes: Sequence[Outcome]) -> list[str]:
    """The affine that all start from, and the strongest elastix."""
    return [name for name in ("affine", strongest_elastix(outcomes)) if name and name in methods_of(outcomes)]


def filling_table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: the median MSD (n) in every bin; "" where no pair has a bladder."""
    rows: list[list[str]] = []
    for method in [*rivals_shown(outcomes), *methods_of(outcomes, own=True)]:
        same = on_pairs_of(outcomes, method)
        for organ in organs_of(same):
            bins = binned(points(same, method, organ))
            if any(bins):
                flat = growth(bins)
                cells = [f"{number(median_mm(b), 2)} ({len(b)})" if b else "" for b in bins]
                rows.append([named(organ), method, *cells, f"{flat:.2f}" if flat is not None else ""])
    order = [named(organ) for organ in organs_of(outcomes)]
    rows.sort(key=lambda row: order.index(row[0]))
    return markdown_table(["organ", "method", *BINS, "growth"], rows) if rows else ""
