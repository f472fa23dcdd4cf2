"""What tables and plots take from outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recontour.baselines import USUAL
from recontour.evaluate.journal import OrganOutcome, Outcome
from recontour.evaluate.scores import MEASURES, Measure

ORGANS = ("prostate", "seminal_vesicles", "bladder", "rectum")
OTHERS_AT_MOST = 0.1
MSD, HD95, DICE = (next(m for m in MEASURES if m.name == name) for name in ("msd_mm", "hd95_mm", "dice"))


def ordered(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """By group and pair; the rivals first, then recontour's own, whatever journal they come from."""
    usual = {name: place for place, name in enumerate(USUAL)}

    def place(outcome: Outcome) -> tuple[str, str, bool, int, int, str]:
        method = outcome.method
        return outcome.group, outcome.pair, outcome.own, usual.get(method, len(usual)), len(method), method

    return sorted(outcomes, key=place)


def groups_of(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Group -> its outcomes."""
    return {group: [o for o in outcomes if o.group == group] for group in dict.fromkeys(o.group for o in outcomes)}


def methods_of(outcomes: Iterable[Outcome], own: bool | None = None) -> list[str]:
    """Names of the methods; own: only recontour's, or only the rivals'."""
    return list(dict.fromkeys(o.method for o in outcomes if own is None or o.own == own))


def organs_of(outcomes: Iterable[Outcome]) -> list[str]:
    """The four organs that there are, then the rest."""
    found = dict.fromkeys(organ.score.organ for o in outcomes for organ in o.organs)
    return [organ for organ in ORGANS if organ in found] + [organ for organ in found if organ not in ORGANS]


def organ_rows(outcomes: Iterable[Outcome], method: str, organ: str) -> list[OrganOutcome]:
    """One organ by one method, by pair."""
    return [row for o in outcomes if o.method == method for row in o.organs if row.score.organ == organ]


def scores(outcomes: Iterable[Outcome], method: str, organ: str, measure: Measure) -> list[float]:
    """One measure of them; a lost organ is infinitely far off."""
    return [float(getattr(row.score, measure.name)) for row in organ_rows(outcomes, method, organ)]


def strongest_elastix(outcomes: Sequence[Outcome]) -> str | None:
    """The elastix with the lowest mean over the organs of the median MSD; None where there is none."""
    found = [name for name in methods_of(outcomes, own=False) if name.startswith("elastix")]
    return min(found, key=lambda name: mean_of_medians(outcomes, name), default=None)


def mean_of_medians(outcomes: Sequence[Outcome], method: str) -> float:
    """Of the MSD, mm, over the organs."""
    values = [scores(outcomes, method, organ, MSD) for organ in organs_of(outcomes)]
    return float(np.mean([np.median(found) for found in values if found]))


def on_pairs_of(outcomes: Sequence[Outcome], method: str) -> list[Outcome]:
    """Only the pairs that `method` was run on: others are compared with it on those."""
    pairs = {o.pair for o in outcomes if o.method == method}
    return [o for o in outcomes if o.pair in pairs]


def timed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of the methods of which it was noted, on any pair, what other programs took of the processors."""
    methods = {o.method for o in outcomes if o.others_share is not None}
    return [o for o in outcomes if o.method in methods]


def undisturbed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of the pairs during whose methods, all that were timed anywhere, other programs took little of the processors;
    empty where there are none. Seconds are worth something there."""
    ran = [o for o in timed(outcomes) if not o.error]
    disturbed = {o.pair for o in ran if o.others_share is None or o.others_share > OTHERS_AT_MOST}
    return [o for o in timed(outcomes) if o.pair not in disturbed]


def named(organ: str) -> str:
    """As it is read."""
    return organ.replace("_", " ")


def slug(text: str) -> str:
    """As part of a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
