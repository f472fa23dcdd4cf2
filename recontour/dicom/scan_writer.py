"""A volume -> a CT series on disk, for phantoms and moved scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recontour.dicom.references import PatientHeader
from recontour.dicom.series import CtSeries, read_series
from recontour.dicom.slices import CT_IMAGE
from recontour.errors import OutputRefused, UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

POSITIONS = ("HFS", "HFP", "FFS", "FFP", "HFDL", "HFDR", "FFDL", "FFDR")
_LOWEST_HU, _HIGHEST_HU = -1024, 3071  # what 12 bits hold, as clinical scanners write


@dataclass(frozen=True)
class ScanToWrite:
    """What the header of a written scan says.

    entropy: decides every UID of the scan; the same text gives the same UIDs.
    study_entropy: decides the study and, unless `frame_of_reference_entropy` does, the frame of reference; `entropy`
        where empty. Two scans of one visit share it.
    patient_position: "HFS" and so on, or "" to take the one that the volume's directions speak of.
    """

    entropy: str
    patient: PatientHeader = field(default_factory=PatientHeader)
    series_description: str = "recontour phantom"
    study_description: str = ""
    study_entropy: str = ""
    frame_of_reference_entropy: str = ""
    patient_position: str = ""
    study_date: str = "20000101"
    study_time: str = "120000"

    def __post_init__(self) -> None:
        if not self.entropy:
            raise UsageError("no entropy", where="ScanToWrite.entropy", allowed="any text, such as a seed")
        if self.patient_position and self.patient_position not in POSITIONS:
            found = f"patient position {self.patient_position}"
            raise UsageError(found, where="ScanToWrite.patient_position", allowed=", ".join(POSITIONS))


def write_series(folder: Path, volume: Volume, about: ScanToWrite) -> CtSeries:
    """Writes one CT Image object per plane of `volume`, and returns the series as it reads back.

    Array axes 1 and 2 become the image's rows and columns, whatever their directions; HU are rounded to integers
    and clipped to [-1024, 3071]. A series always reads back with axis 0 along row direction x column direction; a
    volume that runs the other way comes back turned over.

    Raises OutputRefused where a file is already there, and ScanRefused where the grid is not axial.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(volume.array), _LOWEST_HU, _HIGHEST_HU).astype("<i2") - np.int16(_LOWEST_HU)
    for index, pixels in enumerate(stored):
        image = _image(volume.grid, index, about)
        image.PixelData = pixels.astype("<u2").tobytes()
        _save(image, folder / f"CT_{index + 1:04d}.dcm")
    return read_series(folder, series_uid=uid("series", about.entropy))


def uid(*entropy: str) -> str:
    """A UID under pydicom's root that the texts decide: the same texts, the same UID."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["recontour", *entropy]))


def position_of(grid: Grid) -> str:
    """The patient position that usually goes with an axial grid's directions: a nominal one, since ImageOrientation
    carries the geometry (PS3.3 C.7.3.1.1.2)."""
    row, column = (np.asarray(grid.direction, float)[:, k] for k in (2, 1))
    head = "HF" if np.cross(row, column)[2] > 0 else "FF"
    return head + ("S" if column[1] > 0.5 else "P" if column[1] < -0.5 else "DL" if column[0] > 0 else "DR")


def _image(grid: Grid, index: int, about: ScanToWrite) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    study = about.study_entropy or about.entropy
    _set(
        out,
        SOPClassUID=CT_IMAGE,
        SOPInstanceUID=uid("image", about.entropy, str(index)),
        StudyInstanceUID=uid("study", study),
        SeriesInstanceUID=uid("series", about.entropy),
        FrameOfReferenceUID=uid("frame of reference", about.frame_of_reference_entropy or study),
        PatientPosition=about.patient_position or position_of(grid),
        StudyDescription=about.study_description,
        SeriesDescription=about.series_description,
        InstanceNumber=index + 1,
    )
    _describe_patient_and_study(out, about)
    _describe_pixels(out, grid, index)
    return out


def _describe_patient_and_study(out: Dataset, about: ScanToWrite) -> None:
    _set(
        out,
        SpecificCharacterSet="ISO_IR 192",
        PatientName=about.patient.name,
        PatientID=about.patient.identifier,
        PatientBirthDate=about.patient.birth_date,
        PatientSex=about.patient.sex,
        StudyDate=about.study_date,
        StudyTime=about.study_time,
        SeriesDate=about.study_date,
        SeriesTime=about.study_time,
        AcquisitionDate=about.study_date,
        AcquisitionTime=about.study_time,
        ContentDate=about.study_date,
        ContentTime=about.study_time,
        AccessionNumber="",
        ReferringPhysicianName="",
        StudyID="1",
        SeriesNumber=1,
        AcquisitionNumber=1,
        Modality="CT",
        Manufacturer="recontour",
        ManufacturerModelName="phantom",
        PositionReferenceIndicator="",
    )


def _describe_pixels(out: Dataset, grid: Grid, index: int) -> None:
    directions = np.asarray(grid.direction, float)
    _set(
        out,
        ImageType=["DERIVED", "SECONDARY", "AXIAL"],
        KVP="120",
        SliceThickness=_ds([grid.spacing_mm[0]])[0],
        ImagePositionPatient=_ds(grid.points_at([index, 0, 0])),
        ImageOrientationPatient=_ds([*directions[:, 2], *directions[:, 1]]),
        PixelSpacing=_ds(grid.spacing_mm[1:]),  # between rows first (PS3.3 10.7.1.3)
        Rows=grid.size[1],
        Columns=grid.size[2],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        RescaleSlope="1",
        RescaleIntercept=str(_LOWEST_HU),
        RescaleType="HU",
        WindowCenter="40",
        WindowWidth="400",
    )


def _set(out: Dataset, **values: Any) -> None:
    for keyword, value in values.items():
        setattr(out, keyword, value)


def _ds(values: Sequence[float] | np.typing.NDArray[np.float64]) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(v) + 0.0) for v in values]


def _save(image: Dataset, path: Path) -> None:
    try:
        image.save_as(path, enforce_file_format=True, overwrite=False)
    except FileExistsError as error:
        raise OutputRefused("there is already a file", where=path.name, allowed="an empty folder") from error
