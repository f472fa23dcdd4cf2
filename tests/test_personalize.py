"""A model becomes one patient's, is kept only where it is better, and is refused for anybody else."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from recontour import study
from recontour.cli import app
from recontour.dicom.references import PatientHeader, SeriesIdentity, scan_key
from recontour.dicom.rtstruct import Provenance, RoiToWrite, write_rtstruct
from recontour.dicom.scan_writer import ScanToWrite, write_series
from recontour.errors import (
    ModelRefused,
    OutputRefused,
    PatientMismatch,
    RecontourError,
    ScanRefused,
    SettingsError,
    UsageError,
)
from recontour.geometry.contours import contours_from_level_set
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.architectures import build_network
from recontour.network.catalogue import LABELS
from recontour.network.released import ModelCard, open_model
from recontour.personalize import work
from recontour.personalize.decide import decide
from recontour.personalize.patient import claim_work, find_scans, keep_patient, read_planning
from recontour.personalize.request import PersonalizeRequest, settings_of
from recontour.settings import Method
from recontour.train import phantoms, recorder, workers
from recontour.train.checkpoint import to_bytes
from recontour.train.dataset import ROIS, VALIDATION, ScanPair
from recontour.train.export import write_model
from recontour.train.loop import Outcome
from recontour.train.men import keep_man, kept_man, scanned_man
from recontour.train.patient import (
    CHOOSING,
    HELD_BACK,
    PATIENT,
    PatientSource,
    choosing_days,
    fractions_of,
    held_back_days,
)
from recontour.train.phantoms import MOTION_SEEDS
from recontour.train.recorder import Watcher
from recontour.train.settings import DataSettings, TrainSettings
from recontour.train.sources import PairSource
from recontour.train.validate import PathScore, Validation
from tests.train.balls import ball, ball_man

NAME, IDENTIFIER = "Kowalski^Jan", "PID-77-1234"
TINY = 'steps = 2\npatch_voxels = 44\nprecision = "fp32"\nvalidation_pairs = 1\n[data]\nworkers = 0\ndays_at_once = 1\n'


def scores(path: str, bladder: tuple[float, ...], rectum: tuple[float, ...], pair: str = "day") -> list[PathScore]:
    of = {"bladder": bladder, "rectum": rectum}
    return [
        PathScore(f"{pair}{k}", path, o, mm, 2 * mm, 0.9) for o, all_mm in of.items() for k, mm in enumerate(all_mm)
    ]


def test_what_is_kept_and_what_is_not():
    affine = scores("affine", (3.0, 5.0), (2.0, 4.0))
    before = [*affine, *scores("registration", (1.0, 3.0), (1.0, 1.0)), *scores("segmentation", (1.0, 1.0), (5.0, 5.0))]
    cases: list[tuple[tuple[float, float], tuple[float, float], bool]] = [
        ((0.82, 1.0), (1.0, 1.0), False),  # the mean of the organs falls by 0.045
        ((0.8, 0.98), (1.0, 1.0), True),  # 0.055
        ((0.5, 0.5), (1.1, 1.08), True),  # the rectum is worse by 0.09
        ((0.2, 0.2), (1.1, 1.12), False),  # by 0.11, whatever the bladder gained
        ((0.2, 0.2), (0.1, float("inf")), False),  # lost once: counts 50 mm
        ((1.1, 1.1), (1.1, 1.1), False),
    ]
    for bladder, rectum, kept in cases:
        after = [*affine, *scores("registration", bladder, (9.0, 9.0)), *scores("segmentation", (0.0, 0.0), rectum)]
        found = decide(before, after, {"bladder": "registration", "rectum": "segmentation"})
        assert found.kept == kept, (bladder, rectum, found)
        assert [(o.organ, o.affine_mm, o.before_mm) for o in found.organs] == [("bladder", 4, 1), ("rectum", 3, 1)]
    with pytest.raises(UsageError, match="same days"):
        decide(before, [s for s in before if (s.pair, s.organ) != ("day1", "rectum")], {})


def test_an_organ_without_a_path_is_taken_as_run_takes_it():
    affine = scores("affine", (3.0,), (2.0,))
    before = [*affine, *scores("segmentation", (2.5,), (1.5,))]
    assert decide(before, before, {"bladder": "segmentation"}).organs[1].after_mm == 2.0  # no field: the affine
    registered = [*before, *scores("registration", (0.4,), (0.3,))]
    assert decide(before, registered, {"bladder": "segmentation"}).organs[1].after_mm == 0.3


def patient_settings(folder: Path, days: int = 2, patches: int = 1) -> TrainSettings:
    told = DataSettings("patient", str(folder), days_at_once=days, patches_per_day=patches, workers=0)
    return TrainSettings(batch=2, patch_voxels=44, data=told, validation_pairs=1)


def test_no_day_that_is_learnt_from_chooses_or_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keep_man(tmp_path, PATIENT, ball_man())
    taken: dict[str, list[tuple[int, int]]] = {"learnt": [], "kept": []}
    whole = workers.day_of

    def noted(which: str) -> Any:
        return lambda folder, man, motion, s: (taken[which].append((man, motion)), whole(folder, man, motion, s))[1]

    monkeypatch.setattr(workers, "day_of", noted("learnt"))
    monkeypatch.setattr(phantoms, "day_of", noted("kept"))
    settings = patient_settings(tmp_path)
    choosing, judging = choosing_days(settings), held_back_days(settings, 2)
    source = PatientSource(settings, torch.device("cpu"))
    source.batch(0)
    source.close()
    assert len(taken["learnt"]) == 2 and {man for days in taken.values() for man, _ in days} == {PATIENT}
    assert all(MOTION_SEEDS[0] <= motion < MOTION_SEEDS[1] for _, motion in taken["learnt"])
    assert [motion for _, motion in taken["kept"]] == [CHOOSING[0], HELD_BACK[0], HELD_BACK[1]]
    assert not {pair.name for pair in choosing} & {pair.name for pair in judging}
    ends = [(100 * VALIDATION.start, 100 * VALIDATION.stop), *((r.start, r.stop) for r in (CHOOSING, HELD_BACK))]
    ends.append(MOTION_SEEDS)
    assert all(last <= first for (_, last), (first, _) in pairwise(ends))


def test_a_patient_without_vesicles_is_moved_and_nothing_is_taught_of_them(tmp_path: Path):
    planning = ball_man(noise_hu=6.0).planning
    present = {organ: ball(organ) for organ in ROIS if organ != "seminal_vesicles"}
    keep_man(tmp_path, PATIENT, scanned_man(planning, present))
    man = kept_man(tmp_path, PATIENT)
    assert man.organs == ("bladder", "rectum", "prostate") and man.movable.held_mm > 0
    source = PatientSource(patient_settings(tmp_path), torch.device("cpu"))
    batches = [source.batch(step) for step in range(4)]
    source.close()
    assert batches[0].known.tolist() == [[False, True, True, False, True]] * 2
    seen = {
        int(v) for batch in batches for labels in (batch.fixed_labels, batch.moving_labels) for v in labels.unique()
    }
    assert LABELS.index("seminal_vesicles") not in seen and LABELS.index("prostate") in seen
    (day,) = choosing_days(patient_settings(tmp_path))
    assert day.organs == ("bladder", "rectum", "prostate")


def test_a_scan_that_lies_the_other_way_round_is_the_same_man():
    planning = ball_man(noise_hu=6.0).planning
    shapes = {organ: ball(organ) for organ in ROIS}
    prone = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
    turned = np.array(prone)[[0, 1, 2]][:, [2, 1, 0]]

    def lie(grid: Grid) -> Grid:
        x, y, _ = (high for high in grid.bounds_mm()[1])
        return Grid.of(grid.size, grid.spacing_mm, (x, y, grid.origin_mm[2]), turned)

    volume = Volume(lie(planning.grid), np.ascontiguousarray(planning.array[:, ::-1, ::-1]))
    flipped = {
        o: LevelSet(lie(s.grid), np.ascontiguousarray(s.array[:, ::-1, ::-1])) for o, s in shapes.items()
    }  # fmt: skip
    one, other = scanned_man(planning, shapes), scanned_man(volume, flipped)
    assert other.planning.grid.is_axial() and all(s.grid.is_axial() for s in other.movable.level_sets.values())
    back = resample_volume(other.planning, one.planning.grid).array
    assert np.abs(back - one.planning.array)[2:-2, 2:-2, 2:-2].max() <= 1.0
    assert np.allclose(one.movable.distance["prostate"], other.movable.distance["prostate"], atol=0.3)


def test_a_patient_is_never_made(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        kept_man(tmp_path, PATIENT)


def write_balls(folder: Path, of: str = "balls", identifier: str = IDENTIFIER, back_mm: float = 0.0) -> Path:
    """The man of balls as DICOM, with a name; his prostate contoured `back_mm` further back."""
    patient = PatientHeader(NAME, identifier, "19500102", "M")
    series = write_series(folder, ball_man(noise_hu=6.0).planning, ScanToWrite(of, patient, of, "tests"))
    shapes = {organ: ball(organ) for organ in ROIS}
    there = shapes["prostate"].grid
    x, y, z = there.origin_mm
    shapes["prostate"] = LevelSet(replace(there, origin_mm=(x, y + back_mm, z)), shapes["prostate"].array)
    rois = [
        RoiToWrite(k, roi, contours_from_level_set(shapes[organ], series.planes), (255, 0, 0), "ORGAN")
        for k, (organ, roi) in enumerate(ROIS.items(), 1)
    ]
    write_rtstruct(folder / "rtstruct.dcm", series, rois, Provenance(algorithm_name="tests"))
    return folder


@pytest.fixture(scope="module")
def planning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_balls(tmp_path_factory.mktemp("plan") / "planning")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    network = build_network("reg").eval()
    folder = tmp_path_factory.mktemp("models") / "fake-v1"
    card = ModelCard(
        folder.name, "reg", network.inputs, path_per_organ={"prostate": "registration"}, released="2026-01-01"
    )
    write_model(network, replace(card, limits=("fake",), intended_use="Tests."), folder)
    return folder


@pytest.fixture
def request_of(tmp_path: Path, planning: Path, released: Path) -> PersonalizeRequest:
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "models" / "case-12"
    return PersonalizeRequest(
        planning, out, str(released), minutes=5, held_back=2, training=tmp_path / "tiny.toml", device="cpu"
    )


def with_scores(monkeypatch: pytest.MonkeyPatch, before_mm: float, after_mm: float) -> None:
    """In place of predicting whole days: what the two models score on the held-back ones."""

    def made_up(model: Any, pairs: Any, *_: Any) -> list[PathScore]:
        mm = before_mm if model.card.name == "fake-v1" and not model.card.path_per_organ.get("bladder") else after_mm
        paths = {"affine": 3.0, "registration": mm}
        return [PathScore(p.name, path, o, v, v, 0.5) for p in pairs for o in p.organs for path, v in paths.items()]

    monkeypatch.setattr(recorder, "validate", made_up)
    monkeypatch.setattr(work, "validated", lambda model, pairs, told: Validation(tuple(made_up(model, pairs)), ()))


class StopsAfter(Watcher):
    def __init__(self, step: int) -> None:
        self.step, self.seen, self.said = step, list[int](), list[str]()

    def on_step(self, progress: Any) -> None:
        self.seen.append(progress.step)
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def say(self, text: str) -> None:
        self.said.append(text)


def test_stopped_and_gone_on_with_then_kept_bound_and_nameless(
    request_of: PersonalizeRequest, planning: Path, released: Path, monkeypatch: pytest.MonkeyPatch
):
    with_scores(monkeypatch, before_mm=2.0, after_mm=1.0)
    first = work.personalize(request_of, StopsAfter(1))
    assert (first.step, first.decision, request_of.out.exists()) == (1, None, False)
    assert (request_of.run / "checkpoint.safetensors").exists()
    with pytest.raises(OutputRefused, match="something else was begun"):
        work.personalize(replace(request_of, chosen_rois={"rectum": "none"}))
    second = StopsAfter(0)
    done = work.personalize(request_of, second)
    assert second.seen == [2] and done.card is not None and done.decision is not None and done.decision.kept
    assert not request_of.work.exists()
    opened = open_model(request_of.out)
    key = scan_key(_identity(planning))
    assert opened.card == done.card and opened.card.name == "case-12" and opened.card.patient_key == key
    assert open_model(released).card.weights_sha256 in opened.card.training["personalised_from"]
    assert opened.card.training["steps"] == 2 and opened.card.training["motions_seen"] == 1
    both = zip(opened.network.parameters(), open_model(released).network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in both)
    secrets = (NAME, "Kowalski", IDENTIFIER, "19500102", _identity(planning).series_instance_uid)
    for file in request_of.out.iterdir():
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), file.name
    with pytest.raises(OutputRefused, match="a model already"):
        work.personalize(request_of)


def test_an_earlier_fraction_is_learnt_from_as_it_was_contoured(request_of: PersonalizeRequest, tmp_path: Path):
    earlier = write_balls(tmp_path / "fraction", "day", back_mm=4.0)
    request = replace(request_of, fractions=(earlier,))
    scans = find_scans(request)
    read = read_planning(scans, request)
    claim_work(request, scans, "0")
    keep_patient(request, scans, read, days=3)
    (pair,) = fractions_of(request.patient)
    assert pair.organs == LABELS[1:]
    prostate, rectum = (
        [np.argwhere(labels == LABELS.index(organ)).mean(axis=0) for labels in (pair.fixed_labels, pair.moving_labels)]
        for organ in ("prostate", "rectum")
    )
    assert np.allclose(prostate[0] - prostate[1], (0, 4, 0), atol=0.5)  # z, y, x: back is +y
    assert np.allclose(rectum[0] - rectum[1], (0, 0, 0), atol=0.5)
    settings = patient_settings(request.patient, days=1, patches=100)
    source = PatientSource(settings, torch.device("cpu"))
    steps = [step for step in range(40) if torch.equal(source.batch(step).fixed, real_batch(settings, pair, step))]
    source.close()
    assert 4 <= len(steps) <= 16  # a quarter of 40
    stranger = write_balls(tmp_path / "stranger", "other day", identifier="PID-0")
    also = (*scans.fractions, *find_scans(replace(request, fractions=(stranger,))).fractions)
    with pytest.raises(PatientMismatch):
        keep_patient(request, replace(scans, fractions=also), read, days=3)


def real_batch(settings: TrainSettings, pair: ScanPair, step: int) -> torch.Tensor:
    return PairSource([pair], settings, torch.device("cpu")).batch(step).fixed


def test_nothing_is_written_where_it_is_not_better(request_of: PersonalizeRequest, monkeypatch: pytest.MonkeyPatch):
    with_scores(monkeypatch, before_mm=1.0, after_mm=1.2)
    ended = work.personalize(request_of)
    assert ended.card is None and ended.decision is not None and not ended.decision.kept
    assert ended.decision.mean_mm.before_mm == pytest.approx(1.0) and ended.decision.mean_mm.after_mm == pytest.approx(
        1.2
    )
    assert not request_of.out.exists() and not request_of.work.exists()


def test_the_command_says_what_came_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    affine, before = scores("affine", (3.0,), (2.0,)), scores("registration", (1.5,), (1.25,))
    better, worse = scores("registration", (0.75,), (0.5,)), scores("registration", (1.75,), (1.25,))
    card = ModelCard("case", "reg", ("fixed",))
    cases = [
        (decide([*affine, *before], [*affine, *better], {}), card, 0, ("0.75", "1.50", "3.00", "--method network")),
        (decide([*affine, *before], [*affine, *worse], {}), None, 3, ("1.75", "Nothing written", "the better one for")),
        (None, None, 130, ("Interrupted at step 5",)),
    ]
    monkeypatch.setattr(os, "nice", lambda by: by)
    for decision, written, code, words in cases:
        monkeypatch.setattr(work, "personalize", lambda *_, d=decision, w=written: work.Personalized(5, d, w))
        shown = CliRunner().invoke(app, ["personalize", str(tmp_path), "--out", str(tmp_path / "case")])
        assert shown.exit_code == code and all(word in shown.output for word in words), shown.output


def test_what_is_wrong_is_found_before_anything_is_written(request_of: PersonalizeRequest, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.toml").write_text('[network]\narchitecture = "seg"\n')
    wrong: list[tuple[dict[str, Any], type[RecontourError]]] = [
        ({"planning": tmp_path / "empty"}, ScanRefused),
        ({"fractions": (request_of.planning,)}, ScanRefused),
        ({"model": "no-such-model"}, ModelRefused),
        ({"out": tmp_path / "models" / "a name"}, UsageError),
        ({"training": tmp_path / "other.toml"}, SettingsError),
    ]
    for change, error in wrong:
        with pytest.raises(error):
            work.personalize(replace(request_of, **change))
        assert not (tmp_path / "models").exists(), change
    for values in ({"minutes": 0.0}, {"held_back": 1}):
        with pytest.raises(SettingsError):
            replace(request_of, **values)


def test_minutes_are_counted_over_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "checkpoint.safetensors").write_bytes(to_bytes({}, {"seconds": "90.0"}))
    asked: list[tuple[float, int]] = []

    def noted(settings: TrainSettings, run: Path, watcher: Watcher, minutes: float = float("inf")) -> Outcome:
        asked.append((minutes, settings.steps))
        return Outcome(7, False, 1.0)

    monkeypatch.setattr(work, "train", noted)
    for minutes in (4.0, 1.0):
        work.learn(TrainSettings(steps=50), tmp_path, minutes, Watcher())
    ends_with = (float("inf"), 7)  # no step more: what was learnt last is scored
    assert asked == [(2.5, 50), ends_with, (0.0, 50), ends_with]


def test_the_settings_are_the_models_and_the_files(request_of: PersonalizeRequest, released: Path):
    card = replace(open_model(released).card, hu_window=(-300.0, 400.0))
    told = settings_of(request_of, released, card)
    assert (told.network.architecture, told.network.inputs, told.hu_window) == ("reg", card.inputs, (-300.0, 400.0))
    assert (told.patch_voxels, told.data.source, told.data.workers) == (44, "patient", 0)
    assert Path(told.network.start_from) == released.resolve()


def _identity(folder: Path) -> SeriesIdentity:
    from recontour.dicom.series import read_series

    return read_series(folder).identity


def test_run_refuses_another_patients_model(planning: Path, released: Path, tmp_path: Path):
    opened, identity = open_model(released), _identity(planning)
    for name, key in (("own", scan_key(identity)), ("other", scan_key(replace(identity, series_instance_uid="1.2.3")))):
        write_model(opened.network, replace(opened.card, name=name, patient_key=key), tmp_path / name)

    def notes(model: Path, allowed: bool = False, method: Method = "network") -> tuple[str, ...]:
        settings = study.Settings(method=method, model=str(model))
        request: Any = SimpleNamespace(settings=settings, allow_different_patients=allowed)
        scan: Any = SimpleNamespace(identity=identity)
        return study._notes_on_model(scan, request)  # pyright: ignore[reportPrivateUsage]

    assert notes(released) == notes(tmp_path / "own") == notes(tmp_path / "other", method="refine") == ()
    methods: tuple[Method, ...] = ("network", "network+refine")
    for method in methods:
        with pytest.raises(ModelRefused, match="another patient"):
            notes(tmp_path / "other", method=method)
    assert "another patient" in notes(tmp_path / "other", allowed=True)[0]


def test_a_whole_run_with_another_patients_model_ends_before_any_work(planning: Path, released: Path, tmp_path: Path):
    opened = open_model(released)
    write_model(opened.network, replace(opened.card, patient_key="0" * 64), tmp_path / "other")
    volume = ball_man(noise_hu=6.0).planning
    about = ScanToWrite("daily", PatientHeader(NAME, IDENTIFIER, "19500102", "M"), "day", "tests")
    write_series(tmp_path / "daily", volume, about)
    settings = study.Settings(method="network", model=str(tmp_path / "other"), device="cpu")
    request = study.StudyRequest(planning, tmp_path / "daily", tmp_path / "rt.dcm", settings)
    with pytest.raises(ModelRefused, match="another patient"):
        study.run_study(request)
    assert not (tmp_path / "rt.dcm").exists()
