"""What no planned organ has is taken out of the daily ones: stray parts, holes, overlaps. Level sets stay smooth.

The plan itself says what is allowed: nodes in three parts stay three parts, a ring keeps its hole, a CTV that covers
the prostate may go on doing so.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.fuse.distance import Array
from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Box, Grid, Index
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet

Inside = NDArray[np.bool_]

SPECK_SHARE = 0.01  # parts of the plan below 1 % of the organ are slips of the pen, not parts to be kept
OVERLAP_SHARE = 0.02  # planned ROIs that share less than 2 % of the smaller one only touch, as neighbours do
LARGEST_SLICE_HOLE_MM2 = 100.0  # on a slice, a larger opening is a dent seen from above, and is left

_TOUCHING = np.ones((3, 3, 3), bool)  # parts that meet at a corner are one part


def clean_up(
    level_sets: Mapping[str, LevelSet],
    planned: Mapping[str, LevelSet],
    may_overlap: set[frozenset[str]] | None = None,
    carried: Mapping[str, LevelSet] | None = None,
) -> dict[str, LevelSet]:
    """Every daily ROI with as many parts as its plan had, no new holes, and no new overlaps; in the order given.

    level_sets: daily shapes by ROI name, positive inside, on parts of one grid; they are not changed. planned: planning
    shapes by the same names, each on a grid of its own; a ROI without one is taken as one part without holes.
    may_overlap: pairs of names; None asks the plan (overlapping_pairs). carried: the planned shapes as the motion left
    them: what a thin neck joined there, as two seminal vesicles, may be in more parts by now, and none is stray. What
    needs no change is returned as it is.
    Raises UsageError where the daily grids are not of one lattice.
    """
    allowed = overlapping_pairs(planned) if may_overlap is None else may_overlap
    sources = (planned, carried or {})
    parts = {name: max(1, *(count_parts(of[name]) if name in of else 1 for of in sources)) for name in level_sets}
    out = {name: _tidied(shape, planned.get(name), parts[name]) for name, shape in level_sets.items()}
    cut = separate(out, allowed)
    return {name: s if s is out[name] else keep_largest_parts(s, parts[name]) for name, s in cut.items()}


def overlapping_pairs(planned: Mapping[str, LevelSet], share: float = OVERLAP_SHARE) -> set[frozenset[str]]:
    """The pairs of planned ROIs that share more than `share` of the smaller one's voxels: they may overlap again."""
    cropped = {name: _cropped(shape) for name, shape in planned.items()}
    out: set[frozenset[str]] = set()
    for (a, first), (b, second) in combinations(cropped.items(), 2):
        if first and second and _boxes_meet(first.grid, second.grid) and _shared(first, second) > share:
            out.add(frozenset((a, b)))
    return out


def count_parts(shape: LevelSet) -> int:
    """The connected parts of a shape (26 neighbours) that are more than specks."""
    box = bounding_box(shape.array, 0)
    if box is None:
        return 0
    sizes = np.bincount(_labelled(shape.array[box] > 0, _TOUCHING).ravel())[1:]
    return int((sizes >= SPECK_SHARE * sizes.sum()).sum())


def keep_largest_parts(shape: LevelSet, count: int) -> LevelSet:
    """The `count` largest connected parts; the surface of what stays is not touched."""
    box = bounding_box(shape.array, 2)
    if box is None:
        return shape
    labels = _labelled(shape.array[box] > 0, _TOUCHING)
    sizes = np.bincount(labels.ravel())
    if len(sizes) - 1 <= count:
        return shape
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    kept = np.isin(labels, order[:count])
    return _with(shape, box, _sunk(shape.array[box], (labels > 0) & ~kept, kept, _depth_mm(shape)))


def fill_cavities(shape: LevelSet, count: int = 0) -> LevelSet:
    """Closes the enclosed hollows of a shape but for the `count` largest."""
    box = bounding_box(shape.array, 2)
    if box is None:
        return shape
    outer, hollow = _hollows(shape.array[box] > 0, count)
    if not hollow.any():
        return shape
    return _with(shape, box, -_sunk(-shape.array[box], hollow, outer, _depth_mm(shape)))


def fill_slice_holes(shape: LevelSet, largest_mm2: float = LARGEST_SLICE_HOLE_MM2) -> LevelSet:
    """Closes, slice by slice across the first axis, the holes of at most `largest_mm2`."""
    box = bounding_box(shape.array, [0, 2, 2])
    if box is None:
        return shape
    pixels = largest_mm2 / (shape.grid.spacing_mm[1] * shape.grid.spacing_mm[2])
    part, depth = shape.array[box].copy(), _depth_mm(shape)
    changed = False
    for k, plane in enumerate(part):
        outer, holes = _slice_holes(plane > 0, pixels)
        if holes.any():
            part[k] = -_sunk(-plane, holes, outer, depth)
            changed = True
    return _with(shape, box, part) if changed else shape


def separate(level_sets: Mapping[str, LevelSet], may_overlap: set[frozenset[str]]) -> dict[str, LevelSet]:
    """Cuts overlaps half-way between both surfaces, but for pairs in `may_overlap`.

    min(a, (a - b) / 2) and min(b, (b - a) / 2) meet where the distances are equal, change nothing outside the
    overlap, and sum to at most zero at every voxel, and so, interpolated linearly, everywhere: nothing overlaps any
    more, not even between voxels. All pairs are cut from the shapes as they came, so their order does not matter.
    """
    if not level_sets:
        return {}
    lattice = next(iter(level_sets.values())).grid
    starts = {name: _start(lattice.box_of(shape.grid)) for name, shape in level_sets.items()}
    boxes = {name: _moved(bounding_box(shape.array, 1), starts[name]) for name, shape in level_sets.items()}
    out = {name: shape.array for name, shape in level_sets.items()}
    for first, second in combinations(level_sets, 2):
        common = _common_box(boxes[first], boxes[second])
        if common is None or frozenset((first, second)) in may_overlap:
            continue
        at = {name: _here(common, starts[name]) for name in (first, second)}
        a, b = (level_sets[name].array[at[name]] for name in (first, second))
        if (a + b > 0).any():
            half = (a - b) / np.float32(2)
            for name, limit in ((first, half), (second, -half)):
                if out[name] is level_sets[name].array:
                    out[name] = out[name].copy()
                out[name][at[name]] = np.minimum(out[name][at[name]], limit)
    return {
        name: shape if out[name] is shape.array else LevelSet(shape.grid, out[name])
        for name, shape in level_sets.items()
    }


def _start(box: Box) -> Index:
    z, y, x = box
    return z.start, y.start, x.start


def _moved(box: Box | None, by: Index) -> Box | None:
    if box is None:
        return None
    z, y, x = (slice(part.start + n, part.stop + n) for part, n in zip(box, by, strict=True))
    return z, y, x


def _here(box: Box, start: Index) -> Box:
    z, y, x = (slice(part.start - n, part.stop - n) for part, n in zip(box, start, strict=True))
    return z, y, x


def _tidied(shape: LevelSet, plan: LevelSet | None, parts: int) -> LevelSet:
    """No more parts than asked for, no holes that the plan has not."""
    box = bounding_box(shape.array, 3)
    if box is None:
        return shape
    small = _part_of(shape, box)
    out = fill_cavities(keep_largest_parts(small, parts), 0 if plan is None else _cavity_count(plan))
    if plan is None or not _has_slice_holes(plan):
        out = fill_slice_holes(out)
    return shape if out is small else _with(shape, box, out.array)


def _cavity_count(shape: LevelSet) -> int:
    box = bounding_box(shape.array, 1)
    if box is None:
        return 0
    labels = _labelled(np.pad(shape.array[box] <= 0, 1, constant_values=True))
    return int(labels.max()) - 1


def _has_slice_holes(shape: LevelSet) -> bool:
    box = bounding_box(shape.array, [0, 1, 1])
    return box is not None and any(_slice_holes(plane > 0, np.inf)[1].any() for plane in shape.array[box])


def _hollows(inside: Inside, count: int) -> tuple[Inside, Inside]:
    """The background that is open to the border, and the enclosed parts but for the `count` largest."""
    labels = _labelled(np.pad(~inside, 1, constant_values=True))  # the pad joins all that is open
    outer = labels == labels.flat[0]
    sizes = np.bincount(labels.ravel())
    sizes[0] = sizes[labels.flat[0]] = 0
    kept = np.argsort(-sizes, kind="stable")[:count]
    hollow = (labels > 0) & ~outer & ~np.isin(labels, kept[sizes[kept] > 0])
    middle = tuple(slice(1, -1) for _ in range(inside.ndim))
    return ~hollow[middle] & ~inside, hollow[middle]


def _slice_holes(inside: Inside, largest_pixels: float) -> tuple[Inside, Inside]:
    """The background of a plane that stays, and its enclosed parts of at most `largest_pixels`."""
    labels = _labelled(np.pad(~inside, 1, constant_values=True))
    sizes = np.bincount(labels.ravel())
    small = sizes <= largest_pixels
    small[0] = small[labels.flat[0]] = False
    holes = small[labels][1:-1, 1:-1]
    return ~holes & ~inside, holes


def _sunk(array: Array, doomed: Inside, kept: Inside, depth_mm: np.float32) -> Array:
    """`array` with the `doomed` voxels and their neighbours at most -depth_mm.

    Neighbours of `kept` voxels hold its surface in place and are left as they are.
    """
    from scipy import ndimage

    morphology = cast("Any", ndimage)
    around = np.ones((3,) * array.ndim, bool)
    near = morphology.binary_dilation(doomed, around) & ~morphology.binary_dilation(kept, around)
    return np.where(doomed | near, np.minimum(array, -depth_mm), array).astype(np.float32)


def _cropped(shape: LevelSet) -> LevelSet | None:
    box = bounding_box(shape.array, 1)
    return None if box is None else _part_of(shape, box)


def _part_of(shape: LevelSet, box: Box) -> LevelSet:
    return LevelSet(shape.grid.part(box), np.ascontiguousarray(shape.array[box]))


def _boxes_meet(a: Grid, b: Grid) -> bool:
    (low, high), (other_low, other_high) = a.bounds_mm(), b.bounds_mm()
    return bool((low <= other_high).all() and (other_low <= high).all())


def _shared(a: LevelSet, b: LevelSet) -> float:
    """The share of the smaller shape's voxels, on its own grid, that lies in the other as well."""
    small, large = sorted((a, b), key=lambda shape: shape.mask().volume_ml)
    inside = small.array > 0
    return float((inside & (resample_level_set(large, small.grid).array > 0)).sum() / inside.sum())


def _common_box(a: Box | None, b: Box | None) -> Box | None:
    if a is None or b is None:
        return None
    parts = [slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True)]
    return None if any(part.start >= part.stop for part in parts) else (parts[0], parts[1], parts[2])


def _with(shape: LevelSet, box: Box, part: Array) -> LevelSet:
    array = shape.array.copy()
    array[box] = part
    return LevelSet(shape.grid, array)


def _depth_mm(shape: LevelSet) -> np.float32:
    """Far enough below zero that a removed part leaves no trace in a sub-voxel volume or an iso-contour."""
    return np.float32(2 * max(shape.grid.spacing_mm))


def _labelled(inside: Inside, structure: Inside | None = None) -> NDArray[np.int32]:
    from scipy import ndimage

    return np.asarray(cast("Any", ndimage).label(inside, structure)[0], np.int32)
