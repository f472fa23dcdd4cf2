"""DICOM objects in memory, and a queue to put them in."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from recontour.queue.arrivals import settle
from recontour.queue.jobs import Jobs
from recontour.queue.matching import match
from recontour.queue.spool import Kept, Spool
from tests.dicom.made_ct import ct_image, rtstruct

ROOT = "1.2.826.0.1.3680043.8.498"
WHO = {"PatientID": "MRN-771133", "PatientName": "Doe^Jonathan", "PatientBirthDate": "19440506"}
OTHER = {"PatientID": "MRN-990044", "PatientName": "Roe^Richard", "PatientBirthDate": "19510203"}
MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 1e9
SECRETS = ("771133", "990044", "Doe", "Roe", "19440506", "19510203", "Jonathan", "Richard")


def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder that is gone afterwards; `otherwise` where the system keeps none in memory, or too small a one."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ENOUGH_BYTES:
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="recontour-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def as_file(dataset: Dataset) -> bytes:
    """The bytes of a part 10 file."""
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def scan(number: int, day: str = "20260105", count: int = 4, zs: Iterable[float] = (), **tags: Any) -> list[Dataset]:
    """CT slices of the series, study and frame of reference `number`, 3 mm apart, or at the heights `zs`."""
    about = {
        "SeriesInstanceUID": f"{ROOT}.{number}.1", "StudyInstanceUID": f"{ROOT}.{number}.2",
        "FrameOfReferenceUID": f"{ROOT}.{number}.3", "StudyDate": day, "AcquisitionDate": day,
        "AcquisitionTime": "101500", **WHO,
    }  # fmt: skip
    places = list(zs) or [3.0 * k for k in range(count)]
    return [
        ct_image(np.full((6, 4), 1000 + k), (0, 0, z), **(about | {"SOPInstanceUID": f"{ROOT}.{number}.4.{k}"} | tags))
        for k, z in enumerate(places, 1)
    ]


def drawn_on(images: list[Dataset], number: int, day: str = "20260102", names: Any = None, **tags: Any) -> Dataset:
    """A structure set that people drew on these images and that lists all of them; of the series `number`."""
    first = images[0]
    square = [(1, 1, 0), (2, 1, 0), (2, 2, 0)]
    about = {
        "SeriesInstanceUID": f"{ROOT}.{number}.1", "StudyInstanceUID": first.StudyInstanceUID,
        "PatientID": first.PatientID, "PatientName": first.PatientName, "PatientBirthDate": first.PatientBirthDate,
        "StructureSetDate": day, "StructureSetTime": "120000",
    }  # fmt: skip
    rois = [{"number": 1, "name": "Prostate", "contours": [("CLOSED_PLANAR", square)]}]
    out = rtstruct(rois, first.SeriesInstanceUID, first.FrameOfReferenceUID, f"{ROOT}.{number}.4.1", **(about | tags))
    series = out.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.ContourImageSequence = [_reference(image) for image in images]
    return out


def made_by_recontour(structures: Dataset, method: str = "refine") -> Dataset:
    """The mark that recontour's results carry (PS3.3 10.16)."""
    algorithm = Dataset()
    algorithm.AlgorithmName = f"recontour {method}"
    structures.StructureSetROISequence[0].ROIDerivationAlgorithmIdentificationSequence = [algorithm]
    return structures


def keep(spool: Spool, *objects: Dataset | list[Dataset], at: float = 100.0) -> list[Kept]:
    """All of them received at `at`, in their order."""
    flat = [one for group in objects for one in (group if isinstance(group, list) else [group])]
    return [spool.keep(as_file(one), str(one.SOPInstanceUID), "SCANNER", at) for one in flat]


def arrive(jobs: Jobs, *objects: Dataset | list[Dataset], at: float = 100.0) -> list[int]:
    """Received, quiet for long enough, and matched; the ids of the jobs that became ready."""
    keep(jobs.spool, *objects, at=at)
    settle(jobs.spool, at + 60, 30)
    return match(jobs, at + 60)


def pair(
    number: int = 1, day: str = "20260105", who: dict[str, str] = WHO
) -> tuple[list[Dataset], Dataset, list[Dataset]]:
    """A planning scan, its structure set, and a daily scan some days later, of one patient."""
    planning = scan(10 * number, "20260101", **who)
    return planning, drawn_on(planning, 10 * number + 5), scan(10 * number + 1, day, **who)


def _reference(image: Dataset) -> Dataset:
    out = Dataset()
    out.ReferencedSOPClassUID, out.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return out


def no_identity_in(text: str | Path) -> bool:
    return not any(secret.casefold() in str(text).casefold() for secret in SECRETS)
