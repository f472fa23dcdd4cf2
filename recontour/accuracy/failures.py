"""Do the checks know when a contour is wrong? Judged anew from the facts in the journal, by the limits given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recontour.accuracy.rows import methods_of, named, organs_of
from recontour.accuracy.tables import markdown_table
from recontour.evaluate.journal import Outcome, roi_facts
from recontour.qa.checks import judge
from recontour.settings import QaSettings

BAD_MM = 5.0  # 95 % Hausdorff distance: above, a contour is wrong; up to it, good
FLAG_AIM, ALARM_AIM = 0.95, 0.10  # of the wrong ones at least, of the good ones at most


@dataclass(frozen=True)
class Detection:
    """One method and organ ("" : all of them): how many contours were wrong and how many of those were flagged, which
    is to say not passed; the same of good ones."""

    method: str
    organ: str
    bad: int
    bad_flagged: int
    good: int
    good_flagged: int


def detections(outcomes: Sequence[Outcome], settings: QaSettings) -> list[Detection]:
    """For every one of recontour's own methods: each organ, then all together. What failed with an error has no
    contour, and is not counted: it could not be overlooked."""
    found: list[Detection] = []
    for method in methods_of(outcomes, own=True):
        members = [o for o in outcomes if o.method == method]
        each = [(organ, _flags(members, organ, settings)) for organ in organs_of(members)]
        together = [flag for _, flags in each for flag in flags]
        found += [_counted(method, organ, flags) for organ, flags in [*each, ("", together)]]
    return found


def detection_table(found: Iterable[Detection]) -> str:
    """Markdown."""
    heads = ["method", "organ", "wrong", "of them flagged", "good", "of them flagged"]
    return markdown_table(
        heads,
        [
            [
                d.method,
                named(d.organ) or "all organs",
                str(d.bad),
                _share(d.bad_flagged, d.bad),
                str(d.good),
                _share(d.good_flagged, d.good),
            ]
            for d in found
        ],
    )


def _flags(outcomes: Iterable[Outcome], organ: str, settings: QaSettings) -> list[tuple[bool, bool]]:
    """(wrong, flagged) of every contour of an organ; what ended with an error has no facts."""
    rows = [row for o in outcomes for row in o.organs if row.score.organ == organ]
    return [
        (row.score.hd95_mm > BAD_MM, judge(roi_facts(row.facts), settings).light != "pass")
        for row in rows
        if row.facts is not None
    ]


def _counted(method: str, organ: str, flags: Sequence[tuple[bool, bool]]) -> Detection:
    bad, good = ([flagged for wrong, flagged in flags if wrong == which] for which in (True, False))
    return Detection(method, organ, len(bad), sum(bad), len(good), sum(good))


def _share(count: int, of: int) -> str:
    return f"{count} ({count / of:.0%})" if of else "none"
