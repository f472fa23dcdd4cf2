"""What the queue holds, as plain rows: counts, what waits for what, what failed, what a person has to know.

No identity: patients are in none of it, and of a UID its last digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from recontour.queue.database import LOUD
from recontour.queue.spool import Spool

_LAST = 10  # of failures and of what is not urgent


@dataclass(frozen=True)
class QueueStatus:
    """Rows of text to be shown as tables; the headings are in `HEADINGS` under the same names."""

    counts: tuple[tuple[str, str], ...]
    arriving: tuple[tuple[str, ...], ...] = ()
    waiting: tuple[tuple[str, ...], ...] = ()
    failed: tuple[tuple[str, ...], ...] = ()
    undelivered: tuple[tuple[str, ...], ...] = ()
    notices: tuple[tuple[str, ...], ...] = field(default=())


HEADINGS: dict[str, tuple[str, ...]] = {
    "counts": ("what", "how many"),
    "arriving": ("series", "images", "last came", "why it is not complete"),
    "waiting": ("job", "daily series", "state", "waits for"),
    "failed": ("job", "daily series", "attempts", "why"),
    "undelivered": ("job", "file", "destination", "state", "tries", "why"),
    "notices": ("when", "times", "about", "what"),
}


def status(spool: Spool) -> QueueStatus:
    """What stands in the queue at this moment. Changes nothing."""
    return QueueStatus(
        _counts(spool), _arriving(spool), _waiting(spool), _failed(spool), _undelivered(spool), _notices(spool)
    )


def _counts(spool: Spool) -> tuple[tuple[str, str], ...]:
    ask = spool.database.rows
    objects = ask("SELECT count(*), coalesce(sum(bytes), 0) FROM objects")[0]
    rows = [("objects received", f"{objects[0]}, {objects[1] / 1e6:.0f} MB")]
    rows += [(f"series {r[0]}", str(r[1])) for r in ask("SELECT state, count(*) FROM series GROUP BY state ORDER BY 1")]
    rows += [(f"jobs {r[0]}", str(r[1])) for r in ask("SELECT state, count(*) FROM jobs GROUP BY state ORDER BY 1")]
    sql = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY 1"
    return tuple(rows + [(f"deliveries {r[0]}", str(r[1])) for r in ask(sql)])


def _arriving(spool: Spool) -> tuple[tuple[str, ...], ...]:
    sql = (
        "SELECT s.series_uid, count(o.sop_uid), s.last_received, s.gap FROM series s JOIN objects o USING (series_uid) "
        "WHERE s.state = 'open' GROUP BY s.series_uid ORDER BY s.last_received DESC"
    )
    return tuple(
        (_short(r[0]), str(r[1]), _time(r[2]), r[3] or "it has not been quiet yet") for r in spool.database.rows(sql)
    )


def _waiting(spool: Spool) -> tuple[tuple[str, ...], ...]:
    sql = "SELECT * FROM jobs WHERE state IN ('waiting', 'ready', 'running') ORDER BY id"
    return tuple(
        (str(r["id"]), _short(r["daily_series_uid"]), r["state"], r["message"]) for r in spool.database.rows(sql)
    )


def _failed(spool: Spool) -> tuple[tuple[str, ...], ...]:
    sql = f"SELECT * FROM jobs WHERE state = 'failed' ORDER BY changed DESC LIMIT {_LAST}"
    rows = spool.database.rows(sql)
    return tuple((str(r["id"]), _short(r["daily_series_uid"]), str(r["attempts"]), r["message"]) for r in rows)


def _undelivered(spool: Spool) -> tuple[tuple[str, ...], ...]:
    sql = f"SELECT * FROM deliveries WHERE state != 'sent' ORDER BY id DESC LIMIT {_LAST}"
    return tuple(
        (str(r["job_id"]), r["file"].rpartition("/")[2], r["destination"], r["state"], str(r["attempts"]), r["message"])
        for r in spool.database.rows(sql)
    )


def _notices(spool: Spool) -> tuple[tuple[str, ...], ...]:
    """All that a person has to look at, then the last of the others; the newest first."""
    marks = ",".join("?" * len(LOUD))
    loud = spool.database.rows(f"SELECT * FROM notices WHERE kind IN ({marks}) ORDER BY last DESC", LOUD)
    sql = f"SELECT * FROM notices WHERE kind NOT IN ({marks}) ORDER BY last DESC LIMIT {_LAST}"
    rows = [*loud, *spool.database.rows(sql, LOUD)]
    return tuple((_time(r["last"]), str(r["count"]), _short(r["subject"]), r["text"]) for r in rows)


def _short(uid: str) -> str:
    return uid if uid.startswith("job ") else f"...{uid[-8:]}"


def _time(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).strftime("%m-%d %H:%M:%S")
