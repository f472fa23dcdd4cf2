"""What a folder of any layout holds for an evaluation: structure sets, registrations, and the slices of their scans.

Every header is read once. Of images only the plane is kept, so that a scan costs some kilobytes; contours and fields
are read when their turn comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recontour.dicom.enhanced import frames_of
from recontour.dicom.files import files_in, read_header, text
from recontour.dicom.registration import DEFORMABLE_REGISTRATION, SPATIAL_REGISTRATION
from recontour.dicom.slices import CT_IMAGE, MULTI_FRAME, is_localiser, slice_of
from recontour.dicom.structures import RT_STRUCTURE_SET
from recontour.errors import InputRefused, StructuresRefused
from recontour.geometry.contours import SAME_PLANE_MM, Contour, SlicePlane
from recontour.geometry.grid import Triple

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SAME_DIRECTION = 1e-4  # 0.05 mm over half a metre


@dataclass(frozen=True)
class FoundFile:
    """A structure set or a registration. series_uids: of the scans it was drawn on, or brings together, as far as it
    says. frame_of_reference_uid: of a registration the daily scan's, "" for a structure set."""

    path: Path = field(repr=False)
    sop_instance_uid: str
    series_uids: tuple[str, ...]
    frame_of_reference_uid: str = ""


@dataclass(frozen=True, eq=False)
class ContourFiles:
    """planes: series UID -> the planes of its images, from low to high along their normal; a CT whose images have no
    common orientation is not in it. unreadable: DICOM files that could not be read. copies: files left out since they
    are another's second copy, by SOP instance UID."""

    structure_sets: tuple[FoundFile, ...]
    registrations: tuple[FoundFile, ...]
    planes: Mapping[str, tuple[SlicePlane, ...]]
    unreadable: int
    copies: int


def find_contour_files(folder: Path, ignore: Iterable[Path] = ()) -> ContourFiles:
    """All that lies in a folder, nested or not, but at or under an `ignore` path. Raises UsageError where there is no
    such folder."""
    sets: dict[str, FoundFile] = {}
    registrations: dict[str, FoundFile] = {}
    planes: dict[str, list[SlicePlane]] = {}
    unreadable = copies = 0
    for path in files_in(folder, ignore):
        try:
            header = read_header(path, StructuresRefused)
            kind = "" if header is None else text(header, "SOPClassUID")
            if header is None or (kind in (CT_IMAGE, *MULTI_FRAME) and is_localiser(header)):
                continue
            if kind in (CT_IMAGE, *MULTI_FRAME):
                planes.setdefault(text(header, "SeriesInstanceUID"), []).extend(_planes_in(header, path))
                continue
        except InputRefused:
            unreadable += 1
            continue
        found = _found(header, path)
        if kind in (RT_STRUCTURE_SET, SPATIAL_REGISTRATION, DEFORMABLE_REGISTRATION):
            into = sets if kind == RT_STRUCTURE_SET else registrations
            copies += found.sop_instance_uid in into
            into.setdefault(found.sop_instance_uid, found)
    stacks = {uid: stack for uid, found in planes.items() if (stack := _stack(found))}
    return ContourFiles(tuple(sets.values()), tuple(registrations.values()), stacks, unreadable, copies)


def planes_through(contours: Sequence[Contour], like: SlicePlane) -> list[SlicePlane]:
    """The planes parallel to `like` on which closed contours lie, from low to high; contours within SAME_PLANE_MM of
    each other share one."""
    heights = np.sort([float((contour @ like.normal).mean()) for contour in contours])
    groups = np.split(heights, np.flatnonzero(np.diff(heights) > SAME_PLANE_MM) + 1) if len(heights) else []
    origin = np.asarray(like.origin_mm)
    return [_moved(like, origin + (float(group.mean()) - like.position_mm) * like.normal) for group in groups]


def plane_of_contours(contours: Sequence[Contour]) -> SlicePlane:
    """A plane that closed contours lie parallel to, for where there is no image: the one of the contour with the
    longest way around, its rows along x as nearly as can be. Raises StructuresRefused where no contour spans one."""
    largest = max(contours, key=lambda c: float(np.ptp(c, axis=0).sum()), default=np.empty((0, 3)))
    spread = largest - largest.mean(axis=0) if len(largest) else largest
    _, sizes, axes = np.linalg.svd(spread, full_matrices=False) if len(largest) >= 3 else (0, np.zeros(3), np.eye(3))
    if sizes[1] < 1e-3:
        raise StructuresRefused("no contour that spans a plane", where="RTSTRUCT", allowed="closed planar contours")
    normal = axes[2] * np.sign(axes[2][np.abs(axes[2]).argmax()])
    if normal.max() > 1 - _SAME_DIRECTION:
        normal = np.eye(3)[normal.argmax()]  # rounding of coordinates, not a turn
    along = np.eye(3)[0] if abs(normal[0]) < 0.9 else np.eye(3)[1]
    row = along - (along @ normal) * normal
    row = row / np.linalg.norm(row)
    return SlicePlane((0.0, 0.0, 0.0), _triple(row), _triple(np.cross(normal, row)), 1.0, 1.0, 1, 1)


def _planes_in(header: Dataset, path: Path) -> list[SlicePlane]:
    """Raises ScanRefused where the header does not say where its images lie."""
    if text(header, "SOPClassUID") in MULTI_FRAME:
        return [frame.plane for frame in frames_of(header, path)]
    return [slice_of(header, path).plane]


def _stack(planes: Sequence[SlicePlane]) -> tuple[SlicePlane, ...]:
    """In order and each place once; none where they are not parallel."""
    axes = np.array([(*p.row_direction, *p.column_direction) for p in planes])
    if len(planes) < 2 or np.abs(axes - axes[0]).max() > _SAME_DIRECTION:
        return ()
    ordered = sorted(planes, key=lambda plane: plane.position_mm)
    apart = np.diff([plane.position_mm for plane in ordered])
    return (ordered[0], *(p for p, gap in zip(ordered[1:], apart, strict=True) if gap > SAME_PLANE_MM))


def _found(header: Dataset, path: Path) -> FoundFile:
    drawn_on = [
        series
        for frame in _items(header, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
    ]
    series = [text(item, "SeriesInstanceUID") for item in (*drawn_on, *_items(header, "ReferencedSeriesSequence"))]
    uids = tuple(dict.fromkeys(uid for uid in series if uid))
    return FoundFile(path, text(header, "SOPInstanceUID"), uids, text(header, "FrameOfReferenceUID"))


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def _moved(plane: SlicePlane, origin_mm: np.typing.NDArray[np.float64]) -> SlicePlane:
    spacing = plane.row_spacing_mm, plane.column_spacing_mm
    return SlicePlane(
        _triple(origin_mm), plane.row_direction, plane.column_direction, *spacing, plane.rows, plane.columns
    )


def _triple(values: np.typing.ArrayLike) -> Triple:
    x, y, z = (float(v) for v in np.asarray(values, float))
    return x, y, z
