"""What a network is worth on pairs it was not trained on: how far each of its paths' contours are from the truth.

Training, export and comparisons score by this one module. Surfaces are sub-voxel where they can be: a segmentation's
is that of probability one half, a warped organ's that of one half of its linearly warped share; the truth is a label
map of 1 mm. Distances and overlap are those of recontour.qa.metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.fuse.cleanup import keep_largest_parts
from recontour.fuse.combine import combine, level_set_from_probability
from recontour.geometry.boxes import bounding_box
from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Box, Grid
from recontour.geometry.volume import LevelSet, Mask, Volume
from recontour.network.catalogue import LABELS
from recontour.network.predict import Precision, Prediction, predict
from recontour.network.released import ReleasedModel
from recontour.network.settled import predict_settled
from recontour.network.warp import warp
from recontour.qa.metrics import dice, surface_distances
from recontour.train.dataset import ScanPair

Shape = LevelSet | Mask

AFFINE, REGISTRATION, SEGMENTATION, BLEND = PATHS = ("affine", "registration", "segmentation", "blend")
BLEND_WEIGHT = 0.5  # what `run` makes of "blend" on a card

# What a lost organ counts in a mean, and the most that any distance counts: beyond all errors of a contour that is at
# least near its organ, so that losing one is never worth while and a contour in the wrong place is no worse than none;
# finite, so that a network that loses one organ of four beats one that loses all.
LOST_MM = 50.0

_RIM = 2  # voxels around what a box must hold: a surface needs its outside


@dataclass(frozen=True)
class PathScore:
    """One organ of one pair by one path.

    path: "affine" (the planning labels as they are), "registration" (warped by the network's field), "segmentation"
    (its largest connected component, as in the paper) or "blend" of both. msd_mm, hd95_mm, dice: as in
    recontour.qa.metrics, Dice of voxels; inf, inf and 0 where the organ was lost.
    """

    pair: str
    path: str
    organ: str
    msd_mm: float
    hd95_mm: float
    dice: float


@dataclass(frozen=True)
class FieldScore:
    """Of the Jacobian determinant of the network's field over a pair's region: its standard deviation, and the share
    of voxels where it is not positive (table 5 of Elmahdy et al., IEEE Access 2021)."""

    pair: str
    jacobian_sd: float
    folding: float


@dataclass(frozen=True)
class Validation:
    """Everything about a network on some pairs. fields: empty where it has no field."""

    scores: tuple[PathScore, ...]
    fields: tuple[FieldScore, ...]


def validate(
    model: ReleasedModel, pairs: Sequence[ScanPair], precision: str = "auto", device: str = "auto"
) -> list[PathScore]:
    """Every path that the network has, and the affine, for every organ that a pair has contoured.

    device, precision: as for `predict`. Raises UsageError, MemoryShort as `predict` does.
    """
    return [score for pair in pairs for score in path_scores(pair, _predict(model, pair, precision, device))]


def validate_fields_too(
    model: ReleasedModel, pairs: Sequence[ScanPair], precision: str = "auto", device: str = "auto"
) -> Validation:
    """As `validate`, and how smooth its fields are; nothing is predicted twice."""
    return _judged((pair, _predict(model, pair, precision, device)) for pair in pairs)


def validate_settled(
    model: ReleasedModel, pairs: Sequence[ScanPair], precision: str = "auto", device: str = "auto"
) -> Validation:
    """As `validate_fields_too`, with the network asked as `run --method network` asks it: six times."""
    wanted = cast("Precision", precision)
    return _judged((pair, predict_settled(model, *_given(pair), device, wanted)) for pair in pairs)


def _judged(found: Iterable[tuple[ScanPair, Prediction]]) -> Validation:
    scores: list[PathScore] = []
    smoothness: list[FieldScore] = []
    for pair, prediction in found:
        scores += path_scores(pair, prediction)
        if prediction.field is not None:
            smoothness.append(field_score(pair.name, prediction.field))
    return Validation(tuple(scores), tuple(smoothness))


def mean_msd_mm(scores: Sequence[PathScore]) -> float:
    """The one number that says which checkpoint is best; lower is better.

    For each organ the mean over the pairs of the network's better path there, each distance as in counted_mm; then
    the mean over the organs, so that each counts the same. "affine" is not the network's and not counted. Raises
    UsageError where there is no score of a network's path.
    """
    best: dict[str, float] = {}
    for (organ, path), value in mean_msd_by_path(scores).items():
        if path != AFFINE:
            best[organ] = min(value, best.get(organ, np.inf))
    if not best:
        raise UsageError("nothing was scored", where="validation", allowed="validation pairs with a contoured organ")
    return float(np.mean(list(best.values())))


def mean_msd_by_path(scores: Sequence[PathScore]) -> dict[tuple[str, str], float]:
    """By organ and path: the mean MSD over the pairs, each as in counted_mm."""
    values: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        values.setdefault((score.organ, score.path), []).append(counted_mm(score.msd_mm))
    return {key: float(np.mean(of_key)) for key, of_key in values.items()}


def counted_mm(distance_mm: float) -> float:
    """The distance as it counts in a mean: LOST_MM at most, and where the organ was lost."""
    return min(distance_mm, LOST_MM)


def path_scores(pair: ScanPair, found: Prediction) -> list[PathScore]:
    """The scores of a prediction over the whole of a pair. An organ whose truth lies outside the pair has none."""
    scores: list[PathScore] = []
    for organ in (name for name in LABELS[1:] if name in pair.organs):
        truth = np.asarray(pair.fixed_labels) == LABELS.index(organ)
        if not truth.any():
            continue
        here, shapes = paths_of(pair, organ, found)
        target = Mask(pair_grid(pair).part(here), truth[here])
        scores += [_scored(pair.name, path, organ, shape, target) for path, shape in shapes.items()]
    return scores


def paths_of(pair: ScanPair, organ: str, found: Prediction) -> tuple[Box, dict[str, Shape]]:
    """The organ by each path, on one part of the pair's grid that also holds its truth; the part comes first."""
    label, grid = LABELS.index(organ), pair_grid(pair)
    planned = np.asarray(pair.moving_labels) == label
    boxes = [bounding_box(np.asarray(pair.fixed_labels) == label, _RIM), _reach(planned, found.field)]
    probability = found.probability(label, grid)
    if probability is not None:
        boxes.append(_box_of_largest_part(probability > 0.5))
    here = _union([box for box in boxes if box is not None])
    part = grid.part(here)
    shapes: dict[str, Shape] = {AFFINE: Mask(part, planned[here])}
    registered = None if found.field is None else warped(planned, found.field, here)
    segmented = None if probability is None else level_set_from_probability(probability[here], part)
    if registered is not None:
        shapes[REGISTRATION] = registered
    if segmented is not None:
        shapes[SEGMENTATION] = keep_largest_parts(segmented, 1)
    if registered is not None and segmented is not None:  # blended first and tidied then, as `run` does
        shapes[BLEND] = keep_largest_parts(combine(registered, segmented, BLEND_WEIGHT), 1)
    return here, shapes


def warped(planned: NDArray[np.bool_], field: Field, here: Box) -> LevelSet:
    """The share of an organ, linearly warped by the field, less one half, on the part `here` of the field's grid.

    planned: (D, H, W) on the field's grid. Positive inside; near the surface about the distance in mm.
    """
    share = torch.as_tensor(planned.astype(np.float32))[None, None]
    start_xyz = np.array([part.start for part in reversed(here)], np.float32)
    offset = field.array[(slice(None), *here)] + start_xyz[:, None, None, None]  # voxels are 1 mm
    values = warp(share, torch.as_tensor(offset)[None])[0, 0].numpy()
    return LevelSet(field.grid.part(here), values - np.float32(0.5))


def field_score(pair: str, field: Field) -> FieldScore:
    """How smooth a field is, over its whole grid."""
    determinant = jacobian_determinant(field)
    return FieldScore(pair, float(determinant.std(dtype=np.float64)), float((determinant <= 0).mean()))


def pair_grid(pair: ScanPair) -> Grid:
    """The grid that a pair's four arrays share; its first voxel is at the origin."""
    return Grid.of(pair.fixed_hu.shape, (1, 1, 1), (0, 0, 0))


def _predict(model: ReleasedModel, pair: ScanPair, precision: str, device: str) -> Prediction:
    return predict(model, *_given(pair), pair_grid(pair), device, cast("Precision", precision))


def _given(pair: ScanPair) -> tuple[Volume, Volume, NDArray[np.uint8]]:
    """Both scans and the planning labels."""
    grid = pair_grid(pair)
    fixed, moving = (Volume(grid, np.asarray(hu, np.float32)) for hu in (pair.fixed_hu, pair.moving_hu))
    return fixed, moving, np.array(pair.moving_labels)  # a copy: the pair may be a read-only memory map


def _scored(pair: str, path: str, organ: str, shape: Shape, truth: Mask) -> PathScore:
    inside = shape.array > 0 if isinstance(shape, LevelSet) else shape.array
    if not inside.any():
        return PathScore(pair, path, organ, float("inf"), float("inf"), 0.0)
    gaps = surface_distances(shape, truth)
    return PathScore(pair, path, organ, gaps.msd_mm, gaps.hd95_mm, dice(Mask(shape.grid, inside), truth))


def _reach(planned: NDArray[np.bool_], field: Field | None) -> Box | None:
    """Where an organ can lie, with a rim: where it is planned, and as far around as the field moves anything."""
    if field is None:
        return bounding_box(planned, _RIM)
    farthest = np.nan_to_num(np.abs(field.array).max(axis=(1, 2, 3)), nan=0.0)[::-1]
    return bounding_box(planned, [_RIM + int(np.ceil(min(mm, max(planned.shape)))) for mm in farthest])


def _box_of_largest_part(inside: NDArray[np.bool_]) -> Box | None:
    """The box, with a rim, of the largest connected part (26 neighbours); None where there is none.

    A network that is young puts specks everywhere, and everything after this takes as long as the box is large.
    """
    from scipy import ndimage

    morphology = cast("Any", ndimage)
    labels = np.asarray(morphology.label(inside, np.ones((3, 3, 3)))[0], np.int32)
    sizes = np.bincount(labels.ravel())
    if len(sizes) < 2:
        return None
    box = morphology.find_objects(labels)[int(sizes[1:].argmax())]
    low = [max(0, part.start - _RIM) for part in box]
    high = [min(n, part.stop + _RIM) for part, n in zip(box, inside.shape, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _union(boxes: Sequence[Box]) -> Box:
    z, y, x = (slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes, strict=True))
    return z, y, x
