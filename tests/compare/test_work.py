"""The whole way on pairs of a few voxels, with real trainings of one step, and what a kill leaves."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recontour.align.maps import BSPLINE_STRONG
from recontour.compare import work
from recontour.compare.plan import plan
from recontour.compare.results import asked_of, read_outcome
from recontour.compare.schedule import STUDY, Event, run_study
from recontour.compare.settings import CompareSettings, read_compare_settings
from recontour.compare.work import LOCK, RUN, do_job
from recontour.disk import alone
from recontour.errors import AlignmentFailed, OutputRefused, UsageError
from recontour.geometry.field import Field
from recontour.geometry.volume import Mask, Volume
from recontour.network.catalogue import LABELS
from recontour.network.predict import Prediction
from recontour.train.dataset import ScanPair, write_pair
from recontour.train.settings import read_train_settings
from recontour.train.validate import pair_grid
from tests.compare.drawn import study

SIZE = (44, 48, 52)


def drawn_pair(name: str, seed: int) -> ScanPair:
    """Four balls in noise; the daily ones 3 mm to the left of the planned ones."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    labels = []
    for shift in (0, 3):
        array = np.zeros(SIZE, np.uint8)
        for label, (cy, cx) in enumerate([(14, 16), (14, 34), (32, 16), (32, 34)], start=1):
            array[(z - 22) ** 2 + (y - cy) ** 2 + (x - cx - shift) ** 2 <= 36] = label
        labels.append(array)
    scans = [(40 + 60 * array + rng.normal(0, 5, SIZE)).astype(np.int16) for array in labels]
    return ScanPair(*scans, *labels, organs=LABELS[1:], name=name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for seed, (split, name) in enumerate([("training", "p1-1"), ("validation", "p2-1"), ("test", "p3-1")]):
        write_pair(folder / split / name, drawn_pair(name, seed))
    return folder


def settings_of(data: Path, **raw: object) -> CompareSettings:
    train = {"steps": 1, "patch_voxels": 44, "batch": 1, "validate_every": 1, "precision": "fp32"}
    where = {"source": "prepared", "folder": str(data)}
    return study(tables=[3, 4, 5], train={**train, "data": where}, **raw)


def test_from_pairs_to_tables(data: Path, tmp_path: Path) -> None:
    """First a file lies where the run should be, and the training fails. Then it is gone."""
    settings = settings_of(data, networks=["seg"], rivals=[])
    (seg,) = (job.key for job in plan(settings))
    out = tmp_path / "out"
    (out / seg).mkdir(parents=True)
    (out / seg / RUN).write_text("in the way")
    finished = run_study(settings, out, lambda event: None)
    assert finished[seg].kind == "failed"
    text = (out / "tables.md").read_text()
    assert text.splitlines()[0] == "# Comparison of 1 configuration, in part: 0 done, 1 failed, 0 not yet"
    assert f"- {seg}: {read_outcome(out / seg).failed}" in text

    (out / seg / RUN).unlink()
    assert run_study(settings, out, lambda event: None)[seg].kind == "done"
    for which, pair in (("validation", "p2-1"), ("test", "p3-1")):
        assert read_outcome(out / seg).of(which, "segmentation", "rectum").keys() == {pair}
    assert (out / "tables.md").read_text().startswith("# Comparison of 1 configuration, all done\n")
    assert read_compare_settings(out / STUDY) == settings

    began: list[Event] = []  # what is done is left alone
    run_study(settings, out, began.append)
    assert began == []


def test_elastix_is_scored_by_its_field(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 mm aside: a ball's surface is then 3 |cos| off, 1.5 mm in the mean, and a bit less to its nearest point."""
    monkeypatch.setattr(work, "BSPLINE_STRONG", BSPLINE_STRONG.changed("fast", MaximumNumberOfIterations=100))
    settings = settings_of(data, networks=[], rivals=["elastix-soft-tissue"])
    do_job("elastix-soft-tissue", settings, tmp_path)
    found = read_outcome(tmp_path / "elastix-soft-tissue")
    for which, pair in (("validation", "p2-1"), ("test", "p3-1")):
        assert found.of(which, "affine", "rectum")[pair] == pytest.approx(1.4, abs=0.15)
        assert found.of(which, "registration", "rectum")[pair] < 0.5
        assert found.of_field(which, "jacobian_sd").keys() == {pair}


def test_the_hybrid_method_is_given_both_bladders(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is sure of half of the daily bladder and of a speck beside it, which is left out."""
    shutil.rmtree(data / "test")  # then there are scores of the validation alone
    bladder = LABELS.index("bladder")
    pair = drawn_pair("p2-1", 1)
    found = (pair.fixed_labels == bladder) & (np.arange(SIZE[0])[:, None, None] >= 22)
    probabilities = np.zeros((len(LABELS), *SIZE), np.float32)
    probabilities[bladder] = found
    probabilities[bladder, 2, 2, 2] = 1.0
    given: list[tuple[Mask, Mask]] = []

    def remember(fixed: Volume, moving: Volume, bladders: tuple[Mask, Mask], rectum: Mask) -> Field:
        given.append(bladders)
        assert np.array_equal(rectum.array, pair.moving_labels == LABELS.index("rectum"))
        return Field.zero(fixed.grid)

    monkeypatch.setattr(work, "trained_model", lambda run: run)
    monkeypatch.setattr(work, "predict", lambda *args: Prediction(None, probabilities, pair_grid(pair)))
    monkeypatch.setattr(work, "register_hybrid", remember)
    settings = settings_of(data, networks=["seg"], rivals=["hybrid"])
    do_job("hybrid", settings, tmp_path)
    ((daily, planned),) = given
    assert np.array_equal(daily.array, found)
    assert np.array_equal(planned.array, pair.moving_labels == bladder)
    scores = read_outcome(tmp_path / "hybrid").scores
    assert {score.set for score in scores} == {"validation"}
    same = {(s.path, s.organ): s.msd_mm for s in scores}
    assert same["registration", "rectum"] == pytest.approx(same["affine", "rectum"], abs=0.15)  # the field is zero


def test_a_registration_that_fails_has_lost_its_organs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AlignmentFailed("no likeness")

    monkeypatch.setattr(work, "register_bspline", fail)
    do_job("elastix", settings_of(data, networks=[], rivals=["elastix"]), tmp_path)
    found = read_outcome(tmp_path / "elastix")
    assert found.of("test", "registration", "bladder") == {"p3-1": float("inf")}
    assert found.of("test", "affine", "bladder")["p3-1"] < 2.0
    assert found.of_field("test", "folding") == {}


def test_other_settings_are_refused_before_anything_is_done(data: Path, tmp_path: Path) -> None:
    import json

    settings = settings_of(data, networks=[], rivals=["elastix"])
    (tmp_path / "out" / "elastix").mkdir(parents=True)
    other = settings_of(data, networks=[], rivals=["elastix"], test={"men": 9})
    asked = json.dumps(asked_of(plan(other)[0], other))
    (tmp_path / "out" / "elastix" / "job.json").write_text(asked)
    with pytest.raises(UsageError, match="other settings"):
        run_study(settings, tmp_path / "out", lambda event: None)
    assert not (tmp_path / "out" / STUDY).exists()


def test_a_key_that_is_not_in_the_plan_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unet"):
        do_job("unet", settings_of(data), tmp_path)


def test_a_training_that_outlives_its_parent_keeps_the_lock(tmp_path: Path) -> None:
    """The lock goes with the file: a process that was given it holds it, though who took it has let go."""
    with alone(tmp_path / LOCK) as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with (tmp_path / LOCK).open("w") as again:
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate(b"\n")
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("code", "raised"), [(130, KeyboardInterrupt), (3, OutputRefused)])
def test_the_training_is_given_the_lock_and_its_end_is_told(
    code: int, raised: type[BaseException], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python's place a script that looks at the files it was given."""
    script, given = tmp_path / "python", tmp_path / "given"
    script.write_text(f"#!/bin/sh\nls -l /dev/fd/ > {given}\nprintf '%s ' \"$@\" >> {given}\nexit {code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(raised):
        do_job("seg_fixed_equal_be0.5", settings_of(data, networks=["seg"], rivals=[]), tmp_path)
    folder = tmp_path / "seg_fixed_equal_be0.5"
    assert str(folder / LOCK) in given.read_text()
    told = f"-m recontour train {folder / 'train.toml'} --out {folder / RUN} --quiet"
    assert given.read_text().strip().endswith(told)
    assert read_train_settings(folder / "train.toml") == plan(settings_of(data))[0].training
