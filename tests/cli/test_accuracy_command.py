"""What `recontour accuracy` makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recontour.accuracy import work
from recontour.accuracy.request import AccuracyRequest, Personal
from recontour.cli import app
from recontour.errors import UsageError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AccuracyRequest]:
    """Nothing is measured; what was asked is kept."""
    found: list[AccuracyRequest] = []

    def measure(request: AccuracyRequest, *told: Any) -> None:
        found.append(request)

    monkeypatch.setattr(work, "measure", measure)
    return found


def test_by_default_it_measures_what_the_page_promises(asked: list[AccuracyRequest]) -> None:
    assert CliRunner().invoke(app, ["accuracy", "a.md"]).exit_code == 0
    [request] = asked
    assert (request.phantoms, request.days_each, request.days, request.part) == (30, 2, 20, None)
    assert [s.method for s in request.settings] == ["network+refine"]
    assert (request.rivals, request.personal.minutes, request.from_journals) == ((), 0.0, False)


def test_every_option_arrives(asked: list[AccuracyRequest]) -> None:
    words = "a.md --planning P --roi bladder=Vescica --days 1 --phantoms 4 --fractions-per-man 3 --method network "
    words += "--method network+refine --model M --device cpu --personal-minutes 5 --personal-men 2 --part 2/3 "
    words += "--rival affine"
    assert CliRunner().invoke(app, ["accuracy", *words.split()]).exit_code == 0
    [request] = asked
    assert (request.out, request.planning, request.chosen_rois) == (Path("a.md"), Path("P"), {"bladder": "Vescica"})
    assert (request.days, request.phantoms, request.days_each, request.part) == (1, 4, 3, (2, 3))
    assert [(s.method, s.model, s.device) for s in request.settings] == [
        ("network", "M", "cpu"),
        ("network+refine", "M", "cpu"),
    ]
    assert (request.personal, request.rivals) == (Personal(5.0, 2), ("affine",))


def test_every_network_by_each_of_its_methods(asked: list[AccuracyRequest]) -> None:
    words = "a.md --method refine --method network --method network+refine --model homes/seg --model dense"
    assert CliRunner().invoke(app, ["accuracy", *words.split()]).exit_code == 0
    [request] = asked
    assert {name: (s.method, s.model) for name, s in request.own.items() if s.method != "refine"} == {
        "seg network": ("network", "homes/seg"),
        "dense network": ("network", "dense"),
        "seg network+refine": ("network+refine", "homes/seg"),
        "dense network+refine": ("network+refine", "dense"),
    }
    assert len(request.own) == 5 and request.own["refine"].method == "refine"


@pytest.mark.parametrize(
    "words",
    ["--model homes/seg --model others/seg", "--model a --model b --personal-minutes 5", "--method network"],
)
def test_what_could_not_be_told_apart_is_refused(asked: list[AccuracyRequest], words: str) -> None:
    """Two models of one name, whose model a personal one began with, or one method twice."""
    done = CliRunner().invoke(app, ["accuracy", "a.md", "--method", "network", *words.split()])
    assert isinstance(done.exception, UsageError)
    assert asked == []


@pytest.mark.parametrize("part", ["2", "1/x", "3/2", "0/2"])
def test_a_part_that_is_none_is_refused(asked: list[AccuracyRequest], part: str) -> None:
    done = CliRunner().invoke(app, ["accuracy", "a.md", "--part", part])
    assert isinstance(done.exception, UsageError)
    assert asked == []
