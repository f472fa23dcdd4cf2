"""A folder, a DICOMDIR or a CSV -> courses: planning scans and the fractions that take their contours.

Which planning scan is a fraction's: without a name, the patient's earliest scan with a structure set, since later ones
may as well be contoured fractions, which no header tells apart. With `planning_name`, the scans called so are planning
scans, and each fraction takes the nearest one before it. Where that one has no structure set the fraction is left out:
contours of a plan that is no longer treated would look right.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recontour.dicom.cohort import Cohort, CohortPatient, CohortScan, LeftOut, course_of, find_cohort
from recontour.dicom.directory import files_named
from recontour.errors import InputRefused, ScanRefused, UsageError

COLUMNS = ("planning", "daily", "structures")


@dataclass(frozen=True)
class Treatment:
    """A planning scan with its structure set, and the fractions that take its contours. identifier: the patient's."""

    identifier: str = field(repr=False)
    planning: CohortScan
    daily: tuple[CohortScan, ...]


@dataclass(frozen=True)
class Omitted:
    """What is not done, and why, in words without identity. counts: whether a fraction may be lost by it."""

    what: str
    reason: str
    identifier: str = field(default="", repr=False)
    counts: bool = True


@dataclass(frozen=True)
class Found:
    """All treatments of a cohort, and what belongs to none."""

    treatments: tuple[Treatment, ...]
    omitted: tuple[Omitted, ...]


def discover(
    cohort: Path, planning_name: str = "", out: Path | None = None, on_file: Callable[[int], None] | None = None
) -> Found:
    """What there is to do, from headers alone. out: a folder that is not looked at. on_file: called with the number of
    files looked at.

    Raises UsageError where there is no such folder or file, or it is neither DICOMDIR nor a CSV with the COLUMNS.
    """
    ignored = [out] if out else []
    if cohort.is_file():
        if cohort.suffix.lower() == ".csv":
            return _of_rows(cohort, ignored, on_file)
        found = find_cohort(cohort.parent, on_file=on_file, files=files_named(cohort))
        return _of_cohort(found, planning_name)
    return _of_cohort(find_cohort(cohort, ignored, on_file), planning_name)


def _of_cohort(found: Cohort, planning_name: str) -> Found:
    blocked, omitted = _damaged(found)
    treatments: list[Treatment] = []
    for patient in found.patients:
        try:
            courses, others = _courses(patient, planning_name)
        except ScanRefused as refused:
            omitted.append(Omitted("patient", refused.found, patient.identifier))
            continue
        omitted += others
        for course in courses:
            kept, lost = _unblocked(course, blocked)
            omitted += lost
            treatments += [kept] if kept.daily else []
    return Found(tuple(treatments), tuple(omitted))


def _damaged(found: Cohort) -> tuple[dict[str, str], list[Omitted]]:
    """Series UID -> why it may lack an image; and all that the cohort left out.

    A file that cannot be read may be a slice of the scan that it lies with. Where it lies with one series alone, that
    one is not used; with several, nobody knows whose it is: a slice lost from the middle is noticed when the scan is
    read, and the file is told.
    """
    lying: dict[Path, set[str]] = {}
    for scan in (scan for patient in found.patients for scan in patient.scans):
        for place in {(scan.folder / name).parent for name in scan.files}:
            lying.setdefault(place, set()).add(scan.series_uid)
    blocked: dict[str, str] = {}
    omitted: list[Omitted] = []
    for item in found.left_out:
        series = lying.get(item.path.parent, set()) if item.path else set[str]()
        if len(series) == 1:
            blocked[next(iter(series))] = f"{item.what} lies among its images: {item.reason}"
        omitted.append(_omitted(item))
    return blocked, omitted


def _omitted(item: LeftOut) -> Omitted:
    """A structure set that belongs nowhere and a localiser lose no fraction by themselves."""
    harmless = item.what.startswith("structure set") or "localiser" in item.reason
    return Omitted(item.what, item.reason, item.patient_id, not harmless)


def _unblocked(course: Treatment, blocked: Mapping[str, str]) -> tuple[Treatment, list[Omitted]]:
    plan = blocked.get(course.planning.series_uid, "")
    reasons = {scan.series_uid: plan and f"its planning scan: {plan}" for scan in course.daily}
    reasons |= {uid: reason for uid, reason in blocked.items() if uid in reasons}
    lost = [Omitted(scan.label, reasons[scan.series_uid], course.identifier)
            for scan in course.daily if reasons[scan.series_uid]]  # fmt: skip
    return replace(course, daily=tuple(scan for scan in course.daily if not reasons[scan.series_uid])), lost


def _courses(patient: CohortPatient, planning_name: str) -> tuple[list[Treatment], list[Omitted]]:
    """Raises ScanRefused where no planning scan can be told."""
    plans = [scan for scan in patient.scans if planning_name and scan.is_called(planning_name)]
    if len(plans) > 1:
        return _nearest(patient, plans)
    course = course_of(patient, planning_name)
    planning = course.planning
    early = [scan for scan in course.daily if scan.scanned < planning.scanned] if planning.scanned else []
    daily = tuple(scan for scan in course.daily if scan not in early)
    omitted = [_not_after(scan, patient) for scan in (*course.before, *early)]
    if not daily:
        omitted.append(Omitted("patient", "no scan after the planning scan", patient.identifier))
    return [Treatment(patient.identifier, planning, daily)], omitted


def _nearest(patient: CohortPatient, plans: list[CohortScan]) -> tuple[list[Treatment], list[Omitted]]:
    """Each fraction to the planning scan that was made last before it."""
    moments = [plan.scanned for plan in plans]
    if not all(moments) or len(set(moments)) < len(moments):
        found = f"{len(plans)} planning scans, and dates do not tell which of them is when"
        raise ScanRefused(found, where="patient", allowed="planning scans with dates")
    courses: dict[str, list[CohortScan]] = {plan.series_uid: [] for plan in plans}
    omitted: list[Omitted] = []
    for scan in (scan for scan in patient.scans if scan.series_uid not in courses):
        before = [plan for plan in plans if scan.scanned and plan.scanned <= scan.scanned]
        nearest = max(before, key=lambda plan: plan.scanned, default=None)
        if nearest is None:
            omitted.append(_not_after(scan, patient))
        elif nearest.structures is None:
            reason = f"its planning scan, {nearest.label}, has no structure set"
            omitted.append(Omitted(scan.label, reason, patient.identifier))
        else:
            courses[nearest.series_uid].append(scan)
    treated = [Treatment(patient.identifier, plan, tuple(courses[plan.series_uid])) for plan in plans]
    return [course for course in treated if course.daily], omitted


def _not_after(scan: CohortScan, patient: CohortPatient) -> Omitted:
    """An earlier scan, such as a diagnostic one, is no fraction; one without a date may be."""
    if scan.scanned:
        return Omitted(scan.label, "made before the planning scan", patient.identifier, counts=False)
    return Omitted(scan.label, "no date: whether it is after the planning scan is not known", patient.identifier)


@dataclass(frozen=True)
class _Row:
    """A line of the CSV, its paths made absolute."""

    number: int
    planning: Path = field(repr=False)
    daily: Path = field(repr=False)
    structures: str = field(repr=False)


def _of_rows(table: Path, ignored: list[Path], on_file: Callable[[int], None] | None) -> Found:
    """Each row is a fraction, whatever the dates say: who wrote the table knows."""
    folders: dict[Path, Cohort | str] = {}
    treatments: dict[tuple[str, str], Treatment] = {}
    seen: set[tuple[str, str]] = set()
    omitted: list[Omitted] = []
    for row in _rows(table):
        try:
            scans = [_looked_at(folder, folders, ignored, on_file) for folder in (row.planning, row.daily)]
            identifier, planning = _planning_of(row, scans[0])
            daily = _only(scans[1], "daily", planning.series_uid)[1]
        except InputRefused as refused:
            omitted.append(Omitted(f"row {row.number}", refused.found))
            continue
        if (identifier, daily.series_uid) in seen:
            omitted.append(Omitted(f"row {row.number}", "its daily scan is in an earlier row", identifier))
            continue
        seen.add((identifier, daily.series_uid))
        key = identifier, planning.series_uid
        known = treatments.get(key, Treatment(identifier, planning, ()))
        treatments[key] = replace(known, daily=(*known.daily, daily))
    return Found(tuple(treatments.values()), tuple(omitted))


def _rows(table: Path) -> Iterator[_Row]:
    allowed = f"the columns {', '.join(COLUMNS)}; the last may be left out or empty"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            if not {"planning", "daily"} <= columns or columns - set(COLUMNS):
                found = f"columns {', '.join(sorted(str(c) for c in columns)) or 'missing'}"
                raise UsageError(found, where=table.name, allowed=allowed)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("not a readable table", where=table.name, allowed=allowed) from error
    for number, line in enumerate(lines, 1):
        values = {name: (line.get(name) or "").strip() for name in COLUMNS}
        if not (values["planning"] and values["daily"]):
            raise UsageError(f"row {number} lacks a folder", where=table.name, allowed=allowed)
        home = table.resolve().parent
        yield _Row(number, home / values["planning"], home / values["daily"], values["structures"])


def _looked_at(
    folder: Path, folders: dict[Path, Cohort | str], ignored: list[Path], on_file: Callable[[int], None] | None
) -> Cohort:
    """Each folder once. Raises ScanRefused."""
    place = folder.resolve()
    if place not in folders:
        try:
            folders[place] = find_cohort(place, ignored, on_file)
        except UsageError as refused:
            folders[place] = refused.found
    known = folders[place]
    if isinstance(known, str):
        raise ScanRefused(known)
    return known


def _only(found: Cohort, which: str, but: str = "") -> tuple[str, CohortScan]:
    """The one CT series of a folder, and whose it is. Raises ScanRefused."""
    blocked, _ = _damaged(found)
    scans = [(p.identifier, scan) for p in found.patients for scan in p.scans if scan.series_uid != but]
    if len(scans) != 1:
        raise ScanRefused(f"{len(scans) or 'no'} CT series with a patient ID in the {which} folder")
    identifier, scan = scans[0]
    if scan.series_uid in blocked:
        raise ScanRefused(f"the {which} scan: {blocked[scan.series_uid]}")
    return identifier, scan


def _planning_of(row: _Row, found: Cohort) -> tuple[str, CohortScan]:
    """The planning scan with its structure set: the one that was drawn on it, or that the row names by its UID or its
    file. Raises ScanRefused."""
    drawn = [(p.identifier, scan) for p in found.patients for scan in p.scans if scan.structures]
    named = row.structures
    if named:
        drawn = [(who, scan) for who, scan in drawn if scan.structures and _is_named(scan, named, row.planning)]
    if len(drawn) != 1:
        which = "of that name " * bool(named)
        raise ScanRefused(f"{len(drawn) or 'no'} CT with a structure set {which}in the planning folder")
    blocked, _ = _damaged(found)
    identifier, scan = drawn[0]
    if scan.series_uid in blocked:
        raise ScanRefused(f"the planning scan: {blocked[scan.series_uid]}")
    return identifier, scan


def _is_named(scan: CohortScan, named: str, planning: Path) -> bool:
    file = scan.structures
    if file is None:
        return False
    return named == file.sop_instance_uid or (planning / named).resolve() == file.path.resolve()
