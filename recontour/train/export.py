"""Makes a trained network a released model: weights, a card that is bound to them, and a page that says the same."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from recontour.errors import ModelRefused, OutputRefused, UsageError
from recontour.network.architectures import Network, build_network
from recontour.network.device import choose_device
from recontour.network.predict import choose_precision
from recontour.network.released import CARD, README, WEIGHTS, ModelCard, ReleasedModel, open_model
from recontour.train.card import (
    Evidence,
    choose_paths,
    described_training,
    intended_use_of,
    limits_of,
    plain_card,
    score_rows,
)
from recontour.train.card_text import card_text, readme_text
from recontour.train.checkpoint import read_state
from recontour.train.dataset import TRAINING, VALIDATION, ScanPair, patient_of, read_splits
from recontour.train.folder import BEST, LOG, MEN, read_run_settings
from recontour.train.folder import VALIDATION as VALIDATION_LOG
from recontour.train.log import read_rows
from recontour.train.mean import mean_with
from recontour.train.seen import seen_in_training
from recontour.train.settings import TrainSettings
from recontour.train.validate import Validation, validate_settled

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OnPair = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """The best weights of a run. step, validation_msd_mm: when they were reached, and what they scored then.
    trained: what the card's training table says of the run itself."""

    settings: TrainSettings
    network: Network
    step: int
    trained: dict[str, Any]


@dataclass(frozen=True)
class Remarks:
    """What a person adds to a card."""

    summary: str = ""
    limits: tuple[str, ...] = ()


def export_model(
    run: Path,
    name: str,
    out: Path,
    remarks: Remarks | None = None,
    overwrite: bool = False,
    on_pair: OnPair | None = None,
    mean_of: str = "",
) -> ModelCard:
    """Writes `out`/`name` with weights.safetensors, card.toml and README.md, whole or not at all; returns the card.

    The best weights of the run are scored on all its validation pairs; for each organ the card names the path that is
    nearest there. on_pair: called before each pair with its number, from 0, and how many there are. mean_of: a model;
    then the weights are the means of its own and of the run's.
    Raises UsageError for a name that is none or a folder that is no run, ModelRefused for weights that are missing or
    damaged, OutputRefused where there is such a folder already, or it cannot be written.
    """
    folder = free_folder(out, name, overwrite)
    trained = read_run(run)
    network = mean_with(trained.network, mean_of) if mean_of else trained.network
    pairs, data, described = validation_data(trained.settings, run)
    card = plain_card(name, network, trained.settings)
    found = validated(ReleasedModel(card, network.eval()), pairs, on_pair)
    evidence = Evidence(found, described, precision_used(), date.today().isoformat())
    training = {**data, **trained.trained, **described_training(trained.settings)}
    if mean_of:
        training["weights"] = f"means of the run's and of those of {Path(mean_of).name}"
    card = _filled(card, evidence, training, trained.settings, remarks or Remarks())
    card = replace(card, seen=seen_in_training(trained.settings, run))
    return write_model(network, card, folder, overwrite)


def write_model(network: Network, card: ModelCard, folder: Path, overwrite: bool = False) -> ModelCard:
    """Writes the model's folder beside its place, reads it back, and only then gives it its name; returns the card
    with the weights' sha256. Raises OutputRefused, and then an older folder is as it was."""
    from safetensors.torch import save

    _refuse_existing(folder, overwrite)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})
    bound = replace(card, weights_sha256=hashlib.sha256(content).hexdigest())
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    texts = {CARD: card_text(bound), README: readme_text(bound)}
    try:
        beside.mkdir(parents=True)
        for file, text in {WEIGHTS: content, **{file: text.encode() for file, text in texts.items()}}.items():
            _write_synced(beside / file, text)
        if open_model(beside).card != bound:
            raise OutputRefused("the card did not read back as it was meant", where=folder.name)
        _put_in_place(beside, folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where=folder.name, allowed="a folder that can be written to") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return bound


def read_run(run: Path) -> TrainedRun:
    """The best weights of a run, and how they came about. Raises UsageError where `run` is no run, ModelRefused where
    it has no validated weights yet, or damaged ones."""
    settings = read_run_settings(run)
    where = f"{run.name}/{BEST}"
    if not (run / BEST).is_file():
        found, allowed = "the run has no validated weights yet", f"train on, to step {settings.validate_every} at least"
        raise ModelRefused(found, where=where, allowed=allowed)
    try:
        tensors, about = read_state(run / BEST)
        chosen = settings.network
        network = build_network(chosen.architecture, chosen.inputs or None, chosen.segmentation_inputs or None)
        network.load_state_dict(tensors)
        step, msd_mm = int(about["step"]), float(about["validation_msd_mm"])
    except ModelRefused as damage:
        raise ModelRefused(damage.found, where=where, allowed="a run whose files are whole") from damage
    except (RuntimeError, KeyError, ValueError) as error:
        allowed = "weights and settings of one run"
        raise ModelRefused("the weights are not those of the run's network", where=where, allowed=allowed) from error
    validated = {row["step"] for row in read_rows(run / VALIDATION_LOG) if row.get("step")}
    trained: dict[str, Any] = {
        "steps": step,
        **_seconds_until(run, step),
        "date": date.fromtimestamp((run / BEST).stat().st_mtime).isoformat(),
        "recontour": about.get("recontour", "unknown"),
        "validation_msd_mm": msd_mm,
        "chosen_among_validations": max(1, len(validated)),
    }
    return TrainedRun(settings, network, step, trained)


def validation_data(settings: TrainSettings, run: Path) -> tuple[list[ScanPair], dict[str, Any], str]:
    """The validation pairs of a run, what the card says of its data, and what it says of the pairs; no identities.

    Raises UsageError where the pairs are not where the run had them.
    """
    if settings.data.source == "phantoms":
        return _phantoms(settings, run)
    splits = read_splits(Path(settings.data.folder))
    counts = {name: len({patient_of(pair) for pair in pairs}) for name, pairs in splits.items()}
    data: dict[str, Any] = {
        "source": "prepared",
        "patients": counts["training"],
        "pairs": len(splits["training"]),
        "validation_patients": counts["validation"],
        "validation_pairs": len(splits["validation"]),
    }
    return splits["validation"], data, _counted(data["validation_pairs"], counts["validation"], "patient")


def _phantoms(settings: TrainSettings, run: Path) -> tuple[list[ScanPair], dict[str, Any], str]:
    from recontour.train.phantoms import validation_pairs

    own = settings.data
    pairs = list(validation_pairs(settings, Path(own.folder) if own.folder else run / MEN))
    data: dict[str, Any] = {
        "source": "phantoms, moved anew all the time",
        "men": own.training_men,
        "seeds": f"{TRAINING.start}-{TRAINING.start + own.training_men - 1}",
        "severity": own.severity,
        **{name: value for name in ("drawing_mm", "texture_hu") if (value := getattr(own, name))},
        "validation_men": own.validation_men,
        "validation_seeds": f"{VALIDATION.start}-{VALIDATION.start + own.validation_men - 1}",
        "validation_pairs": len(pairs),
    }
    return pairs, data, _counted(len(pairs), len({patient_of(pair) for pair in pairs}), "phantom")


def _counted(pairs: int, men: int, noun: str) -> str:
    return f"{pairs} validation pair{'s' * (pairs != 1)} of {men} {noun}{'s' * (men != 1)}"


def validated(model: ReleasedModel, pairs: Sequence[ScanPair], on_pair: OnPair | None) -> Validation:
    """As validate_settled, pair after pair. on_pair: as for export_model."""
    parts: list[Validation] = []
    for number, pair in enumerate(pairs):
        if on_pair is not None:
            on_pair(number, len(pairs))
        parts.append(validate_settled(model, [pair]))
    return Validation(
        tuple(score for part in parts for score in part.scores), tuple(field for part in parts for field in part.fields)
    )


def _filled(
    card: ModelCard, evidence: Evidence, training: dict[str, Any], settings: TrainSettings, remarks: Remarks
) -> ModelCard:
    chosen = choose_paths(evidence.validation.scores)
    if not chosen:
        raise UsageError("no organ could be scored", where="validation", allowed="validation pairs with contours")
    whole = replace(
        card,
        path_per_organ=chosen,
        released=evidence.date,
        summary=remarks.summary or f"The {card.architecture} network after {training['steps']} steps of training.",
        intended_use=intended_use_of(settings),
        training=training,
        scores=score_rows(evidence),
    )
    return replace(whole, limits=(*limits_of(whole, settings), *remarks.limits))


def precision_used() -> str:
    """The precision that `predict` computes in here, unless it is told otherwise."""
    return str(choose_precision("auto", torch.device(choose_device("auto")))).removeprefix("torch.")


def _seconds_until(run: Path, step: int) -> dict[str, int]:
    """What the log says of the time until `step`; nothing where there is no such row."""
    rows = [row for row in read_rows(run / LOG) if (row.get("step") or "").isdigit() and row.get("seconds")]
    until = [float(row["seconds"]) for row in rows if int(row["step"]) <= step]
    return {"seconds": round(until[-1])} if until else {}


def free_folder(out: Path, name: str, overwrite: bool, where: str = "--name") -> Path:
    """`out`/`name`, free for a model. Raises UsageError for a name that is none, OutputRefused where something is
    there."""
    if not NAME.fullmatch(name):
        allowed = "a plain folder name: letters, digits, dot, hyphen, underscore"
        raise UsageError(f"{name!r} is no name for a model", where=where, allowed=allowed)
    _refuse_existing(out / name, overwrite)
    return out / name


def _refuse_existing(folder: Path, overwrite: bool) -> None:
    """An older model may be replaced where that is asked for; anything else in the folder is not thrown away."""
    if not folder.exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {CARD, WEIGHTS, README}:
        raise OutputRefused("there is something else than a model", where=folder.name, allowed="another name")
    if not overwrite:
        raise OutputRefused("there is a model already", where=folder.name, allowed="another name, or --overwrite")


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(beside: Path, folder: Path) -> None:
    older = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.rename(folder, older)
    try:
        os.rename(beside, folder)
    except OSError:
        if older.exists():
            os.rename(older, folder)
        raise
    shutil.rmtree(older, ignore_errors=True)
