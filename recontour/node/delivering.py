"""What is due to peers is sent until they have it; where a peer offers storage commitment, until it has said so.

Everything here is tried again from the queue: what a killed node had not finished is due again, and an object that
arrives twice at a peer is the same object under the same UID.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from recontour.dicom.commitment import new_transaction_uid, object_of
from recontour.node.audit import Audit, digest, tail
from recontour.node.config import NodeConfig, Peer
from recontour.node.receiving import Commitment
from recontour.node.sending import PeerRefused, Sending
from recontour.queue.jobs import Delivery, Jobs, why

MOST_REPORTS = 5  # tries to tell a peer of what it asked us to commit ourselves to
REPORT_AGAIN_S = 30.0


@dataclass(frozen=True)
class _Open:
    """Deliveries of which a peer was asked whether it keeps them, by SOP instance UID."""

    peer: Peer
    deliveries: dict[str, Delivery]
    until: float


class Delivering:
    """One round after another, in one thread; `reported` may be called from any."""

    def __init__(
        self, config: NodeConfig, jobs: Jobs, sending: Sending, audit: Audit, stopping: threading.Event
    ) -> None:
        self._config, self._jobs, self._sending, self._audit, self._stopping = config, jobs, sending, audit, stopping
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()
        self._reports: deque[tuple[Commitment, int, float]] = deque()  # tries so far, not before

    def round(self, now: float, asked: Sequence[Commitment] = ()) -> None:
        """All that is due at this moment. asked: what peers want to know. Raises OutputRefused where the queue cannot
        be written."""
        self._reports.extend((one, 0, 0.0) for one in asked)
        self._expire(now)
        for peer in self._config.peers:
            if peer.gets and not self._stopping.is_set():
                due = self._jobs.due(now, peer.ae_title)
                if due:
                    self._deliver(peer, due, now)
        self._report(now)

    def reported(self, peer: str, transaction: str, kept: set[str], lost: set[str]) -> None:
        """A peer's answer on storage commitment; what it does not mention is asked for again."""
        with self._lock:
            found = self._open.get(transaction)
            if found is None or found.peer.ae_title != peer:
                return  # of a request from before a restart: it was asked for again
            for uid, delivery in list(found.deliveries.items()):
                if uid in kept or uid in lost:
                    del found.deliveries[uid]
                    self._done(found.peer, delivery, uid, "" if uid in kept else "it does not commit itself to keep it")
            if not found.deliveries:
                del self._open[transaction]

    def _deliver(self, peer: Peer, due: Sequence[Delivery], now: float) -> None:
        readable = [(one, names) for one in due if (names := self._names(peer, one))]
        left = deque(readable)
        stored: dict[str, tuple[str, Delivery]] = {}
        try:
            with closing(
                self._sending.store(peer, [one.file for one, _ in readable], self._stopping.is_set)
            ) as answers:
                for answer in answers:
                    delivery, (sop_class, uid) = left.popleft()
                    if answer.remark:
                        self._audit.write("stored, changed", peer=peer.ae_title, object=tail(uid), why=answer.remark)
                    if answer.problem or not peer.storage_commitment:
                        self._done(peer, delivery, uid, answer.problem)
                    else:
                        stored[uid] = (sop_class, delivery)
        except Exception as error:  # also one that nobody foresaw: what was claimed is answered
            for delivery, (_, uid) in left:
                self._done(peer, delivery, uid, why(error))
        if stored:
            self._ask(peer, stored, now)

    def _names(self, peer: Peer, delivery: Delivery) -> tuple[str, str] | None:
        """SOP class and instance of a result; None, and done with, where it is not to be read any more."""
        try:
            return object_of(delivery.file)
        except Exception as error:  # as above
            self._done(peer, delivery, "", f"the result cannot be read: {why(error)}")
            return None

    def _ask(self, peer: Peer, stored: dict[str, tuple[str, Delivery]], now: float) -> None:
        transaction = new_transaction_uid()
        objects = [(sop_class, uid) for uid, (sop_class, _) in stored.items()]
        waiting = {uid: delivery for uid, (_, delivery) in stored.items()}
        with self._lock:  # before it is asked: the answer may be faster than the request's end
            self._open[transaction] = _Open(peer, waiting, now + self._config.limits.commitment_s)
        try:
            self._sending.ask_commitment(peer, transaction, objects)
            self._audit.write("commitment requested", peer=peer.ae_title, objects=len(objects))
        except PeerRefused as refused:
            with self._lock:
                left = self._open.pop(transaction, None)
            for uid, delivery in left.deliveries.items() if left else ():
                self._done(peer, delivery, uid, refused.found)

    def _expire(self, now: float) -> None:
        with self._lock:
            late = [transaction for transaction, one in self._open.items() if one.until < now]
            for one in [self._open.pop(transaction) for transaction in late]:
                for uid, delivery in one.deliveries.items():
                    self._done(one.peer, delivery, uid, "no report of storage commitment came")

    def _done(self, peer: Peer, delivery: Delivery, uid: str, problem: str) -> None:
        """At once, so that a kill repeats one delivery at most."""
        said = {"object": tail(uid), "object_sha256": digest(uid)} if uid else {}
        if problem:
            said["why"] = problem
        event = "not delivered" if problem else "delivered"
        self._audit.write(event, peer=peer.ae_title, job=delivery.job_id, file=delivery.file.name, **said)
        if problem:
            self._jobs.failed(delivery.id, problem, time.time())
        else:
            self._jobs.sent(delivery.id)

    def _report(self, now: float) -> None:
        """Tells peers which of their objects are here (PS3.4 J.3.3)."""
        for _ in range(len(self._reports)):
            asked, tries, not_before = self._reports.popleft()
            if now < not_before or self._stopping.is_set():
                self._reports.append((asked, tries, not_before))
                continue
            held = self._jobs.spool.held([uid for _, uid in asked.objects])
            kept = [names for names in asked.objects if names[1] in held]
            missing = [names for names in asked.objects if names[1] not in held]
            facts = {"peer": asked.peer.ae_title, "kept": len(kept), "missing": len(missing)}
            try:
                self._sending.report_commitment(asked.peer, asked.transaction, kept, missing)
                self._audit.write("commitment answered", **facts)
            except PeerRefused as refused:
                self._audit.write("commitment not answered", why=refused.found, **facts)
                if tries + 1 < MOST_REPORTS:
                    self._reports.append((asked, tries + 1, now + REPORT_AGAIN_S))
