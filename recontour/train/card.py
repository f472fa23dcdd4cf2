"""What the card of a trained network says: which path gives each organ, what it scores, and where not to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from recontour.network.architectures import Network
from recontour.network.catalogue import ARCHITECTURES, DICE_SEGMENTATION, LABELS
from recontour.network.released import ModelCard, OutputPath
from recontour.train.settings import LossSettings, TrainSettings
from recontour.train.validate import (
    AFFINE,
    BLEND,
    PATHS,
    REGISTRATION,
    SEGMENTATION,
    FieldScore,
    PathScore,
    Validation,
    counted_mm,
    mean_msd_by_path,
)

FEW_PAIRS = 10
TIE_MM = 0.02  # less than this between two paths is no difference: the simpler one is taken
SIMPLEST_FIRST: tuple[OutputPath, ...] = ("registration", "segmentation", "blend")

PHANTOM_USE = "Trying the network methods, and tests. Not for clinical use; never the sole source of a contour."
PREPARED_USE = (
    "Research on recontouring the daily CT of the male pelvis. Not for clinical use before the institute that uses it "
    "has tested it on its own patients; every contour is to be checked by a person."
)


@dataclass(frozen=True)
class Evidence:
    """What was measured for a card. pairs: a description of the validation pairs, without identities; date: ISO."""

    validation: Validation
    pairs: str
    precision: str
    date: str


def plain_card(name: str, network: Network, settings: TrainSettings) -> ModelCard:
    """What any use of a network has to know of its training: inputs, voxels, HU window; the rest is still empty."""
    return ModelCard(
        name,
        network.architecture.name,
        network.inputs,
        segmentation_inputs=settings.network.segmentation_inputs,
        spacing_mm=settings.spacing_mm,
        hu_window=settings.hu_window,
    )


def choose_paths(scores: Sequence[PathScore]) -> dict[str, OutputPath]:
    """For every scored organ the path with the lowest mean MSD, lost organs counted as LOST_MM; of paths within TIE_MM
    of it the simplest: the registration, whose contour has the planned one's shape, then the segmentation."""
    means = mean_msd_by_path(scores)
    chosen: dict[str, OutputPath] = {}
    for organ in LABELS[1:]:
        found: dict[OutputPath, float] = {path: means[organ, path] for path in SIMPLEST_FIRST if (organ, path) in means}
        if found:
            least = min(found.values())
            chosen[organ] = next(path for path, value in found.items() if value <= least + TIE_MM)
    return chosen


def score_rows(evidence: Evidence) -> tuple[dict[str, Any], ...]:
    """The card's [[scores]]: one for each organ and path, the affine beside them, and one for the fields.

    Of MSD and HD95 (mm) and Dice the mean, standard deviation (n - 1), median and worst over n pairs; no distance
    counts more than LOST_MM, which is what it counts where the organ was lost, in `lost` of them.
    """
    about = {"data": evidence.pairs, "precision": evidence.precision, "date": evidence.date}
    rows: list[dict[str, Any]] = []
    for organ in LABELS[1:]:
        for path in PATHS:
            chosen = [s for s in evidence.validation.scores if (s.organ, s.path) == (organ, path)]
            if chosen:
                rows.append({"organ": organ, "path": path, **about, **_path_values(chosen)})
    if evidence.validation.fields:
        rows.append({"measure": "Jacobian determinant of the field", **about, **_field_values(evidence)})
    return tuple(rows)


def worse_than_affine(card: ModelCard) -> dict[str, tuple[float, float]]:
    """The organs whose chosen path is further off than the planning contour merely laid over: mean MSD, mm, of both."""
    mean_mm = {(row["organ"], row["path"]): float(row["msd_mm_mean"]) for row in card.scores if "path" in row}
    out: dict[str, tuple[float, float]] = {}
    for organ, path in card.path_per_organ.items():
        chosen, beside = mean_mm.get((organ, path)), mean_mm.get((organ, AFFINE))
        if chosen is not None and beside is not None and chosen > beside:
            out[organ] = (chosen, beside)
    return out


def limits_of(card: ModelCard, settings: TrainSettings) -> tuple[str, ...]:
    """Where not to trust a model, as far as its training and its scores tell."""
    return (*limits_of_scores(card), *_limits_of_training(card, settings))


def limits_of_scores(card: ModelCard) -> tuple[str, ...]:
    """Where not to trust a model, as far as its scores tell."""
    rows = {(row["organ"], row["path"]): row for row in card.scores if "path" in row}
    limits = [
        f"{_plainly(organ)}: WORSE THAN AFFINE ALONE on the validation data (MSD {got:.2f} mm, affine alone "
        f"{beside:.2f} mm): do not use its contour"
        for organ, (got, beside) in worse_than_affine(card).items()
    ]
    for organ, path in card.path_per_organ.items():
        row = rows[organ, path]
        if row["lost"]:
            limits.append(f"{_plainly(organ)}: lost by the {path} in {row['lost']} of {row['n']} validation pairs")
        limits += _weak_parts(organ, rows) if path == BLEND else []
    unseen = [organ for organ in LABELS[1:] if organ not in card.path_per_organ]
    limits += [f"{_plainly(organ)}: contoured in no validation pair, so nothing is known of it" for organ in unseen]
    fewest = min(row["n"] for row in rows.values())
    if fewest < FEW_PAIRS:
        limits.append(f"scores of {fewest} pairs only: which path is better may be chance")
    return tuple(limits)


def _weak_parts(organ: str, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """A blend can score well by luck where one of its two parts does not."""
    beside = float(rows[organ, AFFINE]["msd_mm_mean"])
    parts = {path: float(rows[organ, path]["msd_mm_mean"]) for path in (REGISTRATION, SEGMENTATION)}
    return [
        f"{_plainly(organ)}: half of its blend, the {path}, is by itself worse than affine alone (MSD {mm:.2f} mm, "
        f"affine alone {beside:.2f} mm)"
        for path, mm in parts.items()
        if mm > beside
    ]


def _limits_of_training(card: ModelCard, settings: TrainSettings) -> list[str]:
    source = (
        "phantoms only: it has never seen a patient"
        if settings.data.source == "phantoms"
        else "patients of one collection: other scanners, protocols, contouring rules and anatomies may be beyond it"
    )
    steps = card.training["steps"]
    short = [f"{steps} steps of the {settings.steps} that were planned"] if steps < settings.steps else []
    chosen_on = "weights and paths were chosen on the data of its scores, which are better than those of new data"
    return [source, *short, chosen_on]


def intended_use_of(settings: TrainSettings) -> str:
    """What a model may be used for, as far as its training data allow."""
    return PHANTOM_USE if settings.data.source == "phantoms" else PREPARED_USE


def described_training(settings: TrainSettings) -> dict[str, Any]:
    """How it was trained, in the card's words."""
    optimiser = settings.optimiser
    return {
        "began_with": f"the weights of {Path(settings.network.start_from).name}"
        f"{', batch norm by their running means' if settings.network.fixed_norms else ''}"
        if settings.network.start_from
        else "weights drawn at random",
        "steps_planned": settings.steps,
        "patch_voxels": settings.patch_voxels,
        "batch": f"{settings.batch} a device, doubled by swapping fixed and moving",
        "optimiser": f"RAdam, learning rate {optimiser.learning_rate:g}, "
        f"registration heads {optimiser.learning_rate * optimiser.head_rate:g}, beta2 {optimiser.beta2:g}",
        "losses": described_losses(settings.loss, settings.network.architecture),
        "weighting": settings.loss.weighting
        + (f", temperature {settings.loss.temperature:g}" if settings.loss.weighting == "dwa" else ""),
        "precision": settings.precision,
        "seed": settings.seed,
    }


def described_losses(loss: LossSettings, architecture: str) -> str:
    """The terms that the network is trained with, each after its weight."""
    window = "" if loss.similarity == "ncc" else f" in windows of {loss.local_window} voxels"
    words = {
        "similarity": f"{loss.w_similarity:g} {loss.similarity}{window if loss.similarity == 'local-ncc' else ''}",
        "dice_registration": f"{loss.w_dice_registration:g} Dice of the registration",
        "dice_segmentation": f"{loss.w_dice_segmentation:g} Dice of the segmentation",
        "bending": f"{loss.w_bending:g} bending energy",
    }
    terms = [words[name] for name in ARCHITECTURES[architecture].losses]
    if loss.boundary:
        terms.append(f"{loss.boundary:g} boundary, in full from step {loss.boundary_full_at}")
    if loss.w_cross_entropy and DICE_SEGMENTATION in ARCHITECTURES[architecture].losses:
        terms.append(f"{loss.w_cross_entropy:g} cross-entropy of the segmentation")
    if loss.w_field:
        terms.append(f"{loss.w_field:g} distance to the true displacements")
    if loss.adversarial:
        terms.append(f"{loss.adversarial:g} adversarial")
    return ", ".join(terms)


def _path_values(scores: Sequence[PathScore]) -> dict[str, float]:
    lost = sum(not np.isfinite(score.msd_mm) for score in scores)
    return {
        "n": len(scores),
        "lost": lost,
        **_spread("msd_mm", [counted_mm(score.msd_mm) for score in scores], max),
        **_spread("hd95_mm", [counted_mm(score.hd95_mm) for score in scores], max),
        **_spread("dice", [score.dice for score in scores], min),
    }


def _field_values(evidence: Evidence) -> dict[str, float]:
    fields: Sequence[FieldScore] = evidence.validation.fields
    return {
        "n": len(fields),
        **_spread("jacobian_sd", [field.jacobian_sd for field in fields], max),
        **_spread("folding", [field.folding for field in fields], max, digits=6),
    }


def _spread(name: str, values: Sequence[float], worst: Any, digits: int = 4) -> dict[str, float]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    found = {"mean": float(np.mean(values)), "sd": sd, "median": float(np.median(values))}
    return {
        f"{name}_{key}": round(value, digits) for key, value in {**found, "worst": cast(float, worst(values))}.items()
    }


def _plainly(name: str) -> str:
    return name.replace("_", " ")
