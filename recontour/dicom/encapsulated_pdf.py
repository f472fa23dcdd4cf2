"""A PDF as a DICOM object in the daily study, so that it lies where the patient's record is: Encapsulated PDF IOD,
PS3.3 A.45.1."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recontour import __version__
from recontour.dicom.files import read_dataset
from recontour.dicom.references import SeriesIdentity, study_attributes
from recontour.dicom.whole_file import refuse_existing, save_whole
from recontour.errors import OutputRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from recontour.dicom.series import CtSeries

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def write_encapsulated_pdf(
    path: Path,
    pdf: bytes,
    daily: CtSeries,
    title: str,
    written: str = "",
    identified: bool = False,
    overwrite: bool = False,
) -> str:
    """Writes `pdf` as an Encapsulated PDF in the study of `daily`, in implicit VR little endian; its SOP instance UID.

    title: of the document, and of its series, which is new. written: ISO 8601, when the document was made; "" is now.
    identified: whether the sheets themselves say who the patient is (Burned In Annotation, C.24.2); the object's
    header does, as that of every object of the study. It refers to the daily images that it was made of.

    The file is written beside, synced, read back, compared and renamed. Raises OutputRefused where the file exists and
    `overwrite` is not set, where `pdf` is none or `written` no time, or where what was read back is not what was
    meant; then there is no new file.
    """
    if not overwrite:
        refuse_existing(path)
    if not pdf.startswith(b"%PDF-"):
        raise OutputRefused("this is no PDF", where=path.name, allowed="a PDF")
    made_at = _time_of(written)
    dataset = _header(daily.identity, title, made_at)
    _describe_document(dataset, daily.identity, title, made_at)
    dataset.BurnedInAnnotation = "YES" if identified else "NO"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf  # pydicom adds the byte that makes its length even (PS3.5 7.1.1)
    save_whole(dataset, path, overwrite, lambda written: _compare(written, pdf))
    return str(dataset.SOPInstanceUID)


def read_encapsulated_pdf(path: Path) -> bytes:
    """The PDF in such a file, without padding. Raises OutputRefused where there is none."""
    read = read_dataset(path)
    if read.get("SOPClassUID") != ENCAPSULATED_PDF or "EncapsulatedDocument" not in read:
        raise OutputRefused("no PDF inside", where=path.name, allowed="an Encapsulated PDF")
    held: bytes = read.EncapsulatedDocument
    return held[: int(read.get("EncapsulatedDocumentLength", len(held)))]


def _time_of(written: str) -> datetime.datetime:
    if not written:
        return datetime.datetime.now().astimezone()
    try:
        return datetime.datetime.fromisoformat(written)
    except ValueError as error:
        raise OutputRefused("the time of the document is none", where="written", allowed="ISO 8601") from error


def _header(identity: SeriesIdentity, title: str, made_at: datetime.datetime) -> Dataset:
    """Patient, General Study, Encapsulated Document Series (C.24.1), General Equipment, SC Equipment (C.8.6.1)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out.file_meta.ImplementationVersionName = f"RECONTOUR {__version__}"[:16]
    date, time = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": ENCAPSULATED_PDF,
        "SOPInstanceUID": generate_uid(prefix=None),
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        **study_attributes(identity),
        "Modality": "DOC",
        "SeriesInstanceUID": generate_uid(prefix=None),
        "SeriesNumber": 1,
        "SeriesDate": date,
        "SeriesTime": time,
        "SeriesDescription": title[:64],
        "Manufacturer": "recontour",
        "ManufacturerModelName": "recontour",
        "SoftwareVersions": __version__,
        "ConversionType": "WSD",  # made at a workstation, not scanned
    }
    if identity.study_description:
        values["StudyDescription"] = identity.study_description
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


def _describe_document(out: Dataset, identity: SeriesIdentity, title: str, made_at: datetime.datetime) -> None:
    """Encapsulated Document (C.24.2), but for the document itself.

    No concept name: CID 7020 has none for a check of contours, and another would file it among diagnostic reports.
    """
    out.InstanceNumber = 1
    out.ContentDate, out.ContentTime = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    out.AcquisitionDateTime = made_at.strftime("%Y%m%d%H%M%S%z")
    out.DocumentTitle = title
    out.VerificationFlag = "UNVERIFIED"  # C.24.2: not attested by a legally accountable person
    out.ConceptNameCodeSequence = []
    out.SourceInstanceSequence = [_reference(identity.sop_class_uid, uid) for uid in _images(identity)]


def _images(identity: SeriesIdentity) -> list[str]:
    """Every image once; a multi-frame one stands there once per frame."""
    return list(dict.fromkeys(identity.sop_instance_uids))


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _compare(path: Path, pdf: bytes) -> None:
    """Raises OutputRefused where the file does not hold the document, byte for byte."""
    if read_encapsulated_pdf(path) != pdf:
        raise OutputRefused("the file does not read back as it was meant", where="PDF", allowed="report this")
