"""Which result belongs to which reference: by the scan both were drawn on, and what has no counterpart.

Files are told apart by what they say of themselves, never by their names. A fraction is called by ten digits of the
sha256 of its series UID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recontour.dicom.contour_files import ContourFiles, FoundFile, find_contour_files
from recontour.errors import InputRefused, UsageError
from recontour.geometry.contours import SlicePlane
from recontour.qa.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Remark:
    """Something that the reader of the tables must know. fraction: its pseudonym, or "" for the cohort."""

    text: str
    fraction: str = ""


@dataclass(frozen=True, eq=False)
class Fraction:
    """A result and the reference of the same scan. planes: the scan's, () where no image is at hand. manifest: what
    lies beside the result, where it is of this scan. registration: the file with this scan's field."""

    name: str
    series_uid: str
    result: Path = field(repr=False)
    reference: Path = field(repr=False)
    planes: tuple[SlicePlane, ...] = field(default=(), repr=False)
    manifest: Manifest | None = field(default=None, repr=False)
    registration: Path | None = field(default=None, repr=False)


def pair_up(results: Path, references: Path) -> tuple[list[Fraction], list[Remark]]:
    """Every scan with exactly one result and one reference, and a remark on everything else. Raises UsageError where a
    folder is missing, or both are one."""
    if results.resolve() == references.resolve():
        allowed = "results in one folder, references in another"
        raise UsageError("both folders are the same", where=str(results), allowed=allowed)
    found = find_contour_files(results, _nested(references, results))
    wanted = find_contour_files(references, _nested(results, references))
    remarks = [*_of_folder("results", found), *_of_folder("references", wanted)]
    manifests, unread = _manifests(found.structure_sets)
    remarks += unread
    planned = {manifest.planning.series_uid for manifest in manifests.values()}
    ours, theirs = _by_series(found.structure_sets), _by_series(wanted.structure_sets)
    of_plans = (planned & set(theirs)) - set(ours)
    if of_plans:
        remarks.append(Remark(f"references of {len(of_plans)} planning scan(s) of these results left out"))
    planes = {**found.planes, **wanted.planes}
    fractions: list[Fraction] = []
    for uid in sorted({*ours, *theirs} - of_plans, key=pseudonym):
        pair, why = _one_of_each(ours.get(uid, []), theirs.get(uid, []))
        if pair is None:
            remarks.append(Remark(why, pseudonym(uid)))
            continue
        manifest = manifests.get(pair[0].path)
        if manifest is not None and manifest.daily.series_uid != uid:
            remarks.append(Remark("the manifest beside the result is of another scan: left out", pseudonym(uid)))
            manifest = None
        registration, said = _registration(found.registrations, uid, pair[0].path)
        remarks += [Remark(said, pseudonym(uid))] if said else []
        paths = pair[0].path, pair[1].path
        fractions.append(Fraction(pseudonym(uid), uid, *paths, planes.get(uid, ()), manifest, registration))
    return fractions, remarks


def pseudonym(series_uid: str) -> str:
    """What a fraction is called in every output."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:10]


def _nested(inner: Path, outer: Path) -> list[Path]:
    return [inner] if inner.resolve().is_relative_to(outer.resolve()) else []


def _of_folder(name: str, files: ContourFiles) -> list[Remark]:
    out: list[Remark] = []
    if files.unreadable:
        out.append(Remark(f"{files.unreadable} DICOM file(s) among the {name} could not be read"))
    if files.copies:
        out.append(Remark(f"{files.copies} file(s) among the {name} are second copies: left out"))
    nameless = sum(not file.series_uids for file in files.structure_sets)
    if nameless:
        out.append(Remark(f"{nameless} structure set(s) among the {name} do not say which scan they are of: left out"))
    return out


def _by_series(files: Iterable[FoundFile]) -> dict[str, list[FoundFile]]:
    out: dict[str, list[FoundFile]] = {}
    for file in files:
        for uid in file.series_uids:
            out.setdefault(uid, []).append(file)
    return out


def _one_of_each(
    results: Sequence[FoundFile], references: Sequence[FoundFile]
) -> tuple[tuple[FoundFile, FoundFile] | None, str]:
    """The pair, or why there is none."""
    for files, other, what in ((references, "result", "reference"), (results, "reference", "result")):
        if not files:
            return None, f"a {other} without a {what}: not scored"
        if len(files) > 1:
            return None, f"{len(files)} {what}s for one scan: not scored, leave one of them in the folder"
    return (results[0], references[0]), ""


def _manifests(results: Sequence[FoundFile]) -> tuple[Mapping[Path, Manifest], list[Remark]]:
    """Result file -> what the manifest beside it says."""
    out: dict[Path, Manifest] = {}
    remarks: list[Remark] = []
    for file in results:
        path = file.path.with_name(f"{file.path.stem}.manifest.json")
        if not path.exists():
            continue
        try:
            out[file.path] = read_manifest(path)
        except InputRefused as error:
            remarks.append(Remark(f"a manifest left out: {error.found}", pseudonym("".join(file.series_uids[:1]))))
    return out, remarks


def _registration(files: Sequence[FoundFile], series_uid: str, result: Path) -> tuple[Path | None, str]:
    """The registration of a scan, the one beside the result where there are several; and a remark, or ""."""
    found = [file for file in files if series_uid in file.series_uids]
    beside = [file for file in found if file.path.parent == result.parent]
    chosen = beside if len(found) > 1 else found
    if len(chosen) == 1:
        return chosen[0].path, ""
    if not found:
        return None, "no registration among the results: no Jacobian"
    return None, f"{len(found)} registrations for one scan: none taken, no Jacobian"
