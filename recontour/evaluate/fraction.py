"""One fraction of a cohort: its contours as level sets, its scores, and how smooth its field is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.contour_files import plane_of_contours, planes_through
from recontour.dicom.references import check_same_patient
from recontour.dicom.registration import read_registration
from recontour.dicom.selection import LEFT_OUT_NAMES
from recontour.dicom.structures import Roi, StructureSet, read_structures
from recontour.errors import PatientMismatch, RecontourError
from recontour.evaluate.matching import Matched, RoiPair, match_rois
from recontour.evaluate.pairing import Fraction, Remark
from recontour.evaluate.scores import Score, Truth, score_one
from recontour.geometry.contours import Contour, SlicePlane, level_set_from_contours, organ_grid
from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet

BODY = "body"  # what the field's own row is called where the reference has an outline of the patient
WHOLE_FIELD = "whole field"  # and where it has none
_OUTLINE_SPACING_MM = 3.0  # in the plane: an outline is large, and its rim hardly counts
_OUTLINES = tuple(name for name in LEFT_OUT_NAMES if name not in ("couch*", "table", "tabletop", "bolus*"))


@dataclass(frozen=True)
class Smoothness:
    """The Jacobian determinant of x -> x + u(x) at the field's voxels in a region, the affine left out as in the paper
    (Elmahdy et al., IEEE Access 2021, III-B): its standard deviation, and the share of voxels where it is not positive.
    None: no field, or no voxel of it there."""

    jacobian_sd: float | None = None
    folding_fraction: float | None = None


@dataclass(frozen=True)
class Row:
    """One organ of one fraction. planning_volume_ml: from the manifest of the run; None without one."""

    fraction: str
    score: Score
    smoothness: Smoothness = Smoothness()
    planning_volume_ml: float | None = None


@dataclass(frozen=True)
class FieldRow:
    """The field of one fraction, over `region`: BODY, as far as the field reaches, or WHOLE_FIELD."""

    fraction: str
    region: str
    smoothness: Smoothness


@dataclass(frozen=True, eq=False)
class FractionResult:
    """field: None where the fraction has none."""

    rows: tuple[Row, ...]
    field: FieldRow | None
    remarks: tuple[Remark, ...]


def check_fraction(
    fraction: Fraction, chosen: Mapping[str, str], allow_different_patients: bool = False
) -> frozenset[str]:
    """All that can be found wrong before anything is measured; gives the names of both sides' ROIs.

    Raises PatientMismatch where result and reference are of two patients or frames of reference, StructuresRefused for
    an unusable structure set, RoiAmbiguous.
    """
    reference, result = read_structures(fraction.reference), read_structures(fraction.result)
    check_same_patient(reference.patient, result.patient, allow_different_patients)
    frames = {reference.frame_of_reference_uid, result.frame_of_reference_uid} - {""}
    if len(frames) > 1:
        raise PatientMismatch(
            "result and reference are in different frames of reference",
            where=f"fraction {fraction.name}",
            allowed="contours in one frame of reference",
        )
    match_rois(reference.rois, result.rois, chosen)
    return frozenset(roi.name for roi in (*reference.rois, *result.rois))


def measure_fraction(fraction: Fraction, chosen: Mapping[str, str]) -> FractionResult:
    """Every organ of the reference, scored. Raises what check_fraction does."""
    reference, result = read_structures(fraction.reference), read_structures(fraction.result)
    matched = match_rois(reference.rois, result.rois, chosen)
    planes = list(fraction.planes) or _drawn_planes(matched)
    spacing_mm = float(np.median(np.diff([p.position_mm for p in planes]))) if len(planes) > 1 else None
    field, said = _field(fraction)
    rows: list[Row] = []
    for pair in matched.pairs:
        wanted, found = _level_sets(pair, planes, spacing_mm)
        slices = planes_through(pair.reference.contours, planes[0])
        measured = score_one(pair.label, found, Truth(wanted, slices))
        rows.append(Row(fraction.name, measured, _inside(field, wanted), _planned_ml(fraction, pair)))
    over = None if field is None else _over_body(fraction.name, field, reference, planes, spacing_mm)
    texts = [*matched.left_out, *said]
    return FractionResult(tuple(rows), over, tuple(Remark(text, fraction.name) for text in texts))


def _drawn_planes(matched: Matched) -> list[SlicePlane]:
    """Without an image: the planes that any of the contours lie on."""
    rois = [roi for pair in matched.pairs for roi in (pair.reference, pair.result) if roi]
    contours = [contour for roi in rois for contour in roi.contours]
    return planes_through(contours, plane_of_contours(contours))


def _level_sets(
    pair: RoiPair, planes: Sequence[SlicePlane], spacing_mm: float | None
) -> tuple[LevelSet, LevelSet | None]:
    """Both on one grid."""
    drawn = [roi.contours for roi in (pair.reference, pair.result) if roi]
    grid = organ_grid([contour for contours in drawn for contour in contours], planes)
    shapes = [level_set_from_contours(contours, grid, spacing_mm, where=pair.label) for contours in drawn]
    return shapes[0], shapes[1] if len(shapes) > 1 else None


def _field(fraction: Fraction) -> tuple[Field | None, list[str]]:
    if fraction.registration is None:
        return None, []
    try:
        found = read_registration(fraction.registration).field_daily_to_planning
    except (RecontourError, AttributeError, KeyError, ValueError, IndexError):
        return None, ["a registration that cannot be read: no Jacobian"]
    return found, [] if found else ["the registration is affine: no Jacobian"]


def _inside(field: Field | None, shape: LevelSet) -> Smoothness:
    """Over the voxels of the field in `shape`, from the part of the field around it."""
    if field is None:
        return Smoothness()
    part = _part_around(field.grid, shape.grid)
    if part is None:
        return Smoothness()
    near = Field(part, field.array[(slice(None), *field.grid.box_of(part))])
    inside = resample_level_set(shape, part).array > 0
    return _smoothness(jacobian_determinant(near)[inside]) if inside.any() else Smoothness()


def _part_around(grid: Grid, shape: Grid) -> Grid | None:
    """The part of `grid` that holds `shape` and a voxel more, as far as it goes; None where there is next to none."""
    corners = grid.index_at(shape.corners_mm())
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, grid.size)
    if (high - low < 2).any():
        return None
    (z0, y0, x0), (z1, y1, x1) = low.tolist(), high.tolist()
    return grid.crop((z0, y0, x0), (z1, y1, x1))


def _smoothness(determinant: NDArray[np.float32]) -> Smoothness:
    return Smoothness(float(determinant.std(dtype=np.float64)), float((determinant <= 0).mean()))


def _over_body(
    name: str, field: Field, reference: StructureSet, planes: Sequence[SlicePlane], spacing_mm: float | None
) -> FieldRow:
    outlines = [roi for roi in reference.rois if roi.kind == "closed_planar" and _is_outline(roi)]
    if not outlines:
        return FieldRow(name, WHOLE_FIELD, _smoothness(jacobian_determinant(field)))
    return FieldRow(name, BODY, _inside(field, _outline(outlines[0].contours, planes, spacing_mm)))


def _is_outline(roi: Roi) -> bool:
    return roi.interpreted_type == "EXTERNAL" or (not roi.interpreted_type and roi.name.casefold() in _OUTLINES)


def _outline(contours: Sequence[Contour], planes: Sequence[SlicePlane], spacing_mm: float | None) -> LevelSet:
    fine = organ_grid(contours, planes)
    extent = np.multiply(fine.size, fine.spacing_mm)
    spacing = np.array([spacing_mm or fine.spacing_mm[0], _OUTLINE_SPACING_MM, _OUTLINE_SPACING_MM])
    grid = Grid.of(np.ceil(extent / spacing), spacing, fine.origin_mm, fine.direction)
    return level_set_from_contours(contours, grid, spacing_mm, where=BODY)


def _planned_ml(fraction: Fraction, pair: RoiPair) -> float | None:
    """The organ's volume in the plan, by its name in the result or by its organ."""
    records = fraction.manifest.rois if fraction.manifest else ()
    by_name = [r for r in records if pair.result and r.name == pair.result.name]
    found = by_name or [r for r in records if r.organ == pair.label]
    return found[0].before_ml if found else None
