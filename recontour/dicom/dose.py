"""RTDOSE -> a dose in Gy on one grid (PS3.3 A.18, C.8.8.3); RTPLAN -> the prescribed dose (C.8.8.10, C.8.8.13)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.files import numbers, patient_of, read_dataset, read_header, text
from recontour.dicom.references import SeriesIdentity
from recontour.errors import DoseRefused, PatientMismatch, ScanRefused, UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RT_DOSE, RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.481.5"
WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "FRACTION")  # what a summation may be of; FRACTION: a fraction group
EVEN_MM = 0.02  # planes this close to even spacing are even: rounding of decimal strings
_UPRIGHT = 1e-4  # of direction cosines
_FINER = 4  # times as many planes at most, where uneven ones are brought onto an even grid


@dataclass(frozen=True, eq=False)
class PlanningDose:
    """A planning dose.

    volume: Gy, in the planning frame; on a grid along the LPS axes wherever the file's planes are. summation: such as
    "PLAN". plan_uid: SOP instance UID of the plan it refers to, "" where it names none. notes: what was resampled, or
    what else the reader must know, in words.
    """

    volume: Volume
    frame_of_reference_uid: str
    summation: str
    plan_uid: str
    sop_instance_uid: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prescription:
    """dose_gy: None where the plan names none. source: where in the plan it stands, in words."""

    dose_gy: float | None
    source: str
    plan_uid: str = ""


def read_dose(
    path: Path, planning: SeriesIdentity | None = None, allow_different_patients: bool = False
) -> PlanningDose:
    """The dose of a whole plan, in Gy, from an RTDOSE file.

    Raises DoseRefused for what is no such dose, relative, of a single beam, on a single plane, empty or malformed;
    PatientMismatch where it is in another frame of reference than `planning`, or of another patient; UsageError where
    there is no file.
    """
    dataset = _header(path, RT_DOSE, "RTDOSE")
    frame = text(dataset, "FrameOfReferenceUID")
    if not frame:
        raise DoseRefused("no frame of reference", where=path.name, allowed="a dose that names the planning scan's")
    _check_belongs(dataset, planning, path, allow_different_patients)
    notes = _check_kind(dataset, path)
    volume, resampled = _volume(dataset, path)
    plans = _items(dataset, "ReferencedRTPlanSequence")
    return PlanningDose(
        volume,
        frame,
        text(dataset, "DoseSummationType"),
        text(plans[0], "ReferencedSOPInstanceUID") if plans else "",
        text(dataset, "SOPInstanceUID"),
        notes + resampled,
    )


def read_prescription(
    path: Path,
    planning: SeriesIdentity | None = None,
    dose: PlanningDose | None = None,
    allow_different_patients: bool = False,
) -> Prescription:
    """What an RTPLAN prescribes: the largest prescription dose of its targets (C.8.8.10); without one the largest of
    those of its fraction groups (C.8.8.13); without one the sum of its beam doses times the fractions.

    Raises DoseRefused for what is no RTPLAN or not the plan of `dose`, PatientMismatch where it is in another frame of
    reference than `planning` or of another patient, UsageError where there is no file.
    """
    dataset = _header(path, RT_PLAN, "RTPLAN")
    _check_belongs(dataset, planning, path, allow_different_patients)
    uid = text(dataset, "SOPInstanceUID")
    if dose is not None and dose.plan_uid and dose.plan_uid != uid:
        raise DoseRefused("the dose is of another plan", where=path.name, allowed=f"the plan {dose.plan_uid}")
    targets = _prescribed([r for r in _items(dataset, "DoseReferenceSequence") if _is_target(r)])
    if targets:
        several = f", the largest of {', '.join(f'{v:g}' for v in targets)} Gy" if len(targets) > 1 else ""
        return Prescription(max(targets), f"the target prescription dose{several}", uid)
    groups = _items(dataset, "FractionGroupSequence")
    sums = [max(_prescribed(_items(group, "ReferencedDoseReferenceSequence")), default=0.0) for group in groups]
    if any(sums):
        return Prescription(sum(sums), "the target prescription dose of the fraction group", uid)
    beams = sum(_group_dose(group) for group in groups)
    if beams > 0:
        return Prescription(beams, "the beam doses times the fractions: at a point, not to the target", uid)
    return Prescription(None, "the plan names no dose", uid)


def _header(path: Path, sop_class_uid: str, name: str) -> Dataset:
    if not path.is_file():
        raise UsageError("no such file", where=path.name, allowed=f"an {name} file")
    header = read_header(path, DoseRefused)
    if header is None or text(header, "SOPClassUID") != sop_class_uid or text(header, "Modality") != name:
        found = "no DICOM file" if header is None else f"a {text(header, 'Modality') or 'nameless'} object"
        raise DoseRefused(found, where=path.name, allowed=f"an {name} file")
    return header


def _check_belongs(dataset: Dataset, planning: SeriesIdentity | None, path: Path, any_patient: bool) -> None:
    if planning is None:
        return
    frame = text(dataset, "FrameOfReferenceUID")
    if frame and frame != planning.frame_of_reference_uid:
        raise PatientMismatch(
            "another frame of reference than the planning scan's",
            where=path.name,
            allowed="the dose and the plan of this planning scan",
        )
    ids = patient_of(dataset).identifier.strip(), planning.patient.identifier.strip()
    if all(ids) and ids[0] != ids[1] and not any_patient:
        raise PatientMismatch(
            "its patient ID and the planning scan's differ",
            where=path.name,
            allowed="files of the same patient, or --allow-different-patients",
        )


def _check_kind(dataset: Dataset, path: Path) -> tuple[str, ...]:
    """Notes. Raises DoseRefused for what is no absolute dose of a whole plan."""
    units, kind, summation = (text(dataset, k).upper() for k in ("DoseUnits", "DoseType", "DoseSummationType"))
    if units != "GY":
        raise DoseRefused(
            f"dose units {units or 'missing'}", where=path.name, allowed="GY: an export of the absolute dose"
        )
    if kind not in ("PHYSICAL", "EFFECTIVE"):
        raise DoseRefused(f"dose type {kind or 'missing'}", where=path.name, allowed="PHYSICAL or EFFECTIVE")
    if summation not in WHOLE:
        said = "the dose of a part of the treatment" if summation else "a dose that does not say of what it is the sum"
        raise DoseRefused(
            f"{said} (DoseSummationType {summation or 'missing'})",
            where=path.name,
            allowed=f"{', '.join(WHOLE)}: the dose of the whole plan; parts, such as beams, are not added up here",
        )
    notes = ("The dose is weighted by its biological effect.",) * (kind == "EFFECTIVE")
    return notes + (f"The dose is the sum of {summation}.",) * (summation != "PLAN")


def _volume(dataset: Dataset, path: Path) -> tuple[Volume, tuple[str, ...]]:
    try:
        position = np.array(numbers(dataset, "ImagePositionPatient", 3, path.name))
        cosines = np.array(numbers(dataset, "ImageOrientationPatient", 6, path.name)).reshape(2, 3)
        spacing = numbers(dataset, "PixelSpacing", 2, path.name)
        (scaling,) = numbers(dataset, "DoseGridScaling", 1, path.name)
    except ScanRefused as error:
        raise DoseRefused(error.found, where=error.where, allowed=error.allowed) from None
    if not np.allclose(cosines @ cosines.T, np.eye(2), atol=_UPRIGHT) or min(spacing) <= 0 or scaling <= 0:
        raise DoseRefused(
            "a malformed dose grid", where=path.name, allowed="orthogonal axes, a spacing and a scaling above 0"
        )
    normal = np.cross(cosines[0], cosines[1])
    offsets = _offsets(dataset, position, cosines, path)
    gray = (_stored(path) * scaling).astype(np.float32)
    if len(gray) != len(offsets):
        raise DoseRefused(
            f"{len(offsets)} plane offsets for {len(gray)} planes", where=path.name, allowed="one offset for each plane"
        )
    if not gray.max() > 0:
        raise DoseRefused("a dose of 0 Gy everywhere", where=path.name, allowed="the dose of a plan")
    if offsets[1] < offsets[0]:
        offsets, gray = offsets[::-1], gray[::-1]
    gray, step, notes = _even(gray, offsets, path)
    direction = np.column_stack([normal, cosines[1], cosines[0]])
    grid = Grid.of(gray.shape, (step, *spacing), position + offsets[0] * normal, direction)
    return _along_axes(Volume(grid, gray)), notes


def _offsets(
    dataset: Dataset, position: NDArray[np.float64], cosines: NDArray[np.float64], path: Path
) -> NDArray[np.float64]:
    """(D,) mm of each plane from the first, along row x column, from either way of writing them (C.8.8.3.2)."""
    said = text(dataset, "GridFrameOffsetVector")
    try:
        offsets = np.array([float(part) for part in said.split("\\")])
    except ValueError:
        offsets = np.zeros(1)
    steps = np.diff(offsets)
    if len(offsets) < 2:
        raise DoseRefused("a dose on a single plane", where=path.name, allowed="a dose grid of two planes or more")
    if not np.isfinite(offsets).all() or not (np.all(steps > 0) or np.all(steps < 0)):
        raise DoseRefused(
            "plane offsets that do not rise or fall steadily", where=path.name, allowed="a GridFrameOffsetVector"
        )
    if abs(offsets[0]) < EVEN_MM:
        return offsets - offsets[0]
    axial = np.allclose(cosines, [[1, 0, 0], [0, 1, 0]], atol=_UPRIGHT)
    if axial and abs(offsets[0] - position[2]) < EVEN_MM:
        return offsets - offsets[0]
    raise DoseRefused(
        "plane offsets that begin neither with 0 nor, on axial planes, with the z of the first plane",
        where=path.name,
        allowed="either of the two (DICOM PS3.3 C.8.8.3.2)",
    )


def _stored(path: Path) -> NDArray[np.float64]:
    """(D, rows, columns): the stored integers, of 16 or 32 bits."""
    try:
        stored = np.asarray(read_dataset(path).pixel_array)
    except Exception as error:  # decoders raise many kinds, some of them their own
        raise DoseRefused(
            "a dose that is cut off or cannot be decoded", where=path.name, allowed="copy the file again or convert it"
        ) from error
    if stored.ndim == 2:
        stored = stored[None]
    if stored.ndim != 3 or stored.dtype.kind not in "ui" or stored.dtype.itemsize not in (2, 4) or stored.min() < 0:
        raise DoseRefused("no dose in its pixels", where=path.name, allowed="integers of 16 or 32 bits, none below 0")
    return stored.astype(np.float64)


def _even(
    gray: NDArray[np.float32], offsets: NDArray[np.float64], path: Path
) -> tuple[NDArray[np.float32], float, tuple[str, ...]]:
    """The planes at even distances, how far apart they are, and what was done to get there."""
    gaps = np.diff(offsets)
    mean, least = float(gaps.mean()), float(gaps.min())
    if np.abs(offsets - offsets[0] - mean * np.arange(len(offsets))).max() <= EVEN_MM:
        return gray, mean, ()
    along = offsets - offsets[0]
    count = int(np.ceil(along[-1] / least - 1e-3)) + 1
    if count > _FINER * len(offsets):
        raise DoseRefused(
            f"planes {least:.2f} to {float(gaps.max()):.2f} mm apart", where=path.name, allowed="an evenly spaced grid"
        )
    step = float(along[-1]) / (count - 1)
    place = step * np.arange(count, dtype=np.float64)
    low = np.clip(np.searchsorted(along, place, side="right") - 1, 0, len(gaps) - 1)
    share = ((place - along[low]) / gaps[low]).astype(np.float32)[:, None, None]
    note = f"The planes of the dose are uneven; they were brought onto steps of {step:.3g} mm."
    return gray[low] + share * (gray[low + 1] - gray[low]), step, (note,)


def _along_axes(volume: Volume) -> Volume:
    """The same voxels in the order of the LPS axes, where the grid's own axes run along these in any order or sense;
    otherwise as it is."""
    grid = volume.grid
    axes = np.asarray(grid.direction, float)[::-1]  # rows z, y, x; column k is array axis k
    if np.abs(np.abs(axes) - np.rint(np.abs(axes))).max() > _UPRIGHT:
        return volume
    order = np.abs(axes).argmax(axis=1)
    against = [bool(axes[k, axis] < 0) for k, axis in enumerate(order)]
    first = [volume.array.shape[axis] - 1 if turned else 0 for axis, turned in zip(order, against, strict=True)]
    origin_index = np.empty(3)
    origin_index[order] = first
    backwards = tuple(slice(None, None, -1 if turned else 1) for turned in against)
    array = np.ascontiguousarray(np.transpose(volume.array, order)[backwards])
    spacing = np.asarray(grid.spacing_mm)[order]
    return Volume(Grid.of(array.shape, spacing, grid.points_at(origin_index)), array)


def _is_target(reference: Dataset) -> bool:
    return text(reference, "DoseReferenceType").upper() == "TARGET"


def _prescribed(references: list[Dataset]) -> list[float]:
    values = [_number(reference, "TargetPrescriptionDose") for reference in references]
    return sorted({value for value in values if value > 0}, reverse=True)


def _group_dose(group: Dataset) -> float:
    beams = sum(_number(beam, "BeamDose") for beam in _items(group, "ReferencedBeamSequence"))
    return beams * _number(group, "NumberOfFractionsPlanned")


def _number(item: Dataset, keyword: str) -> float:
    try:
        value = float(text(item, keyword))
    except ValueError:
        return 0.0
    return value if isfinite(value) else 0.0


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])
