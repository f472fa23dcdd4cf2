"""Nodes, and peers for them to talk to: pynetdicom's and, as programs of their own, DCMTK's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from recontour.node.config import read_config
from recontour.node.service import Node

CT, RTSTRUCT, PDF, MR = (
    f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "481.3", "104.1", "4")
)  # fmt: skip
REG, DEFORMABLE = "1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"
VERIFICATION, COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
DEADLINE_S = 300.0  # under any load; nothing waits for it


def free_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peer(title: str, port: int = 0, **more: Any) -> str:
    """A table [[peers]] on this computer."""
    lines = [
        "[[peers]]",
        f'ae_title = "{title}"',
        *([] if "host" in more else ['host = "127.0.0.1"']),
        f"port = {port}",
    ]
    return "\n".join(lines + [f"{key} = {_toml(value)}" for key, value in more.items()])


def write_config(folder: Path, *peers: str, port: int = 0, **more: Any) -> Path:
    """folder/node.toml: a node that listens on this computer alone. more: `limits__timeout_s=1.0` and the like."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"address": "127.0.0.1", "port": port or free_port(), "spool": "spool", "quiet_s": 1.0} | {
        key: value for key, value in more.items() if "__" not in key
    }
    lines = [f"{key} = {_toml(value)}" for key, value in whole.items()]
    inner = sorted((*key.split("__"), value) for key, value in more.items() if "__" in key)
    for table in dict.fromkeys(key for key, _, _ in inner):
        lines += [f"[{table}]", *(f"{name} = {_toml(value)}" for key, name, value in inner if key == table)]
    path = folder / "node.toml"
    path.write_text("\n".join([*lines, *peers]), "utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'


@contextmanager
def serving(config: Path, run: bool = False) -> Iterator[Node]:
    """A node in this process. run: whether it settles, matches and runs as well."""
    node = Node(read_config(config))
    node.start()
    loop = threading.Thread(target=node.serve)
    if run:
        loop.start()
    try:
        yield node
    finally:
        node.stop()
        if run:
            loop.join()
        node.close()


class NodeProcess:
    """`recontour node CONFIG` as a program of its own. before: Python that is run first in it."""

    def __init__(self, config: Path, before: str = "") -> None:
        self._config, self._before = config, before
        self._port = read_config(config).port
        self.said = ""
        self.start()

    def start(self) -> None:
        """Returns when it listens."""
        code = f"{self._before}\nimport sys; sys.argv = ['recontour', 'node', {str(self._config)!r}]"
        code += "\nfrom recontour.cli import main; main()"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        wait_until(lambda: self._process.poll() is not None or is_open(self._port))
        assert self._process.poll() is None, self._process.communicate()

    def kill(self) -> None:
        """As `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        self._process.send_signal(number)
        said, _ = self._process.communicate(timeout=DEADLINE_S)
        self.said += said.decode("utf-8", "replace")
        return int(self._process.returncode)


def is_open(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(happened: Callable[[], Any], most_s: float = DEADLINE_S) -> None:
    """Fails where it does not happen in time."""
    deadline = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def associated(
    port: int, title: str = "SCANNER", called: str = "RECONTOUR", classes: Sequence[str] = (CT, RTSTRUCT), **more: Any
) -> Iterator[Association]:
    """A client's association with the node, accepted or not."""
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = DEADLINE_S
    for name in (VERIFICATION, *classes):
        ae.add_requested_context(name, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port, ae_title=called, **more)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def store(port: int, *objects: Dataset, title: str = "SCANNER") -> list[int]:
    """The node's status for each."""
    with associated(port, title) as assoc:
        assert assoc.is_established
        return [assoc.send_c_store(one).Status for one in objects]


def store_bytes(port: int, data: bytes, uid: str, title: str = "SCANNER", sop_class: str = CT) -> int | None:
    """Sends these bytes, without file meta information, as an object; the status, None where no answer came."""
    from pynetdicom.dimse_primitives import C_STORE

    with associated(port, title) as assoc:
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
        request.DataSet = BytesIO(data)
        context = next(c for c in assoc.accepted_contexts if c.abstract_syntax == sop_class)
        assoc._reactor_checkpoint.clear()
        wait_until(lambda: assoc._is_paused)
        assoc.dimse.send_msg(request, context.context_id)
        _, answer = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        return None if answer is None else answer.Status


def echoes(port: int, title: str = "SCANNER") -> bool:
    """Whether the node is alive."""
    with associated(port, title) as assoc:
        return assoc.is_established and assoc.send_c_echo().Status == 0


class Archive:
    """A peer that takes results: pynetdicom's. statuses: of its next answers, then 0. commits: which UIDs it reports as
    kept, on an association of its own, or None where it never reports."""

    def __init__(self, port: int, node_port: int = 0, statuses: Sequence[int] = (), title: str = "ARCHIVE") -> None:
        self.port, self.received, self.asked = port, [], []
        self._node_port, self._statuses, self._title = node_port, list(statuses), title
        self.commits: Callable[[str], bool] | None = None
        self._ae = AE(title)
        for name in (VERIFICATION, RTSTRUCT, REG, DEFORMABLE, PDF):
            self._ae.add_supported_context(name)
        self._ae.add_supported_context(COMMITMENT)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self._server = self._ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        self._ae.shutdown()

    def _store(self, event: Any) -> int:
        status = self._statuses.pop(0) if self._statuses else 0
        if status == 0:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def _action(self, event: Any) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if self.commits is not None:
            threading.Thread(target=self.report, args=(event.action_information, self.commits)).start()
        return 0, None

    def report(self, asked: Dataset, commits: Callable[[str], bool], title: str | None = None) -> None:
        """Answers on an association of its own, in the role of the provider."""
        from pynetdicom import build_role

        said = Dataset()
        said.TransactionUID = asked.TransactionUID
        items = list(asked.ReferencedSOPSequence)
        said.ReferencedSOPSequence = [item for item in items if commits(item.ReferencedSOPInstanceUID)]
        failed = [item for item in items if not commits(item.ReferencedSOPInstanceUID)]
        for item in failed:
            item.FailureReason = 0x0112
        said.FailedSOPSequence = failed
        role = build_role(COMMITMENT, scp_role=True)
        with associated(self._node_port, title or self._title, classes=[COMMITMENT], ext_neg=[role]) as assoc:
            kind = 2 if failed else 1
            status, _ = assoc.send_n_event_report(said, kind, COMMITMENT, COMMITMENT_INSTANCE)
            assert status.Status == 0


def written_by(folder: Path) -> str:
    """All that a node wrote, but for the DICOM objects that it keeps and its own database."""
    kept = {"series", "aside", "jobs", "incoming"}
    files = [f for f in folder.rglob("*") if f.is_file() and not kept & set(f.relative_to(folder).parts)]
    texts = [f.read_bytes().decode("latin-1") for f in files if not f.name.startswith("queue.db")]
    return "\n".join(texts + [str(f.relative_to(folder)) for f in folder.rglob("*")])


def audit_of(config: Path) -> list[dict[str, Any]]:
    """The lines of the audit log, the oldest first."""
    import json

    path = read_config(config).audit_file
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
