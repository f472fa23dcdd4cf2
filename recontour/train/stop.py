"""Why a training stops before its end: it is asked to by a signal, or a loss is no number any more."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

from recontour.errors import TrainingStopped
from recontour.train.batch import Batch
from recontour.train.checkpoint import Training, to_bytes
from recontour.train.folder import STOPPED, write_whole
from recontour.train.ready import Job

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # SIGUSR1: Slurm, some time before the end


@contextmanager
def signals_heard() -> Generator[list[int]]:
    """While inside, signals that ask to stop do nothing but stand in the list."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield heard
        return
    before = {s: signal.signal(s, lambda number, _: heard.append(number)) for s in STOP_SIGNALS}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(training: Training, batch: Batch, job: Job, losses: dict[str, float], norm: float) -> TrainingStopped:
    """The error for a step that is not finite; what the network saw in it lies in the run's folder, to be looked at."""
    file = STOPPED if job.place.first else STOPPED.replace(".", f"-process{job.place.rank}.")
    write_whole(job.run / file, to_bytes(batch.tensors(), {"step": str(training.step)}))
    sizes = {name: float(p.detach().abs().max()) for name, p in training.network.named_parameters()}
    largest = max(sizes, key=lambda name: sizes[name])
    wrong = [name for name, value in losses.items() if not math.isfinite(value)] or ["the gradient alone"]
    found = f"step {training.step} is not finite: {', '.join(wrong)}; nothing of it was applied"
    values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    where = f"{values}, gradient norm {norm:.4g}, largest weight {sizes[largest]:.4g} ({largest})"
    allowed = (
        f"look at the scans of this batch in {job.run.name}/{file}; if they are sound, a learning rate below "
        f"{job.settings.optimiser.learning_rate:g}, or precision fp32; the last checkpoint stands"
    )
    return TrainingStopped(found, where=where, allowed=allowed)
