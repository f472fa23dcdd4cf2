"""What two systems say to each other of storage commitment (PS3.4 J.3): which objects are, or are to be, kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.dicom.files import read_header, text
from recontour.errors import ScanRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

COMMITMENT_CLASS, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
NO_SUCH_OBJECT = 0x0112  # PS3.3 C.14.1.1

Objects = Iterable[tuple[str, str]]  # SOP class UID, SOP instance UID


def commitment_request(transaction_uid: str, objects: Objects) -> Dataset:
    """What an N-ACTION asks for (PS3.4 J.3.2.1.1)."""
    return _said(transaction_uid, ReferencedSOPSequence=[_reference(*names) for names in objects])


def commitment_report(transaction_uid: str, kept: Objects, missing: Objects) -> Dataset:
    """What an N-EVENT-REPORT answers (PS3.4 J.3.3.1.1)."""
    lists = {"ReferencedSOPSequence": [_reference(*names) for names in kept]}
    lists["FailedSOPSequence"] = [_reference(*names, reason=NO_SUCH_OBJECT) for names in missing]
    return _said(transaction_uid, **{keyword: items for keyword, items in lists.items() if items})


def object_of(path: Path) -> tuple[str, str]:
    """The SOP class and the SOP instance UID of a DICOM file. Raises ScanRefused where it has none."""
    header = read_header(path)
    if header is None:
        raise ScanRefused("no DICOM file", where=path.name)
    return text(header, "SOPClassUID"), text(header, "SOPInstanceUID")


def new_transaction_uid() -> str:
    """Of a request that was never made before."""
    from pydicom.uid import generate_uid

    return str(generate_uid())


def _said(transaction_uid: str, **lists: list[Dataset]) -> Dataset:
    from pydicom.dataset import Dataset

    out = Dataset()
    out.TransactionUID = transaction_uid
    for keyword, items in lists.items():
        setattr(out, keyword, items)
    return out


def _reference(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> Dataset:
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ReferencedSOPClassUID, out.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if reason is not None:
        out.FailureReason = reason
    return out
