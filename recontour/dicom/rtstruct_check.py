"""Reads a structure set back and compares it with what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.files import read_dataset
from recontour.errors import OutputRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from recontour.dicom.drawn import RoiToWrite
    from recontour.dicom.series import CtSeries

_ROUNDING_MM = 1e-4  # what the decimals of a coordinate may lose


def compare(path: Path, series: CtSeries, rois: Sequence[RoiToWrite]) -> None:
    """Raises OutputRefused where the file does not hold what was meant, in its references, ROIs or points."""
    try:
        read = read_dataset(path)
        _same_references(read, series)
        _same_rois(read, rois)
        drawn = {int(item.ReferencedROINumber): item for item in read.ROIContourSequence}
        _must(set(drawn) == {roi.number for roi in rois if not roi.is_empty}, "other ROIs are drawn", "RTSTRUCT")
        for roi in rois:
            if not roi.is_empty:
                _same_contours(drawn[roi.number], roi, series)
    except (AttributeError, KeyError, ValueError, IndexError) as error:
        raise _difference("it cannot be read again", "RTSTRUCT") from error


def _same_references(read: Dataset, series: CtSeries) -> None:
    identity = series.identity
    frame = read.ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    referenced = study.RTReferencedSeriesSequence[0]
    images = [str(item.ReferencedSOPInstanceUID) for item in referenced.ContourImageSequence]
    for meant, found in (
        (identity.frame_of_reference_uid, frame.FrameOfReferenceUID),
        (identity.study_instance_uid, study.ReferencedSOPInstanceUID),
        (identity.study_instance_uid, read.StudyInstanceUID),
        (identity.series_instance_uid, referenced.SeriesInstanceUID),
    ):
        _must(meant == found, "it refers to another study, series or frame of reference", "RTSTRUCT")
    _must(images == list(dict.fromkeys(identity.sop_instance_uids)), "it refers to other images", "RTSTRUCT")
    _must(read.ApprovalStatus == "UNAPPROVED", "it is not UNAPPROVED", "RTSTRUCT")
    patient = (str(read.get("PatientName", "")), str(read.get("PatientID", "")))
    _must(patient == (identity.patient.name, identity.patient.identifier), "it names another patient", "RTSTRUCT")


def _same_rois(read: Dataset, rois: Sequence[RoiToWrite]) -> None:
    listed, observed = read.StructureSetROISequence, read.RTROIObservationsSequence
    _must(len(listed) == len(observed) == len(rois), f"{len(listed)} ROIs for {len(rois)}", "RTSTRUCT")
    for item, observation, roi in zip(listed, observed, rois, strict=True):
        _must((int(item.ROINumber), item.ROIName) == (roi.number, roi.name), "another name or number", roi.name)
        _must(int(observation.ReferencedROINumber) == roi.number, "its observation is another ROI's", roi.name)
        _must((observation.RTROIInterpretedType or "") == roi.interpreted_type, "another interpreted type", roi.name)


def _same_contours(item: Dataset, roi: RoiToWrite, series: CtSeries) -> None:
    colour = tuple(int(v) for v in item.get("ROIDisplayColor") or ())
    _must(colour == (roi.colour or ()), "another colour", roi.name)
    meant = [(plane, contour) for plane, contours in enumerate(roi.contours) for contour in contours]
    _must(len(item.ContourSequence) == len(meant), "another number of contours", roi.name)
    for found, (plane, contour) in zip(item.ContourSequence, meant, strict=True):
        image = found.ContourImageSequence[0]
        uid = series.identity.sop_instance_uids[plane]
        _must(image.ReferencedSOPInstanceUID == uid, "a contour on another image", roi.name)
        points = _points(found)
        _must(points.shape == contour.shape == (int(found.NumberOfContourPoints), 3), "other points", roi.name)
        _must(bool(np.abs(points - contour).max() <= _ROUNDING_MM), "points in other places", roi.name)


def _points(item: Dataset) -> NDArray[np.float64]:
    """(N, 3) from the bytes themselves, each number of at most 16 of them."""
    raw = cast(Any, item.get_item("ContourData")).value
    texts = raw.split(b"\\") if isinstance(raw, bytes) else [str(v).encode() for v in raw]
    if max(len(text.strip()) for text in texts) > 16:
        raise ValueError("a decimal string of more than 16 bytes")
    return np.array(texts, dtype="S16").astype(np.float64).reshape(-1, 3)


def _must(holds: bool, otherwise: str, where: str) -> None:
    if not holds:
        raise _difference(otherwise, where)


def _difference(what: str, where: str) -> OutputRefused:
    return OutputRefused(f"the file does not read back as it was meant: {what}", where=where, allowed="report this")
