"""Data for the tests of training: tiny pairs of noise, prepared as `recontour prepare` leaves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recontour.train.settings import DataSettings, NetworkSettings, TrainSettings

SIZE = (14, 18, 16)
PAIRS = {"training": ("anna-1", "bert-1"), "validation": ("cleo-1",)}


def write_pairs(folder: Path, size: tuple[int, int, int] = SIZE) -> Path:
    """Two pairs to train on and one to validate on, each of another patient, of noise."""
    for seed, (split, name) in enumerate((split, name) for split, names in PAIRS.items() for name in names):
        rng, pair = np.random.default_rng(seed), folder / split / name
        pair.mkdir(parents=True)
        for part in ("fixed_hu", "moving_hu"):
            np.save(pair / f"{part}.npy", rng.integers(-500, 500, size).astype(np.int16))
        for part in ("fixed_labels", "moving_labels"):
            np.save(pair / f"{part}.npy", rng.integers(0, 5, size).astype(np.uint8))
    return folder


def tiny_settings(data: Path, architecture: str = "cross-stitch", steps: int = 4) -> TrainSettings:
    """The smallest patch that a network takes; no validation before the end."""
    tiny = TrainSettings(
        seed=5,
        steps=steps,
        patch_voxels=44,
        batch=1,
        precision="fp32",
        device="cpu",
        log_every=1,
        validate_every=1000,
        data=DataSettings("prepared", str(data)),
        network=NetworkSettings(architecture),
    )
    return replace(tiny, optimiser=replace(tiny.optimiser, learning_rate=1e-3))
