"""A watched folder, for places without DICOM networking: its files go into the spool, results into another folder.

The folder is looked at again and again: a system's news of changes reach nobody on a network share, and a hospital's
export folder is one. A file is taken when its size and its times were the same in two looks. Nothing is changed in the
folder, unless `remove` asks for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from recontour.disk import UMASK, sync_folder
from recontour.errors import OutputRefused, ScanRefused
from recontour.queue.database import notice
from recontour.queue.jobs import Delivery, Jobs, why
from recontour.queue.spool import Kept, Spool

DESTINATION = "folder"
SENDER = "watched folder"
RESULTS = ("*.dcm", "*.json", "*.html", "*.pdf")


@dataclass(frozen=True)
class Looked:
    """How many files were new to the queue at this look; how many were refused; how many are still growing, or were
    seen for the first time."""

    taken: int = 0
    refused: int = 0
    growing: int = 0


def look(spool: Spool, folder: Path, ignore: Iterable[Path] = (), remove: bool = False) -> Looked:
    """One look at every file under `folder`. Those that are as they were at the last look are kept in the spool.

    remove: a file is deleted once it is safely in the spool. Raises UsageError where there is no such folder,
    OutputRefused where the spool cannot be written; what was kept until then is kept.
    """
    from recontour.dicom.files import files_in

    known = {row["place"]: row for row in spool.database.rows("SELECT * FROM looked_at")}
    counts = {"kept": 0, "refused": 0, "growing": 0}
    for path in files_in(folder, ignore):
        try:
            place, size, changed = _place(folder, path), path.stat().st_size, _changed_ns(path)
        except OSError:
            continue  # gone since the folder was listed
        row = known.get(place)
        same = row is not None and (row["size"], row["changed"]) == (size, changed)
        before = row["state"] if same and row is not None else ""
        if before not in ("", "growing", "locked"):
            continue
        state = _take(spool, path, (size, changed), remove) if before else _wait_for(spool, path)
        if state == "locked" != before:
            _tell_refused(spool, "it cannot be opened; it is tried again at every look", size, changed)
        counts[state] = counts.get(state, 0) + 1
        with spool.database.changing() as changes:
            changes.execute("INSERT OR REPLACE INTO looked_at VALUES (?, ?, ?, ?)", (place, size, changed, state))
            if before == "locked" and state in ("kept", "other"):
                told = "DELETE FROM notices WHERE kind = 'refused file' AND subject = ?"
                changes.execute(told, (f"{size} {changed}",))
    return Looked(counts["kept"], counts["refused"], counts["growing"])


def deliver(jobs: Jobs, out: Path, now: float, pseudonym_key: Path | None = None) -> list[Path]:
    """Copies what is due to OUT/PSEUDONYM/SERIES-JOB/, each job's files all at once; the folders that are complete now.

    Raises UsageError where the key of pseudonyms cannot be read. Where a folder cannot be written, its files stay due.
    """
    from recontour.qa.pseudonym import pseudonym_key as read_key

    key = read_key(pseudonym_key)
    due = jobs.due(now, DESTINATION)
    made: list[Path] = []
    for job_id, group in groupby(due, key=lambda d: d.job_id):
        files = list(group)
        try:
            target = out / _patient(jobs, job_id, key) / _name(jobs, job_id)
            _copy_all(files, jobs.get(job_id).folder, target)
        except Exception as error:  # also one that nobody foresaw: what was claimed is answered
            for delivery in files:
                jobs.failed(delivery.id, why(error), now)
            continue
        for delivery in files:
            jobs.sent(delivery.id)
        made.append(target)
    return made


def _place(folder: Path, path: Path) -> str:
    """A file's name may be a patient's: its digest tells it from others as well."""
    return hashlib.sha256(os.path.relpath(path, folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()


def _changed_ns(path: Path) -> int:
    """A copy may carry its original's time of change; then the time at which it was put here is later."""
    found = path.stat()
    return max(found.st_mtime_ns, found.st_ctime_ns)


def _wait_for(spool: Spool, path: Path) -> str:
    """The first look, or a file that has changed since: its series is not complete."""
    from recontour.dicom.arrived import series_uid_of

    uid = series_uid_of(path)
    if uid:
        with spool.database.changing() as changes:
            sql = "UPDATE series SET last_received = max(last_received, ?) WHERE series_uid = ? AND state = 'open'"
            changes.execute(sql, (time.time(), uid))
    return "growing"


def _take(spool: Spool, path: Path, seen: tuple[int, int], remove: bool) -> str:
    """seen: its size and time of change when it was found to stand still."""
    from recontour.dicom.arrived import as_part_10

    size, changed_ns = seen
    try:
        data = path.read_bytes()
        if _changed_ns(path) != changed_ns:
            return "growing"
    except FileNotFoundError:
        return "growing"
    except OSError:  # locked by who writes it, or not to be read by us
        return "locked"
    try:
        whole = as_part_10(data)
        if whole is None:
            return "other"
        kept = spool.keep_file(whole, SENDER, min(changed_ns / 1e9, time.time()))
    except ScanRefused as refused:
        _tell_refused(spool, refused.found, size, changed_ns)
        return "refused"
    if remove and kept is not Kept.CONFLICT:
        path.unlink(missing_ok=True)
    return "kept"


def _tell_refused(spool: Spool, reason: str, size: int, changed_ns: int) -> None:
    """By size and time: its name may be a patient's."""
    at = datetime.fromtimestamp(changed_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    text = f"a file of {size} bytes, of {at}, could not be used: {reason}"
    with spool.database.changing() as changes:
        notice(changes, "refused file", f"{size} {changed_ns}", text, time.time())


def _patient(jobs: Jobs, job_id: int, key: bytes) -> str:
    from recontour.qa.pseudonym import known_by, pseudonym

    job = jobs.get(job_id)
    sql = "SELECT patient_id, patient_name, birth_date FROM series WHERE series_uid = ?"
    row = jobs.spool.database.rows(sql, (job.daily_series_uid,))[0]
    return pseudonym(key, known_by(row[0], row[1], row[2], job.planning_series_uid))


def _name(jobs: Jobs, job_id: int) -> str:
    """The end of the daily series' UID, and the job; and which attempt, where it was not the first."""
    job = jobs.get(job_id)
    attempt = job.folder.name.rpartition("-")[2]
    return f"{job.daily_series_uid[-8:].lstrip('.')}-{job_id}" + (f"-{attempt}" if attempt != "1" else "")


def _copy_all(files: Sequence[Delivery], base: Path, target: Path) -> None:
    """All files into a hidden folder beside, synced, and that renamed: they appear together. Where they are there
    already, from a process that was killed before it could say so, they are compared. Raises OSError, OutputRefused."""
    if target.exists():
        for delivery in files:
            there = target / delivery.file.relative_to(base)
            if not there.is_file() or there.read_bytes() != delivery.file.read_bytes():
                raise OutputRefused("another result is there already", where=target.name, allowed="an empty place")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=".recontour-"))
    try:
        for delivery in files:
            copy = staged / delivery.file.relative_to(base)
            copy.parent.mkdir(exist_ok=True)
            _copy(delivery.file, copy)
        for place in {p.parent for p in staged.rglob("*")} | {staged}:
            sync_folder(place)
        staged.chmod(0o777 & ~UMASK)  # mkdtemp's is for its maker alone
        os.rename(staged, target)
        for place in (target.parent, target.parent.parent):  # the patient's folder may be new
            sync_folder(place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as write:
        shutil.copyfileobj(read, write)
        write.flush()
        os.fsync(write.fileno())
