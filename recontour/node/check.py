"""Whether a configuration would work, and which peers answer, before anybody depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recontour.node.config import NodeConfig, Peer
from recontour.node.sending import PeerRefused, Sending
from recontour.node.service import run_options
from recontour.node.tls import client_context, server_context
from recontour.queue.spool import Spool
from recontour.settings import Settings, read_settings


@dataclass(frozen=True)
class Answer:
    """Of one peer. where: its host and port. found: what it answered. ok: it did, or nothing is sent to it."""

    peer: str
    where: str
    found: str
    ok: bool


def check_files(config: NodeConfig) -> None:
    """Settings, certificates, key of pseudonyms and the queue's folder, which is made. Raises RecontourError for what
    cannot be used."""
    settings = read_settings(Path(config.settings)) if config.settings else Settings()
    if settings.asks_network:
        from recontour.network.released import open_model

        open_model(settings.model)
    if config.tls.certificate:
        server_context(config.tls)
        client_context(config.tls)
    run_options(config)
    Spool(config.spool_folder).database.close()


def echo_all(config: NodeConfig) -> Iterator[Answer]:
    """One peer after another, by C-ECHO."""
    sending = Sending(config, client_context(config.tls) if config.tls.certificate else None)
    for peer in config.peers:
        yield _echoed(sending, peer)


def _echoed(sending: Sending, peer: Peer) -> Answer:
    if not peer.port:
        return Answer(peer.ae_title, peer.host, "sends only: not called", True)
    where = f"{peer.host}:{peer.port}" + (" TLS" if peer.tls else "")
    try:
        sending.echo(peer)
    except PeerRefused as refused:
        return Answer(peer.ae_title, where, refused.found, False)
    return Answer(peer.ae_title, where, "answers", True)
