"""Enhanced and legacy-converted CT: one object, many frames (PS3.3 A.38, C.7.6.16)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recontour.dicom.files import numbers, patient_of, text
from recontour.dicom.slices import Slice, check_image, plane_of, rescale, tilt
from recontour.errors import ScanRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NEEDED = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)


def frames_of(header: Dataset, path: Path) -> list[Slice]:
    """The frames in the order of the file, localiser frames left out.

    Every value is taken from the frame's own functional group, or from the shared one. Raises ScanRefused with the
    file, and the frame, where a value is in neither.
    """
    check_image(header, path)
    frames: list[Dataset] = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if not frames or len(frames) != int(header.get("NumberOfFrames") or 0):
        raise ScanRefused("a multi-frame CT without a group for every frame", where=path.name)
    shared: Dataset | None = next(iter(header.get("SharedFunctionalGroupsSequence") or []), None)
    slices = [_frame(header, path, number, group, shared) for number, group in enumerate(frames, 1)]
    return [s for s in slices if s is not None]


def _frame(header: Dataset, path: Path, number: int, own: Dataset, shared: Dataset | None) -> Slice | None:
    where = Path(f"{path.name}, frame {number}")
    groups = [g for g in (own, shared) if g is not None]
    kind = _group(groups, "CTImageFrameTypeSequence")
    if kind is not None and "LOCALIZER" in text(kind, "FrameType").upper():
        return None
    position, orientation, measures, values = (_needed(groups, keyword, where) for keyword in _NEEDED)
    acquisition = _group(groups, "CTAcquisitionDetailsSequence")
    slope, intercept = rescale(values, where)
    return Slice(
        path=path,
        frame=number,
        sop_instance_uid=text(header, "SOPInstanceUID"),
        plane=plane_of(
            header,
            numbers(position, "ImagePositionPatient", 3, where.name),
            numbers(orientation, "ImageOrientationPatient", 6, where.name),
            numbers(measures, "PixelSpacing", 2, where.name),
            where,
        ),
        slope=slope,
        intercept=intercept,
        tilt_degrees=tilt(acquisition, where) if acquisition is not None else 0.0,
        frame_of_reference_uid=text(header, "FrameOfReferenceUID"),
        patient=patient_of(header),
    )


def _group(groups: list[Dataset], keyword: str) -> Dataset | None:
    """The frame's own functional group where it has one, else the shared one."""
    return next((g.get(keyword)[0] for g in groups if g.get(keyword)), None)


def _needed(groups: list[Dataset], keyword: str, where: Path) -> Dataset:
    found = _group(groups, keyword)
    if found is None:
        raise ScanRefused(f"{keyword} is missing", where=where.name, allowed="a group for every frame, or a shared one")
    return found
