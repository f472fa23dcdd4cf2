"""One association to a peer: C-ECHO, C-STORE, and storage commitment in both of its directions."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, build_context, build_role

from recontour.dicom.commitment import COMMITMENT_CLASS, COMMITMENT_INSTANCE, commitment_report, commitment_request
from recontour.dicom.encapsulated_pdf import ENCAPSULATED_PDF
from recontour.dicom.registration import DEFORMABLE_REGISTRATION, SPATIAL_REGISTRATION
from recontour.dicom.structures import RT_STRUCTURE_SET
from recontour.errors import InputRefused
from recontour.node.config import NodeConfig, Peer
from recontour.node.receiving import VERIFICATION

SENT = (RT_STRUCTURE_SET, SPATIAL_REGISTRATION, DEFORMABLE_REGISTRATION, ENCAPSULATED_PDF)
SENT_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # Explicit and Implicit VR Little Endian
_WARNINGS = (0xB000, 0xB006, 0xB007)  # of C-STORE (PS3.4 B.2.3): it is stored


class PeerRefused(InputRefused):
    """A peer that cannot be reached, or does not take what it is sent. `found` is without identity."""


@dataclass(frozen=True)
class Stored:
    """What a peer answered to one object. problem: "" where it has it. remark: where it has it, but changed."""

    problem: str = ""
    remark: str = ""


class Sending:
    """What calls peers. event_report: answers to storage commitment that come on the association of the request."""

    def __init__(
        self, config: NodeConfig, tls: ssl.SSLContext | None, event_report: Callable[[Event], Any] | None = None
    ) -> None:
        self._tls, self._limits = tls, config.limits
        self._handlers: list[tuple[Any, Callable[[Event], Any]]] = []
        if event_report:
            self._handlers.append((evt.EVT_N_EVENT_REPORT, event_report))
        self._ae = application_entity(config)

    def echo(self, peer: Peer) -> None:
        """Raises PeerRefused where the peer does not answer."""
        with self._associated(peer, [build_context(VERIFICATION)]) as assoc:
            _check(assoc.send_c_echo(), "C-ECHO")

    def store(self, peer: Peer, files: Sequence[Path], is_stopping: Callable[[], bool]) -> Generator[Stored]:
        """Sends one file after another, and says what became of each; ends early where `is_stopping`. Raises
        PeerRefused where there is no association, or there is none any more."""
        contexts = [build_context(uid, syntax) for uid in SENT for syntax in SENT_SYNTAXES]
        with self._associated(peer, contexts) as assoc:
            for file in files:
                if is_stopping():
                    return
                if not assoc.is_established:
                    raise PeerRefused("the association was ended by the peer")
                yield _stored(assoc, file)

    def ask_commitment(self, peer: Peer, transaction: str, objects: Sequence[tuple[str, str]]) -> None:
        """Asks a peer to keep what it was sent; the answer comes as an event report, on any association. Raises
        PeerRefused where it does not take the request."""
        with self._associated(peer, [build_context(COMMITMENT_CLASS)]) as assoc:
            request = commitment_request(transaction, objects)
            status, _ = assoc.send_n_action(request, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
            _check(status, "storage commitment")

    def report_commitment(
        self, peer: Peer, transaction: str, kept: Sequence[tuple[str, str]], missing: Sequence[tuple[str, str]]
    ) -> None:
        """Answers a peer's request, on an association of our own in the role of the provider (PS3.4 J.3.3). Raises
        PeerRefused where it does not take the report."""
        role = build_role(COMMITMENT_CLASS, scp_role=True)
        with self._associated(peer, [build_context(COMMITMENT_CLASS)], [role]) as assoc:
            report = commitment_report(transaction, kept, missing)
            kind = 2 if missing else 1
            status, _ = assoc.send_n_event_report(report, kind, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
            _check(status, "the report of storage commitment")

    @contextmanager
    def _associated(
        self, peer: Peer, contexts: list[PresentationContext], roles: Sequence[Any] = ()
    ) -> Generator[Association]:
        tls = (self._tls, peer.host) if peer.tls and self._tls else None
        if peer.tls and tls is None:
            raise PeerRefused("TLS without a certificate")
        opened: list[Event] = []
        try:
            assoc = cast(Any, self._ae).associate(
                peer.host,
                peer.port,
                contexts,
                peer.ae_title,
                ext_neg=list(roles),
                tls_args=tls,
                evt_handlers=[*self._handlers, (evt.EVT_CONN_OPEN, opened.append), (evt.EVT_CONN_OPEN, self._bound)],
            )
        except (OSError, RuntimeError) as error:  # a name that nobody knows
            raise PeerRefused(f"it could not be reached ({type(error).__name__})") from error
        if not assoc.is_established:
            raise PeerRefused(_why_none(assoc) if opened else _unreached(peer))
        try:
            yield assoc
        except ValueError as error:  # pynetdicom's, where no context was accepted for what is sent
            raise PeerRefused("it does not take this kind of object") from error
        finally:
            _end(assoc)

    def _bound(self, event: Event) -> None:
        """A peer that stops in the middle of a PDU must not hold us for ever: pynetdicom sets no limit here."""
        connection = cast(socket.socket | None, getattr(event.assoc.dul.socket, "socket", None))
        if connection is not None:
            connection.settimeout(self._limits.timeout_s)


def application_entity(config: NodeConfig) -> ApplicationEntity:
    """With the node's name and its time limits; how many associations there may be, the listener says."""
    _config.LOG_HANDLER_LEVEL = "none"  # its words quote what is sent
    ae = ApplicationEntity(config.ae_title)
    ae.maximum_pdu_size = config.limits.pdu_bytes
    ae.maximum_associations = 1000
    for name in ("acse_timeout", "dimse_timeout", "network_timeout", "connection_timeout"):
        setattr(ae, name, config.limits.timeout_s)
    return ae


def _stored(assoc: Association, file: Path) -> Stored:
    try:
        status = _status(assoc.send_c_store(file))
    except ValueError:  # pynetdicom's, where no context was accepted for it
        return Stored("it does not take this kind of object")
    except RuntimeError:  # pynetdicom's, where the association ended meanwhile
        return Stored("it ended the association")
    except (OSError, AttributeError) as error:
        return Stored(f"the result could not be read ({type(error).__name__})")
    if status is None:
        return Stored("it did not answer")
    if status in _WARNINGS:
        return Stored(remark=f"stored, with status {status:04X}")
    return Stored("" if status == 0 else f"it answered with status {status:04X}")


def _check(answer: Any, what: str) -> None:
    status = _status(answer)
    if status != 0:
        raise PeerRefused(f"{what}: " + ("no answer" if status is None else f"status {status:04X}"))


def _status(answer: Any) -> int | None:
    """Of a response; None where none came."""
    return int(answer.Status) if "Status" in answer else None


def _why_none(assoc: Association) -> str:
    reply: Any = assoc.acceptor.primitive
    if assoc.is_rejected and reply is not None:
        return f"it rejected the association: {reply.reason_str}"
    if reply is not None and not assoc.accepted_contexts:
        return "it takes nothing of what it would be sent"
    return "it ended the association" if assoc.is_aborted else "it did not answer"


def _unreached(peer: Peer) -> str:
    return "it could not be reached" + (", or one of the two certificates was refused" if peer.tls else "")


def _end(assoc: Association) -> None:
    if assoc.is_established:
        assoc.release()
