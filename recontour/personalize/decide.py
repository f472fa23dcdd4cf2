"""Whether a personalised model is the better one for its patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recontour.errors import UsageError
from recontour.network.catalogue import LABELS
from recontour.network.released import OutputPath
from recontour.train.validate import AFFINE, PathScore, mean_msd_by_path

BETTER_MM = 0.05  # the mean over the organs must fall by more than this: less is no difference to a contour
WORSE_MM = 0.10  # no organ's mean may rise by more than this, however much the others gain

Means = Mapping[tuple[str, str], float]  # by organ and path, mm


@dataclass(frozen=True)
class OrganScore:
    """Mean MSD of one organ over the held-back days, in mm, a lost organ counted as in train.validate.

    affine_mm: the planning contour merely laid over. before_mm: the model it began with, by whichever of its paths is
    best on these very days, so that a gain is of learning and not of choosing. after_mm: the personal model, by the
    path that was chosen for it on other days.
    """

    organ: str
    affine_mm: float
    before_mm: float
    after_mm: float


@dataclass(frozen=True)
class Decision:
    """The organs, and whether the personalised model is kept; reason: in words."""

    organs: tuple[OrganScore, ...]
    kept: bool
    reason: str

    @property
    def mean_mm(self) -> OrganScore:
        """The means over the organs, each counted the same."""
        rows = [(o.affine_mm, o.before_mm, o.after_mm) for o in self.organs]
        affine, before, after = (float(np.mean(column)) for column in zip(*rows, strict=True))
        return OrganScore("mean", affine, before, after)


def decide(before: Sequence[PathScore], after: Sequence[PathScore], paths: Mapping[str, OutputPath]) -> Decision:
    """Compares two models on the same days. paths: which output `run` will take of the personal one, as on its card.

    Kept where the mean over the organs is lower by more than BETTER_MM and no organ is worse by more than WORSE_MM.
    Raises UsageError where nothing was scored, or not the same days and organs for both.
    """
    if not before or {(s.pair, s.organ) for s in before} != {(s.pair, s.organ) for s in after}:
        raise UsageError("not the same days and organs", where="held-back days", allowed="both models on all of them")
    then, now = mean_msd_by_path(before), mean_msd_by_path(after)
    here = [organ for organ in LABELS[1:] if (organ, AFFINE) in then]
    return _judged(tuple(OrganScore(o, then[o, AFFINE], _best(then, o), _taken(now, o, paths)) for o in here))


def _judged(organs: tuple[OrganScore, ...]) -> Decision:
    mean = Decision(organs, False, "").mean_mm
    gain = mean.before_mm - mean.after_mm
    worse = [o for o in organs if o.after_mm - o.before_mm > WORSE_MM]
    if not gain > BETTER_MM:
        return Decision(organs, False, f"its mean MSD is not lower by more than {BETTER_MM:g} mm")
    if worse:
        named = ", ".join(o.organ.replace("_", " ") for o in worse)
        return Decision(organs, False, f"worse by more than {WORSE_MM:g} mm: {named}")
    return Decision(
        organs, True, f"its mean MSD is lower by {gain:.2f} mm, and no organ is worse by more than {WORSE_MM:g} mm"
    )


def _best(means: Means, organ: str) -> float:
    return min(mm for (of, path), mm in means.items() if of == organ and path != AFFINE)


def _taken(means: Means, organ: str, paths: Mapping[str, OutputPath]) -> float:
    """As `run` takes it: the card's path, else the registration; without a field, the affine."""
    return means.get((organ, paths.get(organ, "registration")), means[organ, AFFINE])
