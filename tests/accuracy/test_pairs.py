"""Who is measured: men and days that no training has seen, each in one part alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recontour.accuracy import pairs
from recontour.accuracy.pairs import Man, men, motion_seed
from recontour.accuracy.request import AccuracyRequest
from recontour.errors import UsageError
from recontour.train.dataset import FIRST_TEST_SEED
from recontour.train.patient import CHOOSING, HELD_BACK

ASKED = AccuracyRequest(Path("accuracy.md"), phantoms=5, days_each=2, days=3)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> AccuracyRequest:
    """A request with a real scan that is never read."""

    def read(folder: Path, chosen: dict[str, str]) -> tuple[None, dict[str, str], dict[str, str]]:
        return None, {}, {}

    monkeypatch.setattr(pairs, "_read", read)
    return replace(ASKED, planning=Path("planning"))


def names(found: list[Man]) -> list[str]:
    return [name for man in found for name in man.days]


def test_men_and_days() -> None:
    found = men(ASKED)
    assert [man.seed for man in found] == [FIRST_TEST_SEED + k for k in range(5)]
    assert names(found)[:3] == ["phantom 100000 day 1", "phantom 100000 day 2", "phantom 100001 day 1"]


def test_parts_share_all_pairs_and_keep_a_made_man_whole(scanned: AccuracyRequest) -> None:
    parts = [men(replace(scanned, part=(k, 3))) for k in (1, 2, 3)]
    assert sorted(name for part in parts for name in names(part)) == sorted(names(men(scanned)))
    assert all(len(man.days) == 2 for part in parts for man in part if man.seed is not None)
    assert [[name for name in names(part) if "real" in name] for part in parts] == [
        ["real 100000"],
        ["real 100001"],
        ["real 100002"],
    ]


def test_no_two_days_have_one_motion_and_none_is_of_training() -> None:
    seeds = [motion_seed(FIRST_TEST_SEED + man, day) for man in range(1000) for day in range(1, 11)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) == FIRST_TEST_SEED
    assert max(seeds) < min(CHOOSING.start, HELD_BACK.start, 2**32)


@pytest.mark.parametrize("changes", [{"days_each": 0}, {"days_each": 11}, {"part": (0, 2)}, {"part": (3, 2)}])
def test_what_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(ASKED, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("given", ["whole", "relative"])
def test_files_beside_the_page(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = AccuracyRequest(Path("accuracy.md") if given == "relative" else tmp_path / "accuracy.md")
    part = replace(whole, part=(1, 2))
    assert (whole.journal.name, part.journal.name) == ("accuracy.jsonl", "accuracy.part-1-of-2.jsonl")
    assert whole.journals == []
    for path in (whole.journal, part.journal, tmp_path / "other.jsonl"):
        path.touch()
    assert whole.journals == part.journals == [part.journal, whole.journal]
