"""What peers are answered. An object is acknowledged when it is on disk for good, and not before.

Answers to C-STORE (PS3.4 B.2.3, PS3.7 C.5):

    0000  it is here, now or already
    0111  another object is here under this UID; this one lies aside, and nothing uses it
    A700  no room: to be sent again later
    C000  damaged, cut off, or another object than it was called
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context

from recontour.dicom.commitment import COMMITMENT_CLASS
from recontour.dicom.slices import CT_IMAGE, MULTI_FRAME
from recontour.dicom.structures import RT_STRUCTURE_SET
from recontour.errors import OutputRefused, ScanRefused
from recontour.node.admission import Addresses, Rejection, admitted
from recontour.node.audit import Audit, digest, tail, title
from recontour.node.config import NodeConfig, Peer
from recontour.node.listener import plain_address
from recontour.queue.spool import Kept, Spool

SUCCESS, DUPLICATE_UID, NO_ROOM, UNREADABLE, FAILED = 0x0000, 0x0111, 0xA700, 0xC000, 0x0110
REFUSED, NO_SUCH_ACTION, NO_SUCH_EVENT = 0x0124, 0x0123, 0x0113

VERIFICATION = "1.2.840.10008.1.1"
TAKEN = (CT_IMAGE, *MULTI_FRAME, RT_STRUCTURE_SET)
SYNTAXES = {  # what can be decoded without loss; those that need no decoder first
    "Explicit VR Little Endian": "1.2.840.10008.1.2.1",
    "Implicit VR Little Endian": "1.2.840.10008.1.2",
    "JPEG Lossless, process 14, selection value 1": "1.2.840.10008.1.2.4.70",
    "JPEG Lossless, process 14": "1.2.840.10008.1.2.4.57",
    "JPEG-LS Lossless": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 Lossless": "1.2.840.10008.1.2.4.90",
    "RLE Lossless": "1.2.840.10008.1.2.5",
}
_ANSWERS = {Kept.NEW: SUCCESS, Kept.DUPLICATE: SUCCESS, Kept.CONFLICT: DUPLICATE_UID}


@dataclass(frozen=True)
class Commitment:
    """What a peer wants to know: which of these objects (SOP class, SOP instance) the node holds."""

    peer: Peer
    transaction: str
    objects: tuple[tuple[str, str], ...]


class Receiving:
    """Handlers for the events of associations that peers have opened, and of those opened to them.

    asked: requests for storage commitment that are to be answered. reported: called with a peer's AE title, a
    transaction, and the UIDs that the peer has committed itself to, and those that it has not.
    """

    def __init__(
        self,
        config: NodeConfig,
        addresses: Addresses,
        spool: Spool,
        audit: Audit,
        reported: Callable[[str, str, set[str], set[str]], None],
    ) -> None:
        self._config, self._addresses = config, addresses
        self._spool, self._audit, self._reported = spool, audit, reported
        self.asked: queue.Queue[Commitment] = queue.Queue(maxsize=1000)

    def handlers(self, with_tls: bool, associations: Callable[[], int]) -> Mapping[Any, Callable[[Event], Any]]:
        """For one listener. associations: how many there are at this moment."""
        return {
            evt.EVT_REQUESTED: lambda event: self._admit(event.assoc, with_tls, associations()),
            evt.EVT_C_ECHO: self._echo,
            evt.EVT_C_STORE: self._store,
            evt.EVT_N_ACTION: self._action,
            evt.EVT_N_EVENT_REPORT: self.event_report,
            evt.EVT_ABORTED: lambda event: self._tell(event.assoc, "association aborted"),
            evt.EVT_RELEASED: lambda event: self._tell(event.assoc, "association ended"),
        }

    def told(self, event: str, address: str, why: str) -> None:
        """What a listener refuses before there is any association."""
        self._audit.write(event, address=address, why=why)

    def _admit(self, assoc: Association, with_tls: bool, associations: int) -> None:
        request, address = assoc.requestor.primitive, _address(assoc)
        if not isinstance(request, A_ASSOCIATE):
            assoc.is_aborted = True  # the connection ended before anything was asked
            return
        called, calling = request.called_ae_title or "", request.calling_ae_title or ""
        found = admitted(self._config, self._addresses, called, calling, address, with_tls, associations)
        if isinstance(found, Peer):
            assoc.acceptor.supported_contexts = _contexts(found)
            assoc.acceptor.ae_title = self._config.ae_title
            self._audit.write("association accepted", peer=found.ae_title, address=address)
            return
        self._reject(assoc, found, title(calling), title(called), address)

    def _reject(self, assoc: Association, why: Rejection, calling: str, called: str, address: str) -> None:
        self._audit.write("association rejected", peer=calling, called=called, address=address, why=why.why)
        assoc.acse.send_reject(*why.answer)
        assoc.is_rejected = True
        assoc.kill()

    def _echo(self, event: Event) -> int:
        self._tell(event.assoc, "echo")
        return SUCCESS

    def _store(self, event: Event) -> int:
        assoc: Association = event.assoc
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID or "")
        peer = _peer(assoc)
        status, result = self._keep(event, uid, peer)
        said = {"object": tail(uid), "object_sha256": digest(uid), "result": result, "status": f"{status:04X}"}
        self._audit.write("received" if status == SUCCESS else "not taken", peer=peer, address=_address(assoc), **said)
        return status

    def _keep(self, event: Event, uid: str, peer: str) -> tuple[int, str]:
        """Its status, and what is said of it in the audit."""
        try:
            kept = self._spool.keep(event.encoded_dataset(), uid, peer)
        except ScanRefused as error:
            return UNREADABLE, error.found
        except OutputRefused as error:
            return NO_ROOM, error.found
        except MemoryError:
            return NO_ROOM, "the memory is short"
        except Exception as error:  # one that nobody foresaw: its words may quote the object
            return FAILED, f"an error that should not happen ({type(error).__name__})"
        return _ANSWERS[kept], kept.value

    def _action(self, event: Event) -> tuple[int, None]:
        """A peer asks whether the node keeps what it has sent (PS3.4 J.3.2)."""
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        peer = next(p for p in self._config.peers if p.ae_title == _peer(event.assoc))
        if not peer.port:
            return REFUSED, None  # where the report would go to is not known
        try:
            asked = _commitment(peer, event.action_information)
            self.asked.put_nowait(asked)
        except (AttributeError, ValueError, TypeError, queue.Full) as error:
            self._tell(event.assoc, "commitment refused", why=type(error).__name__)
            return FAILED, None
        self._tell(event.assoc, "commitment asked for", objects=len(asked.objects), transaction=tail(asked.transaction))
        return SUCCESS, None

    def event_report(self, event: Event) -> tuple[int, None]:
        """A peer says which of the results it keeps (PS3.4 J.3.3)."""
        if event.event_type not in (1, 2):
            return NO_SUCH_EVENT, None
        try:
            said = event.event_information
            kept = {uid for _, uid in _references(said, "ReferencedSOPSequence")}
            lost = {uid for _, uid in _references(said, "FailedSOPSequence")}
            transaction = str(said.TransactionUID)
        except (AttributeError, ValueError, TypeError):
            return FAILED, None
        self._tell(event.assoc, "commitment reported", kept=len(kept), failed=len(lost), transaction=tail(transaction))
        self._reported(_peer(event.assoc), transaction, kept, lost)
        return SUCCESS, None

    def _tell(self, assoc: Association, what: str, **more: str | int) -> None:
        self._audit.write(what, peer=_peer(assoc), address=_address(assoc), **more)


def _contexts(peer: Peer) -> list[PresentationContext]:
    """What a peer is offered; all else is refused when the association is negotiated."""
    found = [build_context(VERIFICATION)]
    if peer.may_send:
        found += [build_context(uid, list(SYNTAXES.values())) for uid in TAKEN]
    if peer.may_send or peer.storage_commitment:
        commitment = build_context(COMMITMENT_CLASS)
        commitment.scu_role, commitment.scp_role = peer.may_send, peer.storage_commitment
        found.append(commitment)
    return found


def _commitment(peer: Peer, said: Any) -> Commitment:
    return Commitment(peer, str(said.TransactionUID), tuple(_references(said, "ReferencedSOPSequence")))


def _references(said: Any, keyword: str) -> list[tuple[str, str]]:
    items = cast(list[Any], said.get(keyword) or [])
    return [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in items]


def _peer(assoc: Association) -> str:
    """The other end's AE title."""
    return title(assoc.remote["ae_title"])


def _address(assoc: Association) -> str:
    return plain_address(str(assoc.remote["address"]))
