"""What the page's viewer shows of a fraction, packed: scans, shapes, distances, the field and the dose.

Everything lies on the region's voxels, index order z, y, x. The browser cuts slices and contours itself, by marching
squares on level sets that are kept to 0.025 mm: every plane in three directions, at a fraction of what polygons take.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.fraction import Fraction, RoiPicture
from recontour.qa.report.packing import CODE_KNOTS, HU_KNOTS, Packed, pack_lattice, pack_scan, quality_for

LEVEL_MM = 0.025  # a step of a packed level set, which is clipped at 127 of them
DISTANCE_MM = 0.1  # a step of the distance to the planned surface, clipped at 127 of them
DISTANCE_STEP = 2  # voxels between two values of that distance
FIELD_MM = 0.05
FIELD_STEP = 4
JACOBIAN_LOG2 = 0.03  # a step of log2 of the Jacobian determinant
FOLDED = -128  # where it is not positive
UNKNOWN = -128  # of a distance that was not asked for
DOSE_GY = 0.02
DOSE_STEP = 2
SCAN_BYTES = 3.7e6  # of text for each of the three scans: the page stays under 15 MB
_RIM = 2  # voxels around a shape
_NEAR_MM = 4.0  # of the daily surface: the distance is needed at all corners of a cell that it crosses


def pack_viewer(fraction: Fraction) -> Packed:
    """Everything that the viewer needs. Raises UsageError where a shape does not lie on the region's voxels."""
    texts: dict[str, str] = {}

    def keep(packed: Packed | None) -> dict[str, Any] | None:
        texts.update(packed.texts if packed else {})
        return packed.facts if packed else None

    region, field, dose = fraction.region, fraction.field_daily_to_planning, fraction.dose
    scans = {"daily": fraction.fixed, "rigid": fraction.rigid, "warped": fraction.warped}
    quality = quality_for(fraction.fixed.array, SCAN_BYTES)
    facts: dict[str, Any] = {
        "region": {"size": region.size, "spacing_mm": region.spacing_mm, "origin_mm": region.origin_mm},
        "hu": {"hu": HU_KNOTS, "code": CODE_KNOTS},
        "scans": {name: keep(pack_scan(name, scan.array, quality)) for name, scan in scans.items()},
        "rois": [_roi(number, picture, region, keep) for number, picture in enumerate(fraction.rois)],
        "field": keep(pack_field(field) if field else None),
        "jacobian": keep(pack_jacobian(field) if field else None),
        "dose": keep(pack_dose(dose.dose) if dose else None),
        "prescription_gy": dose.prescription_gy if dose else None,
    }
    return Packed(facts, texts)


def _roi(number: int, picture: RoiPicture, region: Grid, keep: Any) -> dict[str, Any]:
    change = picture.change
    return {
        "name": picture.record.name,
        "colour": list(picture.colour),
        "daily": keep(pack_shape(f"new-{number}", picture.daily, region)),
        "planned": keep(pack_shape(f"old-{number}", picture.planned, region)),
        "distance": keep(pack_distance(f"apart-{number}", picture, region)),
        "worst_mm": list(change.worst_mm) if change else None,
        "largest_mm": change.largest_mm if change else None,
    }


def pack_shape(name: str, shape: LevelSet, region: Grid) -> Packed | None:
    """The level set around what is inside, as int8 steps of LEVEL_MM; None where nothing is inside."""
    box = bounding_box(shape.array, _RIM)
    if box is None:
        return None
    steps = np.rint(np.clip(shape.array[box] / LEVEL_MM, -127, 127)).astype(np.int8)
    return pack_lattice(name, steps, LEVEL_MM, _first(shape.grid, box, region), 1)


def pack_distance(name: str, picture: RoiPicture, region: Grid) -> Packed | None:
    """How far the daily surface lies outside (+) or inside (-) the planned one, int8 steps of DISTANCE_MM at every
    DISTANCE_STEP-th voxel around it, UNKNOWN elsewhere; None where either shape is empty."""
    from recontour.qa.surface import surface_of

    daily, planned = picture.daily, surface_of(picture.planned)
    box = bounding_box(daily.array, 2 * DISTANCE_STEP)
    if box is None or planned.empty:
        return None
    lattice = daily.array[box][::DISTANCE_STEP, ::DISTANCE_STEP, ::DISTANCE_STEP]
    near = np.abs(lattice) < _NEAR_MM
    start = np.array([part.start for part in box])
    points = daily.grid.points_at(np.argwhere(near) * DISTANCE_STEP + start)
    signed = np.where(_inside(picture.planned, points), -1.0, 1.0) * planned.distance_of(points)
    steps = np.full(lattice.shape, UNKNOWN, np.int8)
    steps[near] = np.rint(np.clip(signed / DISTANCE_MM, -127, 127)).astype(np.int8)
    return pack_lattice(name, steps, DISTANCE_MM, _first(daily.grid, box, region), DISTANCE_STEP)


def pack_field(field: Field) -> Packed:
    """(3, d, h, w): the displacement along x, y, z, int16 steps of FIELD_MM at every FIELD_STEP-th voxel."""
    coarse = field.array[:, ::FIELD_STEP, ::FIELD_STEP, ::FIELD_STEP]
    steps = np.rint(np.clip(coarse / FIELD_MM, -32767, 32767)).astype(np.int16)
    return pack_lattice("field", steps, FIELD_MM, (0, 0, 0), FIELD_STEP)


def pack_jacobian(field: Field) -> Packed:
    """(d, h, w): log2 of the Jacobian determinant, int8 steps of JACOBIAN_LOG2 at every FIELD_STEP-th voxel.

    It is taken by central differences over 2 voxels either way at every second voxel; of each 2 x 2 x 2 of these the
    one that is farthest from no change is kept, so that what is small and wrong is seen. FOLDED where not positive.
    """
    half = FIELD_STEP // 2
    grid = field.grid
    size = [len(range(0, n, half)) for n in grid.size]
    if min(size) < 2:
        return pack_lattice("jacobian", np.zeros((1, 1, 1), np.int8), JACOBIAN_LOG2, (0, 0, 0), FIELD_STEP)
    spaced = Grid.of(size, np.multiply(grid.spacing_mm, half), grid.origin_mm, grid.direction)
    determinant = jacobian_determinant(Field(spaced, field.array[:, ::half, ::half, ::half]))
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(determinant > 0, np.log2(determinant), -np.inf)
    steps = np.where(np.isfinite(logarithm), np.clip(np.rint(logarithm / JACOBIAN_LOG2), -127, 127), FOLDED)
    return pack_lattice("jacobian", _most_extreme(steps.astype(np.int8)), JACOBIAN_LOG2, (0, 0, 0), FIELD_STEP)


def pack_dose(dose: Volume) -> Packed:
    """(d, h, w): Gy, int16 steps of DOSE_GY at every DOSE_STEP-th voxel; what is not a number is 0."""
    coarse = np.nan_to_num(dose.array[::DOSE_STEP, ::DOSE_STEP, ::DOSE_STEP])
    steps = np.rint(np.clip(coarse / DOSE_GY, 0, 32767)).astype(np.int16)
    return pack_lattice("dose", steps, DOSE_GY, (0, 0, 0), DOSE_STEP)


def _most_extreme(steps: NDArray[np.int8]) -> NDArray[np.int8]:
    """Of each 2 x 2 x 2 values the one that is farthest from 0."""
    whole = np.pad(steps, [(0, n % 2) for n in steps.shape], mode="edge")
    d, h, w = (n // 2 for n in whole.shape)
    blocks = whole.reshape(d, 2, h, 2, w, 2).transpose(0, 2, 4, 1, 3, 5).reshape(d, h, w, 8)
    chosen = np.argmax(np.abs(blocks.astype(np.int16)), axis=-1)[..., None]
    return np.ascontiguousarray(np.take_along_axis(blocks, chosen, axis=-1)[..., 0])


def _inside(shape: LevelSet, points_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,): whether the voxel nearest to each of (N, 3) points is inside."""
    index = np.rint(shape.grid.index_at(points_mm)).astype(int)
    there = ((index >= 0) & (index < shape.grid.size)).all(axis=1)
    out = np.zeros(len(index), bool)
    z, y, x = index[there].T
    out[there] = shape.array[z, y, x] > 0
    return out


def _first(grid: Grid, box: tuple[slice, slice, slice], region: Grid) -> tuple[int, int, int]:
    """The region's voxel where the box in `grid` begins."""
    parts = region.box_of(grid)
    z, y, x = (whole.start + part.start for whole, part in zip(parts, box, strict=True))
    return z, y, x
