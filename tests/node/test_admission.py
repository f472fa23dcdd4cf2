"""Who may come in: a table of peers, titles and addresses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from recontour.node.admission import CALLED_TITLE, CALLING_TITLE, NO_ROOM, Rejection, admitted, belongs
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
    found = admitted(CONFIG, called, calling, address, with_tls=False, associations=others)
    assert (found.answer if isinstance(found, Rejection) else found) == outcome


def test_a_host_is_looked_up_by_name_and_a_name_that_nobody_knows_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"archive.hospital.test": "10.0.0.9"}

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], 0))]

    monkeypatch.setattr("recontour.node.admission.socket.getaddrinfo", look_up)
    assert belongs(Peer("A", "archive.hospital.test"), "10.0.0.9")
    assert not belongs(Peer("A", "archive.hospital.test"), "10.0.0.8")
    assert not belongs(Peer("A", "unknown.hospital.test"), "10.0.0.9")
