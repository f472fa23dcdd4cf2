"""What a network is worth on pairs it was not trained on: overlap of both its paths, beside doing nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network.catalogue import LABELS
from recontour.network.predict import Precision, predict
from recontour.network.released import ReleasedModel
from recontour.network.warp import warp
from recontour.train.dataset import ScanPair
from recontour.train.losses import one_hot

Scores = dict[str, dict[str, list[float]]]  # path -> organ -> one Dice per pair


def validate(model: ReleasedModel, pairs: Sequence[ScanPair], precision: Precision = "fp32") -> Scores:
    """Dice per organ and pair: of the planning labels as they are ("affine"), warped by the network's field
    ("registration"), and of its own segmentation ("segmentation"). NaN where neither scan has the organ."""
    scores: Scores = {}
    for pair in pairs:
        for path, labels in label_maps(model, pair, precision).items():
            for organ, value in dice_per_organ(labels, pair.fixed_labels).items():
                scores.setdefault(path, {}).setdefault(organ, []).append(value)
    return scores


def label_maps(model: ReleasedModel, pair: ScanPair, precision: Precision) -> dict[str, NDArray[np.uint8]]:
    """(D, H, W) label maps of the daily scan by path, over the whole pair."""
    grid = Grid.of(pair.fixed_hu.shape, (1, 1, 1), (0, 0, 0))
    fixed, moving = (Volume(grid, np.asarray(hu, np.float32)) for hu in (pair.fixed_hu, pair.moving_hu))
    labels = np.array(pair.moving_labels)  # a copy: the pair may be a read-only memory map
    found = predict(model, fixed, moving, labels, grid, "auto", precision)
    out = {"affine": labels}
    if found.field is not None:
        out["registration"] = warped_labels(labels, found.field.array)
    if found.probabilities is not None:
        out["segmentation"] = found.probabilities.argmax(axis=0).astype(np.uint8)
    return out


def warped_labels(labels: NDArray[np.uint8], field_mm: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each label warped linearly; the largest share takes the voxel."""
    shares = one_hot(torch.as_tensor(labels, dtype=torch.int64)[None, None], len(LABELS))
    return warp(shares, torch.as_tensor(field_mm)[None])[0].argmax(dim=0).numpy().astype(np.uint8)


def dice_per_organ(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> dict[str, float]:
    """2 |A B| / (|A| + |B|) for each of LABELS but the background."""
    out: dict[str, float] = {}
    for label, organ in enumerate(LABELS[1:], start=1):
        both = int((a == label).sum()) + int((b == label).sum())
        out[organ] = 2.0 * int(((a == label) & (b == label)).sum()) / both if both else float("nan")
    return out
