"""What a batch will do: tasks in their order, and what is left out. Headers only; nothing is written."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recontour.batch.discover import Found, Omitted, Treatment, discover
from recontour.batch.state import Standing, check_folder, standing
from recontour.batch.task import ScanFiles, Task, Wanted
from recontour.dicom.cohort import CohortScan
from recontour.errors import OutputRefused, SettingsError
from recontour.qa.pseudonym import key_file, pseudonym, pseudonym_key
from recontour.settings import Settings


@dataclass(frozen=True)
class BatchRequest:
    """What is asked of `recontour batch`. cohort: a folder of any layout, a DICOMDIR, or a CSV. out: a folder, new or
    to go on with. registration, report: whether each fraction gets one. The rest as in StudyRequest."""

    cohort: Path
    out: Path
    settings: Settings = field(default_factory=Settings)
    chosen_rois: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    registration: bool = False
    report: bool = False
    planning_name: str = ""
    pseudonym_key: Path | None = None


@dataclass(frozen=True)
class LeftOut:
    """What is not done. patient: his pseudonym, "" where it is not known whose it is. counts: whether a fraction may be
    lost by it."""

    patient: str
    what: str
    reason: str
    counts: bool


@dataclass(frozen=True)
class Plan:
    """tasks: patient after patient, and of each the fraction nearest to its planning scan first. standings: of each
    task, before any work. key_mark: tells keys of pseudonyms apart, and no key from it."""

    out: Path
    key_mark: str
    tasks: tuple[Task, ...]
    standings: tuple[Standing, ...]
    left_out: tuple[LeftOut, ...]

    def to_do(self, retry_failed: bool = False) -> list[Task]:
        """Those that are not done, or were done with other inputs or settings."""
        skipped: tuple[Standing, ...] = ("done",) if retry_failed else ("done", "failed")
        return [task for task, now in zip(self.tasks, self.standings, strict=True) if now not in skipped]


def plan_batch(request: BatchRequest, on_file: Callable[[int], None] | None = None) -> Plan:
    """Finds what there is. on_file: called with the number of files looked at.

    Raises UsageError (no such cohort; the key cannot be read), OutputRefused, SettingsError (the folder of results),
    ModelRefused.
    """
    file = key_file(request.pseudonym_key)
    key = pseudonym_key(file)
    mark = hmac.new(key, b"recontour batch", "sha256").hexdigest()[:16]
    if request.out.exists() and request.cohort.is_dir() and request.out.resolve() == request.cohort.resolve():
        raise SettingsError("results would lie among the scans", where="--out", allowed="another folder")
    check_folder(request.out, mark)
    wanted = Wanted(
        request.settings,
        request.chosen_rois,
        request.only,
        request.skip,
        request.registration,
        request.report,
        _model_sha256(request.settings),
        str(file.resolve()) if request.report else "",
    )
    found = discover(request.cohort, request.planning_name, request.out, on_file)
    names = _Names(key)
    tasks = tuple(_tasks(found, request.out.resolve(), wanted, names))
    left_out = tuple(_left_out(item, names) for item in found.omitted)
    return Plan(request.out, mark, tasks, tuple(standing(task) for task in tasks), left_out)


class _Names:
    """Pseudonyms. They are short: that two of them are alike is next to impossible, and would mix up two men."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._owners: dict[str, str] = {}

    def patient(self, identifier: str) -> str:
        """ "" of a patient who is not known. Raises OutputRefused where another one has the name."""
        return self._named("P", identifier) if identifier else ""

    def fraction(self, series_uid: str) -> str:
        """Of a fraction: the same whatever other fractions come and go, and nothing that a scanner wrote. Raises
        OutputRefused as `patient`."""
        return self._named("F", series_uid)

    def _named(self, kind: str, said: str) -> str:
        name = f"{kind}{pseudonym(self._key, said)[1:]}"
        if self._owners.setdefault(name, said) != said:
            raise OutputRefused("two would have one name", where=name, allowed="another --pseudonym-key")
        return name


def _tasks(found: Found, out: Path, wanted: Wanted, names: _Names) -> Iterator[Task]:
    by_patient: dict[str, list[Treatment]] = {}
    for treatment in found.treatments:
        by_patient.setdefault(treatment.identifier, []).append(treatment)
    for identifier, treatments in sorted(by_patient.items(), key=lambda item: names.patient(item[0])):
        dates = sorted((scan.scanned, scan.series_uid) for t in treatments for scan in t.daily)
        number = {uid: place for place, (_, uid) in enumerate(dates, 1)}
        for treatment in sorted(treatments, key=lambda t: t.planning.scanned):
            planning, file = _scan_files(treatment.planning), treatment.planning.structures
            if file is None:
                continue  # course_of gives none without
            for scan in sorted(treatment.daily, key=lambda scan: number[scan.series_uid]):
                yield Task(
                    out=str(out),
                    patient=names.patient(identifier),
                    name=names.fraction(scan.series_uid),
                    number=number[scan.series_uid],
                    planning=planning,
                    daily=_scan_files(scan),
                    structures_uid=file.sop_instance_uid,
                    structures_file=str(file.path),
                    structures_size=_size(file.path),
                    wanted=wanted,
                )


def _scan_files(scan: CohortScan) -> ScanFiles:
    size = sum(_size(scan.folder / name) for name in scan.files)
    return ScanFiles(scan.series_uid, str(scan.folder), scan.files, size)


def _size(path: Path) -> int:
    """Bytes; 0 of a file that has gone since it was found, which will be told when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _model_sha256(settings: Settings) -> str:
    """Of the weights that the settings mean today: a newer release must not finish what an older one began."""
    if not settings.asks_network:
        return ""
    from recontour.network.released import folder_of, read_card

    return read_card(folder_of(settings.model)).weights_sha256


def _left_out(item: Omitted, names: _Names) -> LeftOut:
    return LeftOut(names.patient(item.identifier), item.what, item.reason, item.counts)
