"""Jobs and deliveries: each is somebody's or nobody's, and none is done twice or forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recontour.errors import OutputRefused, UsageError
from recontour.queue import jobs as module
from recontour.queue.database import notice
from recontour.queue.jobs import Job, Jobs, Result
from recontour.queue.matching import match
from recontour.queue.spool import Spool
from recontour.queue.status import status
from tests.queue.made_queue import arrive, no_identity_in, pair, scan


@pytest.fixture
def three(jobs: Jobs) -> Jobs:
    """Three daily scans that are ready."""
    assert len(arrive(jobs, *pair(), scan(12, "20260106"), scan(13, "20260107"))) == 3
    return jobs


def claimed(jobs: Jobs, job_id: int = 1) -> Job:
    job = jobs.claim(job_id)
    assert job is not None
    return job


def done(jobs: Jobs, job_id: int = 1, destinations: tuple[str, ...] = ("A", "B")) -> list[Path]:
    """A finished job with two results."""
    job = claimed(jobs, job_id)
    job.folder.mkdir(parents=True)
    files = [job.folder / name for name in ("rtstruct.dcm", "report.dcm")]
    for file in files:
        file.write_bytes(b"result")
    assert jobs.finish(job, "review", [Result(file, f"1.2.{k}", destinations) for k, file in enumerate(files)])
    return files


def killed_while(jobs: Jobs, work: Callable[[Jobs], object]) -> None:
    """Another process works on the same spool and is killed with signal 9 in the midst of it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            other = Jobs(Spool(jobs.spool.folder))
            work(other)
            os.write(write, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(read, 1)
    try:
        assert jobs.recover(2e9) == 0, "what a living process works on is its own"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_job_goes_to_one_worker_alone(three: Jobs) -> None:
    others = [Jobs(Spool(three.spool.folder)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda j: [j.claim(k) for k in (1, 2, 3)], others))
    won = [job.id for one in taken for job in one if job is not None]
    assert sorted(won) == [1, 2, 3]


def test_what_is_done_is_due_everywhere_at_once(three: Jobs) -> None:
    files = done(three)
    job = three.get(1)
    assert (job.state, job.light, job.folder) == ("done", "review", three.spool.folder / "jobs/1/attempt-1")
    due = three.due(2e9)
    assert {(d.file, d.destination) for d in due} == {(f, d) for f in files for d in ("A", "B")}
    assert three.due(2e9) == []  # they are being sent
    for delivery in due:
        three.sent(delivery.id)
    assert {d.state for d in three.deliveries()} == {"sent"}


def test_only_what_is_for_one_destination(three: Jobs) -> None:
    done(three)
    assert {d.destination for d in three.due(2e9, "B")} == {"B"}
    assert {d.destination for d in three.due(2e9)} == {"A"}


def test_a_failed_delivery_is_tried_again_after_pauses_that_double_and_is_given_up(three: Jobs) -> None:
    done(three, destinations=("A",))
    now, pauses = 1e10, []
    delivery = three.due(now)[0].id
    for _ in range(module.MOST_TRIES):
        three.failed(delivery, "the peer is down", now)
        (again,) = [d for d in three.deliveries() if d.id == delivery]
        pauses.append(again.next_try - now)
        assert not [d for d in three.due(again.next_try - 1) if d.id == delivery]
        now = again.next_try
        taken = [d.id for d in three.due(now)]
        assert taken == ([delivery] if again.state == "due" else [])
    assert pauses[:4] == [15, 30, 60, 120] and max(pauses) == 3600
    assert again.state == "gave up" and again.attempts == module.MOST_TRIES
    assert 86400 < sum(pauses) < 3 * 86400  # a weekend
    assert any("could not be delivered" in n[3] for n in status(three.spool).notices)
    assert three.send_again(now, 1) == 1
    assert [d.id for d in three.due(now)] == [delivery]


def test_what_was_sent_is_never_due_again_whatever_is_said_later(three: Jobs) -> None:
    done(three)
    delivery = three.due(2e9)[0]
    three.sent(delivery.id)
    three.failed(delivery.id, "late answer", 2e9)
    three.recover(2e9)
    assert delivery.id not in [d.id for d in three.due(3e9)]


def test_what_could_not_be_noted_on_a_full_disk_is_noted_later(three: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    done(three, destinations=("A",))
    first, second = three.due(2e9)

    def full() -> None:
        raise OutputRefused("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(three.spool.database, "changing", full)
        three.sent(first.id)
        three.failed(second.id, "the peer is down", 2e9)
        with pytest.raises(OutputRefused):
            three.due(2e9)
    assert {d.state for d in three.deliveries()} == {"sending"}
    assert three.due(2e9) == []
    assert [(d.state, d.message, d.attempts) for d in three.deliveries()] == [
        ("sent", "", 1),
        ("due", "the peer is down", 1),
    ]
    assert [d.id for d in three.due(2e9 + 15)] == [second.id]


def test_a_killed_worker_s_job_is_put_back_once(three: Jobs) -> None:
    killed_while(three, lambda other: claimed(other, 2))
    assert three.get(2).state == "running"
    assert three.recover(2e9) == 1 and three.recover(2e9) == 0
    assert (three.get(2).state, three.get(2).attempts) == ("ready", 1)
    assert claimed(three, 2).folder.name == "attempt-2"  # what the first left is in nobody's way


def test_a_killed_sender_s_deliveries_are_due_again_and_those_sent_are_not(three: Jobs) -> None:
    done(three)
    killed_while(three, lambda other: [other.sent(d.id) for d in other.due(2e9)[:1]])
    assert three.recover(2e9) == 3
    assert len(three.due(2e9)) == 3


def test_who_was_thought_dead_changes_nothing_any_more(three: Jobs) -> None:
    job = claimed(three)
    three.spool.database.rows("UPDATE jobs SET owner = 'somebody else' WHERE id = 1")
    assert not three.finish(job, "pass", [Result(job.folder / "a.dcm", "1.2", ("A",))])
    assert not three.fail(job, "x") and not three.crashed(job, "x")
    assert three.get(1).state == "running" and not three.deliveries()


def test_a_job_that_takes_the_service_down_is_not_tried_for_ever(three: Jobs) -> None:
    for kill in range(1, module.MOST_KILLS + 1):
        killed_while(three, lambda other: claimed(other, 1))
        three.recover(2e9)
        assert three.get(1).state == ("ready" if kill < module.MOST_KILLS else "failed")
    assert "killed 5 times" in three.get(1).message
    three.requeue(1)
    match(three, 0)
    assert three.get(1).state == "ready"


def test_a_crash_is_tried_once_more_and_a_shortage_later(three: Jobs) -> None:
    assert three.crashed(claimed(three), "signal 9")
    assert not three.crashed(claimed(three), "signal 9")
    assert three.get(1).state == "failed"
    assert three.put_off(claimed(three, 2), "the disk is full")
    assert [j.id for j in (three.next(),) if j] == [3]
    later = three.next(2e9)
    assert later is not None and later.id == 2


def test_what_is_asked_for_again_sends_only_the_new_results(three: Jobs) -> None:
    done(three)
    first, second, *others = three.due(2e9)  # all are being sent, and one has arrived
    three.sent(first.id)
    three.requeue(1)
    assert [(d.id, d.state) for d in three.deliveries()] == [(first.id, "sent")]
    three.sent(second.id)  # what comes of those that were on their way changes nothing
    three.failed(others[0].id, "the peer is down", 2e9)
    assert [d.id for d in three.deliveries()] == [first.id]
    with pytest.raises(UsageError, match="waiting"):
        three.requeue(1)
    with pytest.raises(UsageError, match="no job 77"):
        three.requeue(77)


def test_what_dead_processes_left_is_cleared_away(three: Jobs) -> None:
    owners = three.spool.folder / "owners"
    (owners / "a dead one").touch()
    living = Jobs(Spool(three.spool.folder))
    three.recover(2e9)
    assert "a dead one" not in [p.name for p in owners.iterdir()] and len(list(owners.iterdir())) == 2
    assert living.claim(1) is not None and three.recover(2e9) == 0
    living.close()


def test_a_job_that_is_stopped_by_hand_is_as_if_it_was_never_begun(three: Jobs) -> None:
    three.release(claimed(three))
    assert three.get(1).state == "ready"


def test_the_status_hides_nothing_that_a_person_has_to_look_at(jobs: Jobs) -> None:
    with jobs.spool.database.changing() as changes:
        for number in range(15):
            notice(changes, "late images", f"job {number}", "look, and requeue it", number)
        for number in range(15):
            notice(changes, "not used", f"1.2.{number}", "a series of localisers", 1000 + number)
    told = [row[3] for row in status(jobs.spool).notices]
    assert told == ["look, and requeue it"] * 15 + ["a series of localisers"] * 10


def test_the_status_tells_all_and_nobody_s_name(three: Jobs) -> None:
    done(three)
    three.fail(claimed(three, 2), "a series of 2 slices")
    found = status(three.spool)
    counts = dict(found.counts)
    assert (counts["jobs done"], counts["jobs failed"], counts["jobs ready"], counts["deliveries due"]) == (
        "1", "1", "1", "4",
    )  # fmt: skip
    assert found.failed == (("2", "...498.12.1", "1", "a series of 2 slices"),)
    assert no_identity_in(str(found))
