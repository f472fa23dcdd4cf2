"""The training, flat, from top to bottom: draw, forward, losses, backward, average, check, step; log, validate, save.

A run is a folder (recontour/train/folder.py). Started again with the same settings it goes on from its last checkpoint
and comes to the weights that it would have come to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import cast

import numpy as np
import torch
from torch import Tensor

from recontour.network.architectures import Output
from recontour.network.pages import pages_kept
from recontour.train.batch import Batch
from recontour.train.checkpoint import Training
from recontour.train.critic import adversarial_loss, critic_loss
from recontour.train.folder import locked
from recontour.train.losses import at_resolution, loss_terms, true_shares, warped_shares
from recontour.train.parallel import anyone, average, together
from recontour.train.ready import Job, begin_or_go_on, make_job, open_data
from recontour.train.recorder import Recorder, Watcher
from recontour.train.settings import TrainSettings
from recontour.train.sources import Source
from recontour.train.stop import signals_heard, stopped
from recontour.train.weighting import ADVERSARIAL

FINE = 2  # of the three resolutions, the one that the critic judges


@dataclass(frozen=True)
class Outcome:
    """How a session ended. interrupted: by a signal; then, or where time was up, step is below the settings' steps."""

    step: int
    interrupted: bool
    best_msd_mm: float


def train(
    settings: TrainSettings,
    run: Path,
    watcher: Watcher | None = None,
    minutes: float = math.inf,
    from_previous: bool = False,
) -> Outcome:
    """Trains in the folder `run` to `settings.steps`, or for `minutes` of this session, or until a signal.

    from_previous: go on from the checkpoint before the last one. Raises TrainingStopped where a loss or a gradient is
    not finite, and what `recontour.train.ready` and `recontour.train.checkpoint` raise; the checkpoints stand.
    """
    until_s = monotonic() + 60.0 * minutes
    job = make_job(settings, run)
    with together(job.place), locked(run) if job.place.first else nullcontext(), signals_heard() as heard:
        training = begin_or_go_on(job, from_previous)
        source, pairs = open_data(job)
        recorder = Recorder(job, training, pairs, watcher or Watcher(), heard)
        try:
            with pages_kept():
                take_steps(training, source, job, recorder, until_s)
        finally:
            recorder.close()
            source.close()
    return Outcome(training.step, bool(heard), training.best_msd_mm)


def take_steps(training: Training, source: Source, job: Job, recorder: Recorder, until_s: float) -> None:
    """The loop."""
    recorder.begin(training)
    while training.step < job.settings.steps and not anyone(recorder.heard or monotonic() > until_s, job.place):
        begun = monotonic()
        batch = source.batch(training.step).both_ways()
        drawn = monotonic()
        row = take_step(training, batch, job)
        training.step += 1
        training.seconds += monotonic() - begun
        recorder.after_step(training, row, drawn - begun, monotonic() - begun)
    recorder.end(training)


def take_step(training: Training, batch: Batch, job: Job) -> dict[str, float]:
    """One step of the network, and of the critic where there is one. Returns what goes to the log, means over all
    processes. Raises TrainingStopped, with nothing of the step applied to the weights."""
    settings, place = job.settings, job.place
    with torch.autocast(place.device.type, torch.bfloat16, enabled=job.dtype == torch.bfloat16):
        output = training.network(batch.fixed, batch.moving, batch.moving_labels.float())
    terms = loss_terms(output, batch, settings.loss, job.names)
    if training.critic is not None:
        warped = warped_shares(output, batch, FINE)
        terms[ADVERSARIAL] = adversarial_loss(training.critic, _under(batch.fixed, warped), warped)
    loss, weights = training.weighting(terms, training.step)
    training.optimiser.zero_grad(set_to_none=True)
    loss.backward()

    own = torch.stack([loss, *terms.values()]).detach()
    means = own.clone()
    gradients = [p.grad for group in training.optimiser.param_groups for p in group["params"] if p.grad is not None]
    average([means, *gradients, *_running(training)], place)
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    row = _named(("loss", *terms), means)
    if not all(math.isfinite(value) for value in (norm, *row.values())):
        raise stopped(training, batch, job, _named(("loss", *terms), own), norm)
    row |= {**{f"w_{name}": weight for name, weight in weights.items()}, "gradient_norm": norm}
    if training.critic is not None:  # before the network's own step: where the critic's fails, neither is taken
        row |= critic_step(training, batch, output, job)
    training.optimiser.step()
    return row


def critic_step(training: Training, batch: Batch, output: Output, job: Job) -> dict[str, float]:
    """One step of the critic on contours as drawn and as warped."""
    assert training.critic is not None and training.critic_optimiser is not None
    fake = warped_shares(output, batch, FINE).detach()
    d, h, w = fake.shape[2:]
    seeds = np.random.SeedSequence((job.settings.seed, training.step, job.place.rank)).generate_state(1)
    generator = torch.Generator().manual_seed(int(seeds[0]))
    real = true_shares(batch, FINE, (d, h, w))
    loss = critic_loss(training.critic, _under(batch.fixed, fake), real, fake, generator)
    training.critic_optimiser.zero_grad(set_to_none=True)
    loss.backward()  # pyright: ignore[reportUnknownMemberType]
    mean = loss.detach().clone()
    gradients = [p.grad for p in training.critic.parameters() if p.grad is not None]
    average([mean, *gradients], job.place)
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    if not (math.isfinite(float(mean)) and math.isfinite(norm)):
        raise stopped(training, batch, job, {"critic": float(loss.detach())}, norm)
    training.critic_optimiser.step()
    return {"critic": float(mean)}


def _under(fixed: Tensor, shares: Tensor) -> Tensor:
    """The daily scan on the voxels of contours (B, K, d, h, w) at the fine resolution: (B, 1, d, h, w)."""
    d, h, w = shares.shape[2:]
    return at_resolution(fixed, FINE, (d, h, w))


def _named(names: Sequence[str], values: Tensor) -> dict[str, float]:
    numbers = cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType]
    return dict(zip(names, numbers, strict=True))


def _running(training: Training) -> list[Tensor]:
    """What a forward pass leaves behind: running means of batch norm, and what the weighting remembers."""
    remembered = training.weighting.remembered()
    running = [buffer for buffer in training.network.buffers() if buffer.is_floating_point()]
    return [*running, *([remembered] if remembered is not None else [])]
