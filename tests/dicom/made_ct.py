"""CT files made with pydicom alone, so that what reads them is not tested against what writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES, STUDY, FRAME = "1.2.826.0.1.3680043.8.498.11", "1.2.826.0.1.3680043.8.498.12", "1.2.826.0.1.3680043.8.498.13"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_image(
    pixels: np.ndarray, position: Any, orientation: Any = AXIAL, spacing: Any = (2.0, 1.0), **tags: Any
) -> Dataset:
    """One CT image of stored uint16 `pixels` (rows, columns) with HU = stored - 1024; `tags` override, None removes."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = dict(
        SOPClassUID=CT, SOPInstanceUID=generate_uid(), SeriesInstanceUID=SERIES, StudyInstanceUID=STUDY,
        FrameOfReferenceUID=FRAME, Modality="CT", PatientID="SECRET-ID", PatientName="Secret^Name",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PatientPosition="HFS", SeriesDescription="pelvis",
        ImagePositionPatient=[f"{v:.6f}" for v in position], ImageOrientationPatient=[f"{v:.8f}" for v in orientation],
        PixelSpacing=list(spacing), Rows=pixels.shape[0], Columns=pixels.shape[1], SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
        RescaleSlope="1", RescaleIntercept="-1024", PixelData=pixels.astype("<u2").tobytes(),
    )  # fmt: skip
    for keyword, value in (values | tags).items():
        if value is not None:
            setattr(image, keyword, value)
    return image


def save(folder: Path, images: list[Dataset], names: list[str] | None = None) -> Path:
    """Writes the images, by default under names that sort against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        pydicom.dcmwrite(folder / (names[i] if names else f"{999 - i}.dcm"), image, enforce_file_format=True)
    return folder


def simple_scan(count: int = 5, z0: float = 10.0, step: float = 3.0, zs: Any = None, **tags: Any) -> list[Dataset]:
    """Axial slices of 6 x 4 pixels; every pixel's HU is its z in mm."""
    places = [z0 + step * i for i in range(count)] if zs is None else list(zs)
    return [ct_image(np.full((6, 4), round(1024 + z)), (-5.0, 7.0, z), **tags) for z in places]


def rtstruct(
    rois: list[dict[str, Any]], series: str = SERIES, frame: str = FRAME, uid: str = "1.2.3.1", **tags: Any
) -> Dataset:
    """A structure set. Each ROI: number, name, type, and contours as (kind, points) or (kind, raw ContourData)."""
    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out.SOPClassUID, out.SOPInstanceUID, out.Modality = "1.2.840.10008.5.1.4.1.1.481.3", uid, "RTSTRUCT"
    out.PatientID, out.StructureSetLabel, out.StructureSetDate = "SECRET-ID", "plan", "20240102"
    if frame or series:
        reference, study, inner = Dataset(), Dataset(), Dataset()
        reference.FrameOfReferenceUID = frame
        inner.SeriesInstanceUID = series
        study.RTReferencedSeriesSequence = [inner]
        reference.RTReferencedStudySequence = [study] if series else []
        out.ReferencedFrameOfReferenceSequence = [reference]
    out.StructureSetROISequence, out.ROIContourSequence, out.RTROIObservationsSequence = [], [], []
    for roi in rois:
        defined, drawn, observed = Dataset(), Dataset(), Dataset()
        defined.ROINumber, defined.ROIName = roi["number"], roi["name"]
        defined.ReferencedFrameOfReferenceUID = roi.get("frame", frame)
        observed.ReferencedROINumber, observed.RTROIInterpretedType = roi["number"], roi.get("type", "ORGAN")
        out.StructureSetROISequence.append(defined)
        out.RTROIObservationsSequence.append(observed)
        if "contours" in roi:
            drawn.ReferencedROINumber, drawn.ROIDisplayColor = roi["number"], [1, 20, 255]
            drawn.ContourSequence = [_contour(*contour) for contour in roi["contours"]]
            out.ROIContourSequence.append(drawn)
    for keyword, value in tags.items():
        setattr(out, keyword, value)
    return out


def _contour(kind: str, data: Any, count: int | None = None) -> Dataset:
    out = Dataset()
    out.ContourGeometricType = kind
    if isinstance(data, bytes):
        tag = BaseTag(0x30060050)
        out[tag] = RawDataElement(tag, "UN", len(data), data, 0, False, True)  # as it stands, unconverted
        out.NumberOfContourPoints = count if count is not None else 1
    else:
        points = np.asarray(data, float)
        out.NumberOfContourPoints = len(points) if count is None else count
        out.ContourData = [f"{v:.4f}" for v in points.ravel()]
    return out
