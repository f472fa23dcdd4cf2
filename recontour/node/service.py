"""The node: ports that receive, one loop that runs, one thread that delivers, all around one queue.

The main thread settles, matches and runs one job after another, each in a process of its own; a second thread delivers;
pynetdicom has two threads for each association. What they share is the queue, whose every step is one transaction, so
that a node that is killed goes on from it.
"""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from recontour.errors import OutputRefused, UsageError
from recontour.node.admission import LOOK_UP_S, Addresses
from recontour.node.audit import Audit
from recontour.node.config import FILES, NodeConfig
from recontour.node.delivering import Delivering
from recontour.node.listener import Listener
from recontour.node.receiving import Commitment, Receiving
from recontour.node.running import only_one
from recontour.node.sending import Sending, application_entity
from recontour.node.tls import client_context, server_context
from recontour.queue.arrivals import settle
from recontour.queue.database import notice
from recontour.queue.jobs import Jobs
from recontour.queue.matching import match
from recontour.queue.retention import remove_old
from recontour.queue.spool import Spool
from recontour.queue.worker import RunOptions, run_job
from recontour.settings import Settings, read_settings

EVERY_S = 1.0
_PATIENCE_S = 10.0  # for associations to end by themselves, when the node is to stop; for names, when it starts
_CLEAR_EVERY_S = 3600.0
_AGAIN_S = 5.0  # after the queue could not be written


class Node:
    """Listens from `start` on, works while `serve` runs, and is done with after `close`."""

    def __init__(self, config: NodeConfig) -> None:
        """Raises RecontourError where the configuration, the queue or a port cannot be used; then nothing runs."""
        self._config = config
        self._settings = read_settings(Path(config.settings)) if config.settings else Settings()
        self._options = run_options(config)
        self._stopping = threading.Event()
        self._clear_next = 0.0
        self._running: int | None = None  # the thread in which a job is run at this moment
        self._audit = Audit(config.audit_file)
        with ExitStack() as opened:
            self._spool = Spool(config.spool_folder)
            opened.callback(self._spool.database.close)
            opened.callback(only_one(config.spool_folder).close)
            self._jobs = Jobs(self._spool)
            opened.callback(self._jobs.close)
            self._addresses = Addresses(config.peers)
            self._receiving = Receiving(config, self._addresses, self._spool, self._audit, self._reported)
            calls = client_context(config.tls) if config.tls.certificate else None
            sending = Sending(config, calls, self._receiving.event_report)
            self._delivering = Delivering(config, self._jobs, sending, self._audit, self._stopping)
            self._listeners = self._listen()
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._deliver, name="delivering")
        self._names = threading.Thread(target=self._look_up, name="names", daemon=True)
        self._looked_up = threading.Event()

    def start(self) -> None:
        """What a killed node had begun is put back; then the ports are open and deliveries begin."""
        recovered = self._jobs.recover(time.time())
        self._audit.write("node started", recovered=recovered)
        self._tell_of_orphans(time.time())
        self._names.start()
        self._looked_up.wait(_PATIENCE_S)  # a name service that does not answer must not keep the others out
        for listener in self._listeners:
            listener.start()
        self._thread.start()

    def serve(self) -> None:
        """Runs what is ready, until `stop`."""
        while not self._stopping.is_set():
            try:
                ran = self._round(time.time())
            except OutputRefused as error:
                self._audit.write("the queue cannot be written", why=error.found)
                self._stopping.wait(_AGAIN_S)
                continue
            except KeyboardInterrupt:
                if not self._stopping.is_set():
                    raise
                return
            if not ran:
                self._stopping.wait(EVERY_S)

    def stop(self, *_: object) -> None:
        """May be called from a signal's handler: a job that runs is put back, all else finishes what it is at."""
        first = not self._stopping.is_set()
        self._stopping.set()
        if first and self._running == threading.get_ident():
            raise KeyboardInterrupt

    def close(self) -> None:
        """Associations may end by themselves for a while, then they are cut; the queue is closed last."""
        self._stopping.set()
        for listener in self._listeners:
            listener.stop()
            listener.cut(also_established=False)
        deadline = time.monotonic() + _PATIENCE_S
        while any(one.busy() for one in self._listeners) and time.monotonic() < deadline:
            time.sleep(0.05)
        for listener in self._listeners:
            listener.cut()
        if self._thread.is_alive():
            self._thread.join()
        while any(one.busy() for one in self._listeners) and time.monotonic() < deadline + _PATIENCE_S:
            time.sleep(0.05)
        self._audit.write("node stopped")
        self._opened.close()

    def _round(self, now: float) -> bool:
        if now >= self._clear_next:
            self._clear(now)
        settle(self._spool, now, self._config.quiet_s)
        for job_id in match(self._jobs, now):
            self._audit.write("job ready", job=job_id)
        job = self._jobs.next(now)
        if job is None:
            return False
        self._audit.write("job begins", job=job.id, series=f"...{job.daily_series_uid[-8:]}")
        self._running = threading.get_ident()
        try:
            if self._stopping.is_set():
                return True
            run_job(self._jobs, job, self._settings, self._options, now)
        finally:
            self._running = None
        ended = self._jobs.get(job.id)
        self._audit.write("job ended", job=job.id, state=ended.state, light=ended.light or None)
        return True

    def _clear(self, now: float) -> None:
        for one in remove_old(self._spool, now, self._config.keep_days):
            event = "not removed" if one.problem else "removed"
            self._audit.write(event, job=one.job_id, files=one.files, why=one.problem or None)
        self._clear_next = now + _CLEAR_EVERY_S

    def _tell_of_orphans(self, now: float) -> None:
        """Results that are due to a peer whom the configuration does not name any more: nobody sends them."""
        titles = {peer.ae_title for peer in self._config.peers if peer.gets}
        orphans = {
            (one.job_id, one.destination) for one in self._jobs.deliveries("due") if one.destination not in titles
        }
        for job_id, destination in sorted(orphans):
            text = f"its results are due to {destination}, which the configuration does not send to"
            with self._spool.database.changing() as changes:
                notice(changes, "not delivered", f"job {job_id}", text, now)

    def _look_up(self) -> None:
        """In a thread of its own: a name service may let one wait."""
        while not self._stopping.is_set():
            self._addresses.look_up()
            self._looked_up.set()
            self._stopping.wait(LOOK_UP_S)

    def _deliver(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self._delivering.round(time.time(), _all_of(self._receiving.asked))
            except OutputRefused as error:
                self._audit.write("the queue cannot be written", why=error.found)
                self._stopping.wait(_AGAIN_S)
            except Exception as error:  # one that nobody foresaw must not end all deliveries
                self._audit.write("an error that should not happen", kind=type(error).__name__)
                self._stopping.wait(_AGAIN_S)

    def _reported(self, peer: str, transaction: str, kept: set[str], lost: set[str]) -> None:
        self._delivering.reported(peer, transaction, kept, lost)

    def _listen(self) -> list[Listener]:
        config, ae = self._config, application_entity(self._config)
        listeners: list[Listener] = []
        ports = [(config.port, None), (config.tls.port, server_context(config.tls) if config.tls.port else None)]
        for port, tls in ports:
            if not port:
                continue
            handlers = self._receiving.handlers(tls is not None, lambda: sum(one.established() for one in listeners))
            where = (config.address, port)
            try:
                one = Listener(ae, where, config.limits, handlers, self._addresses.is_listed, self._receiving.told, tls)
            except OSError as error:
                for other in listeners:
                    other.stop()
                found = f"port {port} cannot be listened on: {error.strerror or type(error).__name__}"
                raise UsageError(found, where="port", allowed="a free port; below 1024 needs a right") from error
            listeners.append(one)
        return listeners


def run_options(config: NodeConfig) -> RunOptions:
    """What holds for every run. Raises UsageError where the key of pseudonyms cannot be read."""
    from recontour.qa.pseudonym import pseudonym_key

    key = Path(config.run.pseudonym_key) if config.run.pseudonym_key else None
    pseudonym_key(key)
    deliver = {peer.ae_title: tuple(FILES[name] for name in peer.gets) for peer in config.peers if peer.gets}
    chosen = {organ.strip().lower(): roi for organ, roi in config.run.rois.items()}
    return RunOptions(chosen, config.run.only, config.run.skip, key, deliver, config.send_rejected)


@contextmanager
def own_process(node: Node) -> Generator[None]:
    """While this lasts SIGTERM and Ctrl-C stop the node, and no library's words are let out."""
    _keep_quiet()
    before = {number: signal.signal(number, node.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _all_of(asked: queue.Queue[Commitment]) -> list[Commitment]:
    found: list[Commitment] = []
    with suppress(queue.Empty):
        while True:
            found.append(asked.get_nowait())
    return found


def _keep_quiet() -> None:
    """Words of libraries may quote what was received: none of them is let out, nor a traceback of a thread."""
    warnings.simplefilter("ignore")
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    threading.excepthook = _tell_of_thread


def _tell_of_thread(caught: Any) -> None:
    sys.stderr.write(f"recontour: an error in a thread ({caught.exc_type.__name__})\n")
