"""The way from a planning scan to a model of its own: check, move, learn, judge, keep or leave."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from recontour.dicom.references import scan_key
from recontour.errors import ModelRefused, UsageError
from recontour.network.released import ModelCard, ReleasedModel, folder_of, open_model
from recontour.personalize.decide import Decision, decide
from recontour.personalize.patient import Scans, claim_work, find_scans, keep_patient, read_planning
from recontour.personalize.request import PersonalizeRequest, settings_of
from recontour.personalize.tell import Made, personal_card
from recontour.train.card import choose_paths
from recontour.train.checkpoint import read_state
from recontour.train.dataset import ScanPair
from recontour.train.export import free_folder, read_run, validated, write_model
from recontour.train.folder import CHECKPOINT, VALIDATION
from recontour.train.log import read_rows
from recontour.train.loop import Outcome, train
from recontour.train.patient import held_back_days
from recontour.train.recorder import Progress, Watcher
from recontour.train.settings import TrainSettings
from recontour.train.validate import PathScore, Validation


@dataclass(frozen=True)
class Personalized:
    """How it ended. decision: None where a signal came first; the same call then goes on. card: that of the model at
    `request.out`, None where the model to begin with is the better one, and nothing was written there."""

    step: int
    decision: Decision | None = None
    card: ModelCard | None = None


@dataclass(frozen=True, eq=False)
class _Begun:
    """What is settled before the training."""

    request: PersonalizeRequest
    settings: TrainSettings
    start: ReleasedModel
    key: str


def personalize(request: PersonalizeRequest, watcher: Watcher | None = None) -> Personalized:
    """Fine-tunes a model to one patient and writes it to `request.out`, or leaves it where it is not better.

    Everything that can be wrong is found first; the days that judge are made before the first step. Called again after
    a signal, a kill or a full disk it goes on. Raises RecontourError; nothing is then at `request.out`.
    """
    watcher = watcher or Watcher()
    begun = _begin(request, watcher)
    days = held_back_days(begun.settings, request.held_back)
    ended = learn(begun.settings, request.run, request.minutes, watcher)
    if ended.interrupted:
        return Personalized(ended.step)
    if not ended.step:
        raise UsageError("time was up before the first step", where="--minutes", allowed="more minutes, then again")
    done = _judged(begun, days, watcher)
    shutil.rmtree(request.work, ignore_errors=True)
    return done


def learn(settings: TrainSettings, run: Path, minutes: float, watcher: Watcher) -> Outcome:
    """Trains in `run` for `minutes`, earlier sessions counted, and scores the last steps as well on the days that
    choose."""
    left = max(0.0, minutes - _minutes_spent(run))
    ended = train(settings, run, _Timed(watcher, left), left)
    if ended.interrupted or not ended.step:
        return ended
    return train(replace(settings, steps=ended.step), run, watcher)


def _begin(request: PersonalizeRequest, watcher: Watcher) -> _Begun:
    free_folder(request.out.absolute().parent, request.out.absolute().name, request.overwrite, "--out")
    folder = folder_of(request.model)
    start = open_model(folder)
    settings = settings_of(request, folder, start.card)
    scans = find_scans(request)
    planning = read_planning(scans, request)
    key = scan_key(planning.series.identity)
    if start.card.patient_key not in ("", key):
        found = "this model was personalised for another patient, or for another planning scan"
        raise ModelRefused(found, where=start.card.name, allowed="a released model, or this patient's own")
    claim_work(request, scans, start.card.weights_sha256)
    watcher.say(_found(scans, list(planning.shapes), start.card))
    keep_patient(request, scans, planning, request.held_back + settings.validation_pairs)
    return _Begun(request, settings, start, key)


def _found(scans: Scans, organs: list[str], card: ModelCard) -> str:
    named = ", ".join(organ.replace("_", " ") for organ in organs)
    earlier = f", {len(scans.fractions)} earlier fraction(s)" if scans.fractions else ""
    return f"planning scan with {named}{earlier}; begins with {card.name}; days are made"


def _judged(begun: _Begun, days: list[ScanPair], watcher: Watcher) -> Personalized:
    """Both models on the days that neither has seen; the personal one is written where it is the better one."""
    trained = read_run(begun.request.run)
    paths, then = choose_paths(scores_at(begun.request.run, trained.step)), begun.start.card
    network = trained.network.eval()
    before = _scored(begun.start, days, watcher, "the model it began with")
    after = _scored(ReleasedModel(replace(then, path_per_organ=paths), network), days, watcher, "the personal model")
    decision = decide(before.scores, after.scores, paths)
    if not decision.kept:
        return Personalized(trained.step, decision)
    out = begun.request.out.absolute()
    made = personal_card(Made(out.name, begun.key, then, begun.settings, trained, after, decision, paths))
    return Personalized(trained.step, decision, write_model(network, made, out, begun.request.overwrite))


def _scored(model: ReleasedModel, days: list[ScanPair], watcher: Watcher, which: str) -> Validation:
    return validated(model, days, lambda k, of: watcher.say(f"{which}: held-back day {k + 1} of {of}"))


def scores_at(run: Path, step: int) -> list[PathScore]:
    """What the days that choose said of the weights of a step."""
    rows = [row for row in read_rows(run / VALIDATION) if row["step"] == str(step)]
    return [
        PathScore(r["pair"], r["path"], r["organ"], float(r["msd_mm"]), float(r["hd95_mm"]), float(r["dice"]))
        for r in rows
    ]


def _minutes_spent(run: Path) -> float:
    """In steps, by the last checkpoint."""
    path = run / CHECKPOINT
    return float(read_state(path)[1]["seconds"]) / 60.0 if path.exists() else 0.0


class _Timed(Watcher):
    """Tells another watcher; what is left is what the clock leaves."""

    def __init__(self, told: Watcher, minutes: float) -> None:
        self._told, self._until_s = told, monotonic() + 60.0 * minutes

    def on_step(self, progress: Progress) -> None:
        left_s = max(0.0, min(progress.seconds_left, self._until_s - monotonic()))
        self._told.on_step(replace(progress, seconds_left=left_s))

    def say(self, text: str) -> None:
        self._told.say(text)
