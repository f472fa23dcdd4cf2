"""One fraction in memory: planning scan and contours in, daily contours out. No file, no screen.

    align -> network -> refine -> fuse, and qa looks at the result
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recontour.errors import AlignmentFailed, MemoryShort
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Index
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.settings import Settings

if TYPE_CHECKING:
    from recontour.network.released import ReleasedModel

HU_RANGE = (-1000.0, 1000.0)  # paper, section III-C
_ORGAN_REACH_MM = 25.0  # how far beyond its affinely placed box an organ's surface may be looked for


@dataclass(frozen=True, eq=False)
class PlannedRoi:
    """One ROI of the plan. `organ`: which of the four organs it is ("bladder", ...), or "" for any other."""

    name: str
    level_set: LevelSet
    organ: str = ""


@dataclass(frozen=True, eq=False)
class Propagation:
    """What one fraction's propagation gives, all on `region` (1 mm, along the LPS axes, in the daily frame).

    fixed, warped: the daily scan, and the planning scan warped onto it, HU.
    level_sets: one per planned ROI, in the plan's order; empty (all negative) where nothing was left of it.
    registered, segmented: the two paths before they were combined; segmented only where a network segments the ROI.
    seconds: wall time per stage, in order.
    """

    region: Grid
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field
    level_sets: dict[str, LevelSet]
    registered: dict[str, LevelSet]
    segmented: dict[str, LevelSet]
    fixed: Volume
    warped: Volume
    seconds: dict[str, float] = field(default_factory=dict[str, float])


class Stopwatch:
    """Names each stage as it starts and keeps its wall time."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage or (lambda name: None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what happens inside."""
        self._on_stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def propagate(
    planning: Volume,
    daily: Volume,
    rois: list[PlannedRoi],
    settings: Settings,
    model: ReleasedModel | None = None,
    watch: Stopwatch | None = None,
) -> Propagation:
    """Brings the planning ROIs onto the daily scan.

    planning, daily: CT in HU, on any axial grid. rois: level sets in the planning frame.
    model: for the methods that use a network; None opens settings.model.
    Raises AlignmentFailed, ModelRefused, MemoryShort, UsageError (device).
    """
    watch = watch or Stopwatch()
    with watch.stage("align"):
        affine = align_scans(daily, planning)
    with watch.stage("region"):
        region = region_of(rois, affine, daily.grid, settings)
        fixed = _clipped(resample_volume(daily, region))
        moving = _clipped(resample_volume(planning, region, affine))
    deformation = _deform(fixed, moving, rois, affine, settings, model, watch)
    with watch.stage("fuse"):
        registered = warp_rois(rois, region, affine, deformation.field)
        fused = _fuse(rois, registered, deformation)
    with watch.stage("warp scan"):
        warped = resample_volume(planning, region, affine, deformation.field)
    return Propagation(
        region=region,
        affine_daily_to_planning=affine,
        field_daily_to_planning=deformation.field,
        level_sets=fused,
        registered=registered,
        segmented=deformation.segmented,
        fixed=fixed,
        warped=_clipped(warped),
        seconds=dict(watch.seconds),
    )


def align_scans(daily: Volume, planning: Volume) -> Affine:
    """The affine that takes daily points to planning points: translation search, then elastix."""
    from recontour.align.elastix import register_affine
    from recontour.align.search import find_translation

    return register_affine(daily, planning, find_translation(daily, planning))


def region_of(rois: list[PlannedRoi], affine_daily_to_planning: Affine, daily: Grid, settings: Settings) -> Grid:
    """The 1 mm box, in the daily frame, around all planned ROIs plus the margin, as far as the daily scan reaches.

    Raises AlignmentFailed where the ROIs lie outside the daily scan, MemoryShort where the box is beyond reason.
    """
    to_daily = affine_daily_to_planning.inverse()
    corners = np.concatenate([to_daily.apply(_inside_corners(roi.level_set)) for roi in rois])
    low, high = daily.bounds_mm()
    low = np.maximum(low, corners.min(axis=0) - settings.region.margin_mm)
    high = np.minimum(high, corners.max(axis=0) + settings.region.margin_mm)
    if (high - low).min() < 4 * settings.region.spacing_mm:
        raise AlignmentFailed(
            "the planned ROIs lie outside the daily scan", where="alignment", allowed="a daily scan that covers them"
        )
    region = Grid.around(low, high, settings.region.spacing_mm)
    _check_memory(region)
    return region


def warp_rois(
    rois: list[PlannedRoi], region: Grid, affine_daily_to_planning: Affine, field_daily_to_planning: Field
) -> dict[str, LevelSet]:
    """Every planned ROI on `region`, each warped once, from its own planning grid."""

    def warp(roi: PlannedRoi) -> LevelSet:
        return _warp_roi(roi.level_set, region, affine_daily_to_planning, field_daily_to_planning)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip([roi.name for roi in rois], pool.map(warp, rois), strict=True))


@dataclass(frozen=True, eq=False)
class _Deformation:
    field: Field
    segmented: dict[str, LevelSet]
    rules: Mapping[str, str | float]  # per organ, how the card says the two paths combine


def _deform(
    fixed: Volume,
    moving: Volume,
    rois: list[PlannedRoi],
    affine: Affine,
    settings: Settings,
    model: ReleasedModel | None,
    watch: Stopwatch,
) -> _Deformation:
    """The field by the method that the settings ask for, and the network's segmentation where there is one."""
    if settings.method == "affine":
        return _Deformation(Field.zero(fixed.grid), {}, {})
    if settings.method == "elastix":
        from recontour.align.elastix import register_bspline
        from recontour.align.maps import BSPLINE_STRONG

        with watch.stage("elastix"):
            return _Deformation(register_bspline(fixed, moving, Affine.identity(), BSPLINE_STRONG), {}, {})
    predicted = _Deformation(Field.zero(fixed.grid), {}, {})
    if settings.method != "refine":
        with watch.stage("network"):
            predicted = _predict(fixed, moving, rois, affine, settings, model)
    if settings.method == "network":
        return predicted
    with watch.stage("refine"):
        return replace(predicted, field=_refine(fixed, moving, rois, affine, predicted, settings))
