"""Many patients in folders of any layout: which scans and structure sets there are, whose, and in what order.

Every header is read once and nothing of it is kept but a few strings and the file's name: at most 250 bytes a file.
What belongs together is told by PatientID, SeriesInstanceUID and FrameOfReferenceUID, never by names of files or
folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.dicom.files import files_in, read_header, text
from recontour.dicom.series import CtSeries, read_series
from recontour.dicom.slices import CT_IMAGE, MULTI_FRAME, is_localiser
from recontour.dicom.structures import RT_STRUCTURE_SET
from recontour.errors import InputRefused, ScanRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LAST_DIGITS = 8  # of a UID: enough to find it again, and no more than that


@dataclass(frozen=True)
class LeftOut:
    """Something in the folders that is of no use, and why, in words without identity.

    what: "series ...12345678", "structure set ...", "file 17" (in the order of the names), "folder 2" of those that
    cannot be opened, or "patient".
    patient_id: for the caller, to put a pseudonym in its place; "" where it is not known. path: of a file.
    """

    what: str
    reason: str
    patient_id: str = field(default="", repr=False)
    path: Path | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StructuresFile:
    """An RTSTRUCT on disk. made: "YYYYMMDDHHMMSSFFFFFF", or "" where it does not say. roi_names: those that have
    contours."""

    path: Path = field(repr=False)
    sop_instance_uid: str
    made: str
    roi_names: tuple[str, ...]


@dataclass(frozen=True)
class CohortScan:
    """A CT series on disk, and the structure set that was drawn on it.

    scanned: "YYYYMMDDHHMMSSFFFFFF" of its first image: acquisition, else series, else study; "" where no date is given.
    folder: the innermost one that holds all of its images. files: their paths in it. places: the names of the folders
    from the cohort's to that one.
    """

    series_uid: str
    frame_of_reference_uid: str
    scanned: str
    description: str = field(repr=False)
    folder: Path = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    places: tuple[str, ...] = field(default=(), repr=False)
    structures: StructuresFile | None = None

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"series {short(self.series_uid)}"

    def read(self) -> CtSeries:
        """The scan from its own files, whatever else lies among them. Raises ScanRefused, as `read_series`."""
        return read_series(self.folder, self.series_uid, neighbours(self.folder, self.files))

    def is_called(self, pattern: str) -> bool:
        """Whether the series description or the name of a folder it lies in is `pattern`, with * and ?, case
        ignored."""
        names = (self.description, *self.places)
        return any(fnmatchcase(name.casefold(), pattern.casefold()) for name in names)


@dataclass(frozen=True)
class CohortPatient:
    """All CT series of one PatientID, the earliest first. Its repr tells no identity."""

    identifier: str = field(repr=False)
    scans: tuple[CohortScan, ...]


@dataclass(frozen=True)
class Cohort:
    """`patients` in the order of their IDs. `other_files`: those that are DICOM, but neither CT nor structure set."""

    patients: tuple[CohortPatient, ...]
    left_out: tuple[LeftOut, ...]
    other_files: int


@dataclass(frozen=True)
class Course:
    """A treatment: the planning scan, the scans after it with contours or without, and those before it."""

    planning: CohortScan
    daily: tuple[CohortScan, ...]
    before: tuple[CohortScan, ...] = ()


def find_cohort(
    folder: Path,
    ignore: Iterable[Path] = (),
    on_file: Callable[[int], None] | None = None,
    files: Iterable[Path] | None = None,
) -> Cohort:
    """Every patient under `folder`; what lies under an `ignore` path is not looked at.

    on_file: called with the number of files looked at so far. files: only these of `folder`, as of an index. A file, a
    folder or a structure set that cannot be used is left out with its reason, and never stops the rest. Raises
    UsageError where there is no such folder.
    """
    found = _Found(folder.resolve())
    for number, path in enumerate(files_in(folder, ignore, found.closed) if files is None else files, 1):
        found.take(path, number)
        if on_file:
            on_file(number)
    return found.joined()


def course_of(patient: CohortPatient, planning_name: str = "", planning_uid: str = "") -> Course:
    """Which scan is the planning scan: the earliest with a structure set; or of those called `planning_name`, the
    earliest; or that of series `planning_uid`, where it is there. Daily scans are those after it, but those called
    otherwise than `planning_name` at any time.

    Raises ScanRefused where there is none, or where dates do not tell which.
    """
    drawn = [scan for scan in patient.scans if scan.structures]
    known = [scan for scan in drawn if scan.series_uid == planning_uid]
    named = [scan for scan in drawn if not planning_name or scan.is_called(planning_name)]
    planning = known[0] if known else _earliest(named, planning_name)
    others = [scan for scan in patient.scans if scan.series_uid != planning.series_uid]
    if planning_name:
        daily = [scan for scan in others if not scan.is_called(planning_name)]
    else:
        daily = [scan for scan in others if scan.scanned > planning.scanned]
    return Course(planning, tuple(daily), tuple(scan for scan in others if scan not in daily))


def neighbours(folder: Path, files: Iterable[str]) -> tuple[Path, ...]:
    """What lies in `folder` beside the `files` of a scan, folders whole: read_series is not to look at it."""
    own = {folder / name for name in files}
    around = {parent for path in own for parent in path.parents if parent.is_relative_to(folder)}
    return tuple(here / e.name for here in around for e in os.scandir(here) if here / e.name not in own | around)


def short(uid: str) -> str:
    """The end of a UID, for messages."""
    return f"...{uid[-_LAST_DIGITS:]}"


def _earliest(scans: Sequence[CohortScan], name: str) -> CohortScan:
    allowed = "scans with dates, or --planning-name"
    if not scans:
        found = f"no CT with a structure set is called {name}" if name else "no CT with a structure set"
        raise ScanRefused(found, where="patient", allowed="a planning CT with its RTSTRUCT")
    ordered = sorted(scans, key=lambda scan: scan.scanned)
    if len(ordered) > 1 and not ordered[0].scanned:
        found = "a scan without any date: which one is the planning scan is not known"
        raise ScanRefused(found, where=ordered[0].label, allowed=allowed)
    if len(ordered) > 1 and ordered[0].scanned == ordered[1].scanned:
        found = "the two earliest scans have one date and time: which one is the planning scan is not known"
        raise ScanRefused(found, where=f"{ordered[0].label}, {ordered[1].label}", allowed=allowed)
    return ordered[0]


@dataclass
class _Images:
    """What is gathered of one series."""

    frame: str
    description: str
    scanned: str = ""
    paths: list[str] = field(default_factory=list[str])
    localisers: int = 0


@dataclass(frozen=True)
class _Drawn:
    """A structure set and what it says it was drawn on."""

    patient_id: str
    file: StructuresFile
    frame: str
    series_uids: tuple[str, ...]


_Key = tuple[str, str]  # PatientID, SeriesInstanceUID


class _Found:
    """What was seen so far, file after file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: dict[_Key, _Images] = {}
        self.drawn: dict[_Key, _Drawn] = {}  # by PatientID and SOPInstanceUID: copies of a file count once
        self.left_out: list[LeftOut] = []
        self.others = 0
        self.folders_closed = 0

    def closed(self) -> None:
        self.folders_closed += 1
        self.left_out.append(LeftOut(f"folder {self.folders_closed}", "a folder that cannot be opened"))

    def take(self, path: Path, number: int) -> None:
        try:
            header = read_header(path)
            if header is not None:
                self._take(header, path)
        except InputRefused as refused:
            self.left_out.append(LeftOut(f"file {number}", refused.found, path=path))
        except Exception:  # pydicom raises many kinds on malformed values, when they are first looked at
            reason = "a DICOM file whose header cannot be understood"
            self.left_out.append(LeftOut(f"file {number}", reason, path=path))

    def _take(self, header: Dataset, path: Path) -> None:
        patient_id, kind = text(header, "PatientID"), text(header, "SOPClassUID")
        if kind == RT_STRUCTURE_SET:
            drawn = _drawn(header, path, patient_id)
            self.drawn.setdefault((patient_id, drawn.file.sop_instance_uid), drawn)
        elif text(header, "Modality") == "CT" and kind in (CT_IMAGE, *MULTI_FRAME):
            self._take_image(header, path, (patient_id, text(header, "SeriesInstanceUID")))
        else:
            self.others += 1

    def _take_image(self, header: Dataset, path: Path, key: _Key) -> None:
        if key not in self.images:
            self.images[key] = _Images(text(header, "FrameOfReferenceUID"), text(header, "SeriesDescription"))
        series = self.images[key]
        if is_localiser(header):
            series.localisers += 1
            return
        moments = [m for m in (series.scanned, scanned_at(header)) if m]
        series.scanned = min(moments, default="")
        series.paths.append(str(path))

    def joined(self) -> Cohort:
        scans = dict(self._scans())
        structures = self._structures(scans)
        by_patient: dict[str, list[CohortScan]] = {}
        for key, scan in scans.items():
            by_patient.setdefault(key[0], []).append(replace(scan, structures=structures.get(key)))
        patients = [
            CohortPatient(identifier, tuple(sorted(found, key=lambda s: (s.scanned, s.series_uid))))
            for identifier, found in sorted(by_patient.items())
        ]
        return Cohort(tuple(patients), tuple(self.left_out), self.others)

    def _scans(self) -> Iterator[tuple[_Key, CohortScan]]:
        for (patient_id, uid), images in self.images.items():
            label = f"series {short(uid)}"
            if not patient_id:
                self.left_out.append(LeftOut(label, "its images name no patient ID"))
            elif not images.paths:
                self.left_out.append(LeftOut(label, f"{images.localisers} localiser image(s), no scan", patient_id))
            else:
                yield (patient_id, uid), self._scan(uid, images)

    def _scan(self, uid: str, images: _Images) -> CohortScan:
        folder = Path(os.path.commonpath([os.path.dirname(path) for path in images.paths]))
        files = tuple(os.path.relpath(path, folder) for path in images.paths)
        inside = folder.is_relative_to(self.root)  # not where a link led out of it
        places = folder.relative_to(self.root).parts if inside else folder.parts[-1:]
        return CohortScan(uid, images.frame, images.scanned, images.description, folder, files, places)

    def _structures(self, scans: dict[_Key, CohortScan]) -> dict[_Key, StructuresFile]:
        """The structure set of each series: the newest of those that were drawn on it."""
        by_series: dict[_Key, list[StructuresFile]] = {}
        owners: dict[str, list[_Key]] = {}
        for key in scans:
            owners.setdefault(key[0], []).append(key)
        uids = {uid for _, uid in scans}
        for drawn in self.drawn.values():
            target = _target(drawn, {key: scans[key] for key in owners.get(drawn.patient_id, [])}, uids)
            if isinstance(target, str):
                self._refuse(drawn.file, target, drawn.patient_id)
            else:
                by_series.setdefault(target, []).append(drawn.file)
        return {key: self._newest(files, key[0]) for key, files in by_series.items() if self._ordered(files, key[0])}

    def _newest(self, files: list[StructuresFile], patient_id: str) -> StructuresFile:
        *older, newest = sorted(files, key=lambda f: f.made)
        for file in older:
            taken = f"the newer one, {short(newest.sop_instance_uid)}, of the same scan is taken"
            self._refuse(file, taken, patient_id)
        return newest

    def _ordered(self, files: list[StructuresFile], patient_id: str) -> bool:
        """Whether one is the newest; where several are, all of them are left out."""
        latest = max(f.made for f in files)
        if sum(f.made == latest for f in files) == 1:
            return True
        for file in files:
            self._refuse(
                file, f"{len(files)} of one scan, and dates do not tell which of them is the newest", patient_id
            )
        return False

    def _refuse(self, file: StructuresFile, reason: str, patient_id: str) -> None:
        self.left_out.append(LeftOut(f"structure set {short(file.sop_instance_uid)}", reason, patient_id))


def _target(drawn: _Drawn, mine: dict[_Key, CohortScan], all_uids: set[str]) -> _Key | str:
    """Which of the patient's series a structure set was drawn on, or why none, in words."""
    if drawn.series_uids:
        referred = [key for key in mine if key[1] in drawn.series_uids]
        if not referred:
            elsewhere = all_uids.intersection(drawn.series_uids)
            return "its CT is of another patient ID" if elsewhere else "its CT is not here"
        fitting = [key for key in referred if drawn.frame in ("", mine[key].frame_of_reference_uid)]
        if not fitting:
            return "its contours are in another frame of reference than its CT"
    elif drawn.frame:
        fitting = [key for key in mine if mine[key].frame_of_reference_uid == drawn.frame]
        if not fitting:
            return "it names no series, and no CT of the patient has its frame of reference"
    else:
        return "it names neither a series nor a frame of reference"
    return fitting[0] if len(fitting) == 1 else f"it could have been drawn on any of {len(fitting)} CT series"


def _drawn(header: Dataset, path: Path, patient_id: str) -> _Drawn:
    """PS3.3 C.8.8.5 and C.8.8.6: what it refers to, and which of its ROIs have contours."""
    frames = _items(header, "ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in _items(frame, "RTReferencedStudySequence")]
    series = [text(s, "SeriesInstanceUID") for study in studies for s in _items(study, "RTReferencedSeriesSequence")]
    defined = _items(header, "StructureSetROISequence")
    of_rois = {text(item, "ReferencedFrameOfReferenceUID") for item in defined} - {""}
    of_file = next((text(frame, "FrameOfReferenceUID") for frame in frames), "")
    drawn = [item for item in _items(header, "ROIContourSequence") if _items(item, "ContourSequence")]
    numbers = {text(item, "ReferencedROINumber") for item in drawn}
    file = StructuresFile(
        path,
        text(header, "SOPInstanceUID"),
        moment(header, "StructureSet", "InstanceCreation", "Series", "Study"),
        tuple(text(item, "ROIName") for item in defined if text(item, "ROINumber") in numbers),
    )
    frame = of_rois.pop() if len(of_rois) == 1 else of_file
    return _Drawn(patient_id, file, frame, tuple(uid for uid in series if uid))


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def scanned_at(header: Dataset) -> str:
    """When a scan was made: PS3.3 C.7.6.1 and, for multi-frame objects, C.8.15.2."""
    acquired = _digits(text(header, "AcquisitionDateTime").split("+")[0].split("-")[0])  # without the time zone
    return acquired.ljust(20, "0")[:20] if len(acquired) >= 8 else moment(header, "Acquisition", "Series", "Study")


def moment(header: Dataset, *kinds: str) -> str:
    """The first date of these kinds that is there, with its time, such that text sorts by time (PS3.5 6.2: DA, TM)."""
    for kind in kinds:
        date = _digits(text(header, f"{kind}Date"))
        if len(date) == 8:
            return date + _digits(text(header, f"{kind}Time")).ljust(12, "0")[:12]
    return ""


def _digits(value: str) -> str:
    return "".join(c for c in value if c.isdigit())
