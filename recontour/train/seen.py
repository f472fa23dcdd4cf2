"""What a network was trained on, as ranges that a scan can be compared with (qa/likeness.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.fuse.distance import signed_distance
from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.catalogue import LABELS
from recontour.qa.likeness import Measures, measures_of, seen_in
from recontour.train.dataset import ROIS, TRAINING, ScanPair, read_splits
from recontour.train.folder import MEN
from recontour.train.men import is_kept, kept_man
from recontour.train.settings import TrainSettings

_MARGIN_VOXELS = 8  # around an organ: more than what is looked at


def seen_in_training(settings: TrainSettings, run: Path) -> tuple[dict[str, Any], ...]:
    """The card's [[seen]]: of prepared pairs both scans, of made men the planning scans of those that are still kept
    in the folder of the run; none is made for it. Raises UsageError where pairs or men cannot be read."""
    scans = _of_men(settings, run) if settings.data.source == "phantoms" else _of_pairs(settings)
    return tuple(asdict(row) for row in seen_in(scans))


def _of_men(settings: TrainSettings, run: Path) -> Iterator[Measures]:
    folder = Path(settings.data.folder) if settings.data.folder else run / MEN
    for seed in TRAINING[: settings.data.training_men]:
        if is_kept(folder, seed):
            man = kept_man(folder, seed)
            yield {organ: measures_of(man.planning, man.movable.level_sets[ROIS[organ]]) for organ in man.organs}


def _of_pairs(settings: TrainSettings) -> Iterator[Measures]:
    for pair in read_splits(Path(settings.data.folder))["training"]:
        yield _by_labels(pair, pair.fixed_hu, pair.fixed_labels)
        yield _by_labels(pair, pair.moving_hu, pair.moving_labels)


def _by_labels(pair: ScanPair, hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> Measures:
    """Of the organs that are contoured in the pair, and in this scan of it; 1 mm voxels."""
    found: dict[str, dict[str, float]] = {}
    for organ in pair.organs:
        inside = np.asarray(labels) == LABELS.index(organ)
        box = bounding_box(inside, _MARGIN_VOXELS)
        if box is not None:
            half = np.where(inside[box], np.float32(0.5), np.float32(-0.5))
            grid = Grid.of(half.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
            shape = LevelSet(grid, signed_distance(half, grid.spacing_mm))
            found[organ] = measures_of(Volume(grid, np.asarray(hu[box], np.float32)), shape)
    return found
