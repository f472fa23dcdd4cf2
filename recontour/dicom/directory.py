"""DICOMDIR: the index of a medium, and which files it names (PS3.3 annex F, PS3.10 section 8.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from recontour.dicom.files import read_dataset
from recontour.errors import UsageError


def files_named(index: Path) -> list[Path]:
    """The files that a DICOMDIR names, there or not, in its order; none outside of its own folder.

    Raises UsageError where it is none, or cannot be read.
    """
    root = index.parent.resolve()
    try:
        records = cast("list[Any]", read_dataset(index).DirectoryRecordSequence)
        named = [root.joinpath(*_components(record.get("ReferencedFileID"))) for record in records]
    except Exception as error:  # pydicom raises many kinds on malformed bytes, and documents none
        found = "not a readable DICOMDIR"
        raise UsageError(found, where=index.name, allowed="a folder, a DICOMDIR, or a CSV file") from error
    return [file for file in dict.fromkeys(named) if file != root and file.resolve().is_relative_to(root)]


def _components(value: Any) -> list[str]:
    """ReferencedFileID (PS3.3 F.3.2.2): nothing, one component, or several."""
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]
