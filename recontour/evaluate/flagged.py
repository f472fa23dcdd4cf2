"""Do the checks know when a contour is wrong? Judged anew from the facts in journals, by whatever limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recontour.evaluate.journal import Outcome, roi_facts
from recontour.qa.checks import RoiFacts, judge
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


def contours_of(outcomes: Iterable[Outcome]) -> list[Contour]:
    """Of recontour's own methods, for rivals are not judged. What failed with an error has no contours: it could not
    be overlooked."""
    return [
        Contour(outcome.method, row.score.organ, row.score.hd95_mm, roi_facts(row.facts))
        for outcome in outcomes
        for row in outcome.organs
        if row.facts is not None and not outcome.error
    ]


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
