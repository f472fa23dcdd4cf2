"""What one DICOM object that has just arrived says of itself, so that a queue can tell where it belongs.

Nothing of it is decoded but the header: an object is looked at in memory, before it is kept.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from recontour.dicom.cohort import moment, scanned_at
from recontour.dicom.files import DIRECTORY, STARTS_WITHOUT_PREAMBLE, numbers, patient_of, read_header, text
from recontour.dicom.references import PatientHeader
from recontour.dicom.slices import CT_IMAGE, MULTI_FRAME, is_localiser
from recontour.dicom.structures import RT_STRUCTURE_SET
from recontour.errors import RecontourError, ScanRefused
from recontour.settings import METHODS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Kind = Literal["ct", "localiser", "structures", "ours", "other"]

_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONGEST_UID = 64  # PS3.5 9.1
_META_START, _META_VALUE = 132, 144  # PS3.10 7.1: preamble, DICM, then the length of group 2
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_NEEDED_BY = {
    "ct": ("FrameOfReferenceUID", "PixelData"),
    "localiser": (),
    "structures": ("StructureSetROISequence", "ROIContourSequence"),
    "ours": (),
    "other": (),
}
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
_MATRIX = ("Rows", "Columns", "NumberOfFrames", "BitsStored", "PixelRepresentation", "FrameOfReferenceUID")


@dataclass(frozen=True)
class ArrivedStructures:
    """Of an RTSTRUCT: what it was drawn on, and whether it is a result of ours (`_is_ours`).

    made: "YYYYMMDDHHMMSSFFFFFF" or "". predecessors: SOP instance UIDs of the sets that it was made from.
    """

    frame_of_reference_uid: str
    series_uids: tuple[str, ...]
    image_uids: tuple[str, ...] = field(repr=False)
    made: str
    ours: bool
    predecessors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrived:
    """One object.

    kind: "ours" for what recontour wrote and is no structure set. digest: of all but the file meta information, which
    every sender writes anew. essence: of a CT image, of what it shows, where, and of whom; "" for all else.
    position_mm: of a single slice along its normal, None where it has none. scanned: "YYYYMMDDHHMMSSFFFFFF" or "".
    """

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    patient: PatientHeader = field(repr=False)
    scanned: str
    digest: str
    essence: str = ""
    position_mm: float | None = None
    structures: ArrivedStructures | None = None


def read_arrived(data: bytes) -> Arrived:
    """What a whole DICOM file (part 10) in memory says. Raises ScanRefused where it is none, is cut off, or lacks what
    tells where it belongs."""
    if data[128:132] != b"DICM":
        raise _refused("no DICOM file")
    try:
        dataset = _read(data)
        _check_whole(dataset)
        return _arrived(dataset, data)
    except RecontourError:
        raise
    except Exception as error:  # pydicom raises many kinds on malformed bytes, and documents none
        raise _refused("a damaged or cut-off DICOM object") from error


def _arrived(dataset: Dataset, data: bytes) -> Arrived:
    kind = _kind(dataset)
    for keyword in (*_NEEDED, *_NEEDED_BY[kind]):
        if keyword not in dataset or (keyword.endswith("UID") and not text(dataset, keyword)):
            raise _refused(f"{keyword} is missing")
    for keyword in _NEEDED:
        _check_uid(text(dataset, keyword), keyword)
    return Arrived(
        kind=kind,
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        patient=patient_of(dataset),
        scanned=scanned_at(dataset),
        digest=_digest(data),
        essence=_essence(dataset) if kind == "ct" else "",
        position_mm=_position(dataset) if kind == "ct" else None,
        structures=_structures(dataset) if kind == "structures" else None,
    )


def _refused(found: str) -> ScanRefused:
    return ScanRefused(found, where="received object", allowed="a whole DICOM object, sent again")


def _read(data: bytes, force: bool = False) -> Dataset:
    import pydicom as untyped

    pydicom = cast(Any, untyped)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # its warnings quote values
    return pydicom.dcmread(io.BytesIO(data), force=force)


def _check_whole(dataset: Dataset) -> None:
    """pydicom takes what is there of an element whose end is missing. Raises ScanRefused for such a one, and for fewer
    pixels than the header promises (PS3.5 8.1.1)."""
    for tag in list(dataset.keys())[-1:]:
        raw: Any = dataset.get_item(tag)
        held, said = getattr(raw, "value", None), getattr(raw, "length", None)
        if isinstance(held, bytes) and isinstance(said, int) and said != _UNDEFINED_LENGTH and len(held) < said:
            raise _refused("a DICOM object that is cut off")
    syntax = dataset.file_meta.TransferSyntaxUID
    plain = "PixelData" in dataset and not syntax.is_compressed
    if (
        plain
        and not text(dataset, "PhotometricInterpretation").startswith("YBR")
        and len(dataset.PixelData) < _promised_bytes(dataset)
    ):
        raise _refused("an image with fewer pixels than it says")


def _promised_bytes(dataset: Dataset) -> int:
    size = [int(dataset.get(k) or 1) for k in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    bits = int(dataset.get("BitsAllocated") or 0)
    return size[0] * size[1] * size[2] * size[3] * bits // 8


def _check_uid(uid: str, keyword: str) -> None:
    """It becomes a file's name: digits and dots alone (PS3.5 9.1)."""
    if not (0 < len(uid) <= _LONGEST_UID and set(uid) <= set("0123456789.") and uid.strip(".")):
        raise _refused(f"{keyword} is no UID")


def _kind(dataset: Dataset) -> Kind:
    sop_class = text(dataset, "SOPClassUID")
    if sop_class == RT_STRUCTURE_SET:
        return "structures"
    if sop_class in (CT_IMAGE, *MULTI_FRAME) and text(dataset, "Modality") == "CT":
        return "localiser" if is_localiser(dataset) else "ct"
    return "ours" if text(dataset, "Manufacturer") == "recontour" else "other"


def _digest(data: bytes) -> str:
    """sha256 of the transfer syntax's own bytes: all after group 2, whose length its first element says."""
    says_length = data[_META_START : _META_START + 8] == b"\x02\x00\x00\x00UL\x04\x00"
    start = _META_VALUE + int.from_bytes(data[_META_VALUE - 4 : _META_VALUE], "little") if says_length else 0
    return hashlib.sha256(data[start:]).hexdigest()


def _essence(dataset: Dataset) -> str:
    patient = patient_of(dataset)
    words = [patient.identifier, patient.name, patient.birth_date, *(text(dataset, k) for k in (*_PLACE, *_MATRIX))]
    found = hashlib.sha256("\n".join(words).encode("utf-8", "replace"))
    found.update(cast(bytes, dataset.PixelData))
    return found.hexdigest()


def _position(dataset: Dataset) -> float | None:
    import numpy as np

    if text(dataset, "SOPClassUID") in MULTI_FRAME:
        return None
    try:
        origin = numbers(dataset, "ImagePositionPatient", 3, "")
        axes = numbers(dataset, "ImageOrientationPatient", 6, "")
    except ScanRefused:  # said when the series is read, with all that is wrong with it
        return None
    return float(np.dot(origin, np.cross(axes[:3], axes[3:])))


def _structures(dataset: Dataset) -> ArrivedStructures:
    """PS3.3 C.8.8.5."""
    frames = _items(dataset, "ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in _items(frame, "RTReferencedStudySequence")]
    series = [item for study in studies for item in _items(study, "RTReferencedSeriesSequence")]
    images = [text(i, "ReferencedSOPInstanceUID") for one in series for i in _items(one, "ContourImageSequence")]
    defined = _items(dataset, "StructureSetROISequence")
    of_rois = {text(item, "ReferencedFrameOfReferenceUID") for item in defined} - {""}
    of_file = next((text(frame, "FrameOfReferenceUID") for frame in frames), "")
    before = _items(dataset, "PredecessorStructureSetSequence")
    return ArrivedStructures(
        frame_of_reference_uid=of_rois.pop() if len(of_rois) == 1 else of_file,
        series_uids=tuple(dict.fromkeys(uid for one in series if (uid := text(one, "SeriesInstanceUID")))),
        image_uids=tuple(dict.fromkeys(uid for uid in images if uid)),
        made=moment(dataset, "StructureSet", "InstanceCreation", "Series", "Study"),
        ours=_is_ours(dataset),
        predecessors=tuple(text(item, "ReferencedSOPInstanceUID") for item in before),
    )


def _is_ours(dataset: Dataset) -> bool:
    """Whether recontour propagated these contours: any ROI's algorithm is one of its methods (PS3.3 10.16). A planning
    system that changed and stored them again often keeps that item, and its own name as the manufacturer."""
    ours = {f"recontour {method}" for method in METHODS}
    return any(name in ours for item in _items(dataset, "StructureSetROISequence") for name in _algorithms(item))


def _algorithms(roi: Dataset) -> Iterator[str]:
    for item in _items(roi, "ROIDerivationAlgorithmIdentificationSequence"):
        yield text(item, "AlgorithmName")


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def series_uid_of(path: Path) -> str:
    """The series of a DICOM file that may not be whole yet; "" where that cannot be told."""
    try:
        header = read_header(path)
    except RecontourError:
        return ""
    return "" if header is None else text(header, "SeriesInstanceUID")


def as_part_10(data: bytes) -> bytes | None:
    """The bytes of a file as a DICOM file with its preamble; None where it is no DICOM, or an index of other files.

    Files from before part 10 have no preamble: they are written anew with one, encoded as they are. Raises ScanRefused
    where such a one cannot be read.
    """
    if data[128:132] == b"DICM":
        return None if DIRECTORY.encode() in data[:1024] else data
    if not data.startswith(STARTS_WITHOUT_PREAMBLE):
        return None
    try:
        return _with_preamble(_read(data, force=True))
    except Exception as error:
        raise _refused("a damaged file without a preamble") from error


def _with_preamble(dataset: Dataset) -> bytes | None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "SOPClassUID" not in dataset:
        return None
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        syntax = ImplicitVRLittleEndian if dataset.original_encoding[0] else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
