"""Enhanced and legacy-converted CT: one object, many frames (PS3.3 A.38, C.7.6.16)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recontour.dicom.files import numbers, patient_of, text
from recontour.dicom.slices import Slice, check_image, plane_of, rescale, tilt
from recontour.errors import ScanRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


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
    def group(keyword: str, required: bool = True) -> Dataset | None:
        for place in (own, shared):
            items = place.get(keyword) if place is not None else None
            if items:
                return items[0]
        if required:
            raise ScanRefused(f"{keyword} is missing", where=f"{path.name}, frame {number}")
        return None

    kind = group("CTImageFrameTypeSequence", required=False)
    if kind is not None and "LOCALIZER" in text(kind, "FrameType").upper():
        return None
    where = Path(f"{path.name}, frame {number}")
    position, orientation, measures, values = (
        _must(group(k))
        for k in (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        )
    )
    geometry = group("CTAcquisitionDetailsSequence", required=False)
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
        tilt_degrees=tilt(geometry, where) if geometry is not None else 0.0,
        frame_of_reference_uid=text(header, "FrameOfReferenceUID"),
        patient=patient_of(header),
    )


def _must(group: Dataset | None) -> Dataset:
    assert group is not None
    return group
