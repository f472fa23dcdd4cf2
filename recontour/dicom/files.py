"""Which files of a folder are DICOM, and what their headers say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recontour.dicom.references import PatientHeader
from recontour.errors import InputRefused, ScanRefused, UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Files from before Part 10 have no preamble: group 0002 or 0008 with a low element.
STARTS_WITHOUT_PREAMBLE = tuple(bytes((group, 0, element, 0)) for group in (2, 8) for element in range(25))
DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR: an index of files, holds no image


def files_in(folder: Path, ignore: Iterable[Path] = (), on_closed: Callable[[], None] | None = None) -> Iterator[Path]:
    """Every file under `folder`, nested or not, in the order of the names; hidden ones and what lies at or under an
    `ignore` path left out. Links are followed, each folder once.

    on_closed: called for each folder that cannot be opened. Raises UsageError where there is no such folder.
    """
    if not folder.is_dir():
        found = "not a folder" if folder.exists() else "no such folder"
        raise UsageError(found, where=str(folder), allowed="a folder with DICOM files")
    left_out = {Path(p).resolve() for p in ignore}

    def closed(error: OSError) -> None:
        if on_closed and Path(error.filename).resolve() not in left_out:
            on_closed()

    for place, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        here = Path(place).resolve()
        if here in left_out:
            folders.clear()
            continue
        left_out.add(here)  # seen: a link back to it would go round in circles
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for path in (here / name for name in sorted(names) if not name.startswith(".")):
            if path not in left_out and (path.is_file() or path.is_symlink()):
                yield path


def read_header(path: Path, refused: type[InputRefused] = ScanRefused) -> Dataset | None:
    """All of a DICOM file but its pixels; None where the file is not DICOM or is only an index of others.

    Raises `refused`, naming the file, where it is DICOM, or is called so, and cannot be read: it may have been a slice.
    """
    damaged = refused(
        "a damaged or cut-off DICOM file", where=path.name, allowed="copy it again, or take it out of the folder"
    )
    try:
        kind = _kind(path)
    except OSError as error:
        raise refused("a file that cannot be opened", where=path.name, allowed="a file that may be read") from error
    if kind == "other":
        return None
    if kind == "empty":
        raise damaged
    try:
        header = read_dataset(path, with_pixels=False)
        if "DirectoryRecordSequence" in header or text(header.file_meta, "MediaStorageSOPClassUID") == DIRECTORY:
            return None
        if "SOPClassUID" not in header:
            raise damaged
    except InputRefused:
        raise
    except Exception as error:  # pydicom raises many kinds on malformed bytes, and documents none
        raise damaged from error
    return header


def read_dataset(path: Path, with_pixels: bool = True) -> Dataset:
    """pydicom's reading, without its warnings on malformed values: they quote the value, which may be identity."""
    import pydicom as untyped

    pydicom = cast(Any, untyped)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom.dcmread(path, stop_before_pixels=not with_pixels, force=True)


def text(dataset: Dataset, keyword: str) -> str:
    """The value as a string, several joined by a backslash; "" where it is missing or empty."""
    value: object = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        return "\\".join(str(v) for v in cast("Iterable[object]", value))
    return str(value).strip()


def numbers(dataset: Dataset, keyword: str, count: int, where: str) -> tuple[float, ...]:
    """`count` finite numbers. Raises ScanRefused with the tag, and `where` the file is, unless they are there."""
    from math import isfinite

    try:
        value = dataset.get(keyword)
        values = tuple(float(v) for v in ([value] if isinstance(value, str | int | float) else value or ()))
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(isfinite(v) for v in values):
        found = f"{keyword} is missing or malformed"
        raise ScanRefused(found, where=where, allowed=f"{count} number{'s' if count > 1 else ''}")
    return values


def patient_of(header: Dataset) -> PatientHeader:
    """The patient module (PS3.3 C.7.1.1)."""
    return PatientHeader(
        name=text(header, "PatientName"),
        identifier=text(header, "PatientID"),
        birth_date=text(header, "PatientBirthDate"),
        sex=text(header, "PatientSex"),
    )


def _kind(path: Path) -> str:
    """ "dicom", "other", or "empty": named as DICOM but without content that could be."""
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM" or start[:4] in STARTS_WITHOUT_PREAMBLE:
        return "dicom"
    return "empty" if path.suffix.lower() in (".dcm", ".dicom") else "other"
