"""All methods on all pairs: which, for whom, and with whose model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recontour.accuracy import work
from recontour.accuracy.pairs import Man
from recontour.accuracy.personal import personal_model
from recontour.accuracy.request import AccuracyRequest, Personal
from recontour.accuracy.work import measure
from recontour.errors import ModelRefused, UsageError
from recontour.evaluate import cases
from recontour.evaluate.journal import read_journal
from recontour.geometry.affine import Affine
from recontour.network import released
from recontour.network.released import ModelCard, ReleasedModel
from recontour.personalize import work as personalizing
from recontour.personalize.decide import Decision
from recontour.personalize.request import PersonalizeRequest
from recontour.personalize.work import Personalized
from recontour.phantom import scans
from recontour.settings import Settings
from tests.evaluate.test_cases import pair

CARD = ModelCard("his-own", "reg", ("fixed", "moving"))
SCANNED = Man("real", {"real 100000": pair})


def made(seed: int) -> Man:
    return Man(f"phantom {seed}", {f"phantom {seed} day 1": pair}, seed)


@pytest.fixture
def two_men(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balls, the second already where they belong for the affine: alignment finds the identity."""

    def identity(daily: Any, planning: Any) -> Affine:
        return Affine.identity()

    monkeypatch.setattr(cases, "align_scans", identity)
    monkeypatch.setattr(work, "men", lambda request: [made(100_000), made(100_001)])


def test_measured_from_beginning_to_end(two_men: None, tmp_path: Path) -> None:
    told: list[str] = []
    request = AccuracyRequest(tmp_path / "a.md", settings=(Settings(method="affine"),), rivals=("affine",))
    found = measure(request, lambda outcome: told.append(f"{outcome.pair}: {outcome.method}"))
    assert told == [f"phantom {n} day 1: {m}" for n in (100000, 100001) for m in ("affine", "recontour affine")]
    assert read_journal(tmp_path / "a.jsonl") == found
    # The same field carries the same contours: a ball of 10 mm where one of 14 mm should be.
    assert [round(o.organs[0].score.msd_mm, 1) for o in found] == [4.0] * 4
    assert (tmp_path / "a.md").exists()
    again = measure(request, lambda outcome: told.append("again"))
    assert (again, len(told)) == (found, 4)


def test_a_part_writes_its_journal_and_no_tables(two_men: None, tmp_path: Path) -> None:
    request = AccuracyRequest(tmp_path / "a.md", settings=(Settings(method="affine"),), rivals=("affine",), part=(1, 2))
    measure(request)
    assert [path.name for path in tmp_path.iterdir()] == ["a.part-1-of-2.jsonl"]


def test_an_unknown_rival_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no rival 'magic' here.*elastix \[-1000, 1000\] 16 mm"):
        measure(AccuracyRequest(tmp_path / "a.md", rivals=("affine", "magic")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("minutes", "method", "expected"),
    [
        (0.0, "network", [False, False, False]),
        (5.0, "refine", [False, False, False]),
        (5.0, "network+refine", [True, False, True]),
    ],
)
def test_who_gets_a_model_of_his_own(
    minutes: float, method: Any, expected: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first made man, and the scanned one; only methods with a network."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(work, "men", lambda request: [made(100_000), made(100_001), SCANNED])
    monkeypatch.setattr(work, "run_accuracy", lambda tasks, *rest: asked.update(tasks) or [])
    monkeypatch.setattr(work, "write_page", lambda *given: None)
    measure(AccuracyRequest(tmp_path / "a.md", settings=(Settings(method=method),), personal=Personal(minutes, 1)))
    label = f"recontour personalised {method}"
    assert [label in task.methods for task in asked.values()] == expected
    assert all(f"recontour {method}" in task.methods for task in asked.values())


class Trainings:
    """Stands for recontour.personalize: ends as it is told, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[PersonalizeRequest] = []
        self.ends: list[Personalized] = []

    def __call__(self, request: PersonalizeRequest) -> Personalized:
        self.asked.append(request)
        return self.ends.pop(0)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings()

    def opened(name: Any = "", folder: Any = None) -> ReleasedModel:
        return ReleasedModel(replace(CARD, name=str(name)), None)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(personalizing, "personalize", found)
    monkeypatch.setattr(released, "open_model", opened)
    return found


def asked_of(tmp_path: Path) -> AccuracyRequest:
    rois = {"bladder": "Vescica"}
    return AccuracyRequest(tmp_path / "a.md", planning=tmp_path, chosen_rois=rois, personal=Personal(7.0, 1))


KEPT = Personalized(90, Decision((), True, "better"), CARD)
NOT_KEPT = Personalized(90, Decision((), False, "no better"))


def test_his_model_is_trained_once(trainings: Trainings, tmp_path: Path) -> None:
    trainings.ends = [KEPT]
    settings = Settings(method="network", model="released", device="cpu")
    said: list[str] = []
    for _ in range(2):
        model, note = personal_model(SCANNED, asked_of(tmp_path), settings, said.append)
        assert model.card.name == str(tmp_path / "a.personal" / "real" / "model")
        assert note == "personal model, 7 minutes"
    [asked] = trainings.asked
    assert (asked.planning, asked.minutes, asked.model, asked.device) == (tmp_path, 7.0, "released", "cpu")
    assert (asked.chosen_rois, asked.fractions) == ({"bladder": "Vescica"}, ())
    assert said == ["real: a model of his own, 7 minutes of training"]


def test_a_model_that_is_no_better_is_not_used(trainings: Trainings, tmp_path: Path) -> None:
    trainings.ends = [NOT_KEPT]
    model, note = personal_model(SCANNED, asked_of(tmp_path), Settings(method="network", model="released"))
    assert model.card.name == "released"
    assert note == "personal model not kept (no better): the one it began with"


def test_a_made_mans_files_stay_until_his_training_has_ended(
    trainings: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write(out: Path, seed: int) -> None:
        written.append(seed)
        (out / "planning").mkdir(parents=True)

    monkeypatch.setattr(scans, "write_phantom", write)
    trainings.ends = [Personalized(10), KEPT]
    with pytest.raises(KeyboardInterrupt):
        personal_model(made(100_000), asked_of(tmp_path), Settings(method="network"))
    personal_model(made(100_000), asked_of(tmp_path), Settings(method="network"))
    assert written == [100_000]
    assert trainings.asked[0].planning == trainings.asked[1].planning
    assert trainings.asked[0].chosen_rois == {}
    assert sorted(path.name for path in (tmp_path / "a.personal" / "phantom-100000").iterdir()) == [
        "ended.json",
        "lock",
    ]


def test_what_a_training_refuses_ends_the_run(
    trainings: Trainings, two_men: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no result of the method, and not kept as one."""

    def refuse(*given: Any) -> None:
        raise UsageError("time was up before the first step")

    monkeypatch.setattr(work, "personal_model", refuse)
    monkeypatch.setattr(work, "_methods", lambda request: {})
    request = AccuracyRequest(tmp_path / "a.md", settings=(Settings(method="network"),), personal=Personal(1.0, 1))
    with pytest.raises(UsageError, match="time was up"):
        measure(request)
    assert not request.journals


def test_an_unknown_model_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="magic"):
        measure(AccuracyRequest(tmp_path / "a.md", settings=(Settings(method="network", model="magic"),)))
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_was_broken_off_goes_on(trainings: Trainings, tmp_path: Path) -> None:
    trainings.ends = [Personalized(10), KEPT]
    with pytest.raises(KeyboardInterrupt):
        personal_model(SCANNED, asked_of(tmp_path), Settings(method="network"))
    assert personal_model(SCANNED, asked_of(tmp_path), Settings(method="network"))[1] == "personal model, 7 minutes"
    assert trainings.asked[0] == trainings.asked[1]
