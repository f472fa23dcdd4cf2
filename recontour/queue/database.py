"""The one file in which all states of the queue stand: SQLite, whose transactions outlive a kill and a power cut."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recontour.errors import OutputRefused

BUSY_S = 30.0  # how long one process waits for another's transaction, which takes milliseconds
_VERSION = 1
_OPEN_TRIES, _OPEN_PAUSE_S = 100, 0.05

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    sop_uid TEXT PRIMARY KEY, series_uid TEXT NOT NULL, kind TEXT NOT NULL, sop_class TEXT NOT NULL,
    digest TEXT NOT NULL, essence TEXT NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL, position_mm REAL,
    sender TEXT NOT NULL, received REAL NOT NULL);
CREATE INDEX IF NOT EXISTS objects_of_series ON objects (series_uid);
CREATE TABLE IF NOT EXISTS series (
    series_uid TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, study_uid TEXT NOT NULL,
    frame_uid TEXT NOT NULL, patient_id TEXT NOT NULL, patient_name TEXT NOT NULL, birth_date TEXT NOT NULL,
    scanned TEXT NOT NULL, last_received REAL NOT NULL, role TEXT NOT NULL DEFAULT '', trouble TEXT NOT NULL DEFAULT '',
    gap TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS series_of_patient ON series (patient_id);
CREATE INDEX IF NOT EXISTS series_by_state ON series (state, kind);
CREATE TABLE IF NOT EXISTS structures (
    sop_uid TEXT PRIMARY KEY, frame_uid TEXT NOT NULL, series_uids TEXT NOT NULL, image_uids TEXT NOT NULL,
    made TEXT NOT NULL, patient_id TEXT NOT NULL, patient_name TEXT NOT NULL, birth_date TEXT NOT NULL,
    trouble TEXT NOT NULL DEFAULT '', settled INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS structures_unsettled ON structures (settled) WHERE settled = 0;
CREATE INDEX IF NOT EXISTS structures_of_patient ON structures (patient_id);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, planning_series_uid TEXT NOT NULL DEFAULT '',
    daily_series_uid TEXT NOT NULL UNIQUE, structures_uid TEXT NOT NULL DEFAULT '', created REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, kills INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    light TEXT NOT NULL DEFAULT '', folder TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL REFERENCES jobs (id), file TEXT NOT NULL,
    destination TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL,
    message TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '', UNIQUE (job_id, file, destination));
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, next_try);
CREATE TABLE IF NOT EXISTS results (sop_uid TEXT PRIMARY KEY, job_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS notices (
    kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
    count INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (kind, subject));
CREATE TABLE IF NOT EXISTS looked_at (
    place TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, state TEXT NOT NULL);
"""


def _make_private(path: Path) -> None:
    """Names of patients are in it, whatever the folder's mode. What cannot be made or changed, SQLite tells better."""
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)  # its log and its index get the same from SQLite


class Database:
    """A connection that threads may share; several processes may each have one."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises OutputRefused where it cannot be used."""
        self._lock = threading.RLock()
        self._name = path.name
        _make_private(path)
        with self._our_words():
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._prepare()

    @contextmanager
    def changing(self) -> Generator[sqlite3.Connection]:
        """One transaction: all that is done in it is on disk when it ends, or none of it. Raises OutputRefused where it
        could not be written. Never one inside another."""
        with self._lock, self._our_words():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """What a question is answered with. Raises OutputRefused where the file cannot be read."""
        with self._lock, self._our_words():
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Nothing is asked of it after that."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        """WAL: readers never wait for a writer; FULL: a commit is on disk when it returns."""
        for left in range(_OPEN_TRIES, 0, -1):
            try:  # another process that opens it at this moment is not waited for by SQLite itself
                self._connection.execute("PRAGMA journal_mode=WAL").fetchall()
                break
            except sqlite3.OperationalError:
                if left == 1:
                    raise
                time.sleep(_OPEN_PAUSE_S)
        self._connection.execute("PRAGMA synchronous=FULL")
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version == _VERSION:
            return
        if version:
            found = f"a queue of version {version}"
            raise OutputRefused(found, where=self._name, allowed=f"version {_VERSION}: another recontour made this one")
        with self.changing() as changes:
            for statement in _TABLES.strip().removesuffix(";").split(";"):
                changes.execute(statement)
            changes.execute(f"PRAGMA user_version={_VERSION}")

    @contextmanager
    def _our_words(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason = getattr(error, "sqlite_errorname", type(error).__name__)
            raise OutputRefused(
                f"the queue cannot be read or written: {_REASONS.get(reason, reason)}",
                where=self._name,
                allowed="a local disk with room, on which the queue's folder may be written to",
            ) from error


_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "another process holds it",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is none of ours",
}


# kinds of notices of what a person has to look at; others tell of what was left alone
LOUD = (
    "refused",
    "refused file",
    "conflict",
    "two patients",
    "late images",
    "late contours",
    "drawn on a daily scan",
    "rejected",
    "not delivered",
)


def notice(changes: sqlite3.Connection, kind: str, subject: str, text: str, now: float) -> None:
    """Something a person has to know, once for each subject and counted; without identity."""
    changes.execute(
        "INSERT INTO notices (kind, subject, text, first, last) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, subject) "
        "DO UPDATE SET text = excluded.text, last = excluded.last, count = count + 1",
        (kind, subject, text, now, now),
    )
