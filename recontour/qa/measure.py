"""The numbers that the checks judge, from shapes, scans and the field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.boxes import bounding_box
from recontour.geometry.crop import crop_field, crop_volume
from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.checks import RoiFacts
from recontour.qa.edges import FARTHEST_MM, edge_gaps
from recontour.qa.metrics import surface_distances
from recontour.qa.shape import part_volumes_ml, volume_and_centre

WINDOW_HU = (-150.0, 300.0)  # soft tissue: gas that comes and goes counts no more than fat
SHELL_MM = 5.0  # on both sides of the organ's surface, where a contour is right or wrong


@dataclass(frozen=True, eq=False)
class Day:
    """What all ROIs of a fraction share.

    affine_daily_to_planning, field_daily_to_planning: of the result. scan: the daily scan's whole grid.
    fixed, warped: the daily scan and the warped planning scan; None: no image match is measured.
    Field and scans lie on one grid, which holds those of the daily shapes as parts.
    """

    affine_daily_to_planning: Affine
    field_daily_to_planning: Field | None
    scan: Grid
    fixed: Volume | None = None
    warped: Volume | None = None


@dataclass(frozen=True)
class AlignmentFacts:
    """An affine in the clinic's terms. shift_mm: LPS, of the point asked for, planning minus daily.
    rotation_degrees: about one axis. scale: the change of length that is farthest from 1."""

    shift_mm: tuple[float, float, float]
    rotation_degrees: float
    scale: float


def measure_roi(
    name: str,
    organ: str,
    planning: LevelSet,
    daily: LevelSet,
    day: Day,
    paths: tuple[LevelSet, LevelSet] | None = None,
) -> RoiFacts:
    """The facts of one ROI.

    planning, daily: its shape in either frame. paths: the registered and the segmented shape, where there are both.
    The shift is that of the daily centre from where the affine alone would have put the planned one.
    """
    daily, day = _around_the_organ(daily, day)
    before, planned_centre = volume_and_centre(planning)
    after, daily_centre = volume_and_centre(daily)
    if planned_centre is None or daily_centre is None:
        return RoiFacts(name, organ, before, after, parts_after=len(part_volumes_ml(daily)))
    shift = daily_centre - day.affine_daily_to_planning.inverse().apply(planned_centre)
    jacobian = jacobian_inside(day.field_daily_to_planning, daily)
    edges = edge_gaps(day.fixed, day.warped, daily, paths[0] if paths else None) if day.fixed and day.warped else None
    return RoiFacts(
        name=name,
        organ=organ,
        before_ml=before,
        after_ml=after,
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        jacobian_min=float(jacobian.min()),
        jacobian_max=float(jacobian.max()),
        jacobian_p01=float(np.percentile(jacobian, 1)),
        jacobian_p99=float(np.percentile(jacobian, 99)),
        folding=float((jacobian <= 0).mean()),
        disagreement_mm=surface_distances(*paths).msd_mm if paths else None,
        image_match=image_match(day.fixed, day.warped, daily) if day.fixed and day.warped else None,
        parts_before=len(part_volumes_ml(planning)),
        parts_after=len(part_volumes_ml(daily)),
        touches_border=touches_border(daily, day.scan),
        edge_mean_mm=edges.mean_mm if edges else None,
        edge_p95_mm=edges.p95_mm if edges else None,
    )


def jacobian_inside(field: Field | None, shape: LevelSet) -> NDArray[np.float32]:
    """(N,): the Jacobian determinant at the voxels of `field` that lie in `shape`; one 1 where there is no field, or
    nothing in the shape. Raises UsageError where the grids differ."""
    box = bounding_box(shape.array, margin=1)
    if field is None or box is None or min(part.stop - part.start for part in box) < 2:
        return np.ones(1, np.float32)
    _check_grid(field.grid, shape.grid)
    determinant = jacobian_determinant(Field(field.grid.part(box), field.array[(slice(None), *box)]))
    return determinant[shape.array[box] > 0]


def image_match(fixed: Volume, warped: Volume, organ: LevelSet) -> float | None:
    """Pearson's correlation of both scans, HU within the soft-tissue window, in a shell of 5 mm on both sides of the
    organ's surface; None where either is uniform there. Raises UsageError where the grids differ."""
    _check_grid(fixed.grid, organ.grid)
    _check_grid(warped.grid, organ.grid)
    reach = int(np.ceil(SHELL_MM / min(organ.grid.spacing_mm)))
    box = bounding_box(organ.array, margin=reach)
    if box is None:
        return None
    shell = np.abs(organ.array[box]) < SHELL_MM
    a, b = (np.clip(scan.array[box][shell], *WINDOW_HU).astype(np.float64) for scan in (fixed, warped))
    return correlation(a, b)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson's, of two (N,) arrays; None where either spreads by less than 1 HU."""
    if a.size < 2 or min(a.std(), b.std()) < 1.0:
        return None
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def touches_border(shape: LevelSet, scan: Grid) -> bool:
    """Whether a voxel of the shape lies in the outermost layer of the scan's voxels, or beyond."""
    box = bounding_box(shape.array, margin=0)
    if box is None:
        return False
    if _within(scan.index_at(shape.grid.part(box).corners_mm()), scan):
        return False
    inside = np.argwhere(shape.array[box] > 0) + [part.start for part in box]
    return not _within(scan.index_at(shape.grid.points_at(inside)), scan)


def alignment_of(affine_daily_to_planning: Affine, at_mm: NDArray[np.float64]) -> AlignmentFacts:
    """Shift, rotation and scale of an affine; `at_mm` (3,) daily LPS: the point whose shift is meant.

    Rotation and stretch are parted by the polar decomposition (Higham, SIAM J Sci Stat Comput 1986).
    """
    u, stretch, v = np.linalg.svd(affine_daily_to_planning.matrix[:3, :3])
    rotation = u @ v
    angle = np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    x, y, z = (float(s) for s in affine_daily_to_planning.apply(at_mm) - at_mm)
    return AlignmentFacts((x, y, z), float(angle), float(stretch[np.argmax(np.abs(stretch - 1))]))


def _within(index: NDArray[np.float64], scan: Grid) -> bool:
    return bool((index >= 0.5).all() and (index <= np.asarray(scan.size) - 1.5).all())


def _around_the_organ(daily: LevelSet, day: Day) -> tuple[LevelSet, Day]:
    """Scans and field as far around the organ as anything is looked at, and the shape on that grid, its lowest value
    where its own ends: organs are small, regions are not, and a shape's own grid may be too small."""
    present = [part for part in (day.field_daily_to_planning, day.fixed, day.warped) if part is not None]
    box = bounding_box(daily.array, margin=0)
    if not present or box is None:
        return daily, day
    for part in present:
        _check_grid(part.grid, present[0].grid)
    grid = _grown(daily.grid.part(box), present[0].grid)
    field, fixed, warped = day.field_daily_to_planning, day.fixed, day.warped
    return resample_level_set(daily, grid), replace(
        day,
        field_daily_to_planning=crop_field(field, grid) if field else None,
        fixed=crop_volume(fixed, grid) if fixed else None,
        warped=crop_volume(warped, grid) if warped else None,
    )


def _grown(organ: Grid, whole: Grid) -> Grid:
    """The part of `whole` around `organ`, a part of it; the organ's surface is up to a voxel beyond its voxels."""
    rim = int(np.ceil(FARTHEST_MM / min(whole.spacing_mm))) + 1
    box = whole.box_of(organ)
    if any(part.start < 0 or part.stop > size for part, size in zip(box, whole.size, strict=True)):
        raise UsageError("grids differ", where="qa.measure", allowed="field and scans around all of the daily shape")
    z, y, x = (
        slice(max(0, part.start - rim), min(size, part.stop + rim)) for part, size in zip(box, whole.size, strict=True)
    )
    return whole.part((z, y, x))


def _check_grid(grid: Grid, other: Grid) -> None:
    if not grid.same_as(other):
        raise UsageError("grids differ", where="qa.measure", allowed="field, scans and daily shape on one grid")
