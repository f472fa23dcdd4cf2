"""One slice of a CT series, as its header describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recontour.dicom.files import numbers, patient_of, text
from recontour.dicom.references import PatientHeader
from recontour.errors import ScanRefused
from recontour.geometry.contours import SlicePlane
from recontour.geometry.grid import Triple

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
CONVERTED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.2"
MULTI_FRAME = (ENHANCED_CT_IMAGE, CONVERTED_CT_IMAGE)

_NOT_HOUNSFIELD = ("ED", "EDW", "Z_EFF", "MGML", "PCT")  # Rescale Type, PS3.3 C.11.1.1.2


@dataclass(frozen=True)
class Slice:
    """One image, or one frame of a multi-frame object.

    frame: from 1 in a multi-frame object, 0 where the file is one image.
    slope, intercept: HU = slope * stored + intercept.
    tilt_degrees: GantryDetectorTilt as the header says it.
    """

    path: Path
    frame: int
    sop_instance_uid: str
    plane: SlicePlane
    slope: float
    intercept: float
    tilt_degrees: float
    frame_of_reference_uid: str
    patient: PatientHeader


def slice_of(header: Dataset, path: Path) -> Slice:
    """The slice of a CT Image object. Raises ScanRefused with the file and the tag that is missing or unusable."""
    check_image(header, path)
    slope, intercept = rescale(header, path)
    return Slice(
        path=path,
        frame=0,
        sop_instance_uid=text(header, "SOPInstanceUID"),
        plane=plane_of(
            header,
            numbers(header, "ImagePositionPatient", 3, path.name),
            numbers(header, "ImageOrientationPatient", 6, path.name),
            numbers(header, "PixelSpacing", 2, path.name),
            path,
        ),
        slope=slope,
        intercept=intercept,
        tilt_degrees=tilt(header, path),
        frame_of_reference_uid=text(header, "FrameOfReferenceUID"),
        patient=patient_of(header),
    )


def is_localiser(header: Dataset) -> bool:
    """Scout images share the series of the slices on some scanners."""
    return "LOCALIZER" in text(header, "ImageType").upper().split("\\")


def check_image(header: Dataset, path: Path) -> None:
    """Raises ScanRefused where pixels are not one number each, or the object has no name to refer to."""
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not text(header, keyword):
            raise ScanRefused(f"{keyword} is missing", where=path.name, allowed="a CT image with its references")
    for keyword in ("Rows", "Columns"):
        numbers(header, keyword, 1, path.name)
    if text(header, "SamplesPerPixel") not in ("", "1"):
        raise ScanRefused("colour pixels", where=path.name, allowed="one value per pixel")


def rescale(header: Dataset, path: Path) -> tuple[float, float]:
    """Slope and intercept to HU (PS3.3 C.11.1). Raises ScanRefused where they are missing or lead to another unit."""
    unit = text(header, "RescaleType").upper()
    if unit in _NOT_HOUNSFIELD:
        raise ScanRefused(f"pixel values are {unit}, not Hounsfield units", where=path.name, allowed="a CT in HU")
    (slope,), (intercept,) = (numbers(header, k, 1, path.name) for k in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise ScanRefused("RescaleSlope is 0", where=path.name, allowed="a slope other than 0")
    return slope, intercept


def tilt(header: Dataset, path: Path) -> float:
    """GantryDetectorTilt in degrees, 0 where the header does not say."""
    return numbers(header, "GantryDetectorTilt", 1, path.name)[0] if text(header, "GantryDetectorTilt") else 0.0


def plane_of(
    header: Dataset, position: tuple[float, ...], orientation: tuple[float, ...], spacing: tuple[float, ...], path: Path
) -> SlicePlane:
    """The plane, with its axes made exactly orthonormal. Raises ScanRefused where they are far from it."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1.0, atol=0.01) or abs(row @ column) > 0.01:
        raise ScanRefused("ImageOrientationPatient is not two orthogonal unit vectors", where=path.name)
    if min(spacing) <= 0:
        raise ScanRefused("PixelSpacing is not positive", where=path.name, allowed="above 0 mm")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return SlicePlane(
        _triple(position), _triple(row), _triple(column), spacing[0], spacing[1], int(header.Rows), int(header.Columns)
    )


def _triple(values: np.typing.ArrayLike) -> Triple:
    x, y, z = (float(v) for v in np.asarray(values, float))
    return x, y, z
