"""What the checks are worth: how well every fact parts wrong contours from good ones, and where its limit could be.

All of it from journals of accuracy runs, whose contours have known errors (evaluate/journal.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.evaluate.flagged import ALARM_AIM, FLAGGED_AIM, Contour, Share, contours_of
from recontour.evaluate.journal import read_journals
from recontour.qa.checks import RULES, RoiFacts, findings
from recontour.settings import QaSettings


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


def separations(contours: Sequence[Contour]) -> list[Separation]:
    """Every fact that was measured of at least one wrong and one good contour, the most telling first."""
    found: list[Separation] = []
    for fact in FACTS:
        known = [(value, c.wrong) for c in contours if (value := fact.of(c.facts)) is not None]
        wrong, good = (np.array([v for v, is_wrong in known if is_wrong == which], float) for which in (True, False))
        if len(wrong) and len(good):
            found.append(_separation(fact, wrong, good))
    return sorted(found, key=lambda s: -s.auc)


def rule_flags(contours: Sequence[Contour], settings: QaSettings) -> list[RuleFlags]:
    """Every rule that flags anything, in the order in which they are asked."""
    hits = [(c.wrong, findings(c.facts, settings)) for c in contours]
    found: list[RuleFlags] = []
    for rule in RULES:
        wrong, good = (Share.of(rule in of for is_wrong, of in hits if is_wrong == which) for which in (True, False))
        if wrong.flagged or good.flagged:
            alone = sum(is_wrong and set(of) == {rule} for is_wrong, of in hits)
            found.append(RuleFlags(rule, wrong, good, alone))
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
