"""The call that a page prints is that of its own outcomes."""

from __future__ import annotations

import shlex

from recontour.accuracy.command import command_of
from recontour.baselines import USUAL
from tests.accuracy.made_outcomes import OURS, STRONG, organ, outcome


def told(*outcomes: object) -> list[str]:
    """As a shell splits it."""
    return shlex.split(command_of(outcomes, "small.md").replace("\\\n", ""))  # type: ignore[arg-type]


def test_men_days_and_methods_as_they_are() -> None:
    pairs = ("phantom 1 day 1", "phantom 1 day 2", "phantom 1 day 3", "phantom 2 day 1")
    rows = [outcome(pair, OURS, organ("rectum", 1.0)) for pair in pairs]
    rows += [outcome("phantom 1 day 1", STRONG, organ("rectum", 1.0))]
    expected = [
        "recontour",
        "accuracy",
        "small.md",
        "--phantoms",
        "2",
        "--fractions-per-man",
        "3",
        "--method",
        "refine",
    ]
    assert told(*rows) == [*expected, "--rival", STRONG]


def test_several_models() -> None:
    names = ("seg-1", "dense-1")
    rows = [
        outcome("phantom 1 day 1", f"recontour {name} {method}", organ("rectum", 1.0), model=name)
        for method in ("network", "network+refine")
        for name in names
    ]
    assert told(*rows)[-8:] == shlex.split("--method network --method network+refine --model dense-1 --model seg-1")


def test_a_real_scan_a_model_and_personal_training() -> None:
    usual = [outcome("real 1", name, organ("rectum", 1.0), group="real scan, moved") for name in USUAL]
    real = [
        outcome(f"real {day}", "recontour network", organ("rectum", 1.0), group="real scan, moved", model="released-2")
        for day in (1, 2)
    ]
    own = "recontour personalised network"
    mine = [outcome("real 1", own, organ("rectum", 1.0), group="real scan, moved", model="personal", man="real")]
    mine += [outcome("phantom 1 day 1", own, organ("rectum", 1.0), model="personal")]
    assert told(*usual, *real, *mine) == shlex.split(
        "recontour accuracy small.md --phantoms 1 --fractions-per-man 1 --planning PLANNING --days 2 --method network "
        "--model released-2 --personal-minutes MINUTES --personal-men 1"
    )
    text = command_of([*usual, *real, *mine], "small.md")
    assert max(map(len, text.splitlines())) <= 110
    assert all(line.endswith(" \\") for line in text.splitlines()[:-1])
