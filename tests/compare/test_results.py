from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recontour.compare.plan import plan
from recontour.compare.results import ASKED, FAILED, SCORES, asked_of, check_asked, read_outcome, write_outcome
from recontour.errors import UsageError
from tests.compare.drawn import outcome, study


def test_what_is_written_is_read(tmp_path: Path) -> None:
    whole = outcome({"segmentation": [1.25, float("inf")], "registration": [0.5, 3.0]})
    write_outcome(tmp_path, whole)
    assert read_outcome(tmp_path) == whole


def test_a_failure_is_told_until_there_are_scores(tmp_path: Path) -> None:
    (tmp_path / FAILED).write_text("no room\n")
    assert read_outcome(tmp_path).failed == "no room"
    write_outcome(tmp_path, outcome({"registration": [1.0]}))
    assert read_outcome(tmp_path).failed == ""
    assert not (tmp_path / FAILED).exists()


def test_fields_without_scores_are_not_done(tmp_path: Path) -> None:
    write_outcome(tmp_path, outcome({"registration": [1.0]}))
    (tmp_path / SCORES).unlink()
    assert not read_outcome(tmp_path).scores


@pytest.mark.parametrize("content", ["", "set,pair\n", "set,pair,path,organ,msd_mm,hd95_mm,dice\nvalidation,a,b\n"])
def test_scores_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    write_outcome(tmp_path, outcome({"registration": [1.0]}))
    (tmp_path / SCORES).write_text(content)
    with pytest.raises(UsageError, match="delete the file"):
        read_outcome(tmp_path)


def test_scores_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    import json

    settings = study(train={"steps": 30})
    job = plan(settings)[0]
    check_asked(tmp_path, job, settings)  # nothing there yet
    (tmp_path / ASKED).write_text(json.dumps(asked_of(job, settings)))
    check_asked(tmp_path, job, settings)
    other = study(train={"steps": 31})
    with pytest.raises(UsageError, match="other settings"):
        check_asked(tmp_path, plan(other)[0], other)
    harder = replace(settings, test=replace(settings.test, severity=2.0))
    with pytest.raises(UsageError, match="other settings"):
        check_asked(tmp_path, job, harder)


def test_where_and_how_often_it_logs_is_no_other_setting() -> None:
    settings = study(train={"steps": 30})
    other = study(
        train={"steps": 30, "log_every": 3, "checkpoint_every_s": 9.0, "data": {"workers": 5}}, devices=["cuda:1"]
    )
    for one, two in zip(plan(settings), plan(other), strict=True):
        assert asked_of(one, settings) == asked_of(two, other)
