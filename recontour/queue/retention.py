"""What is done with is removed from the queue's folder after some days, where that is asked for.

Removed are the daily scan and all attempts of a job that is done, whose contours and all other results have reached
every destination, and of which nobody has to look at anything. A plan stays, since later scans need it, and so does
whatever waits, failed, was not delivered or is disputed. The database goes on knowing that the scan was run, the UIDs
of what was made of it, and where that was sent.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from recontour.queue.database import LOUD
from recontour.queue.spool import Spool

DAY_S = 86400.0

_TOLD = ", ".join(f"'{kind}'" for kind in LOUD)
_DONE_WITH = f"""
SELECT j.id, j.daily_series_uid FROM jobs j JOIN series s ON s.series_uid = j.daily_series_uid
WHERE j.state = 'done' AND j.changed < ?1
AND s.state = 'complete' AND s.role = '' AND s.last_received < ?1
AND EXISTS (SELECT 1 FROM deliveries WHERE job_id = j.id AND file = j.folder || '/rtstruct.dcm')
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job_id = j.id AND (state != 'sent' OR next_try >= ?1))
AND NOT EXISTS (SELECT 1 FROM series WHERE series_uid IN (j.daily_series_uid, j.planning_series_uid) AND trouble != '')
AND NOT EXISTS (SELECT 1 FROM structures WHERE sop_uid = j.structures_uid AND trouble != '')
AND NOT EXISTS (SELECT 1 FROM notices WHERE subject IN (j.daily_series_uid, 'job ' || j.id) AND kind IN ({_TOLD}))
"""


@dataclass(frozen=True)
class Removed:
    """Of one job: how many files are gone. problem: "", or why they could not be removed."""

    job_id: int
    files: int
    problem: str = ""


def remove_old(spool: Spool, now: float, keep_days: float) -> list[Removed]:
    """Removes what is done with and was run, delivered and received more than `keep_days` ago; 0: nothing, ever.

    A kill in between leaves the rest for the next time. Raises OutputRefused where the queue cannot be written.
    """
    if not keep_days:
        return []
    limit = now - keep_days * DAY_S
    return [_remove(spool, row["id"], limit) for row in spool.database.rows(_DONE_WITH, (limit,))]


def _remove(spool: Spool, job_id: int, limit: float) -> Removed:
    """While nobody else may write: no sender, no person and no worker can begin anything with it meanwhile."""
    count = 0
    try:
        with spool.database.changing() as changes:
            job = changes.execute(f"{_DONE_WITH} AND j.id = ?2", (limit, job_id)).fetchone()
            if job is not None:
                uid = job["daily_series_uid"]
                for folder in (spool.folder / "jobs" / str(job_id), spool.folder / "series" / uid):
                    count += _remove_folder(folder)
                changes.execute("DELETE FROM objects WHERE series_uid = ?", (uid,))
                changes.execute("UPDATE series SET state = 'removed', gap = '' WHERE series_uid = ?", (uid,))
    except OSError as error:
        return Removed(job_id, count, error.strerror or type(error).__name__)
    return Removed(job_id, count)


def _remove_folder(folder: Path) -> int:
    files = sum(path.is_file() for path in folder.rglob("*"))
    if folder.exists():
        shutil.rmtree(folder)
    return files
