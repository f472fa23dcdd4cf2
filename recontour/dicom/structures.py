"""RTSTRUCT -> named contours in LPS mm (PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.files import files_in, patient_of, read_header, text
from recontour.dicom.references import PatientHeader, SeriesIdentity, check_structures_belong
from recontour.dicom.series import CtSeries
from recontour.errors import PatientMismatch, StructuresRefused, UsageError
from recontour.geometry.contours import Contour, SlicePlane

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
OFF_SLICE_MM = 0.5  # beyond rounding and registration noise; and never more than a quarter of the slice spacing

Kind = Literal["closed_planar", "open", "point", "empty"]

# The standard spells the exclusive-or type without its first underscore (C.8.8.6.3); some writers put it in.
_KINDS: dict[str, Kind] = {
    "CLOSED_PLANAR": "closed_planar",
    "CLOSEDPLANAR_XOR": "closed_planar",
    "CLOSED_PLANAR_XOR": "closed_planar",
    "OPEN_PLANAR": "open",
    "OPEN_NONPLANAR": "open",
    "POINT": "point",
}


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    colour: red, green, blue, 0 to 255, or None where the file gives none.
    interpreted_type: RTROIInterpretedType such as ORGAN, CTV, EXTERNAL; "" where it is not given.
    contours: each (N, 3) float64 LPS mm, closed ones without the first point repeated. Holes and islands are meant
        even-odd. Of an ROI with contours of several kinds only the closed ones are kept.
    image_uids: the image each contour was drawn on, or None where not every contour says so.
    """

    number: int
    name: str
    colour: tuple[int, int, int] | None
    interpreted_type: str
    kind: Kind
    contours: tuple[Contour, ...] = field(repr=False)
    image_uids: tuple[str, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class StructureSet:
    """An RTSTRUCT. `referenced_series_uids`: the series it was drawn on, as far as it says. `notes`: what was left out
    on the way, in words."""

    rois: tuple[Roi, ...]
    sop_instance_uid: str
    label: str
    frame_of_reference_uid: str
    path: Path = field(repr=False)
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    sop_class_uid: str = RT_STRUCTURE_SET
    referenced_series_uids: tuple[str, ...] = ()
    approval_status: str = ""
    patient: PatientHeader = field(default_factory=PatientHeader)
    notes: tuple[str, ...] = ()

    def roi(self, name: str) -> Roi:
        """The ROI of that name. Raises UsageError where there is none."""
        for roi in self.rois:
            if roi.name == name:
                return roi
        raise UsageError("no such ROI", where=name, allowed=", ".join(r.name for r in self.rois))


def read_structures(
    path_or_folder: Path,
    series: CtSeries | None = None,
    structures_uid: str | None = None,
    ignore: Iterable[Path] = (),
    allow_different_patients: bool = False,
) -> StructureSet:
    """The structure set in a file, or the one in a folder: the only one, the only one that was drawn on `series`, or
    that whose SOP Instance UID is, or begins with, `structures_uid`.

    Raises StructuresRefused where there is none or several, or an ROI is malformed, which it names; PatientMismatch
    where it was drawn on another scan than `series`, or is of another patient.
    """
    identity = series.identity if series else None
    candidates, notes = _candidates(path_or_folder, ignore)
    path, dataset = _choose(candidates, identity, structures_uid)
    if len(candidates) > 1:
        notes.append(f"{len(candidates) - 1} other structure set(s) in the folder left out")
    structures = _structure_set(dataset, path, notes)
    if identity is not None:
        _check_belongs(structures, dataset, identity, allow_different_patients)
    return structures


def check_inside(roi: Roi, series: CtSeries) -> None:
    """Raises StructuresRefused, naming the ROI, where a contour lies off the slices or outside the scan.

    Off the slices: a point further than OFF_SLICE_MM, or a quarter of the spacing, from the nearest slice's plane.
    Outside: more than one pixel beyond the image's edge, or beyond the first or last slice.
    """
    normal = series.planes[0].normal
    positions = np.array([plane.origin_mm for plane in series.planes]) @ normal
    tolerance = min(OFF_SLICE_MM, 0.25 * float(np.median(np.diff(positions))))
    for contour in roi.contours:
        heights = contour @ normal
        next_up = np.searchsorted(positions, heights).clip(1, len(positions) - 1)
        off: NDArray[np.float64] = np.abs(heights - positions[[next_up - 1, next_up]]).min(axis=0)
        nearest = series.planes[int(np.abs(positions - heights[0]).argmin())]
        if heights.min() < positions[0] - tolerance or heights.max() > positions[-1] + tolerance:
            found = "a contour outside the scan, beyond its first or last slice"
        elif off.max() > tolerance:
            found = f"a contour {float(off.max()):.2f} mm off the nearest slice"
        elif not _within_image(contour, nearest):
            found = "a contour outside the scan, beyond the edge of the image"
        else:
            continue
        where = f"ROI {roi.name}, z = {float(contour[0, 2]):.2f} mm"
        raise StructuresRefused(found, where=where, allowed="contours on the slices of the scan they are read with")


def _within_image(contour: Contour, plane: SlicePlane) -> bool:
    from_origin = contour - np.array(plane.origin_mm)
    column = from_origin @ np.array(plane.row_direction) / plane.column_spacing_mm
    row = from_origin @ np.array(plane.column_direction) / plane.row_spacing_mm
    return bool(
        min(column.min(), row.min()) >= -1.5 and column.max() <= plane.columns + 0.5 and row.max() <= plane.rows + 0.5
    )


_Candidate = tuple[Path, "Dataset"]


def _candidates(path_or_folder: Path, ignore: Iterable[Path]) -> tuple[list[_Candidate], list[str]]:
    if not path_or_folder.exists():
        raise UsageError("no such file", where=str(path_or_folder), allowed="an RTSTRUCT, or a folder with one")
    paths = files_in(path_or_folder, ignore) if path_or_folder.is_dir() else [path_or_folder]
    by_uid: dict[str, _Candidate] = {}
    notes: list[str] = []
    for path in paths:
        dataset = read_header(path, StructuresRefused)
        if dataset is None or text(dataset, "SOPClassUID") != RT_STRUCTURE_SET:
            continue
        uid = text(dataset, "SOPInstanceUID")
        if uid in by_uid:
            notes.append(f"{path.name} is a second copy of {by_uid[uid][0].name}")
        else:
            by_uid[uid] = (path, dataset)
    if not by_uid:
        where = "folder" if path_or_folder.is_dir() else path_or_folder.name
        raise StructuresRefused("no RTSTRUCT", where=where, allowed="a structure set that was drawn on the scan")
    return list(by_uid.values()), notes


def _choose(candidates: Sequence[_Candidate], identity: SeriesIdentity | None, wanted: str | None) -> _Candidate:
    matching = list(candidates)
    if wanted:
        exact = [c for c in candidates if text(c[1], "SOPInstanceUID") == wanted]
        matching = exact or [c for c in candidates if text(c[1], "SOPInstanceUID").startswith(wanted)]
        if not matching:
            raise StructuresRefused(f"no structure set {wanted}", where=_listed(candidates), allowed="one of these")
    elif len(candidates) > 1 and identity is not None:
        matching = [c for c in candidates if _belongs(c[1], identity)] or matching
    if len(matching) > 1:
        raise StructuresRefused(
            f"{len(matching)} structure sets", where=_listed(matching), allowed="choose one with --structures"
        )
    return matching[0]


def _listed(candidates: Sequence[_Candidate]) -> str:
    return "\n".join(
        f"{text(d, 'SOPInstanceUID')}: {text(d, 'StructureSetLabel') or 'no label'}, {text(d, 'StructureSetDate')}, "
        f"{len(d.get('StructureSetROISequence') or [])} ROIs"
        for _, d in candidates
    )


def _belongs(dataset: Dataset, identity: SeriesIdentity) -> bool:
    try:
        check_structures_belong(_frame_of_reference(dataset), _series_uids(dataset), identity)
    except PatientMismatch:
        return False
    return True


def _check_belongs(structures: StructureSet, dataset: Dataset, identity: SeriesIdentity, any_patient: bool) -> None:
    check_structures_belong(structures.frame_of_reference_uid, structures.referenced_series_uids, identity)
    defined = _items(dataset, "StructureSetROISequence")
    frames = {int(r.ROINumber): text(r, "ReferencedFrameOfReferenceUID") for r in defined}
    for roi in structures.rois:
        if roi.contours and frames[roi.number] not in ("", identity.frame_of_reference_uid):
            raise PatientMismatch(
                "an ROI in another frame of reference than the scan",
                where=f"ROI {roi.name}",
                allowed="ROIs that were drawn on this scan",
            )
    ids = structures.patient.identifier, identity.patient.identifier
    if all(ids) and ids[0] != ids[1] and not any_patient:
        raise PatientMismatch(
            "the patient IDs of the structure set and the scan differ",
            where=structures.path.name,
            allowed="a structure set of the same patient, or --allow-different-patients",
        )


def _frame_of_reference(dataset: Dataset) -> str:
    """That of the ROIs where they agree, else that of the file's first reference; "" where there is none."""
    of_rois = {text(r, "ReferencedFrameOfReferenceUID") for r in _items(dataset, "StructureSetROISequence")} - {""}
    of_file = [text(r, "FrameOfReferenceUID") for r in _items(dataset, "ReferencedFrameOfReferenceSequence")]
    return next(iter(of_rois)) if len(of_rois) == 1 else next((uid for uid in of_file if uid), "")


def _series_uids(dataset: Dataset) -> tuple[str, ...]:
    return tuple(
        text(series, "SeriesInstanceUID")
        for frame in _items(dataset, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
        if text(series, "SeriesInstanceUID")
    )


def _structure_set(dataset: Dataset, path: Path, notes: list[str]) -> StructureSet:
    rois = _rois(dataset, path, notes)
    return StructureSet(
        rois=tuple(rois),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        label=text(dataset, "StructureSetLabel"),
        frame_of_reference_uid=_frame_of_reference(dataset),
        path=path,
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        referenced_series_uids=_series_uids(dataset),
        approval_status=text(dataset, "ApprovalStatus"),
        patient=patient_of(dataset),
        notes=tuple(notes),
    )


def _rois(dataset: Dataset, path: Path, notes: list[str]) -> list[Roi]:
    drawn: dict[int, Dataset] = {}
    for item in _items(dataset, "ROIContourSequence"):
        number = _number(item, "ReferencedROINumber", path)
        if number in drawn:
            raise StructuresRefused(f"two sets of contours for ROI number {number}", where=path.name)
        drawn[number] = item
    types = {
        _number(o, "ReferencedROINumber", path): text(o, "RTROIInterpretedType").upper()
        for o in _items(dataset, "RTROIObservationsSequence")
    }
    rois: list[Roi] = []
    for item in _items(dataset, "StructureSetROISequence"):
        number = _number(item, "ROINumber", path)
        name = text(item, "ROIName") or f"ROI {number}"
        rois.append(_roi(number, name, drawn.pop(number, None), types.get(number, ""), notes))
    if drawn:
        raise StructuresRefused(f"contours of ROI number {min(drawn)}, which is not defined", where=path.name)
    _check_unique(rois, path)
    return rois


def _check_unique(rois: Sequence[Roi], path: Path) -> None:
    numbers = Counter(r.number for r in rois)
    names = Counter(r.name for r in rois if r.contours)
    for what, count in ((f"number {n}", c) for n, c in numbers.items()):
        if count > 1:
            raise StructuresRefused(f"{count} ROIs of {what}", where=path.name, allowed="one number for each ROI")
    for name, count in names.items():
        if count > 1:
            raise StructuresRefused(
                f"{count} ROIs of one name", where=f"ROI {name}", allowed="names that tell ROIs with contours apart"
            )


def _roi(number: int, name: str, drawn: Dataset | None, interpreted_type: str, notes: list[str]) -> Roi:
    items = _items(drawn, "ContourSequence") if drawn is not None else []
    read: list[tuple[Kind, Contour, str]] = [(_kind(i, name), _points(i, name), _image_uid(i)) for i in items]
    kinds: set[Kind] = {kind for kind, points, _ in read if len(points)}
    ranked: tuple[Kind, ...] = ("closed_planar", "open", "point", "empty")
    kind: Kind = min(kinds, key=ranked.index) if kinds else "empty"
    kept = [(points, uid) for k, points, uid in read if k == kind and len(points)]
    if len(kinds) > 1:
        notes.append(f"ROI {name}: contours that are not {kind} left out")
    if kind == "closed_planar":
        closed = [(_opened(points), uid) for points, uid in kept]
        kept = [(points, uid) for points, uid in closed if len(points) >= 3]
        if len(kept) < len(closed):
            notes.append(f"ROI {name}: {len(closed) - len(kept)} contour(s) of fewer than three points left out")
    uids = tuple(uid for _, uid in kept)
    return Roi(
        number=number,
        name=name,
        colour=_colour(drawn),
        interpreted_type=interpreted_type,
        kind=kind if kept else "empty",
        contours=tuple(points for points, _ in kept),
        image_uids=uids if uids and all(uids) else None,
    )


def _opened(points: Contour) -> Contour:
    """Without the first point repeated at the end."""
    end = len(points)
    while end > 1 and np.array_equal(points[end - 1], points[0]):
        end -= 1
    return points[:end]


def _kind(item: Dataset, name: str) -> Kind:
    said = text(item, "ContourGeometricType").upper()
    if said not in _KINDS:
        found = f"contour type {said or 'missing'}"
        raise StructuresRefused(found, where=f"ROI {name}", allowed=", ".join(_KINDS))
    return _KINDS[said]


def _points(item: Dataset, name: str) -> Contour:
    """(N, 3) from the raw text: a tenth of the time that pydicom's decimal strings take, which matters for 10^5
    points, and indifferent to ContourData that was written as UN because it passed 64 kB."""
    values = _decimals(item, name)
    if len(values) % 3 or not all(map(isfinite, values)):
        found = f"{len(values)} coordinates" if len(values) % 3 else "coordinates that are not finite"
        raise StructuresRefused(found, where=f"ROI {name}", allowed="three finite numbers for each point")
    said = text(item, "NumberOfContourPoints")
    if said and said != str(len(values) // 3):
        found = f"a contour of {len(values) // 3} points that says it has {said}"
        raise StructuresRefused(found, where=f"ROI {name}", allowed="ContourData as long as NumberOfContourPoints")
    return np.array(values, np.float64).reshape(-1, 3)


def _decimals(item: Dataset, name: str) -> list[float]:
    element = item.get_item("ContourData") if "ContourData" in item else None
    value: object = element.value if element is not None else None
    if value is None:
        return []
    try:
        if isinstance(value, bytes):
            stripped = value.strip(b" \0")
            return [float(part) for part in stripped.split(b"\\")] if stripped else []
        return [float(part) for part in text(item, "ContourData").split("\\")]
    except (TypeError, ValueError) as error:
        raise StructuresRefused(
            "ContourData that is not made of numbers", where=f"ROI {name}", allowed="three numbers for each point"
        ) from error


def _image_uid(item: Dataset) -> str:
    images = _items(item, "ContourImageSequence")
    return text(images[0], "ReferencedSOPInstanceUID") if images else ""


def _colour(drawn: Dataset | None) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(part) for part in text(drawn, "ROIDisplayColor").split("\\")) if drawn else (-1, 0, 0)
    except ValueError:
        return None
    return (red, green, blue) if all(0 <= c <= 255 for c in (red, green, blue)) else None


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def _number(item: Dataset, keyword: str, path: Path) -> int:
    try:
        return int(text(item, keyword))
    except ValueError as error:
        raise StructuresRefused(f"{keyword} is missing or no number", where=path.name) from error
