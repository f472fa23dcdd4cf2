"""What is to be run, what is to be delivered, and what became of it. Every step is one transaction."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recontour.errors import OutputRefused, RecontourError, UsageError
from recontour.queue.database import notice
from recontour.queue.owner import Owner, is_gone
from recontour.queue.spool import FORGOTTEN_S, TWO_SETS, TWO_VERSIONS, Spool

JobState = Literal["waiting", "ready", "running", "done", "failed"]
DeliveryState = Literal["due", "sending", "sent", "gave up"]

MOST_CRASHES = 2  # of a job's own process: run, and run once more
MOST_KILLS = 5  # of the whole service while a job ran: one that takes the machine down must not do so for ever
MOST_RETRIES = 10  # where the disk or the memory is short: that passes
RETRY_S, LONGEST_RETRY_S = 30.0, 1800.0
MOST_TRIES = 60  # of a delivery: with the longest pause below, two days
TRY_AGAIN_S, LONGEST_PAUSE_S = 15.0, 3600.0


@dataclass(frozen=True)
class Job:
    """A daily scan and the plan it is to have its contours from.

    planning_series_uid: "" while it has none. created: epoch s. message: why it waits or failed, without identity.
    light: pass, review or reject, "" until it is done. folder: where its results lie.
    """

    id: int
    state: JobState
    planning_series_uid: str
    daily_series_uid: str
    structures_uid: str
    created: float
    attempts: int
    message: str
    light: str
    folder: Path


@dataclass(frozen=True)
class Result:
    """A file that a job has left. sop_uid: "" where it is no DICOM. destinations: who gets it."""

    file: Path
    sop_uid: str
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class Delivery:
    """One result for one destination. next_try: epoch s; of one that was sent, when. message: why it failed last."""

    id: int
    job_id: int
    file: Path
    destination: str
    state: DeliveryState
    attempts: int
    next_try: float
    message: str


class Jobs:
    """The jobs and deliveries of a spool; as long as this object lives, what it claims is its own."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._database = spool.database
        self._owner = Owner(spool.folder / "owners")
        self._at_work: set[int] = set()  # jobs
        self._untold: dict[int, tuple[str, float]] = {}  # delivery -> problem or "", when; not noted yet
        self._telling = threading.Lock()

    def close(self) -> None:
        """What it has claimed and not finished is anyone's to recover."""
        self._owner.close()

    def list(self, state: JobState | None = None) -> list[Job]:
        """All jobs, or those in one state, the oldest first."""
        where = "WHERE state = ?" if state else ""
        return [
            self._job(r) for r in self._database.rows(f"SELECT * FROM jobs {where} ORDER BY id", [state][: bool(state)])
        ]

    def get(self, job_id: int) -> Job:
        """Raises UsageError where there is no such job."""
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if not rows:
            raise UsageError(f"no job {job_id}", where="queue", allowed="one that the status shows")
        return self._job(rows[0])

    def next(self, now: float | None = None) -> Job | None:
        """The oldest that is ready and whose pause is over."""
        at = time.time() if now is None else now
        self._put_back_let_go(at)
        sql = "SELECT * FROM jobs WHERE state = 'ready' AND next_try <= ? ORDER BY created, id LIMIT 1"
        return next((self._job(row) for row in self._database.rows(sql, (at,))), None)

    def claim(self, job_id: int, now: float | None = None) -> Job | None:
        """The job, running and ours; None where another was faster, or where more of its scans has come meanwhile."""
        at = time.time() if now is None else now
        with self._database.changing() as changes:
            taken = changes.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, owner = ?, changed = ?, message = '', "
                "folder = 'jobs/' || id || '/attempt-' || (attempts + 1) WHERE id = ? AND state = 'ready' AND "
                "(SELECT count(*) FROM series WHERE state = 'complete' AND trouble = '' "
                "AND series_uid IN (daily_series_uid, planning_series_uid)) = 2 "
                "AND NOT EXISTS (SELECT 1 FROM structures WHERE sop_uid = structures_uid AND trouble != '')",
                (self._owner.token, at, job_id),
            )
            if not taken.rowcount:
                sql = "UPDATE jobs SET state = 'waiting', message = 'more of it came' WHERE id = ? AND state = 'ready'"
                changes.execute(sql, (job_id,))
                return None
            self._at_work.add(job_id)
        return self.get(job_id)

    def let_go(self, job: Job) -> None:
        """Nobody works on it any more. Where not even that it ended could be noted, since the disk was full, it is
        ready again as soon as there is room."""
        self._at_work.discard(job.id)

    def finish(
        self,
        job: Job,
        light: str,
        results: Sequence[Result],
        message: str = "",
        warning: str = "",
    ) -> bool:
        """Done, its results due at their destinations, and a person warned, in one step. False where the job was not
        ours any more: then nothing is changed."""
        now = time.time()
        with self._database.changing() as changes:
            sql = "UPDATE jobs SET state = 'done', light = ?, message = ?, owner = '', changed = ? "
            if not self._still_ours(changes, sql, (light, message, now), job):
                return False
            for result in results:
                inside = result.file.relative_to(self.spool.folder).as_posix()
                if result.sop_uid:
                    changes.execute("INSERT OR IGNORE INTO results VALUES (?, ?)", (result.sop_uid, job.id))
                changes.executemany(
                    "INSERT INTO deliveries (job_id, file, destination, state, next_try) VALUES (?, ?, ?, 'due', ?)",
                    [(job.id, inside, destination, now) for destination in result.destinations],
                )
            if warning:
                notice(changes, "rejected", f"job {job.id}", warning, now)
        return True

    def fail(self, job: Job, message: str) -> bool:
        """It will not be run again unless asked. False where the job was not ours any more."""
        now = time.time()
        with self._database.changing() as changes:
            sql = "UPDATE jobs SET state = 'failed', message = ?, owner = '', changed = ? "
            return self._still_ours(changes, sql, (message, now), job)

    def crashed(self, job: Job, message: str) -> bool:
        """Its process ended without a word: ready again once, then failed. Whether it is ready again."""
        return self._again(job, "crashes", MOST_CRASHES, message, 0.0)

    def put_off(self, job: Job, message: str) -> bool:
        """What it lacked, such as room on the disk, may be there later: ready again after a pause that grows, and
        failed after MOST_RETRIES. Whether it is ready again."""
        return self._again(job, "retries", MOST_RETRIES, message, RETRY_S)

    def release(self, job: Job) -> None:
        """Ready again as if it had never been claimed: whoever ran it was asked to stop."""
        with self._database.changing() as changes:
            sql = "UPDATE jobs SET state = 'ready', owner = '', changed = ? "
            self._still_ours(changes, sql, (time.time(),), job)

    def requeue(self, job_id: int) -> None:
        """A person asks for it: a failed or done job is matched and run once more, with all that is here now; what of
        its earlier results was not delivered yet will not be, and what was told of it is done with. Of an image or a
        structure set that came in two versions the first is used. Raises UsageError for a job in another state, and
        for one whose scan was removed."""
        with self._database.changing() as changes:
            _check_not_removed(changes, job_id)
            sql = (
                "UPDATE jobs SET state = 'waiting', message = 'asked for again', light = '', crashes = 0, kills = 0, "
                "retries = 0, next_try = 0, changed = ? WHERE id = ? AND state IN ('failed', 'done')"
            )
            if changes.execute(sql, (time.time(), job_id)).rowcount:
                changes.execute("DELETE FROM notices WHERE subject = ?", (f"job {job_id}",))
                changes.execute("DELETE FROM deliveries WHERE job_id = ? AND state != 'sent'", (job_id,))
                _take_the_first(changes, job_id)
                return
        state = self.get(job_id).state
        raise UsageError(f"job {job_id} is {state}", where="queue", allowed="a job that is failed or done")

    def deliveries(self, state: DeliveryState | None = None) -> list[Delivery]:
        """All deliveries, or those in one state, the oldest first. Claims nothing."""
        where = "WHERE state = ?" if state else ""
        sql = f"SELECT * FROM deliveries {where} ORDER BY id"
        return [self._delivery(row) for row in self._database.rows(sql, [state][: bool(state)])]

    def due(self, now: float, destination: str | None = None) -> list[Delivery]:
        """What is to be sent now, to any destination or to one, claimed for this object: to be answered with `sent` or
        `failed`, each. Raises OutputRefused where the queue cannot be written, and then claims nothing."""
        self._tell()
        with self._database.changing() as changes:
            sql = (
                "SELECT * FROM deliveries WHERE state = 'due' AND next_try <= ? "
                "AND destination = ifnull(?, destination) ORDER BY id"
            )
            rows = changes.execute(sql, (now, destination)).fetchall()
            sql = "UPDATE deliveries SET state = 'sending', owner = ? WHERE id = ?"
            changes.executemany(sql, [(self._owner.token, row["id"]) for row in rows])
        return [self._delivery(row, "sending") for row in rows]

    def sent(self, delivery_id: int) -> None:
        """The destination has it. Where that cannot be noted, since the disk is full, it is remembered, and noted
        before anything else is due."""
        self._answered(delivery_id, "", time.time())

    def failed(self, delivery_id: int, message: str, now: float) -> None:
        """Tried again after a pause that doubles from TRY_AGAIN_S to LONGEST_PAUSE_S; given up after MOST_TRIES.
        Remembered as what was sent."""
        self._answered(delivery_id, message, now)

    def send_again(self, now: float, job_id: int | None = None) -> int:
        """A person asks for it: what was given up is due again, of all jobs or of one; how many."""
        with self._database.changing() as changes:
            changed = changes.execute(
                "UPDATE deliveries SET state = 'due', attempts = 0, next_try = ? "
                "WHERE state = 'gave up' AND (? IS NULL OR job_id = ?)",
                (now, job_id, job_id),
            )
            changes.execute("DELETE FROM notices WHERE kind = 'not delivered' AND (? IS NULL OR subject = ?)",
                            (job_id, f"job {job_id}"))  # fmt: skip
            return changed.rowcount

    def recover(self, now: float | None = None) -> int:
        """Puts back what ran or was being sent when its process was killed; how many. What a living process works on
        stays its own, so that this may be called at any time; to be called when the service begins, since it also
        says from when on a series can be quiet."""
        at = time.time() if now is None else now
        self.spool.listening_since = at
        self.spool.sweep(at)
        sql = "SELECT DISTINCT owner FROM jobs WHERE owner != '' UNION SELECT owner FROM deliveries WHERE owner != ''"
        owners = [row[0] for row in self._database.rows(sql)]
        places = self.spool.folder / "owners"
        owners += [path.name for path in places.iterdir() if _is_old(path, at)]
        gone = [o for o in dict.fromkeys(owners) if o != self._owner.token and is_gone(places, o)]
        with self._database.changing() as changes:
            return sum(_put_back(changes, owner, at) for owner in gone)

    def _put_back_let_go(self, now: float) -> None:
        rows = self._database.rows("SELECT id FROM jobs WHERE state = 'running' AND owner = ?", (self._owner.token,))
        lost = [row["id"] for row in rows if row["id"] not in self._at_work]
        if lost:
            with self._database.changing() as changes:
                sql = "UPDATE jobs SET state = 'ready', owner = '', changed = ? WHERE id = ? AND owner = ?"
                changes.executemany(sql, [(now, job_id, self._owner.token) for job_id in lost])

    def _answered(self, delivery_id: int, problem: str, now: float) -> None:
        self._untold[delivery_id] = problem, now
        with suppress(OutputRefused):
            self._tell()

    def _tell(self) -> None:
        with self._telling:
            for delivery_id, (problem, at) in list(self._untold.items()):
                with self._database.changing() as changes:
                    if problem:
                        _note_failed(changes, delivery_id, problem, at)
                    else:
                        _note_sent(changes, delivery_id, at)
                del self._untold[delivery_id]

    def _still_ours(self, changes: sqlite3.Connection, sql: str, values: tuple[object, ...], job: Job) -> bool:
        where = "WHERE id = ? AND state = 'running' AND owner = ? AND attempts = ?"
        return bool(changes.execute(sql + where, (*values, job.id, self._owner.token, job.attempts)).rowcount)

    def _again(self, job: Job, counter: str, most: int, message: str, pause_s: float) -> bool:
        now = time.time()
        with self._database.changing() as changes:
            row = changes.execute(f"SELECT {counter} FROM jobs WHERE id = ?", (job.id,)).fetchone()
            count = row[0] + 1
            state = "ready" if count < most else "failed"
            sql = f"UPDATE jobs SET state = ?, {counter} = ?, message = ?, owner = '', next_try = ?, changed = ? "
            next_try = now + _pause(count, pause_s, LONGEST_RETRY_S)
            return self._still_ours(changes, sql, (state, count, message, next_try, now), job) and state == "ready"

    def _job(self, row: sqlite3.Row) -> Job:
        return Job(
            row["id"],
            row["state"],
            row["planning_series_uid"],
            row["daily_series_uid"],
            row["structures_uid"],
            row["created"],
            row["attempts"],
            row["message"],
            row["light"],
            self.spool.folder / (row["folder"] or f"jobs/{row['id']}"),
        )

    def _delivery(self, row: sqlite3.Row, state: DeliveryState | None = None) -> Delivery:
        return Delivery(
            row["id"],
            row["job_id"],
            self.spool.folder / row["file"],
            row["destination"],
            state or row["state"],
            row["attempts"],
            row["next_try"],
            row["message"],
        )


def _check_not_removed(changes: sqlite3.Connection, job_id: int) -> None:
    sql = "SELECT 1 FROM jobs JOIN series ON series_uid = daily_series_uid WHERE id = ? AND series.state = 'removed'"
    if changes.execute(sql, (job_id,)).fetchone():
        raise UsageError(f"the scan of job {job_id} was removed", where="queue", allowed="when it was sent again")


def _take_the_first(changes: sqlite3.Connection, job_id: int) -> None:
    """Of what came in two versions; nobody disputes it any more."""
    row = changes.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    sql = "UPDATE series SET trouble = '' WHERE trouble = ? AND series_uid IN (?, ?)"
    changes.execute(sql, (TWO_VERSIONS, row["daily_series_uid"], row["planning_series_uid"]))
    sql = "UPDATE structures SET trouble = '' WHERE trouble = ? AND sop_uid = ?"
    changes.execute(sql, (TWO_SETS, row["structures_uid"]))


def why(error: Exception) -> str:
    """What `Jobs.failed` is told of an error, also of one that nobody foresaw: without identity."""
    if isinstance(error, RecontourError):
        return error.found
    said = error.strerror if isinstance(error, OSError) else None
    return said or f"an error that should not happen ({type(error).__name__})"


def _is_old(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > FORGOTTEN_S
    except FileNotFoundError:  # another process has just taken it away
        return False


def _pause(tries: int, first_s: float, longest_s: float) -> float:
    return min(first_s * 2.0 ** min(tries - 1, 30), longest_s)


def _put_back(changes: sqlite3.Connection, owner: str, now: float) -> int:
    """What a process that is gone had claimed."""
    sent = changes.execute(
        "UPDATE deliveries SET state = 'due', owner = '' WHERE owner = ? AND state = 'sending'", (owner,)
    )
    ran = changes.execute(
        "UPDATE jobs SET owner = '', kills = kills + 1, changed = ?, "
        "state = CASE WHEN kills + 1 < ? THEN 'ready' ELSE 'failed' END, "
        "message = CASE WHEN kills + 1 < ? THEN 'the service was killed while it ran' "
        "ELSE 'the service was killed ' || (kills + 1) || ' times while it ran' END "
        "WHERE owner = ? AND state = 'running'",
        (now, MOST_KILLS, MOST_KILLS, owner),
    )
    return sent.rowcount + ran.rowcount


def _note_sent(changes: sqlite3.Connection, delivery_id: int, now: float) -> None:
    changes.execute(
        "UPDATE deliveries SET state = 'sent', message = '', owner = '', attempts = attempts + 1, next_try = ? "
        "WHERE id = ?",
        (now, delivery_id),
    )


def _note_failed(changes: sqlite3.Connection, delivery_id: int, message: str, now: float) -> None:
    row = changes.execute("SELECT * FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    if row is None or row["state"] == "sent":
        return
    tries = row["attempts"] + 1
    state = "due" if tries < MOST_TRIES else "gave up"
    changes.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, next_try = ?, message = ?, owner = '' WHERE id = ?",
        (state, tries, now + _pause(tries, TRY_AGAIN_S, LONGEST_PAUSE_S), message, delivery_id),
    )
    if state == "gave up":
        text = f"a result could not be delivered in {tries} tries; it lies in the queue's folder"
        notice(changes, "not delivered", f"job {row['job_id']}", text, now)
