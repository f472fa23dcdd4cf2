"""One folder on disk: everything that was received, and what became of it.

    queue.db      all states (database.py)
    incoming/     what is being written at this moment; nothing in it was acknowledged
    series/       SERIES/OBJECT.dcm: what was received, under names made of UIDs
    aside/        objects that came a second time with other bytes
    jobs/         ID/attempt-N/: results
    owners/       one locked file for each process that works on the queue

An object is kept in this order: its bytes are written under incoming/ and synced; then, in one transaction, the file is
renamed to its final name, the folder is synced, and its row is committed. A process that is killed in between leaves a
file that nobody was told of: it is not used, and the same object sent again takes its place.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.disk import is_full, sync_folder
from recontour.errors import OutputRefused, RecontourError, ScanRefused
from recontour.queue.database import Database, notice

if TYPE_CHECKING:
    import sqlite3

    from recontour.dicom.arrived import Arrived

FOLDERS = ("incoming", "series", "aside", "jobs", "owners")
TWO_VERSIONS = "an image of it came in two versions"
TWO_SETS = "the structure set came in two versions"
_AT_ONCE = 500  # UIDs in one question
FORGOTTEN_S = 3600.0  # a part that nobody has written to for so long is nobody's


class Kept(Enum):
    """What became of a received object."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Spool:
    """Safe with several threads and several processes on one computer; the folder must be on a local disk, since
    SQLite's log does not work over a network."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, for this user alone, where there is none. Raises OutputRefused where it cannot be used."""
        self.folder = folder.absolute()
        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in FOLDERS:
                (self.folder / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(error) from error
        self.database = Database(self.folder / "queue.db")
        try:
            for place in (self.folder, self.folder.parent) if made else (self.folder,):
                sync_folder(place)
        except OSError as error:
            raise _unwritable(error) from error
        self._numbers = itertools.count()
        self.listening_since = 0.0  # set by Jobs.recover: a series is not quiet while nobody listened

    def keep(self, data: bytes, sop_instance_uid: str, sender: str, received: float | None = None) -> Kept:
        """Returns only after the object is on disk for good, once.

        data: a whole DICOM part 10 file. sender: an AE title or the like, for the audit. received: epoch s, by default
        now. NEW: it was not here, or its file was lost. DUPLICATE: it is here already, with the same content.
        CONFLICT: it is here with another content; this one lies aside, and the queue's status says so.
        Raises ScanRefused where it is no usable DICOM object or another than it was called, OutputRefused where it
        could not be written; then it is as if it had never come.
        """
        from recontour.dicom.arrived import read_arrived

        arrived = read_arrived(data)
        if arrived.sop_instance_uid != sop_instance_uid.strip(" \0"):
            raise ScanRefused("an object that is not the one it was called", where="SOPInstanceUID")
        return self._keep(data, arrived, sender, received)

    def keep_file(self, data: bytes, sender: str, received: float | None = None) -> Kept:
        """As `keep`, where nobody says what the object is called but the object itself."""
        from recontour.dicom.arrived import read_arrived

        return self._keep(data, read_arrived(data), sender, received)

    def _keep(self, data: bytes, arrived: Arrived, sender: str, received: float | None) -> Kept:
        at = time.time() if received is None else received
        try:
            if self._digest_of(arrived.sop_instance_uid) is None:
                return self._keep_new(data, arrived, sender, at)
            return self._keep_again(data, arrived, at)
        except OSError as error:
            raise _unwritable(error) from error

    def held(self, sop_instance_uids: Sequence[str]) -> set[str]:
        """Which of these objects are safely here: their row is committed, and their file is there in full length."""
        found: set[str] = set()
        for start in range(0, len(sop_instance_uids), _AT_ONCE):
            asked = list(sop_instance_uids[start : start + _AT_ONCE])
            marks = ",".join("?" * len(asked))
            for row in self.database.rows(
                f"SELECT sop_uid, path, bytes FROM objects WHERE sop_uid IN ({marks})", asked
            ):
                with suppress(OSError):
                    if (self.folder / row["path"]).stat().st_size == row["bytes"]:
                        found.add(row["sop_uid"])
        return found

    def files_of(self, series_uid: str) -> list[Path]:
        """The objects of a series, in the order of their UIDs."""
        sql = "SELECT path FROM objects WHERE series_uid = ? ORDER BY sop_uid"
        return [self.folder / row["path"] for row in self.database.rows(sql, (series_uid,))]

    def file_of(self, sop_instance_uid: str) -> Path | None:
        """Where an object lies."""
        rows = self.database.rows("SELECT path FROM objects WHERE sop_uid = ?", (sop_instance_uid,))
        return self.folder / rows[0]["path"] if rows else None

    def sweep(self, now: float) -> None:
        """Takes away parts that a killed process left under incoming/."""
        for part in (self.folder / "incoming").iterdir():
            with suppress(OSError):
                if now - part.stat().st_mtime > FORGOTTEN_S:
                    part.unlink()

    def _keep_new(self, data: bytes, arrived: Arrived, sender: str, at: float) -> Kept:
        final = self.folder / "series" / arrived.series_uid / f"{arrived.sop_instance_uid}.dcm"
        part = self._written(data)
        placed = False
        try:
            with self.database.changing() as changes:
                if not _is_there(changes, arrived.sop_instance_uid):
                    _make_folder(final.parent)
                    os.replace(part, final)
                    placed = True
                    sync_folder(final.parent)
                    _record(changes, arrived, final.relative_to(self.folder).as_posix(), len(data), sender, at)
        except BaseException:
            if placed:
                self._unplace(final, arrived.sop_instance_uid)
            raise
        finally:
            part.unlink(missing_ok=True)
        return Kept.NEW if placed else self._keep_again(data, arrived, at)

    def _unplace(self, file: Path, sop_uid: str) -> None:
        """Takes away a file that got no row: while nobody else may write, since another sender may just be storing the
        same object. A file that stays is used by nobody."""
        with suppress(OutputRefused), self.database.changing() as changes:
            if not _is_there(changes, sop_uid):
                file.unlink(missing_ok=True)

    def _keep_again(self, data: bytes, arrived: Arrived, at: float) -> Kept:
        """An object that has a row."""
        if self._digest_of(arrived.sop_instance_uid) == arrived.digest:
            lost = not self.held([arrived.sop_instance_uid])
            if lost:
                self._restore(data, arrived.sop_instance_uid)
            with self.database.changing() as changes:  # the sender is still at it: the series is not quiet
                sql = "UPDATE series SET last_received = max(last_received, ?) WHERE series_uid = ? AND state = 'open'"
                changes.execute(sql, (at, arrived.series_uid))
            return Kept.NEW if lost else Kept.DUPLICATE
        aside = self.folder / "aside" / f"{arrived.sop_instance_uid}-{arrived.digest[:16]}.dcm"
        if not aside.exists():
            os.replace(self._written(data), aside)
            sync_folder(aside.parent)
        with self.database.changing() as changes:
            _record_conflict(changes, arrived, at)
        return Kept.CONFLICT

    def _restore(self, data: bytes, sop_uid: str) -> None:
        """The file of an object that has a row, and whose file was lost from the disk."""
        part = self._written(data)
        try:
            with self.database.changing() as changes:
                (path,) = changes.execute("SELECT path FROM objects WHERE sop_uid = ?", (sop_uid,)).fetchone()
                file = self.folder / path
                _make_folder(file.parent)
                os.replace(part, file)
                sync_folder(file.parent)
                changes.execute("UPDATE objects SET bytes = ? WHERE sop_uid = ?", (len(data), sop_uid))
        finally:
            part.unlink(missing_ok=True)

    def _written(self, data: bytes) -> Path:
        """The bytes under incoming/, synced; nothing where that fails."""
        part = self.folder / "incoming" / f"{os.getpid()}-{id(self)}-{next(self._numbers)}.part"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _digest_of(self, sop_uid: str) -> str | None:
        rows = self.database.rows("SELECT digest FROM objects WHERE sop_uid = ?", (sop_uid,))
        return rows[0]["digest"] if rows else None


def _unwritable(error: OSError) -> RecontourError:
    reason = "the disk is full" if is_full(error) else error.strerror or type(error).__name__
    return OutputRefused(
        f"the queue's folder cannot be written to: {reason}", where="spool", allowed="a local disk with room"
    )


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True, mode=0o700)
        sync_folder(folder.parent)


def _is_there(changes: sqlite3.Connection, sop_uid: str) -> bool:
    return changes.execute("SELECT 1 FROM objects WHERE sop_uid = ?", (sop_uid,)).fetchone() is not None


def _record(changes: sqlite3.Connection, a: Arrived, path: str, size: int, sender: str, at: float) -> None:
    changes.execute(
        "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (a.sop_instance_uid, a.series_uid, a.kind, a.sop_class_uid, a.digest, a.essence, path, size, a.position_mm,
         sender, at),
    )  # fmt: skip
    _record_series(changes, a, at)
    patient = _identity(a)
    if a.structures:
        s = a.structures
        changes.execute(
            "INSERT INTO structures (sop_uid, frame_uid, series_uids, image_uids, made, patient_id, patient_name, "
            "birth_date, trouble) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (a.sop_instance_uid, s.frame_of_reference_uid, json.dumps(s.series_uids), json.dumps(s.image_uids), s.made,
             *patient, "ours" if s.ours or _made_here(changes, a) else ""),
        )  # fmt: skip


def _record_series(changes: sqlite3.Connection, a: Arrived, at: float) -> None:
    row = changes.execute("SELECT * FROM series WHERE series_uid = ?", (a.series_uid,)).fetchone()
    if row is None:
        values = (a.series_uid, a.kind, "open", a.study_uid, a.frame_of_reference_uid, *_identity(a), a.scanned, at)
        changes.execute(
            "INSERT INTO series (series_uid, kind, state, study_uid, frame_uid, patient_id, patient_name, birth_date, "
            "scanned, last_received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return
    kind = a.kind if row["kind"] == "localiser" else row["kind"]
    scanned = min((m for m in (row["scanned"], a.scanned) if m), default="")
    frame = row["frame_uid"] or a.frame_of_reference_uid
    changes.execute(
        "UPDATE series SET kind = ?, scanned = ?, frame_uid = ?, state = 'open', "
        "last_received = max(last_received, ?), role = CASE role WHEN 'not used' THEN '' ELSE role END "
        "WHERE series_uid = ?",
        (kind, scanned, frame, at, a.series_uid),
    )
    if row["role"] == "not used":
        changes.execute("DELETE FROM notices WHERE kind = 'not used' AND subject = ?", (a.series_uid,))
    if (row["patient_id"], row["patient_name"], row["birth_date"]) != _identity(a):
        changes.execute(
            "UPDATE series SET trouble = ? WHERE series_uid = ?", ("its images name two patients", a.series_uid)
        )
        notice(changes, "two patients", a.series_uid, "the images of one series do not name one patient", at)
    if a.kind == "ct" and row["state"] == "complete":
        _reopen(changes, a.series_uid, at)


def _reopen(changes: sqlite3.Connection, series_uid: str, at: float) -> None:
    """A late image. What has not run waits again, and so does what failed; what has run stays, and a person is told."""
    changes.execute(
        "UPDATE jobs SET state = 'waiting', message = 'more images came', crashes = 0, retries = 0, kills = 0, "
        "changed = ? WHERE state IN ('ready', 'failed') AND ? IN (daily_series_uid, planning_series_uid)",
        (at, series_uid),
    )
    sql = "SELECT id FROM jobs WHERE state IN ('running', 'done') AND ? IN (daily_series_uid, planning_series_uid)"
    for row in changes.execute(sql, (series_uid,)).fetchall():
        text = f"images came after job {row['id']} had begun: its result is without them. Look, and requeue it"
        notice(changes, "late images", f"job {row['id']}", text, at)


def _record_conflict(changes: sqlite3.Connection, arrived: Arrived, at: float) -> None:
    row = changes.execute(
        "SELECT series_uid, essence FROM objects WHERE sop_uid = ?", (arrived.sop_instance_uid,)
    ).fetchone()
    if arrived.essence and row["essence"] == arrived.essence:
        text = "an image came again, the same but for words in its header; the first one is used, the other lies aside"
    else:
        text = "an object came again under its UID with another content: nobody can say which is true"
        changes.execute("UPDATE series SET trouble = ? WHERE series_uid = ?", (TWO_VERSIONS, row["series_uid"]))
        sql = "UPDATE structures SET trouble = ? WHERE sop_uid = ? AND trouble = ''"
        changes.execute(sql, (TWO_SETS, arrived.sop_instance_uid))
    notice(changes, "conflict", row["series_uid"], text, at)


def _made_here(changes: sqlite3.Connection, arrived: Arrived) -> bool:
    """Whether this queue made the set, or the one that it was changed from, whatever its header says by now."""
    before = arrived.structures.predecessors if arrived.structures else ()
    marks = (arrived.sop_instance_uid, *before)
    sql = f"SELECT 1 FROM results WHERE sop_uid IN ({','.join('?' * len(marks))})"
    return changes.execute(sql, marks).fetchone() is not None


def _identity(arrived: Arrived) -> tuple[str, str, str]:
    p = arrived.patient
    return p.identifier.strip(), p.name.strip(" ^"), p.birth_date.strip()
