"""One job: its scans laid out, run in a process of its own, its results made due for delivery.

Every attempt has a folder of its own, jobs/ID/attempt-N/: what a killed one left behind is in nobody's way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from recontour.disk import sync_folder
from recontour.errors import ScanRefused
from recontour.queue.child import OUTCOME, REGISTRATION, REQUEST, RTSTRUCT
from recontour.queue.jobs import Job, Jobs
from recontour.queue.spool import Spool
from recontour.settings import Settings

CHILD = (sys.executable, "-m", "recontour.queue.child")


@dataclass(frozen=True)
class RunOptions:
    """What holds for every job, beside the settings. chosen_rois, only, skip: as for StudyRequest; pseudonym_key: as
    for ReportRequest. deliver: patterns of the names of files that are delivered; all stay in the job's folder. wanted:
    the same for single destinations, within that. send_rejected: whether contours and registration of a fraction that
    was rejected are delivered."""

    chosen_rois: Mapping[str, str] = field(default_factory=dict[str, str])
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pseudonym_key: Path | None = None
    deliver: tuple[str, ...] = ("*.dcm",)
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    send_rejected: bool = True

    def wants(self, destination: str, file: Path, light: str) -> bool:
        """Whether a destination gets a file of a fraction that was judged so."""
        if light == "reject" and not self.send_rejected and file.name in (RTSTRUCT, REGISTRATION):
            return False
        return any(fnmatchcase(file.name, pattern) for pattern in self.wanted.get(destination, ("*",)))


def run_next(
    jobs: Jobs,
    settings: Settings,
    destinations: Sequence[str],
    options: RunOptions | None = None,
    now: float | None = None,
) -> bool:
    """Claims the next job, runs it, and makes its results due for every destination; False where none is ready.

    A job that is refused fails; one whose process ends without a word is run once more; one that lacked room on the
    disk or memory is put off. Where this is interrupted, by Ctrl-C or an exception of a signal, the job is ready again.
    """
    job = jobs.next(now)
    if job is None:
        return False
    claimed = jobs.claim(job.id, now)
    if claimed is None:
        return True
    try:
        _run(jobs, claimed, settings, destinations, options or RunOptions())
    except BaseException:
        jobs.release(claimed)
        raise
    finally:
        jobs.let_go(claimed)
    return True


def _run(jobs: Jobs, job: Job, settings: Settings, destinations: Sequence[str], options: RunOptions) -> None:
    files: list[tuple[Path, str]] = []
    try:
        _lay_out(jobs.spool, job, settings, options)
        status = _in_child(job.folder)
        outcome = _outcome(job.folder)
        shutil.rmtree(job.folder / "input", ignore_errors=True)
        if outcome and "light" in outcome:
            files = _results(job.folder, options.deliver)
    except OSError as error:
        jobs.put_off(job, f"the queue's folder: {error.strerror or type(error).__name__}")
        return
    except ScanRefused:
        outcome, status = None, 0
    if outcome is None:
        jobs.crashed(job, f"its process ended without a result ({_ending(status)})")
    elif "light" in outcome:
        jobs.finish(job, outcome["light"], files, destinations, outcome["message"], options.wants)
    elif outcome["again"]:
        jobs.put_off(job, outcome["error"])
    else:
        jobs.fail(job, outcome["error"])


def _lay_out(spool: Spool, job: Job, settings: Settings, options: RunOptions) -> None:
    """input/planning and input/daily: what belongs to the job and nothing else, linked, and request.json."""
    shutil.rmtree(job.folder, ignore_errors=True)
    structures = spool.file_of(job.structures_uid)
    planning = [*spool.files_of(job.planning_series_uid), *([structures] if structures else [])]
    for name, files in (("planning", planning), ("daily", spool.files_of(job.daily_series_uid))):
        folder = job.folder / "input" / name
        folder.mkdir(parents=True)
        for file in files:
            _link(file, folder / file.name)
    asked = {
        "settings": settings.as_dict(),
        "chosen_rois": dict(options.chosen_rois),
        "only": options.only,
        "skip": options.skip,
        "pseudonym_key": str(options.pseudonym_key.absolute()) if options.pseudonym_key else None,
        "planning_series": job.planning_series_uid,
        "daily_series": job.daily_series_uid,
        "structures": job.structures_uid,
    }
    (job.folder / REQUEST).write_text(json.dumps(asked), "utf-8")


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, to)


def _in_child(folder: Path) -> int:
    """Its exit status. What it prints is thrown away: a library's words may quote a header."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*CHILD, str(folder)], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as process:
        try:
            return process.wait()
        except BaseException:  # Ctrl-C: the job is put back by whoever begins next
            process.kill()
            raise


def _outcome(folder: Path) -> dict[str, str] | None:
    try:
        return json.loads((folder / OUTCOME).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _results(folder: Path, deliver: Sequence[str]) -> list[tuple[Path, str]]:
    """What the attempt wrote and is delivered, each with its SOP instance UID; all of it synced."""
    from recontour.dicom.arrived import uid_of

    found: list[tuple[Path, str]] = []
    for path in sorted(folder.rglob("*"), key=lambda p: (p.name != RTSTRUCT, p)):  # the contours go first
        if path.is_dir() or path.name in (REQUEST, OUTCOME):
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        if any(fnmatchcase(path.name, pattern) for pattern in deliver):
            found.append((path, uid_of(path) if path.suffix == ".dcm" else ""))
    for place in {path.parent for path, _ in found} | {folder, folder.parent, folder.parent.parent}:
        sync_folder(place)
    return found


def _ending(status: int) -> str:
    if status == 0:
        return "or with one that does not read back"
    return f"signal {-status}" if status < 0 else f"exit status {status}"
