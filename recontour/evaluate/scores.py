"""One organ of one result against its truth: the measures that every table of recontour has, and their statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from recontour.errors import UsageError
from recontour.geometry.boxes import bounding_box
from recontour.geometry.contours import Contour, SlicePlane, contours_from_level_set
from recontour.geometry.grid import Grid, Index, Triple
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet
from recontour.qa.metrics import added_path_length, common_ml, gaps_between
from recontour.qa.shape import volume_ml
from recontour.qa.surface import Surface, surface_of


@dataclass(frozen=True)
class Score:
    """One organ of one result against its truth; qa.metrics says what each measure is.

    A lost organ is infinitely far off, overlaps by 0, and all of its path has to be added. volume_ratio: result over
    truth. added_path_length_mm: of the truth's contours on the scan's slices, with a tolerance of 1 mm.
    """

    organ: str
    msd_mm: float
    hd95_mm: float
    hd_mm: float
    dice: float
    volume_ratio: float
    surface_dice_1mm: float
    surface_dice_2mm: float
    added_path_length_mm: float
    volume_ml: float
    reference_volume_ml: float


@dataclass(frozen=True, eq=False)
class Truth:
    """A shape that results are compared with; what each comparison needs of it is made once. planes: the slices on
    which a contour would be redrawn."""

    shape: LevelSet
    planes: Sequence[SlicePlane]

    @cached_property
    def contours(self) -> list[list[Contour]]:
        """Its polygons on every slice."""
        return contours_from_level_set(self.shape, self.planes)

    @cached_property
    def surface(self) -> Surface:
        """Its triangles."""
        return surface_of(self.shape)

    @cached_property
    def volume_ml(self) -> float:
        """Millilitres."""
        return volume_ml(self.shape)


@dataclass(frozen=True)
class Measure:
    """A number of a table: its field, its heading with the unit, its decimals, and which way is worse ("": neither)."""

    name: str
    heading: str
    decimals: int
    worse: Literal["high", "low", "away from 1", ""]


MEASURES = (
    Measure("dice", "DSC", 3, "low"),
    Measure("msd_mm", "MSD mm", 2, "high"),
    Measure("hd95_mm", "HD95 mm", 2, "high"),
    Measure("hd_mm", "HD mm", 2, "high"),
    Measure("surface_dice_1mm", "surface DSC 1 mm", 3, "low"),
    Measure("surface_dice_2mm", "surface DSC 2 mm", 3, "low"),
    Measure("added_path_length_mm", "added path mm", 0, "high"),
    Measure("volume_ml", "volume ml", 1, ""),
    Measure("reference_volume_ml", "reference volume ml", 1, ""),
    Measure("volume_ratio", "volume ratio", 3, "away from 1"),
)


@dataclass(frozen=True)
class Summary:
    """A measure over pairs; worst is the largest distance or the lowest overlap, p95 lies on the same side."""

    count: int
    median: float
    mean: float
    sd: float
    p95: float
    worst: float


def score(
    result: Mapping[str, LevelSet],
    truth: Mapping[str, LevelSet],
    organs: Mapping[str, str] | None = None,
    planes: Sequence[SlicePlane] | None = None,
) -> list[Score]:
    """A row for every ROI of `truth` (of `organs`, where given); what is missing in `result` counts as lost.

    planes: the slices on which a contour would be redrawn; by default those of each truth's own grid.
    """
    named = {name: organs[name] if organs else name for name in truth if organs is None or name in organs}
    return [
        score_one(label, result.get(name), Truth(truth[name], planes or slices_of(truth[name].grid)))
        for name, label in named.items()
    ]


def score_one(organ: str, found: LevelSet | None, truth: Truth) -> Score:
    """One row; `found` may lie on another grid, and None, or a shape without volume, counts as lost.
    Raises UsageError for a shape that leaves nothing of its grid outside."""
    true = truth.volume_ml
    if found is None or not (found.array > 0).any() or not (truth.shape.array > 0).any():
        whole = added_path_length(truth.contours, [[] for _ in truth.planes])
        return Score(organ, math.inf, math.inf, math.inf, 0.0, 0.0, 0.0, 0.0, whole, 0.0, true)
    on_grid = _around_both(found, truth.shape)
    surfaces = surface_of(on_grid), truth.surface
    if any(surface.empty for surface in surfaces):  # it fills its grid to the edge: no distance would be true
        raise UsageError("a shape without a surface", where=organ, allowed="a grid that reaches beyond the shape")
    gaps = gaps_between(*surfaces)
    apart = gaps.distances()
    common = common_ml(on_grid, resample_level_set(truth.shape, on_grid.grid))
    own = volume_ml(on_grid)  # each on its own grid: a tight one may not hold all of the other
    return Score(
        organ=organ,
        msd_mm=apart.msd_mm,
        hd95_mm=apart.hd95_mm,
        hd_mm=apart.hd_mm,
        dice=2 * common / (own + true),
        volume_ratio=own / true,
        surface_dice_1mm=gaps.surface_dice(1.0),
        surface_dice_2mm=gaps.surface_dice(2.0),
        added_path_length_mm=added_path_length(truth.contours, contours_from_level_set(on_grid, truth.planes)),
        volume_ml=own,
        reference_volume_ml=true,
    )


def summarise(values: Sequence[float], larger_is_worse: bool = True) -> Summary:
    """Median, mean, sample standard deviation, 95th percentile and worst of at least one value."""
    found = np.asarray(values, float)
    with np.errstate(invalid="ignore"):
        sd = float(found.std(ddof=1)) if len(found) > 1 else 0.0
        p95 = float(np.percentile(found, 95 if larger_is_worse else 5, method="linear"))
    worst = float(found.max() if larger_is_worse else found.min())
    return Summary(len(found), float(np.median(found)), float(found.mean()), sd, p95, worst)


def slices_of(grid: Grid) -> list[SlicePlane]:
    """The planes of array axis 0 of a right-handed or left-handed grid, as a scan's slices."""
    row, column = (_triple(np.asarray(grid.direction, float)[:, axis]) for axis in (2, 1))
    spacing = grid.spacing_mm[1], grid.spacing_mm[2]
    origins = grid.points_at([[k, 0, 0] for k in range(grid.size[0])])
    return [SlicePlane(_triple(o), row, column, *spacing, grid.size[1], grid.size[2]) for o in origins]


def _around_both(found: LevelSet, truth: LevelSet) -> LevelSet:
    """`found` on as much of its grid as holds both shapes: what lies farther is not worth its memory."""
    box = bounding_box(found.array, margin=3)
    if box is None:
        raise UsageError("an empty shape", where="evaluate", allowed="a shape with volume")
    corners = found.grid.index_at(truth.grid.corners_mm())
    low = np.minimum([part.start for part in box], np.floor(corners.min(axis=0)))
    high = np.maximum([part.stop for part in box], np.ceil(corners.max(axis=0)) + 1)
    first, last = _index(np.maximum(low, 0)), _index(np.minimum(high, found.grid.size))
    part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    return LevelSet(found.grid.crop(first, last), np.ascontiguousarray(found.array[part]))


def _index(values: Any) -> Index:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _triple(values: Any) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z
