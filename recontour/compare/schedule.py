"""The whole study: every configuration in a process of its own, as many side by side as there are devices.

A configuration that fails, or is killed, is told in the tables and stops no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recontour.compare.data import pairs_of
from recontour.compare.plan import Job, plan
from recontour.compare.report import write_tables
from recontour.compare.results import FAILED, SCORES, check_asked
from recontour.compare.settings import CompareSettings, toml_of
from recontour.compare.work import stop
from recontour.errors import OutputRefused, UsageError
from recontour.qa.manifest import write_text

STUDY, LOG = "study.toml", "log.txt"
_INTERRUPTED = 130


@dataclass(frozen=True)
class Event:
    """What became of a configuration. kind: began, done, failed or interrupted. seconds: since it began."""

    kind: str
    key: str
    device: str
    seconds: float = 0.0
    reason: str = ""


Run = Callable[[Job, str], Event]


def run_study(settings: CompareSettings, out: Path, on_event: Callable[[Event], None]) -> dict[str, Event]:
    """Does all that is left of a study in `out`, keeping its tables up to date; what became of each configuration.

    on_event: called from the devices' threads, one call at a time. Raises UsageError where the folder is of a study
    with other settings, or the data are not there, OutputRefused where it cannot be written.
    """
    jobs = plan(settings)
    for job in jobs:
        check_asked(out / job.key, job, settings)
    environments = {device: environment(device, settings.devices, os.environ) for device in settings.devices}
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / STUDY, toml_of(asdict(settings)))
    except OSError as error:
        found = f"cannot be written: {error.strerror}"
        raise OutputRefused(found, where=out.name, allowed="a folder with room, writable") from error
    pairs_of(settings, out)  # made once, before many want them
    one_at_a_time = threading.Lock()

    def told(event: Event) -> None:
        with one_at_a_time:
            on_event(event)
            if event.kind != "began":
                write_tables(settings, out)

    processes = Processes(out, environments, told)
    finished = {job.key: Event("done", job.key, "") for job in jobs if (out / job.key / SCORES).exists()}
    try:
        left = [job for job in jobs if job.key not in finished]
        return share_out(left, settings.devices, processes.run, finished)
    finally:
        processes.stop_all()
        write_tables(settings, out)


def share_out(jobs: Sequence[Job], devices: Sequence[str], run: Run, finished: Mapping[str, Event]) -> dict[str, Event]:
    """Each job on the next free device, in order, those after the ones that they need; what became of all.

    A job whose need has failed fails with it. Interrupted, gives out no more jobs, and the interruption goes on.
    """
    crew = _Crew(list(jobs), dict(finished), run)
    threads = [threading.Thread(target=crew.work, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        crew.go_home()
    return crew.finished


class _Crew:
    """What threads share: the jobs that wait, and what became of the others."""

    def __init__(self, waiting: list[Job], finished: dict[str, Event], run: Run) -> None:
        self.waiting, self.finished, self.run = waiting, finished, run
        self._change = threading.Condition()

    def work(self, device: str) -> None:
        """Until no job waits any more."""
        while (job := self._take()) is not None:
            event = Event("failed", job.key, device, reason="it could not be started")
            try:
                needed = self.finished.get(job.needs)
                if needed is not None and needed.kind != "done":
                    event = Event("failed", job.key, device, reason=f"needs {job.needs}, which is not done")
                else:
                    event = self.run(job, device)
            finally:
                with self._change:
                    self.finished[job.key] = event
                    self._change.notify_all()

    def go_home(self) -> None:
        """No job is taken any more."""
        with self._change:
            self.waiting.clear()
            self._change.notify_all()

    def _take(self) -> Job | None:
        """The first job that waits and needs none that is still waiting or at work; None where no job waits."""
        with self._change:
            while self.waiting:
                for job in self.waiting:
                    if not job.needs or job.needs in self.finished:
                        self.waiting.remove(job)
                        return job
                self._change.wait()
            return None


class Processes:
    """Runs jobs as `recontour compare --only`, each with a log of its own."""

    def __init__(self, out: Path, environments: Mapping[str, Mapping[str, str]], told: Callable[[Event], None]) -> None:
        self.out, self.environments, self.told = out, environments, told
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, job: Job, device: str) -> Event:
        """The job in its process, to its end."""
        folder = self.out / job.key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILED).unlink(missing_ok=True)
        self.told(Event("began", job.key, device))
        start = time.monotonic()
        code = self._call(job.key, folder / LOG, self.environments[device])
        event = self._event(code, job.key, device, time.monotonic() - start)
        if event.kind == "failed":
            write_text(folder / FAILED, f"{event.reason}\n")
        if not self._stopped:
            self.told(event)
        return event

    def stop_all(self) -> None:
        """Ends what runs; trainings write a checkpoint first."""
        self._stopped = True
        for process in list(self._running):
            stop(process)

    def _call(self, key: str, log: Path, environment: Mapping[str, str]) -> int:
        command = [sys.executable, "-m", "recontour", "compare", str(self.out / STUDY), "--out", str(self.out)]
        if self._stopped:
            return _INTERRUPTED
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--only", key], env=dict(environment), stdout=file, stderr=subprocess.STDOUT
            )
            self._running.add(process)
            try:
                return process.wait()
            finally:
                self._running.discard(process)

    def _event(self, code: int, key: str, device: str, seconds: float) -> Event:
        if code == 0 and (self.out / key / SCORES).exists():
            return Event("done", key, device, seconds)
        if self._stopped or code == _INTERRUPTED:
            return Event("interrupted", key, device, seconds)
        return Event("failed", key, device, seconds, reason_in(self.out / key / LOG, code))


def reason_in(log: Path, code: int) -> str:
    """What a process said when it failed: the first error that recontour told, or how it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    start = next((k for k, line in enumerate(lines) if line.startswith("recontour: ")), None)
    if start is None:
        return f"ended by signal {-code}" if code < 0 else f"ended with {code}"
    told = [lines[start].removeprefix("recontour: ")]
    for line in lines[start + 1 : start + 3]:
        if not line.startswith("  "):
            break
        told.append(line.strip())
    return "; ".join(told)


def environment(device: str, devices: Sequence[str], base: Mapping[str, str]) -> dict[str, str]:
    """Of a process that shall see `device` alone; processes on the CPU share its cores evenly.

    Where CUDA_VISIBLE_DEVICES is set already, cuda:N is the Nth of those. Raises UsageError where it has fewer.
    """
    out = dict(base)
    if device == "cpu":
        out["CUDA_VISIBLE_DEVICES"] = ""
        sharing = devices.count("cpu")
        if sharing > 1:
            out.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // sharing)))
        return out
    number = int(device.removeprefix("cuda:"))
    visible = base.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible is not None else None
    if ids is not None and (not visible or number >= len(ids)):
        raise UsageError(f"no device {device!r} here", where="devices", allowed=f"CUDA_VISIBLE_DEVICES={visible}")
    out["CUDA_VISIBLE_DEVICES"] = str(number) if ids is None else ids[number]
    return out
