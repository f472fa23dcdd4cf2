"""A run that is over, read back from its files: what a report is made of, without aligning or refining anew.

What belongs together is checked as a run checks it: the manifest beside the RTSTRUCT must be of this very file
(sha256), the scans must be those that the manifest names, and of one patient; a registration must be between them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recontour.disk import file_sha256
from recontour.errors import InputRefused, PatientMismatch
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_field, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.pipeline import HU_RANGE, PlannedRoi, region_of
from recontour.report import Evidence, placed_on
from recontour.settings import Settings, settings_from

if TYPE_CHECKING:
    from recontour.dicom.registration import Registration
    from recontour.dicom.series import CtSeries
    from recontour.dicom.structures import Roi, StructureSet
    from recontour.qa.manifest import Manifest

_SAME_MM = 0.01  # how far two alignments may differ 500 mm from the origin: DICOM's decimals have 16 characters
NO_FIELD = "No registration file was at hand: displacements, and the planning scan warped by them, are not shown."
ROUGHLY_PLACED = (
    "The manifest is of an early version and holds no alignment matrix: planning scan and contours are placed by its "
    "shift alone, without the rotation."
)


@dataclass(frozen=True)
class FinishedRun:
    """Where the files are. rtstruct: the result, its manifest beside it. planning, daily: folders. registration: the
    file that the run wrote; None takes it from beside the RTSTRUCT, where the manifest names one."""

    rtstruct: Path
    planning: Path
    daily: Path
    registration: Path | None = None
    allow_different_patients: bool = False


@dataclass(frozen=True, eq=False)
class _Read:
    manifest: Manifest
    planning: CtSeries
    daily: CtSeries
    planned: StructureSet
    drawn: StructureSet
    same_patient: bool


@dataclass(frozen=True, eq=False)
class _Placed:
    affine: Affine
    field: Field | None
    remarks: tuple[str, ...]


def read_finished(run: FinishedRun) -> Evidence:
    """Everything that a report of this run shows.

    Raises InputRefused where the manifest is missing or of another RTSTRUCT, PatientMismatch where scans, contours
    or registration do not belong together, and what reading each of them raises.
    """
    read = _read(run)
    placed = _placed(run, read)
    names = [roi.name for roi in read.manifest.rois]
    with ThreadPoolExecutor(2) as pool:
        planned = dict(zip(names, pool.map(partial(_planned, read), names), strict=True))
    rois = [PlannedRoi(name, shape) for name, shape in planned.items()]
    region = region_of(rois, placed.affine, read.daily.volume.grid, _settings(read.manifest))
    field = placed.field
    if field is not None and not field.grid.same_as(region):
        field = resample_field(field, region)
    with ThreadPoolExecutor(2) as pool:
        fixed = pool.submit(resample_volume, read.daily.volume, region)
        shapes = pool.map(partial(_drawn, read, region), names)
        warped = None
        if field is not None:
            warped = _clipped(resample_volume(read.planning.volume, region, placed.affine, field))
        return Evidence(
            planning=read.planning,
            daily=read.daily,
            manifest=read.manifest,
            region=region,
            affine_daily_to_planning=placed.affine,
            field_daily_to_planning=field,
            fixed=_clipped(fixed.result()),
            warped=warped,
            planned=planned,
            shapes=dict(zip(names, shapes, strict=True)),
            colours={roi.name: roi.colour for roi in read.planned.rois},
            same_patient=read.same_patient,
            remarks=placed.remarks,
        )


def _read(run: FinishedRun) -> _Read:
    from recontour.dicom.references import check_same_patient, check_two_scans
    from recontour.dicom.series import read_series
    from recontour.dicom.structures import read_structures

    manifest = _manifest(run.rtstruct)
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_series, run.planning, manifest.planning.series_uid)
        daily = read_series(run.daily, manifest.daily.series_uid)
        planning = reading.result()
    check_two_scans(planning.identity, daily.identity)
    same_patient = True
    try:
        check_same_patient(planning.identity.patient, daily.identity.patient)
    except PatientMismatch:
        if not run.allow_different_patients:
            raise
        same_patient = False
    anyone = run.allow_different_patients
    planned = read_structures(run.planning, planning, manifest.structures_uid, allow_different_patients=anyone)
    drawn = read_structures(run.rtstruct, daily, allow_different_patients=anyone)
    return _Read(manifest, planning, daily, planned, drawn, same_patient)


def _manifest(rtstruct: Path) -> Manifest:
    """The manifest beside the RTSTRUCT, which must name it by its sha256: verdicts on other contours mislead."""
    from recontour.qa.manifest import read_manifest

    path = rtstruct.with_name(f"{rtstruct.stem}.manifest.json")
    if not rtstruct.is_file():
        raise InputRefused("no such file", where=rtstruct.name, allowed="an RTSTRUCT that recontour run wrote")
    if not path.is_file():
        raise InputRefused("no manifest beside the RTSTRUCT", where=path.name, allowed="both files of one run")
    manifest = read_manifest(path)
    if file_sha256(rtstruct) not in {output.sha256 for output in manifest.outputs}:
        raise InputRefused(
            "the manifest was not made with this RTSTRUCT, or the RTSTRUCT was changed since",
            where=rtstruct.name,
            allowed="the RTSTRUCT as recontour run wrote it",
        )
    return manifest


def _placed(run: FinishedRun, read: _Read) -> _Placed:
    """The alignment, and the field where there is one: from the registration file, else from the manifest."""
    from recontour.dicom.registration import read_registration

    path = run.registration or _registration_beside(run.rtstruct, read.manifest)
    if path is None:
        return _placed_by_manifest(read.manifest)
    found = read_registration(path)
    _check_registration(found, path, read)
    field = found.field_daily_to_planning
    return _Placed(found.affine_daily_to_planning, field, () if field is not None else (NO_FIELD,))


def _placed_by_manifest(manifest: Manifest) -> _Placed:
    record = manifest.alignment
    if record.matrix:
        return _Placed(Affine(np.reshape(record.matrix, (4, 4))), None, (NO_FIELD,))
    shift = np.eye(4)
    shift[:3, 3] = record.shift_mm
    return _Placed(Affine(shift), None, (NO_FIELD, ROUGHLY_PLACED))


def _registration_beside(rtstruct: Path, manifest: Manifest) -> Path | None:
    for output in manifest.outputs:
        path = rtstruct.with_name(output.file)
        if path.name != rtstruct.name and path.is_file() and file_sha256(path) == output.sha256:
            return path
    return None


def _check_registration(found: Registration, path: Path, read: _Read) -> None:
    frames = found.daily_frame_of_reference_uid, found.planning_frame_of_reference_uid
    meant = read.daily.identity.frame_of_reference_uid, read.planning.identity.frame_of_reference_uid
    if frames != meant:
        raise PatientMismatch(
            "the registration is between other frames of reference",
            where=path.name,
            allowed="the registration that was written with this RTSTRUCT",
        )
    matrix = read.manifest.alignment.matrix
    if not matrix:
        return
    probes = np.concatenate([np.zeros((1, 3)), 500.0 * np.eye(3)])
    recorded = Affine(np.reshape(matrix, (4, 4))).apply(probes)
    if np.abs(found.affine_daily_to_planning.apply(probes) - recorded).max() > _SAME_MM:
        raise InputRefused(
            "the registration has another alignment than the manifest",
            where=path.name,
            allowed="the registration that was written with this RTSTRUCT",
        )


def _planned(read: _Read, name: str) -> LevelSet:
    from recontour.dicom.shapes import level_set_of

    return level_set_of(read.planned.roi(name), read.planning)


def _drawn(read: _Read, region: Grid, name: str) -> LevelSet:
    """The daily shape of a planned ROI, on the part of the region around it; empty where nothing was drawn. ROIs keep
    their numbers on the way, names may have been shortened."""
    from recontour.dicom.shapes import level_set_of

    number = read.planned.roi(name).number
    found: Roi | None = next((roi for roi in read.drawn.rois if roi.number == number and roi.contours), None)
    if found is None:
        return LevelSet(region.crop((0, 0, 0), (2, 2, 2)), np.full((2, 2, 2), -10.0, np.float32))
    return placed_on(region, level_set_of(found, read.daily), Affine.identity())


def _settings(manifest: Manifest) -> Settings:
    """Those of the region: a manifest of another version may hold others that are not known here."""
    return replace(Settings(), region=settings_from({"region": manifest.settings.get("region", {})}).region)


def _clipped(scan: Volume) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *HU_RANGE))
