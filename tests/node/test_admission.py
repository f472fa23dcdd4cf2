"""Who may come in: a table of peers, titles and addresses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from recontour.node.admission import CALLED_TITLE, CALLING_TITLE, NO_ROOM, Addresses, Rejection, admitted
from recontour.node.config import Limits, NodeConfig, Peer

ARCHIVE = Peer("ARCHIVE", "10.0.0.1")
SCANNER = Peer("SCANNER", "10.0.0.2", addresses=("10.0.7.0/29", "fd00::/64"))
CONFIG = NodeConfig(ae_title="NODE", spool="x", limits=Limits(associations=2), peers=(ARCHIVE, SCANNER))


@pytest.mark.parametrize(
    ("called", "calling", "address", "others", "outcome"),
    [
        ("NODE", "ARCHIVE", "10.0.0.1", 0, ARCHIVE),
        ("NODE ", " ARCHIVE", "10.0.0.1", 1, ARCHIVE),  # titles are padded (PS3.8 9.3.2)
        ("NODE", "SCANNER", "10.0.0.2", 0, SCANNER),
        ("NODE", "SCANNER", "10.0.7.6", 0, SCANNER),
        ("NODE", "SCANNER", "fd00::5", 0, SCANNER),
        ("NODE", "SCANNER", "10.0.7.8", 0, CALLING_TITLE),
        ("NODE", "SCANNER", "10.0.0.1", 0, CALLING_TITLE),  # another peer's address
        ("NODE", "ARCHIVE", "10.0.0.2", 0, CALLING_TITLE),
        ("NODE", "archive", "10.0.0.1", 0, CALLING_TITLE),
        ("NODE", "", "10.0.0.1", 0, CALLING_TITLE),
        ("node", "ARCHIVE", "10.0.0.1", 0, CALLED_TITLE),
        ("", "ARCHIVE", "10.0.0.1", 0, CALLED_TITLE),
        ("NODE", "ARCHIVE", "10.0.0.1", 2, NO_ROOM),
        ("NODE", "STRANGER", "10.0.0.1", 2, CALLING_TITLE),  # is told nothing of how busy it is
    ],
)
def test_title_and_address_must_be_those_of_one_peer(
    called: str, calling: str, address: str, others: int, outcome: Any
) -> None:
    found = admitted(CONFIG, Addresses(CONFIG.peers), called, calling, address, with_tls=False, associations=others)
    assert (found.answer if isinstance(found, Rejection) else found) == outcome


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the name service knows; a name with an empty part is none at all."""
    names: dict[str, str] = {}

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        host.encode("idna")
        if host not in names:
            raise socket.gaierror(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], 0))]

    monkeypatch.setattr("recontour.node.admission.socket.getaddrinfo", look_up)
    return names


def test_a_name_is_looked_up_and_stays_known_while_the_name_service_fails(known: dict[str, str]) -> None:
    peer = Peer("A", "archive.hospital.test")
    addresses = Addresses([peer, Peer("B", "unknown.hospital.test")])
    assert not addresses.is_listed("10.0.0.9")
    for address in ("10.0.0.9", "10.0.0.8"):
        known[peer.host] = address
        addresses.look_up()
        assert {last for last in range(10) if addresses.belongs(peer, f"10.0.0.{last}")} == {int(address[-1])}
    known.clear()
    addresses.look_up()
    assert addresses.belongs(peer, "10.0.0.8")


def test_whoever_answers_a_connection_asks_no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("recontour.node.admission.socket.getaddrinfo", never)
    addresses = Addresses([Peer("A", "archive.hospital.test"), ARCHIVE])
    assert addresses.is_listed("10.0.0.1") and not addresses.is_listed("10.0.0.9")


def test_a_name_that_can_be_none_is_nobodys(known: dict[str, str]) -> None:
    peer = Peer("A", "archive.hospital.test")
    object.__setattr__(peer, "host", "archive..test")  # past the configuration's own check
    addresses = Addresses([peer])
    addresses.look_up()
    assert not addresses.is_listed("10.0.0.9")
