"""A folder -> one validated CT series -> a Volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.dicom.enhanced import frames_of
from recontour.dicom.files import files_in, patient_of, read_header, text
from recontour.dicom.references import SeriesIdentity
from recontour.dicom.slices import CT_IMAGE, MULTI_FRAME, Slice, is_localiser, slice_of
from recontour.dicom.stack import FEWEST_SLICES, stack_of, volume_of
from recontour.errors import ScanRefused
from recontour.geometry.contours import SlicePlane
from recontour.geometry.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class CtSeries:
    """One CT scan.

    volume: (D, H, W) float32 HU on a regular grid, axis 0 along the slice normal (row direction x column direction).
    planes: the true plane of every slice, in the volume's order. One per plane of the volume, except where irregular
    slices were resampled; then the volume has its own regular planes between the same first and last.
    notes: what was left out or resampled on the way, in words.
    """

    volume: Volume
    planes: tuple[SlicePlane, ...]
    identity: SeriesIdentity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesSummary:
    """A series in a folder, to choose from. `images` counts frames, localisers left out."""

    series_uid: str
    modality: str
    description: str
    images: int
    is_ct: bool

    def __str__(self) -> str:
        return f"{self.series_uid}: {self.description or 'no description'}, {self.modality}, {self.images} images"


@dataclass(frozen=True)
class _Found:
    summary: SeriesSummary
    images: tuple[tuple[Path, Dataset], ...]
    notes: tuple[str, ...]


def find_series(folder: Path, ignore: Iterable[Path] = ()) -> list[SeriesSummary]:
    """All image series in a folder, nested or not, CT or not, in the order of their UIDs.

    Raises UsageError where there is no such folder, ScanRefused for a damaged file.
    """
    return [found.summary for found in _find(folder, ignore)]


def read_series(folder: Path, series_uid: str | None = None, ignore: Iterable[Path] = ()) -> CtSeries:
    """The one CT series in a folder, or the one whose UID is, or begins with, `series_uid`.

    Files may be nested and among others; what lies under an `ignore` path is not looked at. Slices are ordered by
    where they lie (PS3.3 C.7.6.2.1.1). Raises ScanRefused where there is no CT, where several are and none was chosen,
    and for all that `stack_of` refuses.
    """
    found = _choose(_find(folder, ignore), series_uid)
    slices: list[Slice] = []
    for path, header in found.images:
        slices += frames_of(header, path) if text(header, "SOPClassUID") in MULTI_FRAME else [slice_of(header, path)]
    stack, notes = stack_of(slices)
    volume, resampled = volume_of(stack)
    identity = _identity(found.images[0][1], stack.slices)
    return CtSeries(volume, tuple(s.plane for s in stack.slices), identity, found.notes + notes + resampled)


def _find(folder: Path, ignore: Iterable[Path]) -> list[_Found]:
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    for path in files_in(folder, ignore):
        header = read_header(path)
        if header is not None and ("Rows" in header or text(header, "SOPClassUID") == CT_IMAGE):
            groups.setdefault(text(header, "SeriesInstanceUID"), []).append((path, header))
    return [_found(uid, images) for uid, images in sorted(groups.items())]


def _found(uid: str, images: list[tuple[Path, Dataset]]) -> _Found:
    ct = [(p, h) for p, h in images if _is_ct(h)]
    slices = tuple((p, h) for p, h in ct if not is_localiser(h))
    other, scouts = len(images) - len(ct), len(ct) - len(slices)
    notes = [f"{scouts} localiser image(s) left out"] * bool(scouts)
    notes += [f"{other} image(s) that are no CT slices left out"] * bool(slices and other)
    chosen = slices or tuple(images)
    count = sum(max(1, int(h.get("NumberOfFrames") or 1)) for _, h in chosen)
    description = text(chosen[0][1], "SeriesDescription")
    summary = SeriesSummary(uid, text(chosen[0][1], "Modality"), description, count, bool(slices))
    return _Found(summary, slices, tuple(notes))


def _is_ct(header: Dataset) -> bool:
    return text(header, "Modality") == "CT" and text(header, "SOPClassUID") in (CT_IMAGE, *MULTI_FRAME)


def _choose(found: Sequence[_Found], series_uid: str | None) -> _Found:
    if series_uid:
        return _asked_for(found, series_uid)
    scans = [f for f in found if f.summary.is_ct]
    candidates = [f for f in scans if f.summary.images >= FEWEST_SLICES] or scans
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ScanRefused(f"{len(candidates)} CT series", where=_listed(candidates), allowed="choose one with --series")
    others = Counter(f.summary.modality or "unknown" for f in found)
    kinds = {"CT": "CT localiser or capture"}  # otherwise it would be a candidate
    what = ", ".join(f"{n} {kinds.get(m, m)} series" for m, n in sorted(others.items())) or "no DICOM images"
    raise ScanRefused(f"no CT series; {what}", where="folder", allowed="a folder with one CT series")


def _asked_for(found: Sequence[_Found], series_uid: str) -> _Found:
    exact = [f for f in found if f.summary.series_uid == series_uid]
    matching = exact or [f for f in found if f.summary.series_uid.startswith(series_uid)]
    if not matching:
        raise ScanRefused(f"no series {series_uid}", where=_listed(found) or "folder", allowed="one of this folder")
    if len(matching) > 1:
        raise ScanRefused(
            f"{len(matching)} series begin with {series_uid}", where=_listed(matching), allowed="more of the UID"
        )
    if not matching[0].summary.is_ct:
        raise ScanRefused("the series chosen is no CT", where=_listed(matching), allowed="a CT series")
    return matching[0]


def _listed(found: Sequence[_Found]) -> str:
    return "\n".join(str(f.summary) for f in found)


def _identity(header: Dataset, slices: Sequence[Slice]) -> SeriesIdentity:
    multi_frame = any(s.frame for s in slices)
    return SeriesIdentity(
        study_instance_uid=text(header, "StudyInstanceUID"),
        series_instance_uid=text(header, "SeriesInstanceUID"),
        frame_of_reference_uid=slices[0].frame_of_reference_uid,
        sop_class_uid=text(header, "SOPClassUID"),
        sop_instance_uids=tuple(s.sop_instance_uid for s in slices),
        patient=patient_of(header),
        frame_numbers=tuple(s.frame for s in slices) if multi_frame else (),
        patient_position=text(header, "PatientPosition"),
        series_description=text(header, "SeriesDescription"),
        study_description=text(header, "StudyDescription"),
        study_date=text(header, "StudyDate"),
        study_time=text(header, "StudyTime"),
        study_id=text(header, "StudyID"),
        accession_number=text(header, "AccessionNumber"),
        referring_physician=text(header, "ReferringPhysicianName"),
        position_reference_indicator=text(header, "PositionReferenceIndicator"),
    )
