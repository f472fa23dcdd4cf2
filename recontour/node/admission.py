"""Who may come in, and for what: AE title and address must be those of one peer, and TLS where it was agreed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from recontour.node.config import NodeConfig, Peer
from recontour.node.listener import plain_address

LOOK_UP_S = 60.0  # which addresses the hosts' names have

# (result, source, reason) of an A-ASSOCIATE-RJ (PS3.8 9.3.4)
CALLED_TITLE, CALLING_TITLE, NO_ROOM = (1, 1, 7), (1, 1, 3), (2, 3, 2)


@dataclass(frozen=True)
class Rejection:
    """Why somebody may not come in: for the audit, and in the terms of PS3.8 9.3.4."""

    why: str
    answer: tuple[int, int, int]


class Addresses:
    """Which peer may come from where. Names are asked for in `look_up` alone, which may take long: whoever answers a
    connection goes by what was known last."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._peers = tuple(peers)
        self._of_names: dict[str, frozenset[str]] = {}

    def look_up(self) -> None:
        """Asks for the names anew. Where a name service fails its last answer stays, so that it keeps nobody out."""
        for host in {peer.host for peer in self._peers if not _is_number(peer.host)}:
            if found := _addresses(host):
                self._of_names[host] = found

    def belongs(self, peer: Peer, address: str) -> bool:
        """Whether a peer may come from there."""
        came_from = ipaddress.ip_address(address)
        if any(came_from in ipaddress.ip_network(network) for network in peer.addresses):
            return True
        if _is_number(peer.host):
            return plain_address(peer.host) == address
        return address in self._of_names.get(peer.host, ())

    def is_listed(self, address: str) -> bool:
        """Whether some peer may come from there."""
        return any(self.belongs(peer, address) for peer in self._peers)


def admitted(
    config: NodeConfig,
    addresses: Addresses,
    called: str,
    calling: str,
    address: str,
    with_tls: bool,
    associations: int,
) -> Peer | Rejection:
    """The peer who calls, or why it is turned away. associations: how many there are already.

    Who calls under a peer's title from another address is told no more than who calls under a wrong title.
    """
    if called.strip() != config.ae_title:
        return Rejection("called AE title not recognised", CALLED_TITLE)
    peer = next((p for p in config.peers if p.ae_title == calling.strip()), None)
    if peer is None:
        return Rejection("calling AE title not listed", CALLING_TITLE)
    if not addresses.belongs(peer, address):
        return Rejection("address not listed for this AE title", CALLING_TITLE)
    if peer.tls and not with_tls:
        return Rejection("without TLS", CALLING_TITLE)
    if associations >= config.limits.associations:
        return Rejection("too many associations", NO_ROOM)
    return peer


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> frozenset[str]:
    """Of a name; none where nobody knows it, or it can be none (a UnicodeError)."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(plain_address(str(entry[4][0])) for entry in found)
