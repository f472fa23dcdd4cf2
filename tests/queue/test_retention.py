"""What is done with is removed after its days, and nothing else ever is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recontour.errors import UsageError
from recontour.queue.jobs import Jobs, Result
from recontour.queue.matching import appoint
from recontour.queue.retention import DAY_S, Removed, remove_old
from tests.queue.made_queue import ROOT, arrive, drawn_on, keep, made_by_recontour, pair, scan

DAYS = 30.0
CONTOURS = f"{ROOT}.900.9"


def run(jobs: Jobs, *destinations: str, name: str = "rtstruct.dcm") -> None:
    job = jobs.claim(1)
    assert job is not None
    (job.folder / "report").mkdir(parents=True)
    files = [job.folder / name, job.folder / "report" / "report.dcm"]
    for file in files:
        file.write_bytes(b"result")
    results = [Result(file, uid, destinations) for file, uid in zip(files, (CONTOURS, f"{ROOT}.901.9"), strict=True)]
    assert jobs.finish(job, "pass", results)


def deliver(jobs: Jobs) -> None:
    for delivery in jobs.due(time.time()):
        jobs.sent(delivery.id)


@pytest.fixture
def delivered(jobs: Jobs) -> Jobs:
    """Two scans of one plan: job 1 was run and delivered to both of its destinations, job 2 is ready."""
    arrive(jobs, *pair(), scan(12, "20260106"))
    run(jobs, "ARCHIVE", "PLANNING")
    deliver(jobs)
    return jobs


def files(jobs: Jobs) -> set[str]:
    kept = [p for name in ("series", "jobs") for p in (jobs.spool.folder / name).rglob("*") if p.is_file()]
    return {p.relative_to(jobs.spool.folder).as_posix() for p in kept}


def later(days: float = DAYS + 1) -> float:
    return time.time() + days * DAY_S


def test_scan_and_results_of_a_delivered_job_go_after_their_days_and_the_plan_stays(delivered: Jobs) -> None:
    before = files(delivered)
    assert remove_old(delivered.spool, later(DAYS - 1), DAYS) == []
    assert files(delivered) == before
    assert remove_old(delivered.spool, later(), DAYS) == [Removed(1, 6)]  # four images and two results
    left = files(delivered)
    gone = {f"series/{ROOT}.11.1/{ROOT}.11.4.{k}.dcm" for k in (1, 2, 3, 4)}
    assert before - left == gone | {"jobs/1/attempt-1/rtstruct.dcm", "jobs/1/attempt-1/report/report.dcm"}
    uids = [f"{ROOT}.{number}.4.{k}" for number in (10, 11, 12) for k in (1, 2, 3, 4)]
    assert delivered.spool.held(uids) == {uid for uid in uids if ".11.4." not in uid}
    assert [(j.id, j.state) for j in delivered.list()] == [(1, "done"), (2, "ready")]
    assert remove_old(delivered.spool, later(), DAYS) == []


def test_nothing_is_removed_unless_asked_for(delivered: Jobs) -> None:
    before = files(delivered)
    assert remove_old(delivered.spool, later(1e5), 0) == []
    assert files(delivered) == before


def disputed_image(jobs: Jobs) -> None:
    image = scan(11)[1]
    image.PixelData = b"\1" * 48
    keep(jobs.spool, image)


def disputed_plan(jobs: Jobs) -> None:
    image = scan(10, "20260101")[1]
    image.PixelData = b"\1" * 48
    keep(jobs.spool, image)


def disputed_contours(jobs: Jobs) -> None:
    keep(jobs.spool, drawn_on(scan(10, "20260101"), 15, StructureSetLabel="other"))


def note(sql: str) -> Callable[[Jobs], None]:
    def change(jobs: Jobs) -> None:
        with jobs.spool.database.changing() as changes:
            assert changes.execute(sql).rowcount

    return change


KEPT: dict[str, Callable[[Jobs], object]] = {
    "one result is still due": note("UPDATE deliveries SET state = 'due' WHERE id = 4"),
    "one result is being sent": note("UPDATE deliveries SET state = 'sending' WHERE id = 4"),
    "one result was given up": note("UPDATE deliveries SET state = 'gave up' WHERE id = 4"),
    "delivered late": note(f"UPDATE deliveries SET next_try = {later(5)} WHERE id = 4"),
    "its contours were kept back": note("DELETE FROM deliveries WHERE file LIKE '%rtstruct.dcm'"),
    "nobody gets anything": note("DELETE FROM deliveries"),
    "it failed": note("UPDATE jobs SET state = 'failed' WHERE id = 1"),
    "asked for again": lambda jobs: jobs.requeue(1),
    "an image in two versions": disputed_image,
    "an image of the plan in two versions": disputed_plan,
    "the structure set in two versions": disputed_contours,
    "a late image": lambda jobs: keep(jobs.spool, scan(11, count=5)[4]),
    "a late image, and quiet since": lambda jobs: arrive(jobs, scan(11, count=5)[4]),
    "newer contours of the plan": lambda jobs: arrive(jobs, drawn_on(scan(10, "20260101"), 7, "20260107")),
    "received again": lambda jobs: note(f"UPDATE series SET last_received = {later(5)}")(jobs),
    "it is a plan by now": lambda jobs: (arrive(jobs, drawn_on(scan(11), 40)), appoint(jobs, f"{ROOT}.11.1", 0)),
}


@pytest.mark.parametrize("why", list(KEPT))
def test_what_may_be_needed_is_never_removed(delivered: Jobs, why: str) -> None:
    KEPT[why](delivered)
    before = files(delivered)
    assert remove_old(delivered.spool, later(), DAYS) == []
    assert files(delivered) == before


def test_a_removed_scan_that_comes_again_is_not_run_again(delivered: Jobs) -> None:
    remove_old(delivered.spool, later(), DAYS)
    with pytest.raises(UsageError, match="was removed"):
        delivered.requeue(1)
    assert arrive(delivered, scan(11), at=later()) == []
    assert delivered.get(1).state == "done" and not delivered.spool.database.rows("SELECT * FROM notices")
    delivered.requeue(1)  # now there is something to be run
    assert delivered.get(1).state == "waiting"


def test_our_contours_are_known_when_they_are_gone_from_here(delivered: Jobs) -> None:
    remove_old(delivered.spool, later(), DAYS)
    arrive(delivered, drawn_on(scan(11), 900, SOPInstanceUID=CONTOURS), made_by_recontour(drawn_on(scan(11), 41)))
    sql = "SELECT DISTINCT kind FROM notices"
    assert [row[0] for row in delivered.spool.database.rows(sql)] == ["our own"]


def test_a_folder_that_cannot_be_removed_is_told_and_tried_again(
    delivered: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def not_the_scan(folder: Path) -> None:
        if folder.parent.name == "series":
            raise PermissionError(13, "Permission denied")
        remove(folder)

    with monkeypatch.context() as patch:
        patch.setattr("recontour.queue.retention.shutil.rmtree", not_the_scan)
        assert [one.problem for one in remove_old(delivered.spool, later(), DAYS)] == ["Permission denied"]
    assert len(delivered.spool.held([f"{ROOT}.11.4.{k}" for k in (1, 2, 3, 4)])) == 4
    assert remove_old(delivered.spool, later(), DAYS) == [Removed(1, 4)]
