"""The results below a folder as fractions of one course: manifests, what was decided, and pages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from recontour.dicom.references import PatientHeader
    from recontour.qa.manifest import Manifest
    from recontour.qa.report.course import CourseEntry
    from recontour.qa.report.course_record import CourseRecord

_MANIFEST = ".manifest.json"


@dataclass(frozen=True)
class Found:
    """entries: the fractions. remarks: what was left out or not at hand, in words."""

    entries: tuple[CourseEntry, ...]
    remarks: tuple[str, ...]


def find_course(folder: Path, out: Path, pseudonym_key: Path | None = None) -> Found:
    """Every result below `folder`; links are relative to `out`'s folder. Of two results of one daily scan the one that
    was written last stays.

    Raises UsageError where there is no such folder or nothing in it, InputRefused where a manifest cannot be read,
    ReviewRefused where a record of decisions is not whole.
    """
    from recontour.errors import UsageError
    from recontour.qa.manifest import read_manifest

    if not folder.is_dir():
        raise UsageError("no such folder", where=folder.name, allowed="a folder with results")
    records = dict(_records(folder))
    remarks: list[str] = []
    newest: dict[str, tuple[Path, Manifest]] = {}
    for path in _files(folder, _MANIFEST):
        manifest = read_manifest(path)
        before = newest.get(manifest.daily.series_uid)
        older = path if before and before[1].written >= manifest.written else before[0] if before else None
        if older is not path:
            newest[manifest.daily.series_uid] = path, manifest
        if older is not None:
            remarks.append(f"{_short(older, folder)} left out: another result of the same scan was written later")
    if not newest:
        raise UsageError("no result in it", where=folder.name, allowed=f"a folder with files *{_MANIFEST}")
    entries = [_entry(path, manifest, records, out, pseudonym_key) for path, manifest in newest.values()]
    paths = [path for path, _ in newest.values()]
    remarks += [
        f"{_short(p, folder)} has no report with a report.json: no link, no goals"
        for p, e in zip(paths, entries, strict=True)
        if not e.page
    ]
    return Found(tuple(entries), tuple(remarks))


def _entry(
    path: Path, manifest: Manifest, records: dict[Path, CourseRecord], out: Path, pseudonym_key: Path | None
) -> CourseEntry:
    from recontour.qa.report.course import CourseEntry
    from recontour.qa.review import read_reviews, review_file

    rtstruct = path.with_name(f"{path.name.removesuffix(_MANIFEST)}.dcm")
    review = read_reviews(review_file(rtstruct))
    wanted = {output.sha256 for output in manifest.outputs}
    for place, record in sorted(records.items()):
        if wanted & set(record.rtstructs):
            link = _link(place.with_name(record.page), out)
            return CourseEntry(record.treated_on, record.pseudonym, manifest, record.goals, link, review)
    patient, day = _header_of(rtstruct)
    return CourseEntry(day, _pseudonym(patient, manifest, pseudonym_key), manifest, review=review)


def _header_of(rtstruct: Path) -> tuple[PatientHeader, str]:
    """Whose RTSTRUCT it is, and the day of its study, the daily scan's."""
    from recontour.dicom.files import patient_of, read_header, text
    from recontour.errors import StructuresRefused

    header = read_header(rtstruct, StructuresRefused) if rtstruct.is_file() else None
    if header is None:
        raise StructuresRefused("no RTSTRUCT", where=rtstruct.name, allowed="the RTSTRUCT beside its manifest")
    day = text(header, "StudyDate")
    return patient_of(header), f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else ""


def _pseudonym(patient: PatientHeader, manifest: Manifest, key: Path | None) -> str:
    """As the fraction's own report has it."""
    from recontour.qa.pseudonym import known_by, pseudonym, pseudonym_key

    known = known_by(patient.identifier, patient.name, patient.birth_date, manifest.planning.series_uid)
    return pseudonym(pseudonym_key(key), known)


def _records(folder: Path) -> Iterator[tuple[Path, CourseRecord]]:
    from recontour.errors import InputRefused
    from recontour.qa.report.course_record import FILE, read_course_record

    for path in _files(folder, FILE):
        if path.name == FILE:
            try:
                yield path, read_course_record(path)
            except InputRefused:
                continue  # another program's report.json


def _files(folder: Path, ending: str) -> Iterable[Path]:
    """Below the folder, hidden ones left out, in the order of their names."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(ending) and not name.startswith("."):
                yield Path(place) / name


def _link(page: Path, out: Path) -> str:
    """Relative, as a URL; "" where the page is not there."""
    if not page.is_file():
        return ""
    return quote(Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix())


def _short(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
