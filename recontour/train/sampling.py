"""Where training patches are cut: equally often around a target, an organ at risk, and anywhere in the torso."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Index
from recontour.network.catalogue import LABELS

TARGETS = tuple(LABELS.index(name) for name in ("prostate", "seminal_vesicles"))
AT_RISK = tuple(LABELS.index(name) for name in ("bladder", "rectum"))
TORSO_HU = -300  # softer than any tissue: everything above is body, couch apart


def draw_centre(labels: NDArray[np.uint8], hu: NDArray[np.int16], rng: np.random.Generator) -> Index:
    """The voxel (z, y, x) that a patch is cut around.

    labels, hu: (D, H, W). One of targets, organs at risk, torso with equal chance; within the first two each organ
    that is there with equal chance; within it each voxel. Falls back to the whole array where nothing is there.
    """
    group = int(rng.integers(3))
    here = [label for label in (TARGETS, AT_RISK, ())[group] if bool((labels == label).any())]
    inside = labels == rng.choice(here) if here else hu > TORSO_HU
    voxels = np.flatnonzero(inside)
    chosen = int(rng.choice(voxels)) if voxels.size else int(rng.integers(labels.size))
    z, y, x = (int(v) for v in np.unravel_index(chosen, labels.shape))
    return z, y, x


def cut_patch(array: NDArray[np.generic], centre: Index, side: int) -> NDArray[np.generic]:
    """(side, side, side) around `centre`; beyond the array its border voxels repeat, as in prediction."""
    z, y, x = (
        np.clip(np.arange(c - side // 2, c - side // 2 + side), 0, n - 1)
        for c, n in zip(centre, array.shape, strict=True)
    )
    return array[z[:, None, None], y[:, None], x]
