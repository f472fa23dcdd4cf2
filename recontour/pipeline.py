"""One fraction in memory: planning scan and contours in, daily contours out. No file, no screen.

align -> network -> refine -> fuse, and qa looks at the result
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recontour.errors import AlignmentFailed, MemoryShort, UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.boxes import bounding_box
from recontour.geometry.crop import crop_field
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Index
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.catalogue import LABELS
from recontour.settings import Settings

if TYPE_CHECKING:
    from recontour.fuse.combine import Rule
    from recontour.network.released import ModelCard, ReleasedModel

HU_RANGE = (-1000.0, 1000.0)  # paper, section III-C
_BYTES_PER_VOXEL = 200  # scans, field, Jacobian, and some ten level sets, float32
_BAND_MM = 8.0  # of level set around a shape, for checks and for neighbours that are cut apart


@dataclass(frozen=True, eq=False)
class PlannedRoi:
    """One ROI of the plan. `organ`: which of the four organs it is ("bladder", ...), or "" for any other."""

    name: str
    level_set: LevelSet
    organ: str = ""


@dataclass(frozen=True, eq=False)
class Propagation:
    """What one fraction's propagation gives on `region` (1 mm, along the LPS axes, in the daily frame).

    fixed, warped: the daily scan, and the planning scan warped onto it, HU, on the region.
    level_sets: one per planned ROI, in the plan's order, each on a part of the region; empty (all negative) where
    nothing was left of it.
    registered, segmented: the two paths before they were combined, each on a part of the region; segmented only where
    a network segments the ROI, whether or not its card has it used for the contour.
    alignment_match: correlation of both scans after the affine alone. model: name and sha256 of the network used;
    seen: the ranges of its training data, as on its card. seconds: wall time per stage, in order.
    """

    region: Grid
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field
    level_sets: dict[str, LevelSet]
    registered: dict[str, LevelSet]
    segmented: dict[str, LevelSet]
    fixed: Volume
    warped: Volume
    alignment_match: float | None = None
    model: tuple[str, str] | None = None
    seen: tuple[dict[str, Any], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict[str, float])


class Stopwatch:
    """Names each stage as it starts and keeps its wall time."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Times what happens inside."""
        if self._on_stage:
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
    Raises AlignmentFailed, ModelRefused, MemoryShort, UsageError (device, or an ROI that a network which only segments
    does not draw).
    """
    watch = watch or Stopwatch()
    with watch.stage("align"):
        affine = align_scans(daily, planning)
    return propagate_from(affine, planning, daily, rois, settings, model, watch)


def propagate_from(
    affine: Affine,
    planning: Volume,
    daily: Volume,
    rois: list[PlannedRoi],
    settings: Settings,
    model: ReleasedModel | None = None,
    watch: Stopwatch | None = None,
) -> Propagation:
    """As `propagate`, once the scans are aligned: `affine` takes daily points to planning points."""
    watch = watch or Stopwatch()
    with watch.stage("region"):
        region = region_of(rois, affine, daily.grid, settings)
        with ThreadPoolExecutor(2) as pool:
            daily_part = pool.submit(resample_volume, daily, region)
            planning_part = pool.submit(resample_volume, planning, region, affine)
        fixed, moving = _clipped(daily_part.result()), _clipped(planning_part.result())
    if settings.method == "elastix":
        deformation = _Deformation(_elastix(fixed, planning, affine, watch), {}, {})
    else:
        deformation = _deform(fixed, moving, rois, affine, settings, model, watch)
    with watch.stage("fuse"):
        registered = warp_rois(rois, affine, deformation.field, deformation.used(rois))
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
        alignment_match=_match(fixed, moving),
        model=deformation.model,
        seen=deformation.seen,
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
    rois: list[PlannedRoi],
    affine_daily_to_planning: Affine,
    field_daily_to_planning: Field,
    segmented: Mapping[str, LevelSet] | None = None,
) -> dict[str, LevelSet]:
    """Every planned ROI, warped once, from its own planning grid to the part of the field's grid that it can reach.

    segmented: shapes on the field's grid that the part must hold as well.
    """

    whole = field_daily_to_planning
    farthest_mm = max(float(whole.array.max()), -float(whole.array.min())) + _BAND_MM

    def warp(roi: PlannedRoi) -> LevelSet:
        placed = affine_daily_to_planning.inverse().apply(_inside_corners(roi.level_set))
        part = _reach(placed, whole.grid, farthest_mm, (segmented or {}).get(roi.name))
        inner = crop_field(whole, part)
        return resample_level_set(roi.level_set, part, affine_daily_to_planning, inner)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip([roi.name for roi in rois], pool.map(warp, rois), strict=True))


@dataclass(frozen=True, eq=False)
class _Deformation:
    field: Field
    segmented: dict[str, LevelSet]
    rules: Mapping[str, Rule]  # per organ, how the card says the two paths combine
    model: tuple[str, str] | None = None
    seen: tuple[dict[str, Any], ...] = ()

    def used(self, rois: list[PlannedRoi]) -> dict[str, LevelSet]:
        """The segmented shapes that a contour is made of; the others are a second opinion."""
        trusted = {organ for organ, rule in self.rules.items() if rule != "registration"}
        names = [roi.name for roi in rois if roi.organ in trusted and roi.name in self.segmented]
        return {name: self.segmented[name] for name in names}


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
    predicted = _Deformation(Field.zero(fixed.grid), {}, {})
    if settings.method == "affine":
        return predicted
    with watch.stage("contents"):
        fixed, moving = _without_medium(fixed, moving, rois, affine)
    if settings.method != "refine" and _network_knows(rois, settings):
        with watch.stage("network"):
            predicted = _predict(fixed, moving, rois, affine, settings, model)
    if settings.method == "network":
        return predicted
    with watch.stage("refine"):  # its contours are those of the refined field: the scans show more than the network saw
        return replace(predicted, field=_refine(fixed, moving, rois, affine, predicted, settings), rules={})


def _network_knows(rois: list[PlannedRoi], settings: Settings) -> bool:
    """A refinement is not begun by a network that was shown none of these ROIs in its training."""
    return settings.method == "network" or any(roi.organ in LABELS for roi in rois)


def _without_medium(fixed: Volume, moving: Volume, rois: list[PlannedRoi], affine: Affine) -> tuple[Volume, Volume]:
    """Both scans as they are compared; those that are shown and judged keep their contrast medium."""
    from recontour.network.contents import without_medium

    for roi in rois:
        if roi.organ == "bladder":
            fixed, moving = without_medium(fixed, moving, _placed_near(roi.level_set, fixed.grid, affine))
    return fixed, moving


def _elastix(fixed: Volume, planning: Volume, affine: Affine, watch: Stopwatch) -> Field:
    """elastix samples the whole planning scan itself, so that what moves into the region is there."""
    from recontour.align.elastix import register_bspline
    from recontour.align.maps import BSPLINE_STRONG

    with watch.stage("elastix"):
        return register_bspline(fixed, planning, affine, BSPLINE_STRONG)


def _refine(
    fixed: Volume,
    moving: Volume,
    rois: list[PlannedRoi],
    affine: Affine,
    predicted: _Deformation,
    settings: Settings,
) -> Field:
    from recontour.network.device import choose_device
    from recontour.network.refine import refine_field

    used = {name: resample_level_set(shape, fixed.grid) for name, shape in predicted.used(rois).items()}
    shapes = {roi.name: resample_level_set(roi.level_set, fixed.grid, affine) for roi in rois if roi.name in used}
    start = predicted.field if predicted.field.array.any() else None
    device = choose_device(settings.device)
    return refine_field(fixed, moving, start, settings.refine, device, shapes, used)


def _predict(
    fixed: Volume,
    moving: Volume,
    rois: list[PlannedRoi],
    affine: Affine,
    settings: Settings,
    model: ReleasedModel | None,
) -> _Deformation:
    """The network's field, and its segmentation of the planned organs."""
    from recontour.network.around import predict_around_organs
    from recontour.network.released import open_model
    from recontour.network.settled import predict_settled

    opened = model or open_model(settings.model)
    _must_be_drawn(rois, settings, opened.card)
    by_organ = {roi.organ: roi for roi in rois if roi.organ}
    labels = _label_map(by_organ, opened.card.labels, fixed.grid, affine)
    rules: dict[str, Rule] = {
        organ: 0.5 if path == "blend" else path for organ, path in opened.card.path_per_organ.items()
    }
    alone = settings.method == "network"  # a refinement mends what one answer leaves, and in less time
    ask = predict_settled if alone else predict_around_organs
    found = ask(opened, fixed, moving, labels, settings.device, settings.precision)
    segmented: dict[str, LevelSet] = {}
    if found.probabilities is not None and found.part is not None:
        drawn = {by_organ[o].name: found.probabilities[k] for k, o in enumerate(opened.card.labels) if o in by_organ}
        with ThreadPoolExecutor(2) as pool:
            shapes = pool.map(partial(_segmented, grid=found.part), drawn.values())
            segmented = dict(zip(drawn, shapes, strict=True))
    used = (opened.card.name, opened.card.weights_sha256)
    return _Deformation(found.field or Field.zero(fixed.grid), segmented, rules, used, opened.card.seen)


def undrawn(rois: list[PlannedRoi], settings: Settings, card: ModelCard) -> list[str]:
    """Names of the ROIs that `settings.method` cannot bring over, in their order: a network alone that only segments
    draws its card's organs, one ROI each, and knows nothing of others."""
    if settings.method != "network" or card.registers:
        return []
    organs = [organ for organ, path in card.path_per_organ.items() if path != "registration"]
    drawn = {roi.organ: roi.name for roi in rois if roi.organ in organs}
    return [roi.name for roi in rois if drawn.get(roi.organ) != roi.name]


def _must_be_drawn(rois: list[PlannedRoi], settings: Settings, card: ModelCard) -> None:
    """What is not would stay where the alignment puts it, and look as if it had been looked at."""
    left = undrawn(rois, settings, card)
    if left:
        found = f"{', '.join(left)}: the network only segments, and does not draw this"
        allowed = "--only with the organs of its card, or a network that registers"
        raise UsageError(found, where=card.name, allowed=allowed)


def _segmented(probability: NDArray[np.float32], grid: Grid) -> LevelSet:
    """The surface of probability one half, on the part of `grid` that holds it; empty where it is nowhere."""
    from recontour.fuse.combine import level_set_from_probability

    box = bounding_box(probability > 0.5, int(_BAND_MM)) or (slice(0, 2), slice(0, 2), slice(0, 2))
    return level_set_from_probability(probability[box], grid.part(box))


def _label_map(
    by_organ: Mapping[str, PlannedRoi], labels: tuple[str, ...], region: Grid, affine: Affine
) -> NDArray[np.uint8]:
    """(D, H, W) uint8: the planning organs on the daily region, numbered as in the card; 0 is none of them."""
    out = np.zeros(region.size, np.uint8)
    for number, organ in enumerate(labels):
        if organ in by_organ:
            shape = _placed_near(by_organ[organ].level_set, region, affine)
            out[region.box_of(shape.grid)][shape.array > 0] = number
    return out


def _placed_near(shape: LevelSet, region: Grid, affine: Affine) -> LevelSet:
    """A planned shape in the daily frame, on the part of `region` that holds it."""
    placed = affine.inverse().apply(_inside_corners(shape))
    return resample_level_set(shape, _reach(placed, region, 2.0, None), affine)


def _fuse(rois: list[PlannedRoi], registered: dict[str, LevelSet], deformation: _Deformation) -> dict[str, LevelSet]:
    from recontour.fuse.cleanup import clean_up
    from recontour.fuse.combine import combine

    fused: dict[str, LevelSet] = {}
    used = deformation.used(rois)
    for roi in rois:
        rule = deformation.rules.get(roi.organ, "registration")
        carried = registered[roi.name]
        found = resample_level_set(used[roi.name], carried.grid) if roi.name in used else None
        fused[roi.name] = combine(carried, found, rule)
    return clean_up(fused, {roi.name: roi.level_set for roi in rois}, carried=registered)


def _reach(placed_mm: NDArray[np.float64], region: Grid, farthest_mm: float, found: LevelSet | None) -> Grid:
    """The part of `region` that a shape placed there can move to, and that holds `found`."""
    index, reach = region.index_at(placed_mm), farthest_mm / np.asarray(region.spacing_mm)
    low, high = index.min(axis=0) - reach, index.max(axis=0) + reach
    if found is not None and (found.array > 0).any():
        inside = region.index_at(_inside_corners(found))
        low, high = np.minimum(low, inside.min(axis=0) - 2), np.maximum(high, inside.max(axis=0) + 2)
    first = np.clip(np.floor(low), 0, np.subtract(region.size, 2)).astype(int)
    last = np.clip(np.ceil(high) + 1, first + 2, region.size).astype(int)
    return region.crop(_index(first), _index(last))


def _index(values: NDArray[np.intp]) -> Index:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _inside_corners(shape: LevelSet) -> NDArray[np.float64]:
    """(8, 3) corners, mm, of the box of voxels inside the shape."""
    box = bounding_box(shape.array, 0) or (slice(0, 1),) * 3
    low, high = np.array([part.start for part in box]), np.array([part.stop - 1 for part in box])
    choice = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    return shape.grid.points_at(np.where(choice, high, low))


def _match(fixed: Volume, moving: Volume) -> float | None:
    """Correlation of both scans in the soft-tissue window, every other voxel along each axis."""
    from recontour.qa.measure import WINDOW_HU, correlation

    a, b = (np.clip(scan.array[::2, ::2, ::2], *WINDOW_HU).astype(np.float64).ravel() for scan in (fixed, moving))
    return correlation(a, b)


def _clipped(scan: Volume) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *HU_RANGE))


def _check_memory(region: Grid) -> None:
    import psutil

    needed = int(np.prod(region.size, dtype=np.int64)) * _BYTES_PER_VOXEL
    free = psutil.virtual_memory().available
    if needed > free:
        raise MemoryShort(
            f"the region needs about {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free",
            where=f"region of {' x '.join(str(n) for n in region.size[::-1])} voxels",
            allowed="fewer ROIs (--only, --skip), or a larger region.spacing_mm",
        )
