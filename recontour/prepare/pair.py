"""One pair: two scans and their contours -> four arrays on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour import __version__
from recontour.dicom.cohort import CohortScan
from recontour.dicom.names import ABSENT, match_organs
from recontour.dicom.references import check_same_patient, check_two_scans
from recontour.dicom.series import CtSeries
from recontour.dicom.structures import check_inside, read_structures
from recontour.errors import AlignmentFailed, RecontourError, RoiAmbiguous, StructuresRefused
from recontour.geometry.affine import Affine
from recontour.geometry.contours import level_set_from_contours, organ_grid
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.catalogue import LABELS
from recontour.pipeline import align_scans
from recontour.prepare.request import PrepareRequest
from recontour.train.dataset import label_map

SPACING_MM = 1.0


@dataclass(frozen=True, eq=False)
class DrawnScan:
    """A scan and its organs. points_mm: (N, 3) of all their contours."""

    series: CtSeries
    shapes: dict[str, LevelSet]
    points_mm: NDArray[np.float64]


def read_drawn(scan: CohortScan, request: PrepareRequest) -> DrawnScan:
    """A scan with its organs' shapes, each on its own tight grid along the slices."""
    if scan.structures is None:
        raise StructuresRefused("a CT without a structure set", where=scan.label)
    series = scan.read()
    rois = [r for r in read_structures(scan.structures.path, series).rois if r.kind == "closed_planar"]
    names = organs_named([roi.name for roi in rois], request.chosen_rois)
    by_name = {roi.name: roi for roi in rois}
    apart_mm = float(np.median(np.diff([plane.position_mm for plane in series.planes])))
    shapes: dict[str, LevelSet] = {}
    for organ, name in names.items():
        roi = by_name[name]
        check_inside(roi, series)
        grid = organ_grid(roi.contours, series.planes)
        shapes[organ] = level_set_from_contours(roi.contours, grid, apart_mm, where=f"ROI {name}")
    points = [contour for name in names.values() for contour in by_name[name].contours]
    return DrawnScan(series, shapes, np.concatenate(points) if points else np.zeros((0, 3)))


def make_pair(
    planning: DrawnScan, daily: DrawnScan, request: PrepareRequest
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The four arrays of a pair by their PARTS name, (D, H, W) on one axial 1 mm grid, and what pair.json says.

    Raises PatientMismatch, AlignmentFailed, StructuresRefused (organs missing).
    """
    check_same_patient(planning.series.identity.patient, daily.series.identity.patient)
    check_two_scans(planning.series.identity, daily.series.identity)
    _check_organs(set(planning.shapes), set(daily.shapes), request.require)
    affine = align_scans(daily.series.volume, planning.series.volume)
    region = _region(planning, daily, affine, request.margin_mm)
    fixed_labels, moving_labels = label_map(daily.shapes, region), label_map(planning.shapes, region, affine)
    fixed, moving = _contoured(fixed_labels), _contoured(moving_labels)
    _check_organs(set(moving), set(fixed), request.require)
    arrays = {
        "fixed_hu": _as_int16(resample_volume(daily.series.volume, region)),
        "moving_hu": _as_int16(resample_volume(planning.series.volume, region, affine)),
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
    }
    about = {
        "organs": [organ for organ in fixed if organ in moving],
        "fixed_organs": fixed,
        "moving_organs": moving,
        "size": list(region.size),
        "spacing_mm": SPACING_MM,
        "origin_mm": list(region.origin_mm),
        "affine_daily_to_planning": affine.matrix.tolist(),
        "recontour": __version__,
    }
    return arrays, about


def _check_organs(planned: set[str], daily: set[str], require: Sequence[str]) -> None:
    missing = missing_organs(planned, daily, require)
    if missing:
        raise StructuresRefused(missing, where="structure sets", allowed="organs that are contoured in both scans")


def _region(planning: DrawnScan, daily: DrawnScan, affine: Affine, margin_mm: float) -> Grid:
    """The 1 mm box, in the daily frame, around the organs of both scans and `margin_mm` more, as far as the daily scan
    reaches."""
    points = np.concatenate([daily.points_mm, affine.inverse().apply(planning.points_mm)])
    low, high = daily.series.volume.grid.bounds_mm()
    low, high = np.maximum(low, points.min(axis=0) - margin_mm), np.minimum(high, points.max(axis=0) + margin_mm)
    if (high - low).min() < 4 * SPACING_MM:
        raise AlignmentFailed(
            "the organs lie outside the daily scan", where="alignment", allowed="a scan that has them"
        )
    return Grid.around(low, high - (SPACING_MM - 1e-3), SPACING_MM)  # the last voxel, too, inside the scan


def _as_int16(scan: Volume) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(scan.array), limits.min, limits.max).astype(np.int16)


def _contoured(labels: NDArray[np.uint8]) -> list[str]:
    """The organs that a label map holds, in the order of LABELS."""
    counts = np.bincount(labels.ravel(), minlength=len(LABELS))
    return [organ for value, organ in enumerate(LABELS) if value and counts[value]]


def organs_named(names: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Organ to ROI name; of `chosen`, what these names have. Raises RoiAmbiguous; UsageError as match_organs."""
    here = {name.casefold() for name in names} | {ABSENT}
    fitting = {organ: name for organ, name in chosen.items() if name.strip().casefold() in here}
    return {str(organ): name for organ, name in match_organs(names, fitting).items()}


def missing_organs(planned: set[str], daily: set[str], require: Sequence[str]) -> str:
    for organ in require:
        absent = [which for which, there in (("planning", planned), ("daily", daily)) if organ not in there]
        if absent:
            return f"no {organ.replace('_', ' ')} contoured in the {' and the '.join(absent)} scan"
    return "" if planned & daily else "no organ that is contoured in both scans"


def reason_of(error: Exception) -> str:
    """In words, without what may be identity: of places only ROIs, since files may be named after the patient."""
    if not isinstance(error, RecontourError):
        return f"an error that should not happen ({type(error).__name__})"
    if isinstance(error, RoiAmbiguous):
        return f"{error.found} ({error.where}): choose with --roi"
    return f"{error.found} ({error.where})" if error.where.startswith("ROI ") else error.found
