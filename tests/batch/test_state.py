"""What is done stands in the files: whole results, of these inputs and settings, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recontour.batch.outcome import failure_of
from recontour.batch.state import (
    check_folder,
    held,
    outcome_on_disk,
    put_in_place,
    standing,
    work_folder,
    write_failure,
)
from recontour.batch.task import Task, Wanted
from recontour.errors import OutputRefused, ScanRefused, SettingsError, StructuresRefused
from recontour.settings import Settings
from tests.batch.made import asked_at, task, write_result

CHANGED = {
    "the daily scan gained an image": lambda t: replace(t, daily=replace(t.daily, files=(*t.daily.files, "d.dcm"))),
    "an image was copied anew": lambda t: replace(t, daily=replace(t.daily, size=31)),
    "another planning scan": lambda t: replace(t, planning=replace(t.planning, series_uid="1.2.3.7")),
    "another structure set": lambda t: replace(t, structures_uid="1.2.3.8"),
    "other settings": lambda t: replace(t, wanted=Wanted(Settings(method="affine"))),
    "another model": lambda t: replace(t, wanted=Wanted(model_sha256="ab")),
    "other ROIs": lambda t: replace(t, wanted=Wanted(chosen_rois=(("bladder", "Vescica"),))),
    "a registration as well": lambda t: replace(t, wanted=Wanted(registration=True)),
}
UNCHANGED = {
    "moved to another folder": lambda t: replace(t, daily=replace(t.daily, folder="/elsewhere", files=("x", "y"))),
    "another fraction came before it": lambda t: replace(t, number=7),
    "the key lies elsewhere": lambda t: replace(t, wanted=Wanted(pseudonym_key="/elsewhere/key")),
}


def done(out: Path, mark: str = "first", **changes: object) -> Task:
    one = task(out, **changes)
    with work_folder(one) as made:
        write_result(made, mark)
        put_in_place(one, made)
    return one


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    one = task(tmp_path)
    assert standing(one) == "open"
    with work_folder(one) as made:
        write_result(made)
        assert standing(one) == "open"
        put_in_place(one, made)
    assert standing(one) == "done"
    assert outcome_on_disk(one).light == "review"
    assert not list((tmp_path / ".work").iterdir())
    (one.folder / "rtstruct.dcm").unlink()
    assert standing(one) == "changed"


@pytest.mark.parametrize("case", CHANGED)
def test_a_result_of_other_inputs_or_settings_is_not_done(tmp_path: Path, case: str) -> None:
    other = CHANGED[case](done(tmp_path))
    assert standing(other) == "changed"
    (other.folder / "rtstruct.review.jsonl").write_text("somebody looked")
    with work_folder(other) as made:
        write_result(made, "second")
        put_in_place(other, made)
    assert standing(other) == "done" and (other.folder / "rtstruct.dcm").read_text() == "second"
    kept = tmp_path / "superseded" / other.patient / f"{other.name}.1"
    assert (kept / "rtstruct.dcm").read_text() == "first"
    assert (kept / "rtstruct.review.jsonl").read_text() == "somebody looked"


def test_a_result_of_another_version_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = done(tmp_path)
    monkeypatch.setattr("recontour.__version__", "0.0.0")
    assert standing(one) == "changed"


@pytest.mark.parametrize("case", UNCHANGED)
def test_what_does_not_decide_the_result(tmp_path: Path, case: str) -> None:
    assert standing(UNCHANGED[case](done(tmp_path))) == "done"


def test_colleagues_can_read_it_and_no_thread_changes_what_others_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask of new files is the whole process's: it is not touched while fractions are in hand."""

    def touched(mask: int) -> int:
        raise AssertionError("the mask was changed")

    (tmp_path / "plain").mkdir()
    monkeypatch.setattr(os, "umask", touched)
    one = done(tmp_path)
    assert one.folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_in_the_records_tells_a_path(tmp_path: Path) -> None:
    one = done(tmp_path)
    assert "secret" not in json.dumps(asked_at(one.folder)) and "Doe" not in json.dumps(asked_at(one.folder))
    assert "secret" not in repr(one) and "Doe" not in repr(one)


def test_the_first_of_two_that_did_the_same_stays(tmp_path: Path) -> None:
    one = task(tmp_path)
    with work_folder(one) as made:
        write_result(made, "second")
        done(tmp_path, "first")
        put_in_place(one, made)
    assert (one.folder / "rtstruct.dcm").read_text() == "first"
    assert not (tmp_path / "superseded").exists()


def test_every_folder_of_a_result_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, synced = task(tmp_path), list[str]()
    monkeypatch.setattr("recontour.batch.state.sync_folder", lambda folder: synced.append(folder.name))
    with work_folder(one) as made:
        write_result(made)
        (made / "report" / "pictures").mkdir(parents=True)
        put_in_place(one, made)
        assert set(synced[:3]) == {"pictures", "report", made.name}
    assert synced[3:] == [one.patient, tmp_path.name]


def test_what_the_disk_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = task(tmp_path)
    write_failure(one, failure_of(one, ScanRefused("cut off")))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OutputRefused, match="No space left"), work_folder(one) as made:
        write_result(made)
        put_in_place(one, made)
    assert standing(one) == "failed" and not list((tmp_path / ".work").iterdir())


def test_a_failure_is_remembered_until_its_input_changes(tmp_path: Path) -> None:
    one = task(tmp_path)
    write_failure(one, failure_of(one, ScanRefused("cut off", where="Doe_2.dcm", allowed="copy it again")))
    assert standing(one) == "failed"
    told = outcome_on_disk(one)
    assert (told.found, told.where, told.allowed) == ("cut off", "daily image 2 of 2", "copy it again")
    assert "Doe" not in one.failure.read_text()
    assert standing(CHANGED["an image was copied anew"](one)) == "open"
    done(tmp_path)
    assert standing(one) == "done" and not one.failure.exists()


def test_a_result_of_other_settings_hides_no_failure(tmp_path: Path) -> None:
    """It stays where it is until there is a better one, and then it is kept."""
    other = CHANGED["other settings"](done(tmp_path))
    write_failure(other, failure_of(other, ScanRefused("cut off")))
    assert standing(other) == "failed" and (other.folder / "rtstruct.dcm").read_text() == "first"
    done(tmp_path, "second", wanted=other.wanted)
    assert standing(other) == "done" and (other.folder / "rtstruct.dcm").read_text() == "second"
    assert (tmp_path / "superseded" / other.patient / f"{other.name}.1" / "rtstruct.dcm").read_text() == "first"


def test_names_of_files_are_not_repeated(tmp_path: Path) -> None:
    one = task(tmp_path)
    places = {
        "Doe_2.dcm, frame 3": "daily image 2 of 2, frame 3",
        "a.dcm": "planning image 1 of 2",
        "rs.dcm": "the planning structure set",
        "/secret/Doe/day": "the daily folder",
        "/elsewhere/Doe/x": "",
        "ROI Bladder, z = 3.00 mm": "ROI Bladder, z = 3.00 mm",
    }
    for where, told in places.items():
        assert failure_of(one, StructuresRefused("x", where=where)).where == told
    unforeseen = failure_of(one, ValueError("Doe^Jonathan"))
    assert "Doe" not in repr(unforeseen) and "ValueError" in unforeseen.found


def test_one_batch_at_a_time(tmp_path: Path) -> None:
    """The other one is another process, as it would be; once it is killed the folder is free."""
    code = (
        "import sys, pathlib\nfrom recontour.batch.state import held\n"
        "with held(pathlib.Path(sys.argv[1]), 'key'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline() == b"held\n"
    with pytest.raises(OutputRefused, match="another batch is at work"), held(tmp_path, "key"):
        pass
    other.kill()
    other.communicate()
    (tmp_path / ".work" / "left").mkdir(parents=True)
    with held(tmp_path, "key"):
        assert not (tmp_path / ".work" / "left").exists()


def test_folders_that_are_not_a_batchs(tmp_path: Path) -> None:
    with held(tmp_path / "mine", "key"):
        pass
    check_folder(tmp_path / "mine", "key")
    with pytest.raises(SettingsError, match="another key"):
        check_folder(tmp_path / "mine", "other key")
    (tmp_path / "other").mkdir()
    check_folder(tmp_path / "other", "key")
    (tmp_path / "other" / "thesis.doc").write_text("")
    with pytest.raises(OutputRefused, match="not empty"):
        check_folder(tmp_path / "other", "key")
    with pytest.raises(OutputRefused, match="a file"):
        check_folder(tmp_path / "other" / "thesis.doc", "key")
