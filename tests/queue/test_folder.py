"""A watched folder: files are taken when they stand still, nothing in it is touched, and results appear whole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pydicom
import pytest

from recontour.errors import OutputRefused, UsageError
from recontour.queue.arrivals import settle
from recontour.queue.folder import DESTINATION, deliver, look
from recontour.queue.jobs import Jobs, Result
from recontour.queue.status import status
from recontour.queue.watching import Watch, WatchRequest
from recontour.queue.worker import RunOptions
from recontour.settings import Settings
from tests.queue.made_queue import WHO, arrive, as_file, drawn_on, no_identity_in, pair, scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    (made / "Doe^Jonathan" / "deep").mkdir(parents=True)
    return made


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef")
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(file))
    return file


def put(folder: Path, *objects: pydicom.Dataset) -> list[Path]:
    files = [folder / "Doe^Jonathan" / "deep" / f"{k}.dcm" for k, _ in enumerate(objects)]
    for file, one in zip(files, objects, strict=True):
        file.write_bytes(as_file(one))
    return files


def two_looks(jobs: Jobs, folder: Path, **named: bool) -> int:
    look(jobs.spool, folder, **named)
    return look(jobs.spool, folder, **named).taken


def test_a_file_is_taken_when_two_looks_see_it_alike(jobs: Jobs, folder: Path) -> None:
    images = scan(1, count=3)
    put(folder, *images)
    assert (look(jobs.spool, folder).growing, look(jobs.spool, folder).taken) == (3, 3)
    assert look(jobs.spool, folder) == look(jobs.spool, folder)  # nothing new, nothing read again
    assert len(jobs.spool.held([i.SOPInstanceUID for i in images])) == 3


def test_a_file_that_is_copied_slowly_is_waited_for(jobs: Jobs, folder: Path) -> None:
    whole = as_file(scan(1)[0])
    slow = folder / "slow"
    for part in range(1, 5):
        slow.write_bytes(whole[: len(whole) * part // 4])
        assert look(jobs.spool, folder).taken == 0
    assert look(jobs.spool, folder).taken == 1


def test_a_growing_file_holds_its_series_open(jobs: Jobs, folder: Path) -> None:
    images = scan(1, count=4)
    put(folder, *images[:3])
    two_looks(jobs, folder)
    later = time.time() + 100
    jobs.spool.database.rows("UPDATE series SET last_received = 0")
    whole = as_file(images[3])
    (folder / "fourth").write_bytes(whole[:-10])  # its header is there, its end is not
    look(jobs.spool, folder)
    assert settle(jobs.spool, time.time(), 30) == []
    assert len(settle(jobs.spool, later, 30)) == 1


def test_what_is_no_dicom_is_left_alone_and_what_is_spoilt_is_told(jobs: Jobs, folder: Path) -> None:
    (folder / "notes Doe.txt").write_text("not for us" * 50)
    (folder / ".hidden").write_bytes(as_file(scan(1)[0]))
    cut = folder / "Doe.dcm"
    cut.write_bytes(as_file(scan(1)[0])[:-8])
    assert two_looks(jobs, folder) == 0
    (told,) = status(jobs.spool).notices
    assert "could not be used" in told[3] and no_identity_in(str(told))
    cut.write_bytes(as_file(scan(1)[0]))  # copied again
    assert two_looks(jobs, folder) == 1


def test_a_locked_file_is_told_once_tried_again_and_holds_up_nothing(
    jobs: Jobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = put(folder, *scan(1, count=3))
    read = Path.read_bytes

    def locked(path: Path) -> bytes:
        if path.name == first.name:
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", locked)
        assert two_looks(jobs, folder) == 2
        for _ in range(2):
            assert (look(jobs.spool, folder).growing, look(jobs.spool, folder).taken) == (0, 0)
    (told,) = status(jobs.spool).notices
    assert "cannot be opened" in told[3] and told[1] == "1"
    assert look(jobs.spool, folder).taken == 1
    assert not status(jobs.spool).notices


def test_files_without_a_preamble_and_copies(jobs: Jobs, folder: Path) -> None:
    image = scan(1)[0]
    (folder / "old").write_bytes(as_file(image)[132:])  # group 2 and all that follows
    (folder / "copy").write_bytes(as_file(image))
    bare = scan(1, SOPInstanceUID="1.2.3.4")[0]
    del bare.file_meta
    pydicom.dcmwrite(folder / "older", bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (folder / "older").read_bytes()[128:132] != b"DICM"
    assert two_looks(jobs, folder) == 3
    assert len(jobs.spool.held(["1.2.3.4", image.SOPInstanceUID])) == 2
    assert not status(jobs.spool).notices


def test_nothing_in_the_folder_is_touched(jobs: Jobs, folder: Path) -> None:
    put(folder, *scan(1))
    (folder / "notes").write_text("x")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}
    two_looks(jobs, folder)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")} == before


def test_what_is_asked_to_be_removed_is_what_is_safe(jobs: Jobs, folder: Path) -> None:
    put(folder, *scan(1))
    (folder / "notes").write_text("x")
    (folder / "cut.dcm").write_bytes(as_file(scan(2)[0])[:-8])
    other = scan(1)[0]
    other.PixelData = b"\7" * 48
    (folder / "Doe^Jonathan" / "deep" / "zz conflict").write_bytes(as_file(other))
    assert two_looks(jobs, folder, remove=True) == 5
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"notes", "cut.dcm", "zz conflict"}


def test_a_file_s_name_with_a_patient_in_it_is_kept_nowhere(jobs: Jobs, folder: Path) -> None:
    put(folder, *scan(1))
    two_looks(jobs, folder)
    assert no_identity_in(str(jobs.spool.database.rows("SELECT place FROM looked_at")[0][:]))
    assert all(no_identity_in(p.relative_to(jobs.spool.folder)) for p in jobs.spool.folder.rglob("*"))


def done(jobs: Jobs, who: dict[str, str] = WHO) -> Path:
    arrive(jobs, *pair(who=who))
    job = jobs.claim(1)
    assert job is not None
    (job.folder / "report").mkdir(parents=True)
    files = [job.folder / "rtstruct.dcm", job.folder / "report" / "report.html"]
    for file in files:
        file.write_text(file.name)
    jobs.finish(job, "pass", [Result(file, "", (DESTINATION,)) for file in files])
    return job.folder


def test_results_appear_together_under_a_pseudonym(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("recontour.queue.folder.sync_folder", synced.append)
    done(jobs)
    (made,) = deliver(jobs, tmp_path / "out", 2e9)
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    patient = made.parent.name
    assert found == {f"{patient}/498.11.1-1/rtstruct.dcm", f"{patient}/498.11.1-1/report/report.html"}
    assert patient.startswith("P-") and no_identity_in(made)
    assert synced[-2:] == [made.parent, tmp_path / "out"]  # both may be new
    assert deliver(jobs, tmp_path / "out", 3e9) == []
    assert {d.state for d in jobs.deliveries()} == {"sent"}


def test_killed_between_the_copy_and_the_note(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done(jobs)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Jobs, "sent", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        deliver(jobs, tmp_path / "out", 2e9)
    again = Jobs(jobs.spool)
    jobs.close()
    assert again.recover(2e9) == 2
    assert len(deliver(again, tmp_path / "out", 2e9)) == 1
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    again.close()


def test_another_result_in_the_same_place_is_never_replaced(jobs: Jobs, tmp_path: Path) -> None:
    done(jobs)
    (made,) = deliver(jobs, tmp_path / "out", 2e9)
    (made / "rtstruct.dcm").write_text("a physician's own")
    jobs.spool.database.rows("UPDATE deliveries SET state = 'due'")
    assert deliver(jobs, tmp_path / "out", 2e9) == []
    assert (made / "rtstruct.dcm").read_text() == "a physician's own"
    assert {(d.state, d.message) for d in jobs.deliveries()} == {("due", "another result is there already")}


def test_a_folder_that_cannot_be_written_keeps_results_due(jobs: Jobs, tmp_path: Path) -> None:
    done(jobs)
    (tmp_path / "out").write_text("a file in its place")
    assert deliver(jobs, tmp_path / "out", 2e9) == []
    os.unlink(tmp_path / "out")
    assert deliver(jobs, tmp_path / "out", 2e9) == []  # not before its pause is over
    assert len(deliver(jobs, tmp_path / "out", 2e9 + 15)) == 1


def test_an_error_that_nobody_foresaw_leaves_nothing_undelivered_for_ever(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(jobs)
    with monkeypatch.context() as patch:
        patch.setattr("recontour.qa.pseudonym.pseudonym", lambda *_: {}["Doe^Jonathan"])
        assert deliver(jobs, tmp_path / "out", 2e9) == []
    assert {(d.state, d.message) for d in jobs.deliveries()} == {("due", "an error that should not happen (KeyError)")}
    assert len(deliver(jobs, tmp_path / "out", 2e9 + 15)) == 1


def watch_of(folder: Path, out: Path) -> Watch:
    return Watch(WatchRequest(folder, out, out / ".recontour", Settings(), RunOptions(), quiet_s=0))


def test_results_in_the_watched_folder_are_not_taken_for_scans(folder: Path) -> None:
    watch = watch_of(folder, folder / "out")
    (folder / "out" / "P-1").mkdir()
    (folder / "out" / "P-1" / "rtstruct.dcm").write_bytes(as_file(drawn_on(scan(1), 2)))
    for _ in range(3):
        watch.round(time.time())
    assert not watch.spool.database.rows("SELECT * FROM objects")
    watch.close()


def test_a_round_tells_what_it_did_and_when_it_is_at_rest(folder: Path, tmp_path: Path) -> None:
    watch = watch_of(folder, tmp_path / "out")
    watch.begin(time.time())
    put(folder, *scan(1))
    rounds = [watch.round(time.time() + k) for k in range(3)]
    assert [r.at_rest for r in rounds] == [False, False, True]
    assert "4 files taken" in rounds[1].lines
    assert any("waiting: no plan of the patient is here" in line for line in rounds[1].lines)
    assert not rounds[2].lines and not any(r.warnings for r in rounds)
    watch.close()


def test_folders_that_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        watch_of(tmp_path / "none", tmp_path / "out")
    with pytest.raises(UsageError, match="that of the results"):
        watch_of(folder, folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputRefused):
        watch_of(folder, tmp_path / "file")
