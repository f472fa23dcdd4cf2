"""The patient's own data, read and checked, and put where the training finds it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recontour.dicom.cohort import CohortScan, find_cohort
from recontour.errors import OutputRefused, ScanRefused, StructuresRefused
from recontour.personalize.request import PersonalizeRequest
from recontour.prepare.pair import DrawnScan, make_pair, read_drawn
from recontour.prepare.request import PrepareRequest
from recontour.train.dataset import PARTS, ScanPair, write_pair
from recontour.train.folder import check_room, write_whole
from recontour.train.men import keep_man, scanned_man
from recontour.train.moved import scanned_grid
from recontour.train.patient import FRACTIONS, PATIENT

ASKED = "asked.json"
_BYTES_PER_VOXEL = 6  # of a day: two scans of two bytes, two label maps


@dataclass(frozen=True)
class Scans:
    """What lies in the folders, by headers alone."""

    planning: CohortScan
    fractions: tuple[CohortScan, ...]


def find_scans(request: PersonalizeRequest) -> Scans:
    """The planning scan and the earlier fractions. Raises ScanRefused where a folder does not hold one CT with its
    RTSTRUCT, or two folders hold the same one."""
    scans = [_drawn_scan(folder) for folder in (request.planning, *request.fractions)]
    if len({scan.series_uid for scan in scans}) < len(scans):
        raise ScanRefused("one scan given twice", where="planning, --fraction", allowed="each scan once")
    return Scans(scans[0], tuple(scans[1:]))


def read_planning(scans: Scans, request: PersonalizeRequest) -> DrawnScan:
    """The planning scan with the shapes of its organs. Raises StructuresRefused where no organ is known by its name,
    and what reading a scan and its structure set raises."""
    planning = read_drawn(scans.planning, _as_prepared(request))
    if not planning.shapes:
        allowed = "a bladder, rectum, prostate or seminal vesicles, or --roi ORGAN=ROI"
        raise StructuresRefused("no organ is contoured", where="planning structure set", allowed=allowed)
    return planning


def claim_work(request: PersonalizeRequest, scans: Scans, weights_sha256: str) -> None:
    """Makes the work folder, or finds in it what an earlier call with the same scans, contours and model began.

    Raises OutputRefused where it is another's, or cannot be written to.
    """
    found = [(s.series_uid, s.structures.sop_instance_uid if s.structures else "") for s in _all(scans)]
    told = json.dumps([found, weights_sha256, sorted(request.chosen_rois.items())])
    digest = json.dumps({"asked": hashlib.sha256(told.encode()).hexdigest()})
    path = request.work / ASKED
    try:
        request.work.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text("utf-8") != digest:
            found_there = "something else was begun here, of other scans, contours or another model"
            allowed = "the same command as then, or delete this folder"
            raise OutputRefused(found_there, where=request.work.name, allowed=allowed)
    except OSError as error:
        reason, allowed = error.strerror or "no reason given", "a folder that can be written to"
        raise OutputRefused(f"cannot be written: {reason}", where=request.out.name, allowed=allowed) from error
    write_whole(path, digest.encode())


def keep_patient(request: PersonalizeRequest, scans: Scans, planning: DrawnScan, days: int) -> None:
    """Puts him, ready to be moved, and his earlier fractions beside the planning scan, into `request.patient`.

    days: how many days will be made and kept. Raises what `recontour prepare` leaves a pair out for, and OutputRefused
    where the disk has too little room.
    """
    shapes = dict(planning.shapes)
    voxels = float(np.prod(scanned_grid(shapes).size)) * (days + 3 * len(scans.fractions))
    check_room(request.work, _BYTES_PER_VOXEL * voxels + 4.0 * planning.series.volume.array.size)
    try:
        for number, scan in enumerate(scans.fractions, 1):
            _keep_fraction(request, number, scan, planning)
        if not any(request.patient.glob("*.npz")):
            keep_man(request.patient, PATIENT, scanned_man(planning.series.volume, shapes))
    except OSError as error:
        reason, allowed = error.strerror or "no reason given", "room on the disk, and the same command again"
        raise OutputRefused(f"cannot be written: {reason}", where=request.work.name, allowed=allowed) from error


def _keep_fraction(request: PersonalizeRequest, number: int, scan: CohortScan, planning: DrawnScan) -> None:
    folder = request.patient / FRACTIONS / f"{PATIENT:06d}-{number}"
    if folder.exists():
        return
    asked = _as_prepared(request)
    arrays, about = make_pair(planning, read_drawn(scan, asked), asked)
    write_pair(folder, ScanPair(*(arrays[part] for part in PARTS), organs=tuple(about["organs"])))


def _drawn_scan(folder: Path) -> CohortScan:
    cohort = find_cohort(folder)
    drawn = [scan for patient in cohort.patients for scan in patient.scans if scan.structures]
    if len(drawn) != 1:
        reasons = "; ".join(dict.fromkeys(left.reason for left in cohort.left_out))
        found = f"{len(drawn)} CT series with a structure set" + (f" ({reasons})" if reasons and not drawn else "")
        raise ScanRefused(found, where="planning, --fraction", allowed="folders with one CT and its RTSTRUCT each")
    return drawn[0]


def _as_prepared(request: PersonalizeRequest) -> PrepareRequest:
    return PrepareRequest(request.planning, request.work, request.chosen_rois)


def _all(scans: Scans) -> tuple[CohortScan, ...]:
    return (scans.planning, *scans.fractions)
