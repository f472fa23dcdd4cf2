"""A job runs in a process of its own: whatever becomes of that, or of the worker, the job is done once or failed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

import recontour.queue.child as child_process
import recontour.queue.worker as worker
from recontour.errors import MemoryShort, OutputRefused, RoiAmbiguous, ScanRefused
from recontour.queue.jobs import Jobs
from recontour.queue.matching import match
from recontour.queue.spool import Spool
from recontour.queue.status import status
from recontour.queue.worker import RunOptions, run_next
from recontour.settings import Settings
from tests.queue.made_queue import ROOT, arrive, pair, scan

FAKE = Path(__file__).with_name("fake_child.py")
RESULTS = {"rtstruct.dcm", "registration.dcm", "report.dcm"}
TO_ARCHIVE = RunOptions(deliver={"ARCHIVE": ("*.dcm",)})
DEADLINE_S = 300  # under any load; nothing waits for it


@pytest.fixture
def ready(jobs: Jobs) -> Jobs:
    arrive(jobs, *pair(), scan(12, "20260106"))
    return jobs


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Which kind of child runs the jobs."""
    return lambda mode: monkeypatch.setattr(worker, "CHILD", (sys.executable, "-S", str(FAKE), mode))


def run_all(jobs: Jobs, options: RunOptions = TO_ARCHIVE) -> int:
    count = 0
    while run_next(jobs, Settings(method="affine"), options):
        count += 1
    return count


def delivered(jobs: Jobs, job_id: int) -> list[tuple[str, str]]:
    return [
        (d.file.name, str(pydicom.dcmread(d.file).SeriesDescription)) for d in jobs.deliveries() if d.job_id == job_id
    ]


def test_a_job_sees_its_own_scans_alone_and_leaves_its_results(ready: Jobs, child: Callable[[str], None]) -> None:
    child("works")
    assert run_all(ready) == 2
    job = ready.get(1)
    assert (job.state, job.light) == ("done", "review")
    record = json.loads((job.folder / "rtstruct.manifest.json").read_text())
    assert record["seen"]["daily"] == [f"{ROOT}.11.4.{k}.dcm" for k in (1, 2, 3, 4)]
    assert record["seen"]["planning"] == [*(f"{ROOT}.10.4.{k}.dcm" for k in (1, 2, 3, 4)), f"{ROOT}.15.4.1.dcm"]
    assert record["asked"]["settings"]["method"] == "affine"
    assert record["asked"]["structures"] == f"{ROOT}.15.4.1"
    assert [name for name, _ in delivered(ready, 1)] == ["rtstruct.dcm", "registration.dcm", "report.dcm"]
    assert not (job.folder / "input").exists()
    assert len(ready.deliveries()) == 6


def test_what_is_delivered_can_be_chosen(ready: Jobs, child: Callable[[str], None]) -> None:
    child("works")
    run_next(ready, Settings(), RunOptions(deliver={"folder": ("*.json",), "ARCHIVE": ("report.*", "*.dcm")}))
    found = sorted((d.destination, d.file.name) for d in ready.deliveries())
    assert found == [*(("ARCHIVE", name) for name in sorted(RESULTS)), ("folder", "rtstruct.manifest.json")]


@pytest.mark.parametrize(
    ("mode", "state", "attempts"), [("dies", "failed", 2), ("dies once", "done", 2), ("refuses", "failed", 1)]
)
def test_how_a_job_s_process_may_end(
    ready: Jobs, child: Callable[[str], None], mode: str, state: str, attempts: int
) -> None:
    child(mode)
    run_all(ready)
    job = ready.get(1)
    assert (job.state, job.attempts) == (state, attempts)
    if mode == "dies":
        assert "signal 9" in job.message
    if mode == "dies once":
        assert ("rtstruct.dcm", "contours of attempt-2") in delivered(ready, 1)
    assert len(delivered(ready, 1)) == (3 if state == "done" else 0)


def test_what_lacked_room_is_put_off(ready: Jobs, child: Callable[[str], None]) -> None:
    child("lacks")
    assert run_all(ready) == 2
    assert {(j.state, j.message) for j in ready.list()} == {("ready", "a reason")}
    child("works")
    assert run_next(ready, Settings(), TO_ARCHIVE, now=2e9) and ready.get(1).state == "done"


def test_a_full_disk_before_the_child_begins_puts_the_job_off(ready: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "_link", full)
    run_all(ready)
    assert {(j.state, j.message) for j in ready.list()} == {("ready", "the queue's folder: No space left on device")}


WORKER = """
    import sys
    import recontour.queue.worker as worker
    from pathlib import Path
    from recontour.queue.jobs import Jobs
    from recontour.queue.spool import Spool
    from recontour.settings import Settings

    worker.CHILD = (sys.executable, "-S", sys.argv[2], sys.argv[3])
    jobs = Jobs(Spool(Path(sys.argv[1])))
    while worker.run_next(jobs, Settings(), worker.RunOptions(deliver={"ARCHIVE": ("*.dcm",)})):
        pass
"""


def worker_process(jobs: Jobs, mode: str) -> subprocess.Popen[bytes]:
    code = [sys.executable, "-c", textwrap.dedent(WORKER), str(jobs.spool.folder), str(FAKE), mode]
    return subprocess.Popen(code, cwd=Path(__file__).parents[2])


def wait_for(path: Path) -> None:
    """A deadline, not a time: it returns as soon as the file is there."""
    pause, left = threading.Event(), DEADLINE_S * 50
    while not path.exists():
        assert left, f"{path.name} did not come"
        left -= 1
        pause.wait(0.02)


def test_kill_9_of_a_worker_in_mid_job(ready: Jobs, child: Callable[[str], None], tmp_path: Path) -> None:
    other = worker_process(ready, "hangs")
    wait_for(tmp_path / "begun")
    assert ready.get(1).state == "running" and ready.claim(1) is None
    assert ready.recover() == 0  # it lives
    other.kill()
    other.wait()
    wait_for(tmp_path / "ended")  # its child does not outlive it
    assert ready.recover() == 1
    child("works")
    assert run_all(ready) == 2
    assert [j.state for j in ready.list()] == ["done", "done"]
    assert sorted(delivered(ready, 1)) == [
        ("registration.dcm", "registration"), ("report.dcm", "report"), ("rtstruct.dcm", "contours of attempt-2"),
    ]  # fmt: skip


def test_ctrl_c_puts_the_job_back_and_counts_nothing(ready: Jobs, tmp_path: Path) -> None:
    other = worker_process(ready, "hangs")
    wait_for(tmp_path / "begun")
    other.send_signal(signal.SIGINT)
    other.wait(DEADLINE_S)
    job = ready.get(1)
    assert job.state == "ready"
    assert ready.spool.database.rows("SELECT kills, crashes FROM jobs WHERE id = 1")[0][:] == (0, 0)


def test_two_workers_at_once_share_the_work(jobs: Jobs) -> None:
    planning, structures, _ = pair()
    days = [scan(20 + k, f"202601{10 + k}") for k in range(6)]
    assert len(arrive(jobs, planning, structures, *days)) == 6
    workers = [worker_process(jobs, "works") for _ in range(2)]
    assert [w.wait(DEADLINE_S) for w in workers] == [0, 0]
    assert [(j.state, j.attempts) for j in jobs.list()] == [("done", 1)] * 6
    assert len(jobs.deliveries()) == 18


def test_a_kill_at_any_step_of_finishing_delivers_and_tells_all_or_nothing(
    tmp_path: Path, child: Callable[[str], None]
) -> None:
    """Between the child's end and the commit: either the job is done, all is due and a person is told, or it is run
    again. Contours and registration that were rejected are kept back."""
    from tests.queue.test_spool import DIED, LIVED, Steps, in_another_process

    child("rejects")
    report_alone = replace(TO_ARCHIVE, send_rejected=False)
    planning, structures, daily = pair()
    for fatal in range(1, 100):
        folder = tmp_path / str(fatal)
        first = Jobs(Spool(folder))
        arrive(first, planning, structures, daily)
        first.close()
        first.spool.database.close()

        def work(folder: Path = folder, fatal: int = fatal) -> None:
            steps = Steps(fatal, counting=False)
            steps.install(setattr)
            run_child = worker._in_child

            def then_count(attempt: Path) -> int:
                status = run_child(attempt)
                steps.counting = True
                return status

            worker._in_child = then_count
            run_next(Jobs(Spool(folder)), Settings(), report_alone)

        ended = in_another_process(work)
        assert ended in (DIED, LIVED)
        jobs = Jobs(Spool(folder))
        jobs.recover()
        match(jobs, 1e9)
        told = [row[2:] for row in status(jobs.spool).notices]
        assert (len(jobs.deliveries()), len(told)) == ((1, 1) if jobs.get(1).state == "done" else (0, 0))
        run_all(jobs, report_alone)
        assert jobs.get(1).state == "done" and jobs.get(1).attempts <= 2
        assert [(d.file.name, d.file.is_file()) for d in jobs.deliveries()] == [("report.dcm", True)]
        ((about, text),) = [row[2:] for row in status(jobs.spool).notices]
        assert about == "job 1" and "rejected and not sent" in text
        jobs.close()
        jobs.spool.database.close()
        if ended == LIVED:
            break
    assert ended == LIVED and fatal > 10


@pytest.mark.parametrize(
    ("error", "words", "again"),
    [
        (ScanRefused("a gap", where="CT.dcm", allowed="no gap"), "a gap (CT.dcm)", False),
        (RoiAmbiguous("two", where="a\nlist"), "two", False),
        (OutputRefused("the disk is full"), "the disk is full", True),
        (MemoryShort("8 GB are needed"), "8 GB are needed", True),
        (MemoryError(), "the memory is short", True),
        (OSError(28, "No space left on device", "/Doe"), "the disk is full", True),
        (OSError(5, "Input/output error", "/Doe"), "an error that should not happen (OSError", False),
        (ValueError("Doe^Jonathan"), "an error that should not happen (ValueError", False),
    ],
)
def test_what_the_child_says_of_a_failure(
    error: Exception, words: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(child_process, "_end_with_parent", lambda: None)
    monkeypatch.setattr("recontour.study.run_study", fail)
    asked = {"settings": Settings().as_dict(), "chosen_rois": {}, "only": [], "skip": [], "pseudonym_key": None,
             "planning_series": "1.2", "daily_series": "1.3", "structures": "1.4"}  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(asked))
    assert child_process.main(tmp_path) == 0
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert outcome["error"].startswith(words) and outcome["again"] == again
    assert "Doe" not in outcome["error"]
    assert {p.name for p in tmp_path.iterdir()} == {"request.json", "outcome.json"}


def test_a_disk_too_full_for_the_outcome_puts_the_job_off(ready: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real child's last step is tried in this process, and what its exit status is taken for by itself."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = ready.spool.folder / "jobs"
    (folder / "request.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(child_process, "_end_with_parent", lambda: None)
        patch.setattr("recontour.qa.manifest.os.fsync", full)
        assert child_process.main(folder) == child_process.NO_ROOM
    assert {p.name for p in folder.iterdir()} == {"request.json"}
    ends = (sys.executable, "-S", "-c", f"import sys; sys.exit({child_process.NO_ROOM})")
    monkeypatch.setattr(worker, "CHILD", ends)
    assert run_all(ready) == 2
    assert {(j.state, j.message) for j in ready.list()} == {("ready", "no room for what became of it")}
    assert ready.spool.database.rows("SELECT sum(crashes), sum(retries) FROM jobs")[0][:] == (0, 2)


def test_results_that_do_not_read_back_are_no_results(ready: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """if True:
        import sys
        open(sys.argv[1] + "/rtstruct.dcm", "w").close()
        open(sys.argv[1] + "/outcome.json", "w").write('{"light": "pass", "message": ""}')
    """
    monkeypatch.setattr(worker, "CHILD", (sys.executable, "-S", "-c", code))
    run_all(ready)
    assert [(j.state, j.attempts) for j in ready.list()] == [("failed", 2)] * 2
    assert not ready.deliveries()


def test_a_disk_that_is_full_when_a_job_ends_loses_no_job(ready: Jobs, child: Callable[[str], None]) -> None:
    child("works")
    database = ready.spool.database

    changing = database.changing
    full = True

    @contextmanager
    def no_room() -> Iterator[sqlite3.Connection]:
        if full and ready.get(1).state == "running":
            raise OutputRefused("the disk is full")
        with changing() as changes:
            yield changes

    database.changing = no_room  # type: ignore[method-assign]
    with pytest.raises(OutputRefused):
        run_next(ready, Settings(), TO_ARCHIVE)
    assert ready.get(1).state == "running"
    full = False
    assert run_all(ready) == 2
    assert [j.state for j in ready.list()] == ["done", "done"] and len(ready.deliveries()) == 6


def test_the_real_child_ends_with_its_parent(tmp_path: Path) -> None:
    """It waits for a request that never comes, in a pipe of that name; the end of its standard input ends it."""
    os.mkfifo(tmp_path / "request.json")
    command = [sys.executable, "-m", "recontour.queue.child", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 1
