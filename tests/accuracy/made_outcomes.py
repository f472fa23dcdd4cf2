"""Outcomes with chosen numbers."""

from __future__ import annotations

from typing import Any

from recontour.evaluate.journal import OrganOutcome, Outcome
from recontour.evaluate.scores import Score

STRONG, WIDE = "elastix [-150, 300] 16 mm", "elastix [-1000, 1000] 10 mm"
OURS = "recontour refine"


def organ(
    name: str,
    msd_mm: float,
    hd95_mm: float = 2.0,
    folding: float = 0.0,
    spread: float = 0.1,
    planned_ml: float = 100.0,
    true_ml: float = 100.0,
    facts: dict[str, Any] | None = None,
    dice: float = 0.9,
) -> OrganOutcome:
    score = Score(name, msd_mm, hd95_mm, 3.0, dice, 1.0, 0.8, 0.9, 100.0, true_ml, true_ml)
    return OrganOutcome(score, name.title(), planned_ml, spread, folding, facts=facts)


def facts(after_ml: float = 100.0, **others: Any) -> dict[str, Any]:
    """Of a prostate of 100 ml: it may become 80 to 120 ml."""
    return {"name": "Prostate", "organ": "prostate", "before_ml": 100.0, "after_ml": after_ml, **others}


def outcome(pair: str, method: str, *organs: OrganOutcome, group: str = "phantoms", **others: Any) -> Outcome:
    known: dict[str, Any] = {"man": pair.split(" day")[0], "seconds": 4.0, "align_seconds": 1.0}
    own = method.startswith("recontour")
    return Outcome(pair=pair, group=group, method=method, organs=organs, own=own, **(known | others))
