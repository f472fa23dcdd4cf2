"""What strikes the port of a hospital's network: scanners of ports, broken senders, half-open connections. After each
the node must still serve, and nothing of it may be kept."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recontour.node.config import read_config
from recontour.node.listener import MOST_STRANGERS, plain_address
from recontour.node.tls import client_context, server_context
from tests.node.made_node import (
    COMMITMENT,
    CT,
    associated,
    audit_of,
    echoes,
    free_port,
    peer,
    serving,
    store_bytes,
    wait_until,
    write_config,
    written_by,
)
from tests.queue.made_queue import no_identity_in

SCANNER = peer("SCANNER", may_send=True)
ABORT = 0x07
ECHO = "1.2.840.10008.1.1"


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


def item(kind: int, body: bytes) -> bytes:
    """PS3.8 9.3.2: type, a reserved byte, length, body."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def request(calling: str = "SCANNER", called: str = "RECONTOUR") -> bytes:
    """An A-ASSOCIATE-RQ for C-ECHO, made by hand (PS3.8 9.3.2)."""
    syntaxes = item(0x30, ECHO.encode()) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\x01\0\0\0" + syntaxes) + item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + items
    return struct.pack(">BBL", 1, 0, len(body)) + body


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset is an end as well."""
    data = b""
    try:
        while part := connection.recv(4096):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_an_association_made_by_hand_is_accepted(tmp_path: Path) -> None:
    """So that what follows is refused for what is wrong with it, and for nothing else."""
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    with serving(config), connected(port) as connection:
        connection.sendall(request())
        assert connection.recv(1) == b"\x02"  # A-ASSOCIATE-AC


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: Doe^Jonathan\r\n\r\n",
        bytes(range(256)) * 40,
        b"\x01\0\0\0\0\x04Doe^",  # an A-ASSOCIATE-RQ with nothing in it
        b"\x04\0\0\0\0\x0aDoe^Jonath",  # data without an association
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + b"x" * 5000,  # four gigabytes are announced
        request()[:-20] + b"\xff" * 20,
        request().replace(b"1.2.840.10008.1.1", b"\xff" * 17),
        b"",
    ],
    ids=["http", "bytes", "empty request", "data first", "huge", "broken items", "broken UID", "nothing"],
)
def test_garbage_is_refused_and_the_node_lives_on(garbage: bytes, tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__timeout_s=1.0)
    with serving(config):
        with connected(port) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            answer = read_to_end(connection)
        assert answer[:1] in (b"", bytes([ABORT]), b"\x03")
        assert echoes(port)
    assert no_identity_in(written_by(tmp_path))


def test_a_pdu_larger_than_announced_ends_the_association(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__pdu_bytes=16384)
    with serving(config):
        with connected(port) as connection:
            connection.sendall(request())
            accepted = connection.recv(6)
            connection.recv(struct.unpack(">BBL", accepted)[2])
            connection.sendall(struct.pack(">BBL", 4, 0, 16385) + bytes(100))
            answer = read_to_end(connection)
        assert answer[:1] in (b"", bytes([ABORT]))
        assert echoes(port)
    assert [line["why"] for line in audit_of(config) if line["event"] == "refused data"] == ["a PDU of 16385 bytes"]


def test_an_object_larger_than_allowed_is_not_taken_into_memory(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__file_mb=0.5)
    with serving(config):
        assert store_bytes(port, bytes(1_000_000), "1.2.3") is None  # no answer: the association is ended
        assert echoes(port)
    assert [line["why"] for line in audit_of(config) if line["event"] == "refused data"] == [
        "an object of more than 0.5 MB"
    ]


def test_a_sender_that_waits_for_no_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is held in memory until it is answered."""
    import threading

    from recontour.queue.spool import Spool

    release = threading.Event()
    monkeypatch.setattr(Spool, "keep", lambda *_: release.wait(30))
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    with serving(config):
        with associated(port) as assoc:
            from io import BytesIO

            from pynetdicom.dimse_primitives import C_STORE

            context = next(c for c in assoc.accepted_contexts if c.abstract_syntax == CT)
            for number in range(1, 9):
                one = C_STORE()
                one.MessageID, one.Priority, one.DataSet = number, 2, BytesIO(bytes(100))
                one.AffectedSOPClassUID, one.AffectedSOPInstanceUID = CT, f"1.2.{number}"
                assoc.dimse.send_msg(one, context.context_id)
            wait_until(lambda: not assoc.is_established)
        release.set()
        assert echoes(port)
    assert "more requests than are answered" in [line.get("why") for line in audit_of(config)]


@pytest.mark.parametrize("sent", [b"", request()[:50], request() + b"\x04\0\0\0\x10\0abc"], ids=["", "half", "data"])
def test_a_connection_that_says_nothing_more_is_closed_in_time(sent: bytes, tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__timeout_s=1.0)
    with serving(config) as node, connected(port) as connection:
        connection.sendall(sent)
        read_to_end(connection)  # the node closes it, not we
        assert echoes(port)
        wait_until(lambda: not any(listener.busy() for listener in node._listeners))


def test_silent_connections_of_strangers_do_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__associations=1)
    with serving(config) as node:
        listener = node._listeners[0]
        monkeypatch.setattr(listener, "_is_listed", lambda address: False)
        silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(MOST_STRANGERS + 2)]
        wait_until(lambda: len(_refused(config)) == 2)
        monkeypatch.setattr(listener, "_is_listed", lambda address: True)
        assert echoes(port)
        for connection in silent:
            connection.close()
    assert {line["why"] for line in _refused(config)} == {"too many connections"}


def test_connections_for_which_no_thread_could_be_begun_take_up_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port, limits__associations=1)

    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with serving(config) as node:
        with monkeypatch.context() as broken:
            broken.setattr(node._listeners[0], "process_request", no_thread)
            for _ in range(3):  # one more than fit
                with connected(port) as connection:
                    assert read_to_end(connection) == b""
        assert echoes(port)
    assert [line["event"] for line in audit_of(config)].count("connection lost") == 3


def _refused(config: Path) -> list[dict[str, Any]]:
    return [line for line in audit_of(config) if line["event"] == "connection refused"]


def test_silence_instead_of_tls_does_not_keep_others_out_and_ends_in_time(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    own = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}
    tls = {f"tls__{key}": str(certificates / name) for key, name in own.items()}
    known = peer("SCANNER", may_send=True, tls=True)
    config = write_config(tmp_path, known, tls__port=port, limits__timeout_s=2.0, **tls)
    client = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    client.load_cert_chain(certificates / "peer.pem", certificates / "peer.key")
    with serving(config), connected(port) as silent:
        with associated(port, tls_args=(client, "localhost")) as assoc:
            assert assoc.is_established and assoc.send_c_echo().Status == 0
        read_to_end(silent)  # the node closes it, not we
        wait_until(lambda: [line for line in audit_of(config) if line.get("why") == "it said nothing"])


@pytest.mark.parametrize("shown", ["nothing", "stranger"])
def test_only_certificates_that_the_hospital_signed_open_the_tls_port(
    shown: str, tmp_path: Path, certificates: Path
) -> None:
    port = free_port()
    own = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}
    tls = {f"tls__{key}": str(certificates / name) for key, name in own.items()}
    config = write_config(tmp_path, peer("SCANNER", may_send=True, tls=True), tls__port=port, **tls)
    client = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if shown == "stranger":
        client.load_cert_chain(certificates / "stranger.pem", certificates / "stranger.key")
    with serving(config):
        with associated(port, tls_args=(client, "localhost")) as assoc:
            assert not assoc.is_established
        with associated(port) as assoc:  # and no plain DICOM on it
            assert not assoc.is_established
        wait_until(lambda: [line for line in audit_of(config) if line["event"] == "TLS refused"])


def test_old_tls_is_refused(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    own = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}
    tls = {f"tls__{key}": str(certificates / name) for key, name in own.items()}
    config = write_config(tmp_path, peer("SCANNER", tls=True), tls__port=port, **tls)
    client = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    client.load_cert_chain(certificates / "peer.pem", certificates / "peer.key")
    client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with serving(config), associated(port, tls_args=(client, "localhost")) as assoc:
        assert not assoc.is_established
    ours = read_config(config).tls  # the system's own policy may have refused it before ours did
    assert {made(ours).minimum_version for made in (server_context, client_context)} == {ssl.TLSVersion.TLSv1_2}


def test_an_address_of_version_4_is_known_through_version_6() -> None:
    assert plain_address("::ffff:10.1.2.3") == "10.1.2.3"
    assert plain_address("fe80::1%eth0") == "fe80::1"


def test_a_class_that_nobody_offers_is_no_reason_to_fall(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, peer("ARCHIVE"), port=port)
    with serving(config):
        with associated(port, "ARCHIVE", classes=[COMMITMENT]) as assoc:
            assert [str(c.abstract_syntax) for c in assoc.accepted_contexts] == [ECHO]
        assert echoes(port, "ARCHIVE")
