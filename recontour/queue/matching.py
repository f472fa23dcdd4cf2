"""Which plan a complete daily scan has: jobs come from here, and nowhere else.

A CT with a structure set that people made is a planning scan; a CT without one is a daily scan, and one job. Its plan
is the planning scan of the same patient that was made last before it. Whatever is not certain waits or fails with its
reason, and runs when what it lacks has come:

- no plan yet, or one that is still arriving: it waits;
- two patients under one ID, two images or two structure sets under one UID: it fails, loudly;
- structure sets that recontour made (their header says so, or this queue made them, or the set that they were changed
  from) never make a plan, and neither does any set that comes for a scan that was already run as a daily one: `appoint`
  is for a person who knows that it is a new plan;
- another reconstruction of a planning scan (same study, frame of reference and day) is no daily scan, and neither is a
  series of one or two images.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recontour.dicom.stack import FEWEST_SLICES
from recontour.errors import PatientMismatch, UsageError
from recontour.queue.database import notice
from recontour.queue.jobs import Jobs
from recontour.queue.spool import TWO_SETS

_LATEST_RUN = ("running", "done", "failed")
_OURS, _NO_PLAN = "made by recontour", "no plan of the patient is here"


@dataclass(frozen=True)
class _Plan:
    """A structure set and the CT that it was drawn on. missing: images that it refers to and that are not here."""

    structures: sqlite3.Row
    scan: sqlite3.Row
    missing: int


@dataclass(frozen=True)
class _Decision:
    """What is to become of a daily scan. state "none": it is no daily scan."""

    state: Literal["waiting", "ready", "failed", "none"]
    message: str = ""
    planning_uid: str = ""
    structures_uid: str = ""


def match(jobs: Jobs, now: float) -> list[int]:
    """Looks at every complete scan that is not decided yet; the ids of the jobs that are ready since.

    Decides anew for what waits or is ready, since a nearer plan or more images may have come.
    """
    became: list[int] = []
    with jobs.spool.database.changing() as changes:
        _settle_roles(changes, now)
        sql = (
            "SELECT s.* FROM series s LEFT JOIN jobs j ON j.daily_series_uid = s.series_uid WHERE s.kind = 'ct' "
            "AND s.state = 'complete' AND s.role = '' AND (j.id IS NULL OR j.state IN ('waiting', 'ready')) "
            "ORDER BY s.scanned, s.series_uid"
        )
        for scan in changes.execute(sql).fetchall():
            became += _apply(changes, scan, _decide(changes, scan), now)
    return became


def appoint(jobs: Jobs, series_uid: str, now: float) -> None:
    """A person says that this CT with its structure set is a plan, whatever the queue took it for: scans made after it
    will have their contours from it. Raises UsageError where there is no such scan with a structure set."""
    with jobs.spool.database.changing() as changes:
        scan = changes.execute("SELECT * FROM series WHERE series_uid = ? AND kind = 'ct'", (series_uid,)).fetchone()
        drawn = [] if scan is None else _drawn_on(changes, scan)
        if not drawn:
            found = "no such CT with a structure set"
            raise UsageError(found, where=f"series ...{series_uid[-8:]}", allowed="a CT series of the queue")
        sql = "UPDATE structures SET trouble = '', settled = 1 WHERE sop_uid = ?"
        changes.executemany(sql, [(s["sop_uid"],) for s in drawn])
        changes.execute("UPDATE series SET role = 'planning' WHERE series_uid = ?", (series_uid,))
        changes.execute("DELETE FROM jobs WHERE daily_series_uid = ? AND state IN ('waiting', 'ready')", (series_uid,))
        notice(changes, "appointed", series_uid, "a person made this scan a plan", now)


def _settle_roles(changes: sqlite3.Connection, now: float) -> None:
    """Structure sets that have come for scans make them planning scans, or are told not to."""
    sql = "SELECT * FROM structures WHERE settled = 0 AND trouble IN ('', 'ours', ?)"
    for drawn in changes.execute(sql, (TWO_SETS,)).fetchall():
        if drawn["trouble"] == "ours":
            _ignore_ours(changes, drawn, now)
            continue
        scans = _scans_of(changes, drawn)
        for scan in scans:
            _make_planning(changes, drawn, scan, now)
        if scans:
            changes.execute("UPDATE structures SET settled = 1 WHERE sop_uid = ?", (drawn["sop_uid"],))


def _ignore_ours(changes: sqlite3.Connection, drawn: sqlite3.Row, now: float) -> None:
    text = "a structure set that recontour made came back: kept, and never taken as a plan"
    notice(changes, "our own", drawn["sop_uid"], text, now)
    changes.execute("UPDATE structures SET trouble = ? WHERE sop_uid = ?", (_OURS, drawn["sop_uid"]))


def _make_planning(changes: sqlite3.Connection, drawn: sqlite3.Row, scan: sqlite3.Row, now: float) -> None:
    if difference := _difference(drawn, scan):
        changes.execute("UPDATE structures SET trouble = ? WHERE sop_uid = ?", (difference, drawn["sop_uid"]))
        notice(changes, "two patients", drawn["sop_uid"], f"a structure set and its CT: {difference}", now)
        return
    if scan["role"] == "planning":
        _tell_of_newer(changes, scan, now)
        return
    sql = "SELECT id, state FROM jobs WHERE daily_series_uid = ?"
    job = changes.execute(sql, (scan["series_uid"],)).fetchone()
    if job is not None and job["state"] in _LATEST_RUN:
        text = f"a structure set came for the daily scan of job {job['id']}: kept, and not taken as a plan"
        changes.execute(
            "UPDATE structures SET trouble = 'it came for a daily scan' WHERE sop_uid = ?", (drawn["sop_uid"],)
        )
        notice(changes, "drawn on a daily scan", drawn["sop_uid"], text, now)
        return
    changes.execute("DELETE FROM jobs WHERE daily_series_uid = ?", (scan["series_uid"],))
    changes.execute("UPDATE series SET role = 'planning' WHERE series_uid = ?", (scan["series_uid"],))


def _tell_of_newer(changes: sqlite3.Connection, planning: sqlite3.Row, now: float) -> None:
    """What has been run has the contours of then."""
    sql = "SELECT id FROM jobs WHERE planning_series_uid = ? AND state IN ('running', 'done')"
    for job in changes.execute(sql, (planning["series_uid"],)).fetchall():
        text = f"another structure set came for the plan of job {job['id']} after it had begun. Look, and requeue it"
        notice(changes, "late contours", f"job {job['id']}", text, now)


def _apply(changes: sqlite3.Connection, scan: sqlite3.Row, decision: _Decision, now: float) -> list[int]:
    """The job as decided; its id, where it has just become ready."""
    uid = scan["series_uid"]
    if decision.state == "none":
        changes.execute("DELETE FROM jobs WHERE daily_series_uid = ?", (uid,))
        changes.execute("UPDATE series SET role = 'not used' WHERE series_uid = ?", (uid,))
        notice(changes, "not used", uid, decision.message, now)
        return []
    job = changes.execute("SELECT * FROM jobs WHERE daily_series_uid = ?", (uid,)).fetchone()
    if job is None:
        sql = "INSERT INTO jobs (state, daily_series_uid, created, changed) VALUES ('waiting', ?, ?, ?)"
        changes.execute(sql, (uid, now, now))
        job = changes.execute("SELECT * FROM jobs WHERE daily_series_uid = ?", (uid,)).fetchone()
    wanted = (decision.state, decision.planning_uid, decision.structures_uid)
    if wanted == (job["state"], job["planning_series_uid"], job["structures_uid"]) and (
        decision.state == "ready" or decision.message == job["message"]
    ):
        return []
    changes.execute(
        "UPDATE jobs SET state = ?, planning_series_uid = ?, structures_uid = ?, message = ?, changed = ? WHERE id = ?",
        (*wanted, decision.message, now, job["id"]),
    )
    if decision.state == "failed":
        notice(changes, "refused", f"job {job['id']}", decision.message, now)
    return [job["id"]] if decision.state == "ready" and job["state"] != "ready" else []


def _decide(changes: sqlite3.Connection, scan: sqlite3.Row) -> _Decision:
    if scan["trouble"]:
        return _Decision("failed", scan["trouble"])
    if _is_single_images(changes, scan):
        return _Decision("none", f"a CT series of fewer than {FEWEST_SLICES} images: no scan")
    plans = _plans_of_patient_id(changes, scan)
    if clash := next((d for p in plans for r in (p.scan, p.structures) if (d := _difference(r, scan))), ""):
        return _Decision("failed", f"it and a plan of its patient ID may not be of one patient: {clash}")
    if any(_is_sibling(scan, plan.scan) for plan in plans):
        return _Decision("none", "another reconstruction of a planning scan: no daily scan")
    if not plans:
        return _Decision("waiting", _why_no_plan(changes, scan))
    if not scan["scanned"] or not all(plan.scan["scanned"] for plan in plans):
        return _Decision("waiting", "a scan without a date: which plan came before it is not known")
    before = [plan for plan in plans if plan.scan["scanned"] <= scan["scanned"]]
    if not before:
        return _Decision("waiting", "every plan of the patient was made after it")
    latest = max(plan.scan["scanned"] for plan in before)
    return _with_plan(scan, [plan for plan in before if plan.scan["scanned"] == latest])


def _with_plan(scan: sqlite3.Row, nearest: Sequence[_Plan]) -> _Decision:
    """nearest: plans of one moment, not none."""
    if len({plan.scan["series_uid"] for plan in nearest}) > 1:
        nearest = [plan for plan in nearest if plan.scan["frame_uid"] == scan["frame_uid"]]
    if len({plan.scan["series_uid"] for plan in nearest}) != 1:
        return _Decision("waiting", "two planning scans of one moment: which one is meant is not known")
    newest = max(plan.structures["made"] for plan in nearest)
    chosen = [plan for plan in nearest if plan.structures["made"] == newest]
    plan = chosen[0]
    uids = plan.scan["series_uid"], plan.structures["sop_uid"]
    if len(chosen) > 1:
        return _Decision("waiting", "two structure sets of its plan are of one moment: which one is meant is not known")
    if trouble := plan.scan["trouble"] or plan.structures["trouble"]:
        return _Decision("failed", f"its plan: {trouble}", *uids)
    if plan.scan["state"] != "complete":
        return _Decision("waiting", "its planning scan is still arriving")
    if plan.missing:
        return _Decision("waiting", f"{plan.missing} images that its plan refers to are not here")
    return _Decision("ready", "", *uids)


def _plans_of_patient_id(changes: sqlite3.Connection, scan: sqlite3.Row) -> list[_Plan]:
    """Of all who have the scan's patient ID; where it has none, of those without one who are the same by name. A set in
    two versions is among them: an older plan must not be taken in its place."""
    sql = "SELECT * FROM structures WHERE patient_id = ? AND trouble IN ('', ?) ORDER BY sop_uid"
    plans: list[_Plan] = []
    for drawn in changes.execute(sql, (scan["patient_id"], TWO_SETS)).fetchall():
        if not scan["patient_id"] and _difference(drawn, scan):
            continue
        for planning in _scans_of(changes, drawn):
            if planning["role"] == "planning" and planning["series_uid"] != scan["series_uid"]:
                plans.append(_Plan(drawn, planning, _missing(changes, drawn, planning)))
    return plans


def _scans_of(changes: sqlite3.Connection, drawn: sqlite3.Row) -> list[sqlite3.Row]:
    """The CT series that a structure set was drawn on: as dicom.references.check_structures_belong has it."""
    series_uids: list[str] = json.loads(drawn["series_uids"])
    if series_uids:
        marks = ",".join("?" * len(series_uids))
        sql = f"SELECT * FROM series WHERE kind = 'ct' AND series_uid IN ({marks})"
        found = changes.execute(sql, series_uids).fetchall()
        return [scan for scan in found if drawn["frame_uid"] in ("", scan["frame_uid"])]
    sql = "SELECT * FROM series WHERE kind = 'ct' AND frame_uid = ? AND frame_uid != '' AND patient_id = ?"
    found = changes.execute(sql, (drawn["frame_uid"], drawn["patient_id"])).fetchall()
    return found if len(found) == 1 else []


def _drawn_on(changes: sqlite3.Connection, scan: sqlite3.Row) -> list[sqlite3.Row]:
    sql = "SELECT * FROM structures WHERE patient_id = ?"
    of_patient = changes.execute(sql, (scan["patient_id"],)).fetchall()
    return [s for s in of_patient if scan["series_uid"] in [row["series_uid"] for row in _scans_of(changes, s)]]


def _missing(changes: sqlite3.Connection, drawn: sqlite3.Row, planning: sqlite3.Row) -> int:
    """How many of the images that the set lists as those it was drawn on (PS3.3 C.8.8.5) are not here."""
    sql = "SELECT sop_uid FROM objects WHERE series_uid = ?"
    here = {row[0] for row in changes.execute(sql, (planning["series_uid"],))}
    return len(set(json.loads(drawn["image_uids"])) - here)


def _is_single_images(changes: sqlite3.Connection, scan: sqlite3.Row) -> bool:
    """A topogram or a capture that does not say what it is; an image without a position of its own is multi-frame."""
    sql = "SELECT count(*), count(position_mm) FROM objects WHERE series_uid = ? AND kind = 'ct'"
    images, slices = changes.execute(sql, (scan["series_uid"],)).fetchone()
    return images == slices < FEWEST_SLICES


def _is_sibling(scan: sqlite3.Row, planning: sqlite3.Row) -> bool:
    same = all(scan[name] == planning[name] for name in ("study_uid", "frame_uid"))
    return same and scan["scanned"][:8] == planning["scanned"][:8]


def _why_no_plan(changes: sqlite3.Connection, scan: sqlite3.Row) -> str:
    sql = "SELECT trouble FROM structures WHERE patient_id = ? AND patient_id != ''"
    here = {row[0] for row in changes.execute(sql, (scan["patient_id"],))}
    if here & {"", TWO_SETS}:
        return "a structure set of the patient is here, its planning CT is not"
    unused = sorted(here - {"ours", _OURS})
    return f"{_NO_PLAN}; a structure set is not used: {unused[0]}" if unused else _NO_PLAN


def _difference(a: sqlite3.Row, b: sqlite3.Row) -> str:
    """Why two headers may not be of one patient, in words without identity; "" where they are.

    Stricter than check_same_patient: nobody looks on, so that names that differ under one ID are refused as well.
    """
    from recontour.dicom.references import PatientHeader, check_same_patient

    first, second = (PatientHeader(r["patient_name"], r["patient_id"], r["birth_date"]) for r in (a, b))
    try:
        check_same_patient(first, second)
    except PatientMismatch as refused:
        return refused.found.partition(": ")[2]
    names = _plain_name(first.name), _plain_name(second.name)
    return "their patient IDs agree but their names differ" if all(names) and names[0] != names[1] else ""


def _plain_name(name: str) -> tuple[str, ...]:
    """Family and given name of the first way it is written (PS3.5 6.2.1), without case, accents and blanks."""
    letters = unicodedata.normalize("NFKD", name.split("=")[0]).casefold()
    parts = ["".join(c for c in part if c.isalnum()) for part in letters.split("^")[:2]]
    return tuple(part for part in parts if part)
