"""What becomes of results: peers that are down, that refuse, that commit themselves or do not; with pynetdicom as the
peer, and results that are made without a run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recontour.node.delivering import Delivering
from recontour.node.service import Node
from recontour.queue import jobs as jobs_module
from recontour.queue.jobs import Jobs, Result
from recontour.queue.retention import DAY_S
from tests.node.made_node import Archive, audit_of, free_port, peer, serving, wait_until, write_config, written_by
from tests.queue.made_queue import OTHER, ROOT, WHO, arrive, as_file, drawn_on, no_identity_in, pair

GETS = ["rtstruct"]


@pytest.fixture
def archive_port() -> int:
    return free_port()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed delivery is due again at once."""
    monkeypatch.setattr("recontour.queue.jobs.TRY_AGAIN_S", 0.01)


@pytest.fixture
def archive(archive_port: int) -> Iterator[Archive]:
    made = Archive(archive_port)
    yield made
    made.close()


def finished_job(jobs: Jobs, number: int = 1, light: str = "pass") -> str:
    """As if a run had just ended; the UID of its RTSTRUCT."""
    planning, structures, daily = pair(number, who=WHO if number == 1 else OTHER)
    (job_id,) = arrive(jobs, planning, structures, daily, at=time.time())
    job = jobs.claim(job_id)
    assert job is not None
    result = drawn_on(daily, 900 + number, SOPInstanceUID=f"{ROOT}.{900 + number}.9")
    job.folder.mkdir(parents=True)
    (job.folder / "rtstruct.dcm").write_bytes(as_file(result))
    assert jobs.finish(job, light, [Result(job.folder / "rtstruct.dcm", result.SOPInstanceUID, ("ARCHIVE",))])
    return str(result.SOPInstanceUID)


def states(node: Node) -> list[tuple[str, int]]:
    return [(one.state, one.attempts) for one in node._jobs.deliveries()]


def messages(node: Node) -> set[str]:
    return {one.message for one in node._jobs.deliveries()}


def test_results_are_sent_once(tmp_path: Path, archive: Archive) -> None:
    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS))
    with serving(config) as node:
        uids = [finished_job(node._jobs, number) for number in (1, 2)]
        wait_until(lambda: states(node) == [("sent", 1)] * 2)
        time.sleep(0.1)  # rounds in which nothing may be sent
    assert archive.received == uids
    delivered = [line for line in audit_of(config) if line["event"] == "delivered"]
    assert [line["peer"] for line in delivered] == ["ARCHIVE"] * 2
    assert no_identity_in(written_by(tmp_path))


def test_a_peer_that_is_down_gets_it_when_it_is_back(tmp_path: Path, archive_port: int, hurried: None) -> None:
    config = write_config(tmp_path, peer("ARCHIVE", archive_port, gets=GETS))
    with serving(config) as node:
        uid = finished_job(node._jobs)
        wait_until(lambda: states(node)[0][1] >= 2)
        assert messages(node) == {"it could not be reached"}
        archive = Archive(archive_port)
        try:
            wait_until(lambda: states(node)[0][0] == "sent")
        finally:
            archive.close()
    assert archive.received == [uid]


def test_a_peer_that_is_down_is_asked_less_and_less_often(tmp_path: Path, archive_port: int) -> None:
    config = write_config(tmp_path, peer("ARCHIVE", archive_port, gets=GETS))
    with serving(config) as node:
        finished_job(node._jobs)
        wait_until(lambda: states(node) == [("due", 1)])
        (delivery,) = node._jobs.deliveries()
        assert 10 < delivery.next_try - time.time() <= 15


def test_a_refusal_is_no_delivery(tmp_path: Path, archive_port: int, hurried: None) -> None:
    archive = Archive(archive_port, statuses=[0xA700, 0xC000])
    config = write_config(tmp_path, peer("ARCHIVE", archive_port, gets=GETS))
    try:
        with serving(config) as node:
            uid = finished_job(node._jobs)
            wait_until(lambda: states(node) == [("sent", 3)])
    finally:
        archive.close()
    assert archive.received == [uid]
    why = [line["why"] for line in audit_of(config) if line["event"] == "not delivered"]
    assert why == ["it answered with status A700", "it answered with status C000"]


def test_a_peer_that_rejects_the_association_is_tried_again(
    tmp_path: Path, archive_port: int, archive: Archive
) -> None:
    archive._ae.require_called_aet = True
    config = write_config(tmp_path, peer("OTHER", archive_port, gets=GETS))
    with serving(config) as node:
        finished_job(node._jobs)
        with node._spool.database.changing() as changes:
            changes.execute("UPDATE deliveries SET destination = 'OTHER'")
        wait_until(lambda: states(node) == [("due", 1)])
        assert messages(node) == {"it rejected the association: Called AE title not recognised"}
    assert archive.received == []


def test_where_a_peer_commits_itself_a_result_is_sent_only_then(tmp_path: Path) -> None:
    port, archive_port = free_port(), free_port()
    archive = Archive(archive_port, port)
    about = peer("ARCHIVE", archive_port, gets=GETS, storage_commitment=True)
    config = write_config(tmp_path, about, peer("LIAR", archive_port, gets=GETS, storage_commitment=True), port=port)
    try:
        with serving(config) as node:
            uid = finished_job(node._jobs)
            wait_until(lambda: archive.asked)
            assert archive.received == [uid] and states(node) == [("sending", 0)]
            (asked,) = archive.asked
            assert [item.ReferencedSOPInstanceUID for item in asked.ReferencedSOPSequence] == [uid]
            archive.report(asked, lambda uid: True, title="LIAR")  # another peer's word is worth nothing
            assert states(node) == [("sending", 0)]
            archive.report(asked, lambda uid: True)
            wait_until(lambda: states(node) == [("sent", 1)])
    finally:
        archive.close()


def test_what_a_peer_does_not_commit_itself_to_is_sent_again(tmp_path: Path, hurried: None) -> None:
    port, archive_port = free_port(), free_port()
    archive = Archive(archive_port, port)
    archive.commits = lambda uid: len(archive.asked) > 1
    config = write_config(tmp_path, peer("ARCHIVE", archive_port, gets=GETS, storage_commitment=True), port=port)
    try:
        with serving(config) as node:
            uid = finished_job(node._jobs)
            wait_until(lambda: states(node) == [("sent", 2)])
    finally:
        archive.close()
    assert archive.received == [uid, uid]
    (why,) = [line["why"] for line in audit_of(config) if line["event"] == "not delivered"]
    assert why == "it does not commit itself to keep it"


def test_a_commitment_that_is_never_reported_is_asked_for_again(tmp_path: Path, hurried: None) -> None:
    port, archive_port = free_port(), free_port()
    archive = Archive(archive_port, port)
    config = write_config(
        tmp_path,
        peer("ARCHIVE", archive_port, gets=GETS, storage_commitment=True),
        port=port,
        limits__commitment_s=1.0,
    )
    try:
        with serving(config) as node:
            finished_job(node._jobs)
            wait_until(lambda: len(archive.asked) > 1)
            assert messages(node) == {"no report of storage commitment came"}
    finally:
        archive.close()


def test_what_was_being_sent_when_the_node_was_stopped_is_sent_later(tmp_path: Path) -> None:
    port, archive_port = free_port(), free_port()
    archive = Archive(archive_port, port)
    config = write_config(tmp_path, peer("ARCHIVE", archive_port, gets=GETS, storage_commitment=True), port=port)
    try:
        with serving(config) as node:
            finished_job(node._jobs)
            wait_until(lambda: archive.asked)
        archive.commits = lambda uid: True
        with serving(config) as node:
            wait_until(lambda: states(node) == [("sent", 1)])
    finally:
        archive.close()
    assert len(archive.received) == 2 and len(set(archive.received)) == 1


def test_an_outcome_is_not_forgotten_while_the_queue_cannot_be_written(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recontour.node.service._AGAIN_S", 0.01)
    failures: list[int] = []
    really_note = jobs_module._note_sent

    def note(changes: sqlite3.Connection, delivery_id: int, now: float) -> None:
        if len(failures) < 3:
            failures.append(delivery_id)
            raise sqlite3.OperationalError("database or disk is full")
        really_note(changes, delivery_id, now)

    monkeypatch.setattr(jobs_module, "_note_sent", note)
    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS))
    with serving(config) as node:
        uid = finished_job(node._jobs)
        wait_until(lambda: states(node) == [("sent", 1)])
    assert archive.received == [uid] and len(failures) == 3


def test_each_outcome_of_an_association_is_noted_before_the_next_is_sent(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a kill in the middle of many would send all of them again."""
    seen: list[list[str]] = []
    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS))
    with serving(config) as node:
        node._stopping.set()  # the loop ends, so that both are due at once
        node._thread.join()
        for number in (1, 2):
            finished_job(node._jobs, number)
        node._stopping.clear()
        really_done = Delivering._done

        def done(self: Delivering, *what: Any) -> None:
            seen.append([state for state, _ in states(node)])
            really_done(self, *what)

        monkeypatch.setattr(Delivering, "_done", done)
        node._delivering.round(time.time())
    assert seen == [["sending", "sending"], ["sent", "sending"]]


def test_a_result_that_is_lost_from_the_disk_holds_up_no_other(tmp_path: Path, archive: Archive) -> None:
    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS))
    jobs_of = []
    with serving(config) as node:
        node._stopping.set()  # the loop ends, so that both are due at once
        node._thread.join()
        jobs_of += [finished_job(node._jobs, 1), finished_job(node._jobs, 2)]
        node._jobs.list()[0].folder.joinpath("rtstruct.dcm").unlink()
        node._stopping.clear()
        node._delivering.round(time.time())
        assert states(node) == [("due", 1), ("sent", 1)]
    assert archive.received == jobs_of[1:]


@pytest.mark.parametrize("where", ["recontour.node.sending._stored", "recontour.node.delivering.object_of"])
def test_an_error_that_nobody_foresaw_strands_no_delivery(
    where: str, tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("Doe^Jonathan")

    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS))
    with serving(config) as node:
        with monkeypatch.context() as broken:
            broken.setattr(where, fail)
            finished_job(node._jobs)
            wait_until(lambda: states(node) == [("due", 1)])
        assert "an error that should not happen (KeyError)" in messages(node).pop()
    assert no_identity_in(written_by(tmp_path))


def test_what_was_delivered_is_removed_after_its_days_and_told(tmp_path: Path, archive: Archive) -> None:
    config = write_config(tmp_path, peer("ARCHIVE", archive.port, gets=GETS), keep_days=1)
    with serving(config) as node:
        finished_job(node._jobs)
        wait_until(lambda: states(node) == [("sent", 1)])
        node._clear(time.time() + 0.5 * DAY_S)
        assert node._jobs.get(1).folder.exists()
        node._clear(time.time() + 1.5 * DAY_S)
        assert not node._jobs.get(1).folder.exists()
    removed = [line for line in audit_of(config) if line["event"] == "removed"]
    assert [(line["job"], line["files"]) for line in removed] == [(1, 5)]  # four images, one structure set


def test_results_for_a_peer_that_is_not_named_any_more_are_told(tmp_path: Path, archive: Archive) -> None:
    config = write_config(tmp_path, peer("OTHER", archive.port, gets=GETS))
    with serving(config) as node:
        finished_job(node._jobs)
    with serving(config) as node:
        (row,) = node._spool.database.rows("SELECT text FROM notices WHERE kind = 'not delivered'")
        assert "due to ARCHIVE" in row["text"] and states(node) == [("due", 0)]
    assert archive.received == []
