"""Who may come in, and for what: AE title and address must be those of one peer, and TLS where it was agreed."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from recontour.node.config import NodeConfig, Peer
from recontour.node.listener import plain_address

REMEMBERED_S = 60.0  # which addresses a host's name has

# (result, source, reason) of an A-ASSOCIATE-RJ (PS3.8 9.3.4)
CALLED_TITLE, CALLING_TITLE, NO_ROOM = (1, 1, 7), (1, 1, 3), (2, 3, 2)


@dataclass(frozen=True)
class Rejection:
    """Why somebody may not come in: for the audit, and in the terms of PS3.8 9.3.4."""

    why: str
    answer: tuple[int, int, int]


def admitted(
    config: NodeConfig, called: str, calling: str, address: str, with_tls: bool, associations: int
) -> Peer | Rejection:
    """The peer who calls, or why it is turned away. associations: how many there are already.

    Who calls under a peer's title from another address is told no more than who calls under a wrong title.
    """
    if called.strip() != config.ae_title:
        return Rejection("called AE title not recognised", CALLED_TITLE)
    peer = next((p for p in config.peers if p.ae_title == calling.strip()), None)
    if peer is None:
        return Rejection("calling AE title not listed", CALLING_TITLE)
    if not belongs(peer, address):
        return Rejection("address not listed for this AE title", CALLING_TITLE)
    if peer.tls and not with_tls:
        return Rejection("without TLS", CALLING_TITLE)
    if associations >= config.limits.associations:
        return Rejection("too many associations", NO_ROOM)
    return peer


def is_listed(peers: Iterable[Peer], address: str) -> bool:
    """Whether some peer has this address."""
    return any(belongs(peer, address) for peer in peers)


def belongs(peer: Peer, address: str) -> bool:
    """Whether a peer may come from there."""
    came_from = ipaddress.ip_address(address)
    if any(came_from in ipaddress.ip_network(network) for network in peer.addresses):
        return True
    return address in _addresses(peer.host, int(time.monotonic() // REMEMBERED_S))


@lru_cache(maxsize=256)
def _addresses(host: str, moment: int) -> frozenset[str]:
    """Of a host, looked up anew in every `moment`: a name's address may change, and asking for it takes time."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(plain_address(str(entry[4][0])) for entry in found)
