"""Pairs to train on, at 1 mm, made once and read by memory map: patients' (recontour prepare) or moved phantoms.

    <pool>/<patient>-<fraction>/fixed_hu.npy, moving_hu.npy          int16 (D, H, W)
                                fixed_labels.npy, moving_labels.npy  uint8 (D, H, W), values as in LABELS
                                pair.json                            what is contoured; without it, all four organs

For phantoms, <patient> is the seed of the anatomy and <fraction> that of the motion. Seeds below 10,000 are for
training, from 10,000 to below 20,000 for validation; from 100,000 on for tests alone. From 20,000 to below 30,000 are
men who were not made but scanned: the seed is only their number.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set
from recontour.geometry.volume import LevelSet
from recontour.network.catalogue import LABELS

TRAINING, VALIDATION, SCANNED = range(10_000), range(10_000, 20_000), range(20_000, 30_000)
FIRST_TEST_SEED = 100_000  # no model is trained on, or chosen by, a seed from here on

# Written in this order, so that where two overlap by a partial voxel the smaller organ keeps it.
ROIS = {"bladder": "Bladder", "rectum": "Rectum", "seminal_vesicles": "SeminalVes", "prostate": "Prostate"}


@dataclass(frozen=True, eq=False)
class ScanPair:
    """A daily (fixed) and a planning (moving) scan on one 1 mm grid, roughly aligned.

    *_hu: (D, H, W) int16. *_labels: (D, H, W) uint8, values as in LABELS. The arrays may be memory-mapped.
    organs: those contoured in both scans. name: <patient>-<fraction>.
    """

    fixed_hu: NDArray[np.int16]
    moving_hu: NDArray[np.int16]
    fixed_labels: NDArray[np.uint8]
    moving_labels: NDArray[np.uint8]
    organs: tuple[str, ...] = LABELS[1:]
    name: str = ""


PARTS = ("fixed_hu", "moving_hu", "fixed_labels", "moving_labels")
ABOUT = "pair.json"


def label_map(shapes: Mapping[str, LevelSet], grid: Grid, affine: Affine | None = None) -> NDArray[np.uint8]:
    """(D, H, W) uint8 on `grid`: where each organ is, as in LABELS; `affine` takes the grid's points to the shapes'."""
    out = np.zeros(grid.size, np.uint8)
    for organ in ROIS:
        if organ in shapes:
            out[resample_level_set(shapes[organ], grid, affine).array > 0] = LABELS.index(organ)
    return out


def read_pool(pool: Path) -> list[ScanPair]:
    """All whole pairs of a pool, memory-mapped, by name. Raises UsageError where there is none."""
    folders = sorted(path.parent for path in pool.glob(f"*/{PARTS[-1]}.npy"))
    if not folders:
        raise UsageError("no training pairs", where=pool.name, allowed="a folder made by recontour prepare")
    return [read_pair(folder) for folder in folders]


def read_splits(data: Path, names: Sequence[str] = ("training", "validation")) -> dict[str, list[ScanPair]]:
    """The pools `data`/<name>. Raises UsageError where one is empty, or where a patient is in two of them: what was
    learnt on him would be taken for what the network can do."""
    splits = {name: read_pool(data / name) for name in names}
    patients = {name: {patient_of(pair) for pair in pairs} for name, pairs in splits.items()}
    for first, second in itertools.combinations(names, 2):
        both = sorted(patients[first] & patients[second])
        if both:
            found = f"{len(both)} patient{'s' * (len(both) > 1)} in two splits: {', '.join(both[:5])}"
            raise UsageError(found, where=f"{first}, {second}", allowed="each patient in one split alone")
    return splits


def patient_of(pair: ScanPair) -> str:
    """The pseudonym, or the seed, that a pair's name begins with."""
    return pair.name.split("-")[0]


def read_pair(folder: Path) -> ScanPair:
    """The pair in a folder, memory-mapped. Raises UsageError where it is not whole."""
    try:
        parts = [np.load(folder / f"{part}.npy", mmap_mode="r") for part in PARTS]
        about = cast("dict[str, Any]", json.loads((folder / ABOUT).read_text("utf-8")) if _has_about(folder) else {})
    except (OSError, ValueError) as error:
        raise UsageError(
            "a pair that cannot be read", where=folder.name, allowed="delete it and prepare it again"
        ) from error
    if len({part.shape for part in parts}) != 1:
        raise UsageError("scans and labels of different size", where=folder.name, allowed="prepare it again")
    return ScanPair(*parts, organs=tuple(about.get("organs", LABELS[1:])), name=folder.name)


def write_pair(folder: Path, pair: ScanPair) -> None:
    """Writes a pair, whole or not at all; one that another process has written meanwhile is left as it is."""
    beside = folder.parent.parent / f"{folder.name}-{uuid.uuid4().hex}.new"
    beside.mkdir(parents=True)
    try:
        for part in PARTS:
            np.save(beside / f"{part}.npy", getattr(pair, part), allow_pickle=False)
        (beside / ABOUT).write_text(json.dumps({"organs": pair.organs}), encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(beside, folder)
        except OSError:  # a folder that holds something is not written over
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _has_about(folder: Path) -> bool:
    return (folder / ABOUT).exists()
