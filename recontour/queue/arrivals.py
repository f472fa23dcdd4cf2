"""Which series have arrived whole. DICOM's storage has no end of a series: that nothing more comes is all there is."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from statistics import median

from recontour.dicom.stack import LARGEST_GAP
from recontour.queue.database import notice
from recontour.queue.spool import Spool


def settle(spool: Spool, now: float, quiet_s: float) -> list[str]:
    """Takes as complete, and returns the UIDs of, the series of which nothing came for `quiet_s` seconds.

    Quiet is counted from when this process began to listen, at the earliest: a sender whose receiver was away tries
    again. A structure set is one object and complete at once. A CT whose slices leave a gap is incomplete for sure:
    it stays open, and the status says between which heights slices are missing. Whether slices are missing at either
    end cannot be known from the scan itself.
    """
    with spool.database.changing() as changes:
        rows = changes.execute("SELECT * FROM series WHERE state = 'open' ORDER BY series_uid").fetchall()
        return [row["series_uid"] for row in rows if _settle(changes, spool, row, now, quiet_s)]


def _settle(changes: sqlite3.Connection, spool: Spool, row: sqlite3.Row, now: float, quiet_s: float) -> bool:
    uid, kind = row["series_uid"], row["kind"]
    quiet = now - max(row["last_received"], spool.listening_since)
    if quiet < quiet_s and kind != "structures":
        return False
    gap = _gap(changes, uid) if kind == "ct" else ""
    if gap != row["gap"]:
        changes.execute("UPDATE series SET gap = ? WHERE series_uid = ?", (gap, uid))
    if gap:
        return False
    changes.execute("UPDATE series SET state = 'complete' WHERE series_uid = ?", (uid,))
    if kind in ("other", "localiser"):
        name = "a series of localisers" if kind == "localiser" else "objects that are neither CT nor structure set"
        notice(changes, "not used", uid, f"{name}: kept, and used for nothing", now)
    return True


def _gap(changes: sqlite3.Connection, series_uid: str) -> str:
    """Between which slices some are missing, in words; "" where none is known to be."""
    sql = (
        "SELECT DISTINCT round(position_mm, 2) FROM objects "
        "WHERE series_uid = ? AND position_mm IS NOT NULL AND kind = 'ct'"
    )
    places = sorted(row[0] for row in changes.execute(sql, (series_uid,)))
    steps = [b - a for a, b in pairwise(places)]
    if len(steps) < 2:
        return ""
    usual = median(steps)
    wide = [k for k, step in enumerate(steps) if step > LARGEST_GAP * usual]
    if not wide:
        return ""
    first = f"{steps[wide[0]]:.1f} mm between two slices, {usual:.1f} mm between most"
    return f"slices are missing: {first}" + (f", and {len(wide) - 1} more gaps" if len(wide) > 1 else "")
