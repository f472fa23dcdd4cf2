"""What the first process does beside the steps: log, tell, validate, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from recontour.network.released import ReleasedModel
from recontour.train.card import plain_card
from recontour.train.checkpoint import Training, save_best, save_checkpoint
from recontour.train.dataset import ScanPair
from recontour.train.folder import BEST
from recontour.train.log import RunLog, stitch_means
from recontour.train.ready import Job
from recontour.train.validate import PathScore, mean_msd_mm, validate


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step. seconds_left: at this session's pace. validation_msd_mm: the last one."""

    step: int
    steps: int
    loss: float
    steps_per_second: float
    seconds_left: float
    validation_msd_mm: float


class Watcher:
    """Is told what happens, by the first process alone. This one keeps it to itself."""

    def on_step(self, progress: Progress) -> None:
        """After every step."""

    def say(self, text: str) -> None:
        """What happens seldom: a checkpoint, a validation, something missing."""


class Recorder:
    """What the first process does beside the steps: log, tell, validate, save. The others' does nothing.

    heard: signals so far; at the first one validation is broken off, and taken up again with the run.
    """

    def __init__(
        self, job: Job, training: Training, pairs: Sequence[ScanPair], watcher: Watcher, heard: list[int]
    ) -> None:
        self.job, self.pairs, self.watcher, self.heard = job, pairs, watcher, heard
        self.first_step, self.begun_s, self.saved_s = training.step, monotonic(), monotonic()
        self.saved_step = training.step if training.step else -1
        self.waits: list[float] = []
        self.steps: list[float] = []
        self.log = RunLog(job.run, training.step, training.validated) if job.place.first else None

    def begin(self, training: Training) -> None:
        """Says where the run stands, and validates where it was broken off before it could."""
        if self.log is None:
            return
        if not self.log.has_tensorboard:
            self.watcher.say("TensorBoard is not installed: log.csv alone is written (pip install recontour[train])")
        if training.step:
            self.watcher.say(f"goes on from step {training.step}")
        self._validate_if_due(training)

    def after_step(self, training: Training, row: dict[str, float], waited_s: float, step_s: float) -> None:
        """Everything that is due after a step."""
        if self.log is None:
            return
        settings = self.job.settings
        self.waits.append(waited_s)
        self.steps.append(step_s)
        if training.step % settings.log_every == 0:
            self.log.step(self._row(training, row))
            self.waits, self.steps = [], []
        self.watcher.on_step(self._progress(training, row["loss"]))
        if self._validation_due(training) or monotonic() - self.saved_s > settings.checkpoint_every_s:
            self._save(training)
        self._validate_if_due(training)

    def end(self, training: Training) -> None:
        """Saves what has not been saved yet."""
        if self.log is None:
            return
        self._save(training)
        self.watcher.say(f"checkpoint of step {training.step} is saved")

    def close(self) -> None:
        """Whatever happened."""
        if self.log is not None:
            self.log.close()

    def _row(self, training: Training, row: dict[str, float]) -> dict[str, float]:
        """A line of log.csv."""
        head = {"step": training.step, "seconds": training.seconds}
        head |= {"learning_rate": self.job.settings.optimiser.learning_rate}
        pace = {"step_seconds": _mean(self.steps), "wait_seconds": _mean(self.waits)}
        return {**head, **row, **stitch_means(training.network), **pace}

    def _progress(self, training: Training, loss: float) -> Progress:
        pace_s = (monotonic() - self.begun_s) / max(training.step - self.first_step, 1)
        left = self.job.settings.steps - training.step
        return Progress(training.step, self.job.settings.steps, loss, 1.0 / pace_s, left * pace_s, training.last_msd_mm)

    def _validation_due(self, training: Training) -> bool:
        settings, step = self.job.settings, training.step
        return step > training.validated and (step % settings.validate_every == 0 or step == settings.steps)

    def _validate_if_due(self, training: Training) -> None:
        """Scores, best.safetensors and a checkpoint that knows of them. A checkpoint was saved just before: what ends
        the process meanwhile costs the validation alone."""
        if self.log is None or not self._validation_due(training):
            return
        scores: list[PathScore] = []
        for pair in self.pairs:
            if self.heard:
                return
            scores += self._validate(training, pair)
        training.last_msd_mm, training.validated = mean_msd_mm(scores), training.step
        self.log.validation(training.step, scores, training.last_msd_mm)
        if training.last_msd_mm < training.best_msd_mm or not (self.job.run / BEST).exists():
            training.best_msd_mm = training.last_msd_mm
            save_best(self.job.run, training)
        self.saved_step = -1
        self._save(training)
        self.watcher.say(f"step {training.step}: validation MSD {training.last_msd_mm:.2f} mm")

    def _validate(self, training: Training, pair: ScanPair) -> list[PathScore]:
        network, settings = training.network, self.job.settings
        card = plain_card("in training", network, settings)
        return validate(ReleasedModel(card, network), [pair], settings.precision, str(self.job.place.device))

    def _save(self, training: Training) -> None:
        if self.saved_step != training.step:
            save_checkpoint(self.job.run, training)
            self.saved_s, self.saved_step = monotonic(), training.step


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
