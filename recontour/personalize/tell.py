"""The card of a personalised model: for whom it is, where it comes from, what it gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from recontour.network.catalogue import LABELS
from recontour.network.released import ModelCard, OutputPath
from recontour.personalize.decide import Decision
from recontour.train.card import Evidence, described_training, limits_of_scores, score_rows
from recontour.train.export import TrainedRun, precision_used
from recontour.train.patient import fractions_of, motions_seen
from recontour.train.settings import TrainSettings
from recontour.train.validate import Validation


@dataclass(frozen=True, eq=False)
class Made:
    """All that a card is written from. start: the card of the model it began with. after, decision: on the held-back
    days. paths: of the personal model."""

    name: str
    key: str
    start: ModelCard
    settings: TrainSettings
    trained: TrainedRun
    after: Validation
    decision: Decision
    paths: Mapping[str, OutputPath]


def personal_card(made: Made) -> ModelCard:
    """No identity: the name is the folder's, the key a hash."""
    days = len({score.pair for score in made.after.scores})
    pairs = f"{days} held-back made days of the patient's planning scan"
    today = date.today().isoformat()
    card = replace(
        made.start,
        name=made.name,
        patient_key=made.key,
        weights_sha256="",
        path_per_organ=dict(made.paths),
        released=today,
        summary=f"{made.start.name}, personalised in {made.trained.step} steps for one patient, who alone it is for.",
        intended_use=f"The daily scans of the one patient of its patient_key. {made.start.intended_use}",
        training=_training(made),
        scores=(*score_rows(Evidence(made.after, pairs, precision_used(), today)), *_rows_before(made, pairs)),
    )
    return replace(card, limits=(*limits_of_scores(card), *_limits(made, days)))


def _training(made: Made) -> dict[str, Any]:
    """How it came about; the row of scores has the rest."""
    data, trained = made.settings.data, dict(made.trained.trained)
    mean = made.decision.mean_mm
    return {
        "source": "one patient's planning scan, moved anew all the time",
        "motions_seen": motions_seen(made.settings, made.trained.step),
        "severity": data.severity,
        "earlier_fractions": len(fractions_of(Path(data.folder))),
        "personalised_from": f"{made.start.name}, sha256 {made.start.weights_sha256}",
        **trained,
        "minutes": round(trained.get("seconds", 0) / 60, 1),
        "kept_because": made.decision.reason,
        "mean_msd_mm": f"{mean.after_mm:.3f}; before {mean.before_mm:.3f}; affine alone {mean.affine_mm:.3f}",
        **described_training(made.settings),
    }


def _rows_before(made: Made, pairs: str) -> list[dict[str, Any]]:
    """One row an organ: what the model it began with scores on the same days."""
    return [
        {
            "measure": f"MSD beside {made.start.name}, by the best of its paths",
            "organ": organ.organ,
            "data": pairs,
            "before_mm_mean": round(organ.before_mm, 4),
            "after_mm_mean": round(organ.after_mm, 4),
            "affine_mm_mean": round(organ.affine_mm, 4),
        }
        for organ in made.decision.organs
    ]


def _limits(made: Made, days: int) -> tuple[str, ...]:
    missing = [o.replace("_", " ") for o in LABELS[1:] if o not in {score.organ for score in made.after.scores}]
    return (
        "one patient alone: what it does to anybody else was never looked at, and `run` refuses it",
        f"judged on {days} made days of his planning scan; real days hold what no made one does, and may score worse",
        *([f"not contoured, so not learnt: {', '.join(missing)}"] if missing else []),
        *(f"said of {made.start.name}: {limit}" for limit in made.start.limits),
    )
