"""One job: its scans laid out, run in a process of its own, its results made due for delivery.

Every attempt has a folder of its own, jobs/ID/attempt-N/: what a killed one left behind is in nobody's way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from recontour.disk import sync_folder
from recontour.errors import ScanRefused
from recontour.qa.manifest import write_text
from recontour.queue.child import NO_ROOM, OUTCOME, REGISTRATION, REQUEST, RTSTRUCT
from recontour.queue.jobs import Job, Jobs, Result
from recontour.queue.spool import Spool
from recontour.settings import Settings

CHILD = (sys.executable, "-m", "recontour.queue.child")
_KEPT_BACK = "its contours were rejected and not sent; look at its report"


@dataclass(frozen=True)
class RunOptions:
    """What holds for every job, beside the settings. chosen_rois, only, skip: as for StudyRequest; pseudonym_key: as
    for ReportRequest. deliver: for each destination, patterns of the names of the files that it gets; all stay in the
    job's folder. send_rejected: whether contours and registration of a fraction that was rejected are delivered."""

    chosen_rois: Mapping[str, str] = field(default_factory=dict[str, str])
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pseudonym_key: Path | None = None
    deliver: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    send_rejected: bool = True

    def keeps_back(self, light: str) -> bool:
        """Whether the contours of a fraction that was judged so are not delivered."""
        return light == "reject" and not self.send_rejected

    def destinations_of(self, file: Path, light: str) -> tuple[str, ...]:
        """Who gets a file of a fraction that was judged so."""
        if self.keeps_back(light) and file.name in (RTSTRUCT, REGISTRATION):
            return ()
        asked = self.deliver.items()
        return tuple(name for name, patterns in asked if any(fnmatchcase(file.name, p) for p in patterns))


def run_next(jobs: Jobs, settings: Settings, options: RunOptions, now: float | None = None) -> bool:
    """Runs the next job that is ready; False where none is."""
    job = jobs.next(now)
    if job is not None:
        run_job(jobs, job, settings, options, now)
    return job is not None


def run_job(jobs: Jobs, job: Job, settings: Settings, options: RunOptions, now: float | None = None) -> None:
    """Claims a job that is ready, runs it, and makes its results due; nothing where another was faster.

    A job that is refused fails; one whose process ends without a word is run once more; one that lacked room on the
    disk or memory is put off. Where this is interrupted, by Ctrl-C or an exception of a signal, the job is ready again.
    """
    claimed = jobs.claim(job.id, now)
    if claimed is None:
        return
    try:
        _run(jobs, claimed, settings, options)
    except BaseException:
        jobs.release(claimed)
        raise
    finally:
        jobs.let_go(claimed)


def _run(jobs: Jobs, job: Job, settings: Settings, options: RunOptions) -> None:
    results: list[Result] = []
    try:
        _lay_out(jobs.spool, job, settings, options)
        status = _in_child(job.folder)
        outcome = _outcome(job.folder)
        shutil.rmtree(job.folder / "input", ignore_errors=True)
        if outcome and "light" in outcome:
            results = _results(job.folder, outcome["light"], options)
    except OSError as error:
        jobs.put_off(job, f"the queue's folder: {error.strerror or type(error).__name__}")
        return
    except ScanRefused:
        outcome, status = None, 0
    if outcome is None and status == NO_ROOM:
        jobs.put_off(job, "no room for what became of it")
    elif outcome is None:
        jobs.crashed(job, f"its process ended without a result ({_ending(status)})")
    elif "light" in outcome:
        warning = _KEPT_BACK if options.keeps_back(outcome["light"]) else ""
        jobs.finish(job, outcome["light"], results, outcome["message"], warning)
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
    write_text(job.folder / REQUEST, json.dumps(asked))


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


def _results(folder: Path, light: str, options: RunOptions) -> list[Result]:
    """What the attempt wrote, all of it synced. Raises ScanRefused where DICOM does not read back."""
    from recontour.dicom.commitment import object_of

    found: list[Result] = []
    for path in sorted(folder.rglob("*"), key=lambda p: (p.name != RTSTRUCT, p)):  # the contours go first
        if path.is_dir() or path.name in (REQUEST, OUTCOME):
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sop_uid = object_of(path)[1] if path.suffix == ".dcm" else ""
        found.append(Result(path, sop_uid, options.destinations_of(path, light)))
    for place in {result.file.parent for result in found} | {folder, folder.parent, folder.parent.parent}:
        sync_folder(place)
    return found


def _ending(status: int) -> str:
    if status == 0:
        return "or with one that does not read back"
    return f"signal {-status}" if status < 0 else f"exit status {status}"
