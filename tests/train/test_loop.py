"""A training that was stopped, killed or misled is the training that it would have been, or says at once what is
wrong."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from recontour.cli import app
from recontour.errors import MemoryShort, ModelRefused, OutputRefused, SettingsError, TrainingStopped, UsageError
from recontour.train import loop, recorder
from recontour.train.checkpoint import read_state
from recontour.train.dataset import read_splits
from recontour.train.folder import BEST, CHECKPOINT, LOCK, LOG, PREVIOUS, SETTINGS, STOPPED, VALIDATION
from recontour.train.log import read_rows
from recontour.train.loop import train
from recontour.train.ready import make_job, new_training
from recontour.train.recorder import Progress, Watcher
from recontour.train.settings import LossSettings, TrainSettings
from recontour.train.sources import PairSource
from recontour.train.validate import PathScore
from tests.train.made_data import tiny_settings, write_pairs

# Between them every part of a checkpoint: what both weightings learn or remember, the critic, both paths.
KINDS = {
    "cross-stitch": LossSettings(weighting="homoscedastic", boundary=0.5, boundary_full_at=2),
    "jrs-reg": LossSettings(weighting="dwa", adversarial=0.1),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Validation takes no time and finds these mean distances, one after the other."""
    scores = [2.0, 1.0, 3.0, 4.0]

    def validate(model: Any, pairs: Sequence[Any], *_: Any) -> list[PathScore]:
        return [PathScore(pair.name, "segmentation", "bladder", scores.pop(0), 5.0, 0.5) for pair in pairs]

    monkeypatch.setattr(recorder, "validate", validate)
    return scores


class AtStep(Watcher):
    """Does something once a step is done."""

    def __init__(self, step: int, work: Any) -> None:
        self.step, self.work = step, work
        self.told: list[Progress] = []
        self.said: list[str] = []

    def on_step(self, progress: Progress) -> None:
        self.told.append(progress)
        if progress.step == self.step:
            self.work()

    def say(self, text: str) -> None:
        self.said.append(text)


def state(run: Path, step: int, name: str = CHECKPOINT) -> dict[str, torch.Tensor]:
    tensors, about = read_state(run / name)
    assert about["step"] == str(step)
    return tensors


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.usefixtures("scored")
def test_taken_up_again_it_ends_bit_for_bit_where_it_would_have_ended(architecture: str, data: Path, tmp_path: Path):
    settings = replace(tiny_settings(data, architecture, steps=7), loss=KINDS[architecture])
    train(settings, tmp_path / "straight")
    for steps in (6, 7):  # past RAdam's five first steps, which differ
        torch.rand(3)  # whatever else was drawn meanwhile
        assert train(replace(settings, steps=steps), tmp_path / "broken").step == steps
    assert same(state(tmp_path / "straight", 7), state(tmp_path / "broken", 7))
    assert len(state(tmp_path / "straight", 7)) > 150


@pytest.mark.usefixtures("scored")
def test_another_seed_is_another_training(data: Path, tmp_path: Path):
    for seed, folder in ((5, "a"), (5, "b"), (6, "c")):
        train(replace(tiny_settings(data, "seg", steps=2), seed=seed), tmp_path / folder)
    a, b, c = (state(tmp_path / folder, 2) for folder in "abc")
    assert same(a, b) and not same(a, c)


def test_killed_anywhere_it_ends_bit_for_bit_where_it_would_have_ended(data: Path, tmp_path: Path):
    settings = replace(tiny_settings(data, "seg", steps=7), checkpoint_every_s=1.0, validate_every=3)
    told = tmp_path / "settings.json"
    told.write_text(json.dumps(settings.as_dict()))
    deaths = [2, 11, 14, 17, 20, 25]

    def lives(run: str, *numbers: int) -> list[str]:
        command = [sys.executable, Path(__file__).with_name("one_life.py"), told, tmp_path / run, *map(str, numbers)]
        path = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | path)
        return done.stdout.splitlines()

    assert lives("killed", *deaths, 0) == ["killed"] * len(deaths) + ["exit 0"]
    assert lives("straight", 0) == ["exit 0"]
    assert same(state(tmp_path / "killed", 7), state(tmp_path / "straight", 7))
    assert same(*(read_state(tmp_path / run / BEST)[0] for run in ("killed", "straight")))
    for file, count, columns in ((LOG, 7, ("step", "loss", "gradient_norm")), (VALIDATION, 3, ("step", "organ"))):
        rows = [
            [[row[c] for c in columns] for row in read_rows(tmp_path / run / file)] for run in ("killed", "straight")
        ]
        assert rows[0] == rows[1] and len(rows[0]) == count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(number: int, data: Path, tmp_path: Path):
    before = signal.getsignal(number)
    watcher = AtStep(2, lambda: os.kill(os.getpid(), number))
    outcome = train(tiny_settings(data, "seg"), tmp_path / "run", watcher)
    assert (outcome.step, outcome.interrupted) == (2, True) and signal.getsignal(number) is before
    state(tmp_path / "run", 2)
    assert "checkpoint of step 2 is saved" in watcher.said[-1]


def test_a_signal_breaks_off_a_validation_and_the_next_run_begins_with_it(
    scored: list[float], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    canned = recorder.validate
    pairs = write_pairs(tmp_path / "more")
    (pairs / "training" / "bert-1").rename(pairs / "validation" / "bert-1")
    settings = replace(tiny_settings(pairs, "seg", steps=3), validate_every=2)

    def signalled(*arguments: Any) -> list[PathScore]:
        os.kill(os.getpid(), signal.SIGTERM)
        return canned(*arguments)

    monkeypatch.setattr(recorder, "validate", signalled)
    assert train(settings, tmp_path / "run").step == 2 and not (tmp_path / "run" / VALIDATION).exists()
    monkeypatch.setattr(recorder, "validate", canned)
    scored[:] = [1.0, 2.0, 3.0, 4.0]
    assert train(settings, tmp_path / "run").step == 3
    rows = [(row["step"], row["pair"], row["msd_mm"]) for row in read_rows(tmp_path / "run" / VALIDATION)]
    assert rows == [("2", "bert-1", "1"), ("2", "cleo-1", "2"), ("3", "bert-1", "3"), ("3", "cleo-1", "4")]


def test_the_best_is_the_one_with_the_lowest_distance(scored: list[float], data: Path, tmp_path: Path):
    outcome = train(replace(tiny_settings(data, "seg", steps=3), validate_every=1), tmp_path)
    assert outcome.best_msd_mm == 1.0 and scored == [4.0]
    best, about = read_state(tmp_path / BEST)
    assert (about["step"], float(about["validation_msd_mm"])) == ("2", 1.0)
    second = read_state(tmp_path / PREVIOUS)[0]  # of step 3, before its validation
    assert not torch.equal(best["segment.fine.weight"], second["network.segment.fine.weight"])
    assert [row["msd_mm"] for row in read_rows(tmp_path / VALIDATION)] == ["2", "1", "3"]


@pytest.mark.usefixtures("scored")
def test_what_is_told_and_logged(data: Path, tmp_path: Path):
    watcher = AtStep(0, None)
    train(replace(tiny_settings(data), log_every=2), tmp_path, watcher)
    assert [p.step for p in watcher.told] == [1, 2, 3, 4] and watcher.told[-1].seconds_left == 0
    rows = read_rows(tmp_path / LOG)
    assert [row["step"] for row in rows] == ["2", "4"]
    terms = ("similarity", "dice_registration", "dice_segmentation", "bending")
    for row in rows:
        total = sum(float(row[term]) * float(row[f"w_{term}"]) for term in terms)
        assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
        assert 0 <= float(row["wait_seconds"]) <= float(row["step_seconds"]) <= float(row["seconds"])
    units = [name for name in rows[0] if name.startswith("stitch")]
    assert len(units) == 8 and all(0.3 < float(rows[0][name]) < 0.7 for name in units)  # as they are drawn


def test_a_step_that_is_not_finite_is_not_applied_and_what_it_saw_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sound = PairSource.batch

    def broken(self: PairSource, step: int) -> Any:
        batch = sound(self, step)
        return replace(batch, moving=batch.moving * float("nan")) if step == 2 else batch

    monkeypatch.setattr(PairSource, "batch", broken)
    ticks = iter(range(10**6))
    monkeypatch.setattr(recorder, "monotonic", lambda: float(next(ticks)))
    settings = replace(tiny_settings(data), checkpoint_every_s=1.0)
    with pytest.raises(TrainingStopped, match=r"step 2 is not finite: loss.*largest weight.*learning rate") as error:
        train(settings, tmp_path / "run")
    assert STOPPED in error.value.allowed and "similarity nan" in error.value.where
    seen, _ = read_state(tmp_path / "run" / STOPPED)
    assert bool(seen["moving"].isnan().any()) and seen["fixed"].shape == (2, 1, 44, 44, 44)
    stood = state(tmp_path / "run", 2)
    monkeypatch.setattr(PairSource, "batch", sound)
    train(settings, tmp_path / "run", AtStep(2, None), minutes=0)
    assert same(stood, state(tmp_path / "run", 2)) and all(bool(t.isfinite().all()) for t in stood.values())


def test_where_the_critics_step_fails_neither_network_takes_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The critic's loss is 0 and its slope infinite, as of a square root at 0."""

    def steep(critic: torch.nn.Module, *_: Any) -> torch.Tensor:
        weight = next(critic.parameters())
        return (weight - weight.detach()).square().sum().sqrt()

    monkeypatch.setattr(loop, "critic_loss", steep)
    settings = replace(tiny_settings(data, "jrs-reg"), loss=KINDS["jrs-reg"])
    job = make_job(settings, tmp_path)
    training = new_training(job)
    before = {name: p.detach().clone() for name, p in training.network.named_parameters()}
    source = PairSource(read_splits(data)["training"], settings, job.place.device)
    with pytest.raises(TrainingStopped, match="the gradient alone"):
        loop.take_step(training, source.batch(0).both_ways(), job)
    assert all(torch.equal(before[name], p) for name, p in training.network.named_parameters())


def test_time_being_up_saves_and_stops(data: Path, tmp_path: Path):
    assert train(tiny_settings(data, "seg"), tmp_path, minutes=0).step == 0
    state(tmp_path, 0)


def changed(settings: TrainSettings, **parts: dict[str, Any]) -> TrainSettings:
    return replace(settings, **{name: replace(getattr(settings, name), **values) for name, values in parts.items()})


def test_a_run_goes_on_only_with_its_own_settings(data: Path, tmp_path: Path):
    settings = tiny_settings(data, "seg")
    train(settings, tmp_path / "run", minutes=0)
    for other, name in (
        (replace(settings, batch=2), "batch"),
        (changed(settings, optimiser={"learning_rate": 2e-3}), r"optimiser\.learning_rate"),
        (changed(settings, network={"architecture": "reg"}), r"network\.architecture"),
    ):
        with pytest.raises(SettingsError, match=name):
            train(other, tmp_path / "run", minutes=0)
    elsewhere = write_pairs(tmp_path / "elsewhere")
    longer = replace(settings, steps=9, log_every=3, validate_every=4, checkpoint_every_s=9.0)
    train(changed(longer, data={"folder": str(elsewhere), "workers": 3}), tmp_path / "run", minutes=0)


def test_what_is_wrong_is_said_before_the_first_step(data: Path, tmp_path: Path):
    settings = tiny_settings(data, "seg")
    twice = write_pairs(tmp_path / "twice")
    (twice / "training" / "anna-1").rename(twice / "validation" / "bert-2")
    bare = write_pairs(tmp_path / "bare")
    for name in ("anna-1", "bert-1"):
        (bare / "training" / name / "pair.json").write_text('{"organs": ["bladder", "rectum", "prostate"]}')
    torn = write_pairs(tmp_path / "torn")
    with (torn / "training" / "anna-1" / "fixed_hu.npy").open("r+b") as file:
        file.truncate(200)
    cases = [
        (changed(settings, data={"folder": str(twice)}), UsageError, "1 patient in two splits: bert"),
        (changed(settings, data={"folder": str(bare)}), UsageError, "no pair has seminal_vesicles"),
        (changed(settings, data={"folder": str(torn)}), UsageError, "anna-1"),
        (changed(settings, data={"folder": str(tmp_path / "none")}), UsageError, "no training pairs"),
        (replace(settings, batch=10_000), MemoryShort, "GB are free"),
        (replace(settings, steps=10**15), OutputRefused, "MB free"),
        (replace(settings, device="cuda:99"), UsageError, "cuda:99"),
        (changed(settings, loss={"adversarial": 0.1}), SettingsError, "registers"),
    ]
    for number, (wrong, error, says) in enumerate(cases):
        run = tmp_path / f"run{number}"
        with pytest.raises(error, match=says):
            train(wrong, run)
        assert not (run / CHECKPOINT).exists() and not (run / LOG).exists()


def test_a_folder_that_is_not_a_runs_or_is_in_use_is_left_alone(data: Path, tmp_path: Path):
    settings = tiny_settings(data, "seg")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(OutputRefused, match="something else"):
        train(settings, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]
    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy" / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OutputRefused, match="another process"):
            train(settings, tmp_path / "busy")
        assert not (tmp_path / "busy" / SETTINGS).exists()


def test_a_damaged_checkpoint_is_said_and_the_previous_one_goes_on(data: Path, tmp_path: Path):
    settings = tiny_settings(data, "seg")
    for step in (1, 2):
        train(settings, tmp_path, AtStep(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[:-1])
    with pytest.raises(ModelRefused, match=r"step 1: .*--from-previous"):
        train(settings, tmp_path)
    train(settings, tmp_path, AtStep(2, lambda: os.kill(os.getpid(), signal.SIGTERM)), from_previous=True)
    (tmp_path / "whole").write_bytes(whole)
    assert same(state(tmp_path, 2), state(tmp_path, 2, "whole"))
    assert [row["step"] for row in read_rows(tmp_path / LOG)] == ["1", "2"]


CONFIG = """
seed = 5
steps = 3
patch_voxels = 44
batch = 1
precision = "fp32"
device = "cpu"
[data]
source = "prepared"
folder = "{data}"
[network]
architecture = "seg"
"""


@pytest.mark.usefixtures("scored")
def test_the_command_trains_goes_on_and_says_how_it_ended(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config, run = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(CONFIG.format(data=data))

    def recontour(*options: str) -> Any:
        return CliRunner().invoke(app, ["train", str(config), "--out", str(run), *options])

    late = recontour("--minutes", "0")
    assert late.exit_code == 0 and "Time is up at step 0 of 3" in late.stderr
    real = loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *a: (os.kill(os.getpid(), signal.SIGINT), real(*a))[1])
    stopped = recontour()
    assert stopped.exit_code == 130 and "Interrupted at step 1. The same command goes on" in stopped.stderr
    monkeypatch.setattr(loop, "take_step", real)
    done = recontour()
    assert done.exit_code == 0 and "goes on from step 1" in done.stderr and "step 3/3  loss" in done.stderr
    assert recontour("--quiet").stderr == ""
    config.write_text("stepz = 3")
    assert isinstance(recontour().exception, SettingsError)


def test_a_network_of_coarser_voxels_learns_and_is_scored_in_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[float] = []

    def validate(model: Any, pairs: Sequence[Any], *_: Any) -> list[PathScore]:
        seen.append(model.card.spacing_mm)
        return [PathScore(pair.name, "segmentation", "bladder", 1.0, 5.0, 0.5) for pair in pairs]

    monkeypatch.setattr(recorder, "validate", validate)
    assert train(replace(tiny_settings(data, steps=1), spacing_mm=2.0), tmp_path / "run").step == 1
    assert seen == [2.0]


@pytest.mark.usefixtures("scored")
def test_a_training_may_begin_with_the_last_weights_of_another_run(data: Path, tmp_path: Path):
    first = tiny_settings(data, "seg", steps=2)
    train(first, tmp_path / "one")
    last = state(tmp_path / "one", 2)
    slower = replace(first.optimiser, learning_rate=1e-4)
    chosen = replace(first.network, start_from=str(tmp_path / "one"))
    begun = new_training(make_job(replace(first, network=chosen, optimiser=slower), tmp_path / "two")).network
    assert all(torch.equal(value, last[f"network.{name}"]) for name, value in begun.state_dict().items())
    other = replace(first, network=replace(chosen, architecture="reg"))
    with pytest.raises(ModelRefused, match="a run of another network"):
        new_training(make_job(other, tmp_path / "three"))
