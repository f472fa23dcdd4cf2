"""Contours -> RTSTRUCT (RT Structure Set IOD, PS3.3 A.19), checked after it is written.

rt-utils builds the skeleton: patient, study, the references to the images. What it gets wrong or leaves out is set
here: coordinates that fit into 16 bytes, interpreted types, names, the missing Type 2 tags, where the contours come
from, who made them.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recontour import __version__
from recontour.dicom.drawn import RoiToWrite
from recontour.dicom.references import SeriesIdentity
from recontour.dicom.rtstruct_check import compare
from recontour.dicom.whole_file import refuse_existing, save_whole
from recontour.errors import OutputRefused
from recontour.geometry.contours import Contour

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from recontour.dicom.series import CtSeries

RTSTRUCT_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_DECIMALS = 4  # of coordinates in mm: a tenth of a micrometre, in at most 11 of the 16 bytes that DS allows

# CID 7162, Surface Processing Algorithm Family (PS3.16)
_FAMILIES = {
    "deformable models": ("123111", "Deformable Models"),
    "artificial intelligence": ("123110", "Artificial Intelligence"),
}


@dataclass(frozen=True)
class Provenance:
    """Where the contours come from.

    algorithm_name, algorithm_version, family: PS3.3 10.16, Algorithm Identification Macro.
    predecessor_uid: SOP instance UID of the planning structure set, "" where there is none.
    label: structure set label, 1 to 16 characters, since some planning systems refuse longer ones.
    """

    algorithm_name: str = "recontour"
    algorithm_version: str = __version__
    family: Literal["deformable models", "artificial intelligence"] = "deformable models"
    predecessor_uid: str = ""
    label: str = "recontour"
    series_description: str = "recontour: propagated contours"


def write_rtstruct(
    path: Path, series: CtSeries, rois: Sequence[RoiToWrite], about: Provenance, overwrite: bool = False
) -> None:
    """Writes `rois`, drawn on the planes of `series`, as an RT Structure Set in implicit VR little endian.

    It refers to the series' study, frame of reference and every one of its images; its own UIDs are new; it is
    UNAPPROVED. An empty ROI is in the list of ROIs and has no contour item. The file is written beside, synced, read
    back, compared point for point, and renamed. Raises OutputRefused where the file exists and `overwrite` is not
    set, where the ROIs cannot be written as they are, or where what was read back is not what was meant; then there
    is no file.
    """
    if not overwrite:
        refuse_existing(path)
    _refuse_unfit(rois, series, about)
    dataset = _skeleton(series.identity)
    _describe(dataset, series.identity, about)
    for order, roi in enumerate(rois, start=1):
        dataset.StructureSetROISequence.append(_roi_item(roi, series.identity, about))
        dataset.RTROIObservationsSequence.append(_observation_item(roi, order))
        if not roi.is_empty:
            dataset.ROIContourSequence.append(_contour_item(roi, series.identity))
    save_whole(dataset, path, overwrite, lambda written: verify_rtstruct(written, series, rois))


def verify_rtstruct(path: Path, series: CtSeries, rois: Sequence[RoiToWrite]) -> None:
    """Reads the structure set at `path` and compares it with what was meant: references, ROIs, and every point.

    Raises OutputRefused, naming the ROI, where anything differs.
    """
    compare(path, series, rois)


def names_to_write(names: Sequence[str], longest: int = 64) -> list[str]:
    """Names that a structure set can hold: without backslashes and control characters, at most `longest` characters,
    unique regardless of case. Those that are fit stay; planning systems know the ROI by its name."""
    taken: set[str] = set()
    out: list[str] = []
    for name in names:
        clean = "".join(" " if c == "\\" or ord(c) < 32 else c for c in name).strip() or "ROI"
        fit, count = clean[:longest].rstrip(), 1
        while fit.casefold() in taken:
            count += 1
            suffix = f"_{count}"
            fit = clean[: longest - len(suffix)].rstrip() + suffix
        taken.add(fit.casefold())
        out.append(fit)
    return out


def _refuse_unfit(rois: Sequence[RoiToWrite], series: CtSeries, about: Provenance) -> None:
    names = [roi.name for roi in rois]
    for name, fit in zip(names, names_to_write(names), strict=True):
        if name != fit:
            raise OutputRefused("an ROI name that cannot be written, or is there twice", where=name, allowed=fit)
    if len({roi.number for roi in rois}) != len(rois):
        raise OutputRefused("two ROIs with one number", where="RTSTRUCT", allowed="a number for each ROI")
    if not 1 <= len(about.label) <= 16:
        found = f"a label of {len(about.label)} characters"
        raise OutputRefused(found, where=about.label, allowed="1 to 16 characters")
    if all(roi.is_empty for roi in rois):
        raise OutputRefused("no ROI has a contour", where="RTSTRUCT", allowed="at least one contour")
    for roi in rois:
        _refuse_unfit_contours(roi, series)


def _refuse_unfit_contours(roi: RoiToWrite, series: CtSeries) -> None:
    if not roi.is_empty and len(roi.contours) != len(series.planes):
        found = f"contours on {len(roi.contours)} planes for {len(series.planes)} slices"
        raise OutputRefused(found, where=roi.name, allowed="one list of contours per slice")
    for plane, contours in zip(series.planes, roi.contours, strict=False):
        for contour in contours:
            if contour.ndim != 2 or contour.shape[1] != 3 or len(contour) < 3 or not np.isfinite(contour).all():
                raise OutputRefused(
                    f"a contour of shape {contour.shape}, or with a point that is no number",
                    where=roi.name,
                    allowed="at least 3 points in mm",
                )
            off = float(np.abs((contour - plane.origin_mm) @ plane.normal).max())
            if off > 0.01:
                raise OutputRefused(
                    f"a contour lies {off:.2f} mm off its slice", where=roi.name, allowed="contours on the slices"
                )


def rt_utils_helper() -> Any:
    """The module of rt-utils that builds data sets.

    rt-utils loads OpenCV for masks, which recontour does not use and which a bare server cannot load, since it wants
    the libraries of a screen: there an empty module stands in for it. Raises ImportError where rt-utils is missing.
    """
    try:
        import_module("cv2")
    except ImportError:
        sys.modules["cv2"] = ModuleType("cv2")
    return import_module("rt_utils.ds_helper")


def _skeleton(identity: SeriesIdentity) -> Dataset:
    """What rt-utils makes of the images: patient, study, and the references to all of them."""
    from pydicom.dataset import Dataset

    images: list[Dataset] = []
    for uid in dict.fromkeys(identity.sop_instance_uids):  # a multi-frame image stands there once per frame
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = identity.sop_class_uid, uid
        image.StudyInstanceUID, image.SeriesInstanceUID = identity.study_instance_uid, identity.series_instance_uid
        image.FrameOfReferenceUID = identity.frame_of_reference_uid
        image.StudyDate, image.StudyTime, image.StudyID = identity.study_date, identity.study_time, identity.study_id
        image.StudyDescription = identity.study_description
        image.PatientName, image.PatientID = identity.patient.name, identity.patient.identifier
        image.PatientBirthDate, image.PatientSex = identity.patient.birth_date, identity.patient.sex
        images.append(image)
    return rt_utils_helper().create_rtstruct_dataset(images)


def _describe(dataset: Dataset, identity: SeriesIdentity, about: Provenance) -> None:
    """The tags of the whole set that rt-utils leaves out, or fills with its own institution."""
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, generate_uid

    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    del dataset.InstitutionName
    for keyword in ("PatientAge", "PatientSize", "PatientWeight", "StudyDescription"):
        if not dataset.get(keyword):
            delattr(dataset, keyword)
    uid = generate_uid(prefix=None)
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = uid
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"RECONTOUR {__version__}"[:16]
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPInstanceUID": uid,
        "SeriesInstanceUID": generate_uid(prefix=None),
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        "SeriesDate": date,
        "SeriesTime": time,
        "StructureSetDate": date,
        "StructureSetTime": time,
        "StructureSetLabel": about.label,
        "SeriesDescription": about.series_description[:64],
        "InstanceNumber": 1,
        "AccessionNumber": identity.accession_number,
        "ReferringPhysicianName": identity.referring_physician,
        "OperatorsName": "",
        "Manufacturer": "recontour",
        "ManufacturerModelName": "recontour",
        "SoftwareVersions": __version__,
        "FrameOfReferenceUID": identity.frame_of_reference_uid,
        "PositionReferenceIndicator": identity.position_reference_indicator,
        "ApprovalStatus": "UNAPPROVED",
    }
    if about.predecessor_uid:
        values["PredecessorStructureSetSequence"] = [_reference(RTSTRUCT_STORAGE, about.predecessor_uid)]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _roi_item(roi: RoiToWrite, identity: SeriesIdentity, about: Provenance) -> Dataset:
    """PS3.3 C.8.8.5, Structure Set ROI Sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber = roi.number
    item.ReferencedFrameOfReferenceUID = identity.frame_of_reference_uid
    item.ROIName = roi.name
    if roi.description:
        item.ROIDescription = roi.description
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    family = Dataset()
    family.CodeValue, family.CodeMeaning = _FAMILIES[about.family]
    family.CodingSchemeDesignator = "DCM"
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [family]
    algorithm.AlgorithmName = about.algorithm_name
    algorithm.AlgorithmVersion = about.algorithm_version
    item.ROIDerivationAlgorithmIdentificationSequence = [algorithm]
    return item


def _observation_item(roi: RoiToWrite, order: int) -> Dataset:
    """PS3.3 C.8.8.8, RT ROI Observations Sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ObservationNumber = order
    item.ReferencedROINumber = roi.number
    item.ROIObservationLabel = roi.name[:16].strip()
    item.RTROIInterpretedType = roi.interpreted_type
    item.ROIInterpreter = ""
    return item


def _contour_item(roi: RoiToWrite, identity: SeriesIdentity) -> Dataset:
    """PS3.3 C.8.8.6, ROI Contour Sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    if roi.colour is not None:
        item.ROIDisplayColor = list(roi.colour)
    drawn = [(plane, contour) for plane, contours in enumerate(roi.contours) for contour in contours]
    item.ContourSequence = [_contour(number, *one, identity) for number, one in enumerate(drawn, start=1)]
    item.ReferencedROINumber = roi.number
    return item


def _contour(number: int, plane: int, contour: Contour, identity: SeriesIdentity) -> Dataset:
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    reference = _reference(identity.sop_class_uid, identity.sop_instance_uids[plane])
    if identity.frame_numbers:
        reference.ReferencedFrameNumber = identity.frame_numbers[plane]
    item = Dataset()
    item.ContourImageSequence = [reference]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(contour)
    item.ContourNumber = number
    # The bytes as they go to the file: pydicom would make an object of each of the hundred thousand numbers, and
    # does so on writing, too, unless the item says that its bytes are already encoded as the file is.
    item.set_original_encoding(True, True, "iso8859")
    tag = Tag("ContourData")
    text = _decimal_strings(contour)
    item[tag] = RawDataElement(tag, "DS", len(text), text, 0, True, True)
    return item


def _decimal_strings(contour: Contour) -> bytes:
    """All coordinates as DS, at most 16 bytes each (PS3.5 6.2), of even length in all. One that is the same in all
    points, such as the z of an axial slice, is written in full, to be exactly the image's own."""
    from pydicom.valuerep import format_number_as_ds

    columns: list[list[str]] = []
    for values in contour.T + 0.0:
        constant = len(values) and (values == values[0]).all()
        if constant:
            columns.append([format_number_as_ds(float(values[0]))] * len(values))
        else:
            columns.append([f"{v:.{_DECIMALS}f}" for v in values.tolist()])
    text = "\\".join(value for point in zip(*columns, strict=True) for value in point)
    return (text + " " * (len(text) % 2)).encode("ascii")


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
