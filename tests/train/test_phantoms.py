"""Batches of moved men: the same whatever makes them and whenever, and what the settings say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from recontour.errors import MemoryShort, SettingsError
from recontour.network.catalogue import LABELS
from recontour.train import men, phantoms
from recontour.train.batch import Batch
from recontour.train.dataset import PARTS, VALIDATION
from recontour.train.moved import day_of
from recontour.train.phantoms import PhantomSource, stream_day, upcoming, validation_pairs
from recontour.train.settings import DataSettings, TrainSettings
from tests.train.balls import HU, ball_man

CPU = torch.device("cpu")
PARTS_OF_BATCH = ("fixed", "moving", "fixed_labels", "moving_labels", "known")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two men for training and one for validation, of balls."""
    folder = tmp_path_factory.mktemp("men")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(men, "make_man", lambda seed: ball_man(noise_hu=5.0, x_mm=8.0 * (seed % 2)))
        for seed in (0, 1, VALIDATION[0]):
            men.kept_man(folder, seed)
    return folder


def settings(workers: int = 0, seed: int = 5, severity: float = 1.0, batch: int = 2) -> TrainSettings:
    data = DataSettings(
        "phantoms", training_men=2, validation_men=1, days_at_once=2, patches_per_day=2, workers=workers,
        severity=severity,
    )  # fmt: skip
    return TrainSettings(seed=seed, batch=batch, patch_voxels=44, data=data)


@contextmanager
def source(folder: Path, told: TrainSettings, rank: int = 0) -> Iterator[PhantomSource]:
    opened = PhantomSource(told, folder, CPU, rank)
    try:
        yield opened
    finally:
        opened.close()


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS_OF_BATCH)


@pytest.fixture(scope="module")
def run(folder: Path) -> list[Batch]:
    with source(folder, settings()) as whole:
        return [whole.batch(step) for step in range(4)]


def test_a_run_that_is_taken_up_sees_what_it_would_have_seen(folder: Path, run: list[Batch]):
    with source(folder, settings()) as later:
        assert same(later.batch(3), run[3])
    assert not same(run[0], run[1])


def test_workers_change_nothing_that_is_seen(folder: Path, run: list[Batch]):
    with source(folder, settings(workers=1)) as behind:
        assert all(same(behind.batch(step), run[step]) for step in range(4))
    assert not _makers()


def test_other_seeds_and_ranks_see_other_days(folder: Path, run: list[Batch]):
    asked: list[tuple[int, int]] = []
    for told, rank in ((settings(batch=1), 0), (settings(seed=6, batch=1), 0), (settings(batch=1), 1)):
        with source(folder, told, rank) as other, pytest.MonkeyPatch.context() as patch:
            take = other._maker.take
            patch.setattr(other._maker, "take", lambda seeds, take=take: (asked.append(seeds), take(seeds))[1])
            first = other.batch(0).fixed_labels[0]
            assert torch.equal(first, run[0].fixed_labels[0]) == (told.seed == 5 and rank == 0)
    assert len({motion for _, motion in asked}) == 3


def test_a_batch_is_what_the_network_takes(run: list[Batch]):
    for batch in run:
        assert batch.fixed.shape == batch.moving.shape == (2, 1, 44, 44, 44) and batch.fixed.dtype == torch.float32
        assert batch.fixed_labels.shape == batch.moving_labels.shape == (2, 1, 44, 44, 44)
        assert batch.fixed_labels.dtype == torch.int64 and int(batch.fixed_labels.max()) < len(LABELS)
        assert batch.known.shape == (2, len(LABELS)) and batch.known.dtype == torch.bool and bool(batch.known.all())
        assert float(batch.fixed.min()) >= -1.0 and float(batch.fixed.max()) <= 1.0


def test_scans_and_labels_are_mirrored_together(run: list[Batch]):
    """Half of the patches are mirrored; in all of them the scans show each organ's HU where its label is."""
    seen = 0
    for batch in run:
        for scan, labels in ((batch.fixed, batch.fixed_labels), (batch.moving, batch.moving_labels)):
            for organ in ("prostate", "seminal_vesicles"):  # what the others hold changes
                inside = labels == LABELS.index(organ)
                if inside.sum() > 500:
                    seen += 1
                    assert abs(1000 * float(scan[inside].median()) - HU[organ]) < 130, organ
    assert seen > 4


def test_each_stream_changes_its_day_in_turn():
    data = DataSettings("phantoms", days_at_once=4, patches_per_day=6)
    days = [stream_day(data, n) for n in range(4 * 6 * 3)]
    assert [stream for stream, _ in days[:8]] == [0, 1, 2, 3, 0, 1, 2, 3]
    for stream in range(4):
        numbers = [number for s, number in days if s == stream]
        changes = [k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1]]
        assert all(b - a == 6 for a, b in pairwise(changes))
        assert all(numbers[k] == numbers[k - 1] + 1 for k in changes)
    first = [min(k for k, (s, d) in enumerate(days) if s == stream and d == 1) for stream in range(4)]
    assert len({n // 4 for n in first}) == 4  # in four different rounds
    for n in (0, 5, 17):
        by_use = list(dict.fromkeys(stream_day(data, k) for k in range(n, 4 * 6 * 3)))
        assert list(islice(upcoming(data, n), 8)) == by_use[:8]


def test_severity_scales_the_motion(folder: Path):
    still, half, whole = (day_of(folder, 0, 77, severity).field_daily_to_planning.array for severity in (0.0, 0.5, 1.0))
    assert np.abs(still).max() < 1e-4
    assert 0.3 < np.abs(half).max() / np.abs(whole).max() < 0.7


def test_validation_pairs_are_made_once_of_men_no_training_sees(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = validation_pairs(settings(), folder)
    assert [int(pair.name.split("-")[0]) for pair in first] == [VALIDATION[0]]
    assert all(isinstance(getattr(pair, part), np.memmap) for pair in first for part in PARTS)
    assert {1, 2, 3, 4} <= set(np.unique(first[0].fixed_labels).tolist()) and first[0].organs == LABELS[1:]
    harder = validation_pairs(settings(severity=2.0), folder)
    assert not np.array_equal(harder[0].fixed_labels, first[0].fixed_labels)
    monkeypatch.setattr(phantoms, "day_of", None)  # nothing is made any more
    again = validation_pairs(settings(), folder)
    assert all(np.array_equal(getattr(a, p), getattr(b, p)) for a, b in zip(again, first, strict=True) for p in PARTS)


def test_more_men_than_there_are_seeds_are_refused(folder: Path):
    with pytest.raises(SettingsError, match=r"data\.training_men"):
        PhantomSource(TrainSettings(data=DataSettings("phantoms", training_men=10_001)), folder, CPU)
    with pytest.raises(SettingsError, match=r"data\.validation_men"):
        validation_pairs(TrainSettings(data=DataSettings("phantoms", validation_men=10_001)), folder)


def _makers() -> list[psutil.Process]:
    """The processes that make days; the interpreter's own helper apart."""
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


def test_a_worker_that_is_ended_from_outside_is_told(folder: Path):
    with source(folder, settings(workers=1)) as behind:
        behind.batch(0)
        for process in _makers():
            process.kill()
        with pytest.raises(MemoryShort, match=r"data\.workers"):
            for step in range(1, 12):
                behind.batch(step)


TRAINING = """
import sys, torch
from pathlib import Path
from recontour.train.phantoms import PhantomSource
from recontour.train.settings import DataSettings, TrainSettings
if __name__ == "__main__":
    data = DataSettings("phantoms", training_men=2, days_at_once=2, workers=1)
    source = PhantomSource(TrainSettings(patch_voxels=44, data=data), Path(sys.argv[1]), torch.device("cpu"))
    source.batch(0)
    for day in source._maker._asked.values():
        day.result()  # a worker without work finds no broken pipe to end on
    print("made", flush=True)
    sys.stdin.read()
"""


def test_workers_end_with_a_training_that_is_killed(folder: Path, tmp_path: Path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING, encoding="utf-8")
    command = [sys.executable, str(script), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as training:
        assert training.stdout is not None and training.stdout.readline() == b"made\n"
        assert len(psutil.Process(training.pid).children()) >= 1
        training.send_signal(signal.SIGKILL)
        # Workers hold the same standard output: it ends when the last of them has.
        assert training.communicate(timeout=60)[0] == b""


def test_texture_changes_the_scans_alone(folder: Path):
    plain = settings(batch=1)
    with source(folder, plain) as first:
        seen = first.batch(0)
    with source(folder, replace(plain, data=replace(plain.data, texture_hu=15.0))) as second:
        textured = second.batch(0)
    ways = [textured.fixed_labels, textured.fixed_labels.flip(-1)]  # what comes after it is drawn anew: the mirror
    assert any(torch.equal(seen.fixed_labels, way) for way in ways)
    assert not any(torch.equal(seen.fixed, way) for way in (textured.fixed, textured.fixed.flip(-1)))
    assert textured.motion is not None and seen.motion is None


def test_another_doctor_draws_otherwise(folder: Path):
    plain = settings()
    with source(folder, plain) as first:
        seen = first.batch(0)
    with source(folder, replace(plain, data=replace(plain.data, drawing_mm=1.5))) as second:
        drawn = second.batch(0)
    assert not torch.equal(seen.fixed_labels, drawn.fixed_labels)
    assert not torch.equal(seen.moving_labels, drawn.moving_labels)
