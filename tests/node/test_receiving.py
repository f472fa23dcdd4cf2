"""What peers are answered when they come, echo and store; with pynetdicom as the client."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from recontour.node.config import read_config
from recontour.queue.spool import Spool
from tests.node.made_node import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    CT,
    MR,
    PDF,
    RTSTRUCT,
    associated,
    audit_of,
    echoes,
    free_port,
    peer,
    serving,
    store,
    store_bytes,
    wait_until,
    write_config,
    written_by,
)
from tests.queue.made_queue import as_file, no_identity_in, pair, scan

SCANNER = peer("SCANNER", may_send=True)


def objects_in(config: Path) -> dict[str, bytes]:
    folder = read_config(config).spool_folder / "series"
    return {file.stem: file.read_bytes() for file in folder.rglob("*.dcm")}


def test_what_is_sent_is_kept_byte_for_byte(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    planning, structures, daily = pair()
    sent = [*planning, structures, *daily]
    with serving(config):
        assert echoes(port)
        assert store(port, *sent) == [0] * len(sent)
    kept = objects_in(config)
    for one in sent:
        body = as_file(one)[132:]
        length = 12 + int.from_bytes(body[8:12], "little")
        assert kept[one.SOPInstanceUID].endswith(body[length:])  # all after the meta information
    assert len(kept) == len(sent)


def test_success_is_said_only_after_the_object_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    asked, may_go_on = threading.Event(), threading.Event()
    really_keep = Spool.keep

    def keep_late(self: Spool, *given: Any) -> Any:
        asked.set()
        assert may_go_on.wait(30)
        return really_keep(self, *given)

    monkeypatch.setattr(Spool, "keep", keep_late)
    answers: list[int] = []
    with serving(config):
        sender = threading.Thread(target=lambda: answers.extend(store(port, scan(1)[0])))
        sender.start()
        assert asked.wait(30)
        sender.join(0.3)
        assert answers == [] and objects_in(config) == {}
        may_go_on.set()
        sender.join()
        assert answers == [0] and len(objects_in(config)) == 1


def test_duplicates_succeed_and_conflicts_are_told_to_the_sender(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    first, other = scan(1)[0], scan(1, ImagePositionPatient=[0, 0, 99])[0]
    with serving(config) as node:
        assert store(port, first, first, other, first) == [0, 0, 0x0111, 0]
        notices = node._spool.database.rows("SELECT kind FROM notices")
    assert [row["kind"] for row in notices] == ["conflict"]
    assert len(objects_in(config)) == 1
    results = [line["result"] for line in audit_of(config) if line["event"] in ("received", "not taken")]
    assert results == ["new", "duplicate", "conflict", "duplicate"]


def test_a_full_disk_is_told_and_the_node_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    full = threading.Event()
    really_sync = os.fsync

    def sync(handle: int) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really_sync(handle)

    monkeypatch.setattr("recontour.queue.spool.os.fsync", sync)
    images = scan(1)
    with serving(config):
        full.set()
        assert store(port, *images[:2]) == [0xA700, 0xA700]
        assert objects_in(config) == {}
        full.clear()
        assert store(port, *images) == [0] * 4
    assert [line["status"] for line in audit_of(config) if line["event"] == "not taken"] == ["A700", "A700"]
    assert any("disk is full" in line.get("result", "") for line in audit_of(config))


def test_damaged_objects_are_refused(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    image = scan(1)[0]
    body = as_file(image)[132:]
    whole = body[12 + int.from_bytes(body[8:12], "little") :]
    with serving(config):
        assert store_bytes(port, whole[:-9], image.SOPInstanceUID) == 0xC000
        assert store_bytes(port, b"Doe^Jonathan" * 50, image.SOPInstanceUID) == 0xC000
        assert store_bytes(port, whole, "1.2.3.4") == 0xC000  # another than it is called
        assert objects_in(config) == {}
        assert store_bytes(port, whole, image.SOPInstanceUID) == 0
    assert no_identity_in(written_by(tmp_path))


@pytest.mark.parametrize(
    ("title", "called", "why", "reason"),
    [
        ("NOBODY", "RECONTOUR", "calling AE title not listed", 3),
        ("SCANNER", "OTHER", "called AE title not recognised", 7),
        ("ELSEWHERE", "RECONTOUR", "address not listed for this AE title", 3),
        ("SECURE", "RECONTOUR", "without TLS", 3),
    ],
)
def test_who_is_not_listed_is_rejected_with_the_reason(
    title: str, called: str, why: str, reason: int, tmp_path: Path, certificates: Path
) -> None:
    port = free_port()
    elsewhere = peer("ELSEWHERE", host="192.0.2.7", may_send=True)
    tls = {f"tls__{key}": str(certificates / name) for key, name in _OWN.items()}
    config = write_config(tmp_path, SCANNER, elsewhere, peer("SECURE", tls=True), port=port, **tls)
    with serving(config):
        with associated(port, title, called) as assoc:
            assert assoc.is_rejected
            answer: Any = assoc.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, reason)
        assert echoes(port)
    (line,) = [line for line in audit_of(config) if line["event"] == "association rejected"]
    assert line["why"] == why and line["peer"] == title


_OWN = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}


def test_one_association_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__associations=1)
    with serving(config):
        with associated(port) as first, associated(port) as second:
            assert first.is_established and second.is_rejected
            answer: Any = second.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        wait_until(lambda: echoes(port))


def test_only_what_is_used_is_taken(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, peer("ARCHIVE"), port=port)
    with serving(config):
        with associated(port, classes=[CT, RTSTRUCT, MR, PDF]) as assoc:
            accepted = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
        assert accepted == {"1.2.840.10008.1.1", CT, RTSTRUCT}
        with associated(port, "ARCHIVE", classes=[CT, RTSTRUCT]) as assoc:
            assert [str(context.abstract_syntax) for context in assoc.accepted_contexts] == ["1.2.840.10008.1.1"]


def test_the_node_answers_what_it_has_committed_itself_to(tmp_path: Path) -> None:
    """N-ACTION from a peer, N-EVENT-REPORT back on an association of the node's own."""
    from pynetdicom import AE, evt

    port, scanner_port = free_port(), free_port()
    config = write_config(tmp_path, peer("SCANNER", scanner_port, may_send=True), port=port)
    reports: list[tuple[int, Dataset]] = []

    def take(event: Any) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    scanner = AE("SCANNER")
    scanner.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    scanner.start_server(("127.0.0.1", scanner_port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    here, missing = scan(1)[0], scan(2)[0]
    asked = Dataset()
    asked.TransactionUID = "1.2.3.55"
    asked.ReferencedSOPSequence = [_reference(here), _reference(missing)]
    try:
        with serving(config):
            assert store(port, here) == [0]
            with associated(port, classes=[COMMITMENT]) as assoc:
                status, _ = assoc.send_n_action(asked, 1, COMMITMENT, COMMITMENT_INSTANCE)
                assert status.Status == 0
            wait_until(lambda: reports)
    finally:
        scanner.shutdown()
    ((kind, said),) = reports
    assert (kind, said.TransactionUID) == (2, "1.2.3.55")
    assert [item.ReferencedSOPInstanceUID for item in said.ReferencedSOPSequence] == [here.SOPInstanceUID]
    (failed,) = said.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (missing.SOPInstanceUID, 0x0112)


def _reference(image: Dataset) -> Dataset:
    out = Dataset()
    out.ReferencedSOPClassUID, out.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return out
