"""One configuration: trained to its end, or registered, and scored. Taken up again, it goes on where it stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from recontour.align.elastix import register_bspline
from recontour.align.maps import BSPLINE_PAPER, BSPLINE_STRONG
from recontour.compare.data import pairs_of, placed
from recontour.compare.plan import Job, plan
from recontour.compare.results import (
    ASKED,
    SCORES,
    FieldRow,
    Outcome,
    ScoreRow,
    asked_of,
    check_asked,
    write_outcome,
)
from recontour.compare.settings import CompareSettings, toml_of
from recontour.disk import alone
from recontour.errors import AlignmentFailed, OutputRefused, UsageError
from recontour.fuse.cleanup import keep_largest_parts
from recontour.fuse.combine import level_set_from_probability
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Mask, Volume
from recontour.hybrid import register_hybrid
from recontour.network.catalogue import LABELS
from recontour.network.predict import Prediction, predict
from recontour.network.released import ReleasedModel
from recontour.qa.manifest import write_text
from recontour.train.card import plain_card
from recontour.train.dataset import ScanPair
from recontour.train.export import read_run
from recontour.train.settings import TrainSettings
from recontour.train.validate import (
    AFFINE,
    REGISTRATION,
    FieldScore,
    PathScore,
    Validation,
    field_score,
    pair_grid,
    path_scores,
    validate_fields_too,
)

RUN, CONFIG, LOCK = "run", "train.toml", "lock"
_INTERRUPTED = 130  # what `recontour train` ends with at a signal, its checkpoint written
_PATIENCE_S = 120.0  # for a training that was told to stop, to write its checkpoint


def do_job(key: str, settings: CompareSettings, out: Path) -> None:
    """Does what is left of one configuration of the study in `out`; nothing, where it is done.

    Where another process works on it, waits until that ends. Raises UsageError on a key that is not in the plan or a
    folder of other settings, or a system on which a process cannot be given a locked file; OutputRefused where its
    training fails.
    """
    if os.name != "posix":
        raise UsageError("a comparison hands locked files on", where="compare", allowed="Linux or macOS")
    jobs = {job.key: job for job in plan(settings)}
    if key not in jobs:
        raise UsageError(f"no configuration {key!r}", where="--only", allowed=", ".join(jobs))
    job, folder = jobs[key], out / key
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / LOCK) as lock:
        check_asked(folder, job, settings)
        write_text(folder / ASKED, json.dumps(asked_of(job, settings), indent=1))
        if (folder / SCORES).exists():
            return
        if job.training is not None:
            _train(placed(job.training, out), folder, lock)
        rows = [(which, _score(job, pairs, out)) for which, pairs in pairs_of(settings, out).items()]
        write_outcome(folder, _outcome(rows))


def _train(training: TrainSettings, folder: Path, lock: IO[bytes]) -> None:
    """In a process of its own, by the same command as a person's; it takes itself up where it stopped. It is given the
    lock: where it outlives whoever started it, it is waited for."""
    write_text(folder / CONFIG, toml_of(training.as_dict()))
    command = [sys.executable, "-m", "recontour", "train", str(folder / CONFIG), "--out", str(folder / RUN), "--quiet"]
    process = subprocess.Popen(command, pass_fds=(lock.fileno(),))
    try:
        code = process.wait()
    except BaseException:
        stop(process)
        raise
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        found = f"the training ended with {code}"
        raise OutputRefused(found, where=folder.name, allowed="see what it said before, and start again")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and waits until it has; after two minutes it is made to."""
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _score(job: Job, pairs: Sequence[ScanPair], out: Path) -> Validation:
    if job.training is not None:
        return validate_fields_too(trained_model(out / job.key / RUN), pairs)
    model = trained_model(out / job.needs / RUN) if job.needs else None
    scores: list[PathScore] = []
    smoothness: list[FieldScore] = []
    for pair in pairs:
        try:
            field = _registered(job.method, pair, model)
        except AlignmentFailed:
            scores += _lost(pair)
            continue
        scores += path_scores(pair, Prediction(field, None))
        smoothness.append(field_score(pair.name, field))
    return Validation(tuple(scores), tuple(smoothness))


def trained_model(run: Path) -> ReleasedModel:
    """The best weights of a run, ready to predict. Raises ModelRefused where there are none yet."""
    trained = read_run(run)
    network, settings = trained.network.eval(), trained.settings
    return ReleasedModel(plain_card(run.parent.name, network, settings), network)


def _registered(method: str, pair: ScanPair, model: ReleasedModel | None) -> Field:
    """The rivals: the scans of a pair are affinely aligned already."""
    grid = pair_grid(pair)
    fixed, moving = (Volume(grid, np.asarray(hu, np.float32)) for hu in (pair.fixed_hu, pair.moving_hu))
    if model is None:
        maps = BSPLINE_PAPER if method == "elastix" else BSPLINE_STRONG
        return register_bspline(fixed, moving, Affine.identity(), maps)
    labels = np.array(pair.moving_labels)
    daily = _bladder(predict(model, fixed, moving, labels, grid), grid)
    planned, rectum = (Mask(grid, labels == LABELS.index(organ)) for organ in ("bladder", "rectum"))
    return register_hybrid(fixed, moving, (daily, planned), rectum)


def _bladder(found: Prediction, grid: Grid) -> Mask:
    """The largest part of what the network takes for bladder."""
    probability = found.probability(LABELS.index("bladder"), grid)
    if probability is None:
        raise UsageError("a network that does not segment", where="hybrid", allowed="one with a segmentation path")
    return Mask(grid, keep_largest_parts(level_set_from_probability(probability, grid), 1).array > 0)


def _lost(pair: ScanPair) -> list[PathScore]:
    """A registration that fails has lost every organ; where all start from is known all the same."""
    affine = path_scores(pair, Prediction(None, None))
    lost = [PathScore(s.pair, REGISTRATION, s.organ, float("inf"), float("inf"), 0.0) for s in affine]
    return [*(s for s in affine if s.path == AFFINE), *lost]


def _outcome(parts: Sequence[tuple[str, Validation]]) -> Outcome:
    scores = [
        ScoreRow(which, s.pair, s.path, s.organ, s.msd_mm, s.hd95_mm, s.dice)
        for which, found in parts
        for s in found.scores
    ]
    smoothness = [FieldRow(which, f.pair, f.jacobian_sd, f.folding) for which, found in parts for f in found.fields]
    return Outcome(tuple(scores), tuple(smoothness))
