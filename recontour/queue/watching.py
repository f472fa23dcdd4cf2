"""The service of a watched folder: look, settle, match, run, deliver, and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from recontour.errors import UsageError
from recontour.queue.arrivals import settle
from recontour.queue.database import LOUD
from recontour.queue.folder import DESTINATION, RESULTS, Looked, deliver, look
from recontour.queue.jobs import Jobs
from recontour.queue.matching import match
from recontour.queue.retention import remove_old
from recontour.queue.spool import Spool
from recontour.queue.worker import RunOptions, run_next
from recontour.settings import Settings


@dataclass(frozen=True)
class WatchRequest:
    """folder: watched. out: where results go. queue: where the spool lies. quiet_s: a series is whole when nothing of
    it came for so long. remove: files are deleted from `folder` once they are safe. keep_days: after so many days what
    is done with is removed from the queue (retention); 0: never."""

    folder: Path
    out: Path
    queue: Path
    settings: Settings
    options: RunOptions
    quiet_s: float = 30.0
    remove: bool = False
    keep_days: float = 0.0


@dataclass(frozen=True)
class Round:
    """What one round did, in words without identity. busy: there was work, and there may be more. at_rest: nothing that
    is here can go on by itself."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    busy: bool
    at_rest: bool


@dataclass(frozen=True)
class Ended:
    """How much ended badly: jobs that failed, contours that were rejected, files or scans that were refused, results
    that could not be copied."""

    failed: int
    rejected: int
    refused: int
    undelivered: int


class Watch:
    """A folder that is watched, until `close`."""

    def __init__(self, request: WatchRequest) -> None:
        """Raises UsageError where there is no such folder or the two folders are one, OutputRefused where the queue
        cannot be made, and UsageError where the key of pseudonyms cannot be read."""
        from recontour.qa.pseudonym import pseudonym_key

        if not request.folder.is_dir():
            raise UsageError("no such folder", where="FOLDER", allowed="a folder in which files appear")
        if request.out.resolve() == request.folder.resolve():
            raise UsageError("the folder that is watched is that of the results", where="--out", allowed="another one")
        pseudonym_key(request.options.pseudonym_key)
        self._request = request
        self._options = replace(request.options, deliver={DESTINATION: RESULTS})
        self.spool = Spool(request.queue)
        self.jobs = Jobs(self.spool)
        self._told_jobs: dict[int, str] = {}
        self._told_tries: dict[int, int] = {}
        self._told_notices: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Another may go on with what is left."""
        self.jobs.close()
        self.spool.database.close()

    def begin(self, now: float) -> None:
        """Once, before the first round: what a killed process had begun is put back; old news are not told again."""
        self.jobs.recover(now)
        self.spool.listening_since = 0.0  # files come whether anybody looks or not, and carry their times
        self._news()
        self._warnings()

    def round(self, now: float) -> Round:
        """One job at most, one look, and what follows. Raises OutputRefused where the queue cannot be used."""
        asked = self._request
        ran = run_next(self.jobs, asked.settings, self._options, now)
        looked = look(self.spool, asked.folder, [asked.out, asked.queue], asked.remove)
        settle(self.spool, now, asked.quiet_s)
        match(self.jobs, now)
        delivered = deliver(self.jobs, asked.out, now, asked.options.pseudonym_key)
        lines = [*_seen(looked), *self._news(), *(f"results: {folder}" for folder in delivered), *self._clear(now)]
        busy = bool(looked.taken or ran or delivered)
        at_rest = not (busy or looked.growing or self._arriving() or self.jobs.next(now))
        return Round(tuple(lines), (*self._warnings(), *self._undelivered()), busy, at_rest)

    def ended_since(self, begun: float) -> Ended:
        """Of jobs and files, since that time."""
        ask = self.spool.database.rows
        failed = ask("SELECT count(*) FROM jobs WHERE state = 'failed' AND changed >= ?", (begun,))
        rejected = ask("SELECT count(*) FROM jobs WHERE light = 'reject' AND changed >= ?", (begun,))
        marks = ",".join("?" * len(LOUD))
        refused = ask(f"SELECT count(*) FROM notices WHERE last >= ? AND kind IN ({marks})", (begun, *LOUD))
        undelivered = ask("SELECT count(*) FROM deliveries WHERE state != 'sent' AND attempts > 0")
        return Ended(failed[0][0], rejected[0][0], refused[0][0], undelivered[0][0])

    def _clear(self, now: float) -> list[str]:
        cleared = remove_old(self.spool, now, self._request.keep_days)
        return [f"job {one.job_id}: " + (one.problem or f"{one.files} files removed") for one in cleared]

    def _arriving(self) -> bool:
        """Whether a series may yet become whole by being quiet."""
        return bool(self.spool.database.rows("SELECT 1 FROM series WHERE state = 'open' AND gap = '' LIMIT 1"))

    def _news(self) -> list[str]:
        """Jobs whose state has changed since they were last told."""
        lines: list[str] = []
        for job in self.jobs.list():
            now = f"{job.state}: {job.light or job.message}".removesuffix(": ")
            if self._told_jobs.get(job.id) != now:
                lines.append(f"job {job.id}, series ...{job.daily_series_uid[-8:]}: {now}")
            self._told_jobs[job.id] = now
        return lines

    def _undelivered(self) -> list[str]:
        sql = "SELECT * FROM deliveries WHERE state != 'sent' AND attempts > 0 GROUP BY job_id ORDER BY job_id"
        found: list[str] = []
        for row in self.spool.database.rows(sql):
            if self._told_tries.get(row["job_id"]) != row["attempts"]:
                again = "tried again" if row["state"] == "due" else "given up"
                found.append(f"job {row['job_id']}: its results could not be copied ({row['message']}): {again}")
            self._told_tries[row["job_id"]] = row["attempts"]
        return found

    def _warnings(self) -> list[str]:
        found: list[str] = []
        for row in self.spool.database.rows("SELECT * FROM notices ORDER BY last"):
            key = row["kind"], row["subject"]
            if self._told_notices.get(key) != row["count"] and row["kind"] in LOUD:
                found.append(row["text"])
            self._told_notices[key] = row["count"]
        return found


def _seen(looked: Looked) -> list[str]:
    if not (looked.taken or looked.refused):
        return []
    refused = f", {looked.refused} refused" if looked.refused else ""
    return [f"{looked.taken} files taken{refused}"]
