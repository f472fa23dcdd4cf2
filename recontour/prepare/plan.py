"""What is to be made of a cohort, from headers alone: nothing is written, no pixel is read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

import numpy as np

from recontour.dicom.cohort import Cohort, CohortScan, Course, LeftOut, course_of, find_cohort
from recontour.dicom.names import ABSENT, close_to
from recontour.errors import OutputRefused, RoiAmbiguous, ScanRefused, SettingsError, UsageError
from recontour.prepare.pair import SPACING_MM, missing_organs, organs_named, reason_of
from recontour.prepare.record import RECORD, CohortRecord, LeftOutRecord, PatientRecord, read_record
from recontour.prepare.request import PrepareRequest
from recontour.prepare.splits import Place, assign_splits, read_split_file
from recontour.train.dataset import ABOUT, PARTS

_BYTES_PER_VOXEL = 6  # two scans of int16, two label maps of uint8
_ORGANS_MM = (110.0, 120.0, 100.0)  # the box of bladder, prostate, vesicles and rectum, z, y, x: to estimate room
_ROOM_FOR_RECORD = 10_000_000  # bytes
_UNCHANGING = ("margin_mm", "require")  # settings that all pairs of one folder share


@dataclass(frozen=True, eq=False)
class PlannedPair:
    """A pair to make, or made already. name: <patient>-<fraction>."""

    name: str
    split: str
    planning: CohortScan
    daily: CohortScan

    @property
    def patient(self) -> str:
        """The pseudonym."""
        return self.name.split("-")[0]

    def folder(self, out: Path) -> Path:
        """Where it lies."""
        return out / self.split / self.name


@dataclass(frozen=True, eq=False)
class PreparePlan:
    """What will be done: `pairs` in all, `missing` those of them that are not on disk. bytes_needed: for these."""

    request: PrepareRequest
    record: CohortRecord
    pairs: tuple[PlannedPair, ...]
    missing: tuple[PlannedPair, ...]

    @property
    def bytes_needed(self) -> int:
        """An estimate, from the box that the four organs usually fill."""
        voxels = np.prod([mm + 2 * self.request.margin_mm for mm in _ORGANS_MM]) / SPACING_MM**3
        return int(voxels) * _BYTES_PER_VOXEL * len(self.missing) + _ROOM_FOR_RECORD


def plan_cohort(request: PrepareRequest, on_file: Callable[[int], None] | None = None) -> PreparePlan:
    """Finds what there is and decides what is to be made; writes nothing and reads no pixels.

    on_file: called with the number of files looked at. Raises UsageError (no such folder, an ROI that no structure
    set has), SettingsError (a patient in two splits; other settings than the folder was made with), OutputRefused
    (a folder that is not empty and not of this command, or cannot be written to).
    """
    record = _record_at(request)
    asked = read_split_file(request.split_file) if request.split_file else None
    if asked is not None:
        _check_moves(asked, record)
    found = find_cohort(request.cohort, [request.out], on_file)
    _check_chosen(request.chosen_rois, found)
    return _planned(request, record, found, asked)


def _record_at(request: PrepareRequest) -> CohortRecord:
    """The record of the folder, or a new one. Raises OutputRefused, SettingsError."""
    out = request.out
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputRefused("the folder cannot be written to", where=out.name, allowed="a folder of your own")
    if out.exists() and out.resolve() == request.cohort.resolve():
        raise SettingsError("pairs would lie among the scans", where="--out", allowed="another folder than the cohort")
    if not (out / RECORD).exists():
        if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            allowed = f"a new or an empty folder, or one with a {RECORD}"
            raise OutputRefused("the folder is not empty", where=out.name, allowed=allowed)
        return CohortRecord(secrets.token_hex(32), request.settings)
    record = read_record(out)
    for name in _UNCHANGING:
        before, now = record.settings.get(name), request.settings[name]
        if before != now:
            found = f"{name} {now}, but the pairs of this folder were made with {before}"
            raise SettingsError(found, where=RECORD, allowed="the same as before, or another folder")
    return record


def _check_moves(asked: Mapping[str, Place], record: CohortRecord) -> None:
    """A patient who was trained on is never tested on later."""
    for identifier, place in asked.items():
        known = record.patients.get(record.pseudonym(identifier))
        if known and known.split != place.split:
            found = f"a patient who would change splits: {place} is in {known.split} by {RECORD}"
            raise SettingsError(found, where="split file", allowed="the same split as before, or another folder")


def _check_chosen(chosen: Mapping[str, str], found: Cohort) -> None:
    files = [scan.structures for patient in found.patients for scan in patient.scans if scan.structures]
    names = sorted({name for file in files for name in file.roi_names})
    folded = {name.casefold() for name in names} | {ABSENT}
    for name in chosen.values():
        if names and name.strip().casefold() not in folded:
            allowed = shorten(close_to(name, names), 300)
            raise UsageError(f"no structure set has an ROI {name}", where="--roi", allowed=allowed)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A patient with at least one daily scan that may be paired. contoured: all daily scans with a structure set."""

    identifier: str
    pseudonym: str
    planning: CohortScan
    contoured: tuple[CohortScan, ...]
    usable: tuple[CohortScan, ...]


def _planned(
    request: PrepareRequest, record: CohortRecord, found: Cohort, asked: Mapping[str, Place] | None
) -> PreparePlan:
    left_out = [_left_out(item, record) for item in found.left_out]
    candidates: list[_Candidate] = []
    for patient in found.patients:
        name = record.pseudonym(patient.identifier)
        known = record.patients.get(name)
        if any(name == candidate.pseudonym for candidate in candidates):
            left_out.append(LeftOutRecord(name, "patient", "another patient has this pseudonym: use a new folder"))
            continue
        try:
            course = course_of(patient, request.planning_name, known.planning if known else "")
        except ScanRefused as refused:
            left_out.append(LeftOutRecord(name, "patient", refused.found))
            continue
        usable, reasons = _usable(course, request)
        left_out += [LeftOutRecord(name, what, reason) for what, reason in reasons]
        contoured = tuple(scan for scan in course.daily if scan.structures)
        if usable:
            candidates.append(_Candidate(patient.identifier, name, course.planning, contoured, usable))
    splits, unplaced = _splits(request, record, candidates, asked)
    left_out += unplaced
    chosen = [candidate for candidate in candidates if candidate.identifier in splits]
    grown = {c.pseudonym: _grown(record, c, splits[c.identifier]) for c in chosen}
    pairs = tuple(pair for c in chosen for pair in _pairs_of(c, grown[c.pseudonym]))
    missing = tuple(pair for pair in pairs if not _is_whole(pair.folder(request.out)))
    there = {f"{pair.split}/{pair.name}" for pair in pairs} | set(record.pairs)
    grown_record = replace(
        record,
        settings=request.settings,
        patients={**record.patients, **grown},
        pairs=tuple(sorted(name for name in there if _is_whole(request.out / name))),
        left_out=tuple(left_out),
    )
    return PreparePlan(request, grown_record, pairs, missing)


def _usable(course: Course, request: PrepareRequest) -> tuple[tuple[CohortScan, ...], list[tuple[str, str]]]:
    """The daily scans that may be paired as far as headers tell, and of the others what they are and why not."""
    reasons = [(scan.label, "not after the planning scan, or without a date") for scan in course.before]
    usable: list[CohortScan] = []
    for scan in course.daily:
        reason = _unfit(course.planning, scan, request)
        if reason:
            reasons.append((scan.label, reason))
        else:
            usable.append(scan)
    if not course.daily:
        reasons.append(("patient", "no daily CT after the planning CT"))
    return tuple(usable), reasons


def _unfit(planning: CohortScan, daily: CohortScan, request: PrepareRequest) -> str:
    """Why two scans make no pair, by the names of their ROIs, or ""."""
    if not daily.structures or not planning.structures:
        return "a CT without a structure set"
    organs: list[set[str]] = []
    for which, file in (("planning", planning.structures), ("daily", daily.structures)):
        try:
            organs.append({str(o) for o in organs_named(file.roi_names, request.chosen_rois)})
        except RoiAmbiguous as refused:
            return f"{which} scan: {reason_of(refused)}"
    return missing_organs(organs[0], organs[1], request.require)


def _splits(
    request: PrepareRequest,
    record: CohortRecord,
    candidates: Sequence[_Candidate],
    asked: Mapping[str, Place] | None,
) -> tuple[dict[str, str], list[LeftOutRecord]]:
    """PatientID to split, and who has none."""
    known = {c.identifier: record.patients[c.pseudonym].split for c in candidates if c.pseudonym in record.patients}
    if asked is None:
        return assign_splits((c.identifier for c in candidates), known, request.shares, request.seed), []
    named = {c.identifier: asked[c.identifier.strip()].split for c in candidates if c.identifier.strip() in asked}
    splits = {**named, **known}
    nowhere = [c.pseudonym for c in candidates if c.identifier not in splits]
    there = {c.identifier.strip() for c in candidates}
    unplaced = [LeftOutRecord(name, "patient", "in no list of the split file") for name in nowhere]
    nobody = [place for identifier, place in asked.items() if identifier not in there]
    absent = "no patient of this ID has a pair of scans here"
    return splits, unplaced + [LeftOutRecord("", f"split file, {place}", absent) for place in nobody]


def _grown(record: CohortRecord, candidate: _Candidate, split: str) -> PatientRecord:
    """The patient with new fractions numbered after those that he has."""
    known = record.patients.get(candidate.pseudonym)
    fractions = dict(known.fractions) if known else {}
    for scan in candidate.contoured:
        fractions.setdefault(scan.series_uid, max(fractions.values(), default=0) + 1)
    return PatientRecord(split, candidate.planning.series_uid, fractions)


def _pairs_of(candidate: _Candidate, patient: PatientRecord) -> list[PlannedPair]:
    numbered = sorted((patient.fractions[scan.series_uid], scan) for scan in candidate.usable)
    names = [(f"{candidate.pseudonym}-f{number:02d}", scan) for number, scan in numbered]
    return [PlannedPair(name, patient.split, candidate.planning, scan) for name, scan in names]


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*(f"{part}.npy" for part in PARTS), ABOUT))


def _left_out(item: LeftOut, record: CohortRecord) -> LeftOutRecord:
    return LeftOutRecord(record.pseudonym(item.patient_id) if item.patient_id else "", item.what, item.reason)
