"""What the checks are worth: how well every fact parts wrong contours from good ones, and where its limit could be.

All of it from journals of accuracy runs, whose contours have known errors (evaluate/journal.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.evaluate.journal import Outcome, read_journals, roi_facts
from recontour.qa.checks import ROI_RULES, RoiFacts, judge
from recontour.settings import QaSettings

WRONG_MM, FINE_MM = 5.0, 3.0  # 95 % Hausdorff distance: wrong above the one, without doubt good up to the other
FLAGGED_AIM, ALARM_AIM = 0.95, 0.10  # of the wrong contours at least, of the good ones at most


@dataclass(frozen=True)
class Contour:
    """One contour of a journal, with what the checks know of it and how far it is off."""

    method: str
    organ: str
    hd95_mm: float
    facts: RoiFacts

    @property
    def wrong(self) -> bool:
        """Whether it ought to be flagged; what is not a number ought to be."""
        return not self.hd95_mm <= WRONG_MM


@dataclass(frozen=True)
class Fact:
    """A number that the checks could judge by: `of` gives it, None where it was not measured. larger_is_worse: which
    side is suspicious."""

    name: str
    of: Callable[[RoiFacts], float | None]
    larger_is_worse: bool = True


FACTS = (
    Fact("edges off, worst 20th, mm", lambda f: f.edge_p95_mm),
    Fact("edges off, mean, mm", lambda f: f.edge_mean_mm),
    Fact("image match", lambda f: f.image_match, larger_is_worse=False),
    Fact("paths disagree, mm", lambda f: f.disagreement_mm),
    Fact("volume, factor", lambda f: _factor(f.after_ml / f.before_ml if f.before_ml > 0 else 0.0)),
    Fact("centre moved, mm", lambda f: hypot(*f.shift_mm)),
    Fact("Jacobian, factor", lambda f: max(_factor(f.jacobian_p01), _factor(f.jacobian_p99))),
    Fact("folding, share", lambda f: f.folding),
)


@dataclass(frozen=True)
class Separation:
    """What one fact alone could do for `wrong` and `good` contours.

    auc: the chance that it is worse for a wrong contour than for a good one, ties counting half. limit: flags
    FLAGGED_AIM of the wrong ones, with the share `alarms` of the good ones. quiet_limit: flags ALARM_AIM of the good
    ones at most, and the share `caught` of the wrong ones. Beyond a limit is flagged, at it is not.
    """

    fact: Fact
    wrong: int
    good: int
    auc: float
    limit: float
    alarms: float
    quiet_limit: float
    caught: float


@dataclass(frozen=True)
class Share:
    """How many of `count` were flagged, which is to say not passed."""

    flagged: int
    count: int

    @staticmethod
    def of(flags: Iterable[bool]) -> Share:
        """Of every contour whether it was flagged."""
        found = list(flags)
        return Share(sum(found), len(found))


@dataclass(frozen=True)
class Flags:
    """At the limits of the settings: the wrong contours, the good ones, and of these the fine ones; of a method and an
    organ, "" for all of them."""

    method: str
    organ: str
    wrong: Share
    good: Share
    fine: Share


@dataclass(frozen=True)
class RuleFlags:
    """What one rule flags at the limits of the settings; alone: wrong contours that no other rule flags."""

    rule: str
    wrong: Share
    good: Share
    alone: int


def read_contours(journals: Sequence[Path], methods: Sequence[str] = ()) -> list[Contour]:
    """All contours of recontour's own methods, or of those named. Raises UsageError where there are none."""
    missing = [path.name for path in journals if not path.is_file()]
    if missing:
        raise UsageError("there is no such journal", where=", ".join(missing), allowed="a .jsonl of recontour accuracy")
    found = contours_of(read_journals(journals))
    chosen = [c for c in found if not methods or c.method in methods]
    if not chosen:
        known = ", ".join(sorted({c.method for c in found})) or "a journal with recontour's own methods"
        raise UsageError("no contour to judge", where="calibrate", allowed=known)
    return chosen


def contours_of(outcomes: Iterable[Outcome]) -> list[Contour]:
    """What failed with an error has no contours: it could not be overlooked."""
    return [
        Contour(outcome.method, row.score.organ, row.score.hd95_mm, roi_facts(row.facts))
        for outcome in outcomes
        for row in outcome.organs
        if row.facts is not None and not outcome.error
    ]


def separations(contours: Sequence[Contour]) -> list[Separation]:
    """Every fact that was measured of at least one wrong and one good contour, the most telling first."""
    found: list[Separation] = []
    for fact in FACTS:
        known = [(value, c.wrong) for c in contours if (value := fact.of(c.facts)) is not None]
        wrong, good = (np.array([v for v, is_wrong in known if is_wrong == which], float) for which in (True, False))
        if len(wrong) and len(good):
            found.append(_separation(fact, wrong, good))
    return sorted(found, key=lambda s: -s.auc)


def flags(contours: Sequence[Contour], settings: QaSettings) -> list[Flags]:
    """For every method each organ, then all together; both in the order in which they come."""
    flagged = [judge(c.facts, settings).light != "pass" for c in contours]
    found: list[Flags] = []
    for method in dict.fromkeys(c.method for c in contours):
        mine = [(c, f) for c, f in zip(contours, flagged, strict=True) if c.method == method]
        for organ in (*dict.fromkeys(c.organ for c, _ in mine), ""):
            these = [(c, f) for c, f in mine if organ in (c.organ, "")]
            wrong, good = (Share.of(f for c, f in these if c.wrong == which) for which in (True, False))
            fine = Share.of(f for c, f in these if c.hd95_mm <= FINE_MM)
            found.append(Flags(method, organ, wrong, good, fine))
    return found


def rule_flags(contours: Sequence[Contour], settings: QaSettings) -> list[RuleFlags]:
    """Every rule that flags anything, in the order in which they are asked."""
    by_rule: Mapping[str, list[bool]] = {
        rule.__name__.strip("_"): [
            rule(c.facts, settings, settings.limits_for(c.facts.organ)) is not None if _whole(c.facts) else False
            for c in contours
        ]
        for rule in ROI_RULES
    }
    counts = np.sum([hits for hits in by_rule.values()], axis=0)
    found: list[RuleFlags] = []
    for name, hits in by_rule.items():
        wrong, good = (
            Share.of(hit for hit, c in zip(hits, contours, strict=True) if c.wrong == which) for which in (True, False)
        )
        alone = sum(hit and c.wrong and n == 1 for hit, c, n in zip(hits, contours, counts, strict=True))
        if wrong.flagged or good.flagged:
            found.append(RuleFlags(name, wrong, good, alone))
    return found


def _separation(fact: Fact, wrong: NDArray[np.float64], good: NDArray[np.float64]) -> Separation:
    sign = 1.0 if fact.larger_is_worse else -1.0
    bad, fine = np.sort(sign * wrong), np.sort(sign * good)
    above = np.searchsorted(fine, bad, "left") + 0.5 * (
        np.searchsorted(fine, bad, "right") - np.searchsorted(fine, bad, "left")
    )
    least = bad[math.ceil(round((1 - FLAGGED_AIM) * len(bad), 9)) if len(bad) > 1 / (1 - FLAGGED_AIM) else 0]
    limit = float(np.nextafter(least, -np.inf))
    quiet = float(fine[len(fine) - 1 - math.floor(ALARM_AIM * len(fine))])
    return Separation(
        fact=fact,
        wrong=len(bad),
        good=len(fine),
        auc=float(above.mean()) / len(fine),
        limit=sign * limit,
        alarms=float((fine > limit).mean()),
        quiet_limit=sign * quiet,
        caught=float((bad > quiet).mean()),
    )


def _factor(ratio: float) -> float:
    """Twice as much and half as much are equally far from 1."""
    return math.inf if ratio <= 0 else max(ratio, 1 / ratio)


def _whole(facts: RoiFacts) -> bool:
    return facts.before_ml > 0 and facts.after_ml > 0
