"""A network that is shown one pair over and over learns it by heart, through the whole of `train`: patches, losses,
optimiser, validation. What is broken anywhere between the data and the weights keeps it from that."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recontour.network.catalogue import LABELS
from recontour.train.folder import VALIDATION
from recontour.train.log import read_rows
from recontour.train.loop import train
from recontour.train.recorder import Watcher
from recontour.train.settings import DataSettings, NetworkSettings, OptimiserSettings, TrainSettings

SIDE = 12
ENOUGH = 0.97
HU = {"bladder": -900, "rectum": -450, "seminal_vesicles": 450, "prostate": 900}
CORNERS = {"bladder": (0, 0), "rectum": (0, 1), "seminal_vesicles": (1, 1), "prostate": (1, 0)}  # y, x

# Large steps for a short training; and the field's heads no faster than the rest, for it is 2 mm alone.
SETTINGS = TrainSettings(
    seed=1,
    steps=300,
    patch_voxels=56,
    batch=1,
    precision="fp32",
    device="cpu",
    validate_every=20,
    network=NetworkSettings("cross-stitch"),
    optimiser=OptimiserSettings(learning_rate=4e-3, beta2=0.98),
)


def day(shift_zyx: tuple[int, int, int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Four organs as four columns that begin at z = 3 and stand 2 voxels apart, all of it moved by whole voxels:

        x 0 1 2 3 4 5 6 7 8 ...
        y 0  B B B B B . . R R ...
             ...
          7  P P P P P . . S S ...

    Columns go on beyond the border as patches continue them: every patch sees all organs.
    """
    z, y, x = (index + shift for index, shift in zip(np.indices((SIDE,) * 3), shift_zyx, strict=True))
    labels, hu = np.zeros((SIDE,) * 3, np.uint8), np.zeros((SIDE,) * 3)
    for organ, (low_y, low_x) in CORNERS.items():
        here = (z >= 3) & ((y >= 7) if low_y else (y < 5)) & ((x >= 7) if low_x else (x < 5))
        labels[here], hu[here] = LABELS.index(organ), HU[organ]
    return (hu + np.random.default_rng(sum(shift_zyx)).normal(0, 15, hu.shape)).astype(np.int16), labels


def write_one_pair(data: Path) -> Path:
    """The same pair to learn and to be examined in, under two names."""
    fixed_hu, fixed_labels = day((1, -1, 2))
    moving_hu, moving_labels = day((0, 0, 0))
    parts = {"fixed_hu": fixed_hu, "moving_hu": moving_hu, "fixed_labels": fixed_labels, "moving_labels": moving_labels}
    for folder in (data / "training" / "one-1", data / "validation" / "two-1"):
        folder.mkdir(parents=True)
        for name, array in parts.items():
            np.save(folder / f"{name}.npy", array)
    return data


def least_dice(run: Path) -> dict[str, float]:
    """Path -> its worst organ's Dice at the last validation."""
    rows = read_rows(run / VALIDATION)
    last = [row for row in rows if row["step"] == rows[-1]["step"]]
    return {
        path: min(float(row["dice"]) for row in last if row["path"] == path)
        for path in ("affine", "registration", "segmentation")
    }


class UntilLearnt(Watcher):
    """Ends the training as soon as both paths know every organ."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def say(self, text: str) -> None:
        if "validation MSD" in text:
            dice = least_dice(self.run)
            if min(dice["registration"], dice["segmentation"]) > ENOUGH:
                os.kill(os.getpid(), signal.SIGTERM)


def test_one_pair_is_learnt_by_heart_by_both_paths(tmp_path: Path):
    data, run = write_one_pair(tmp_path / "data"), tmp_path / "run"
    train(replace(SETTINGS, data=DataSettings("prepared", str(data))), run, UntilLearnt(run))
    dice = least_dice(run)
    assert dice["affine"] < 0.75  # there was something to register
    assert dice["registration"] > ENOUGH and dice["segmentation"] > ENOUGH, dice
