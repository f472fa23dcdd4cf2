"""Whether two results are the same files: all but what is drawn anew, or read from a clock, each time a file is
written. DICOM wants a new UID for each object, so that no two files claim to be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

# Of objects, elements that are new each time; of manifests, keys. What a UID of the inputs says is compared.
NEW_EACH_TIME = {
    "SOPInstanceUID", "MediaStorageSOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate", "InstanceCreationTime",
    "StructureSetDate", "StructureSetTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime",
    "FileMetaInformationGroupLength", "AcquisitionDateTime", "EncapsulatedDocument",
}  # fmt: skip
NEW_KEYS = {"written", "seconds", "sha256"}
RENDERED = {".html", ".pdf"}  # these quote the manifest's time; that they are there is compared


def differences(a: Path, b: Path) -> list[str]:
    """What differs between two folders of results, by file and element; [] where nothing does."""
    found = [{p.relative_to(root).as_posix(): p for p in root.rglob("*") if is_result(p, root)} for root in (a, b)]
    out = [f"{name}: only in one of them" for name in sorted(found[0].keys() ^ found[1].keys())]
    for name in sorted(found[0].keys() & found[1].keys()):
        out += [f"{name}: {what}" for what in _in_file(found[0][name], found[1][name])]
    return out


def is_result(path: Path, root: Path) -> bool:
    """Files that a batch leaves; hidden ones are its own."""
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)


def _in_file(a: Path, b: Path) -> list[str]:
    if a.suffix == ".dcm":
        return list(_in_datasets(pydicom.dcmread(a), pydicom.dcmread(b), top=True))
    if a.suffix == ".json":
        return _in_values(json.loads(a.read_text()), json.loads(b.read_text()))
    if a.suffix == ".csv":
        lines = [[line.rsplit(",", 2)[0] for line in p.read_text().splitlines()] for p in (a, b)]  # without seconds
        return [] if lines[0] == lines[1] else ["other lines"]
    return [] if a.suffix in RENDERED or a.read_bytes() == b.read_bytes() else ["other bytes"]


def _in_datasets(a: Dataset, b: Dataset, top: bool = False) -> list[str]:
    """SOPInstanceUID and the like are new at the top of a file alone; further in they refer to inputs."""
    metas = [_elements(x.file_meta, True) if top else {} for x in (a, b)]
    mine, yours = _elements(a, top), _elements(b, top)
    if mine.keys() != yours.keys() or metas[0] != metas[1]:
        return [f"elements {sorted(mine.keys() ^ yours.keys())} or the file's meta information"]
    out: list[str] = []
    for keyword, value in mine.items():
        other = yours[keyword]
        if isinstance(value, pydicom.Sequence):
            if len(value) != len(other):
                out.append(f"{keyword}: {len(value)} and {len(other)} items")
            out += [f"{keyword}.{what}" for x, y in zip(value, other, strict=False) for what in _in_datasets(x, y)]
        elif value != other:
            out.append(keyword)
    return out


def _elements(dataset: Dataset, top: bool) -> dict[str, Any]:
    skipped = NEW_EACH_TIME if top else set[str]()
    return {element.keyword: element.value for element in dataset if element.keyword not in skipped}


def _in_values(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [what for key in a if key not in NEW_KEYS for what in _in_values(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [what for k, (x, y) in enumerate(zip(a, b, strict=True)) for what in _in_values(x, y, f"{where}/{k}")]
    return [] if a == b else [where]
