"""Pairs to train on, at 1 mm, made once and read by memory map: patients' (recontour prepare) or moved phantoms.

    <pool>/<patient>-<fraction>/fixed_hu.npy, moving_hu.npy          int16 (D, H, W)
                                fixed_labels.npy, moving_labels.npy  uint8 (D, H, W), values as in LABELS
                                pair.json                            what is contoured; without it, all four organs

For phantoms, <patient> is the seed of the anatomy and <fraction> that of the motion. Seeds below 10,000 are for
training, from 10,000 to below 20,000 for validation; from 100,000 on for tests alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.catalogue import LABELS
from recontour.phantom.anatomy import make_anatomy
from recontour.phantom.motion import Motion, Movable, move_prepared, prepare

TRAINING, VALIDATION = range(10_000), range(10_000, 20_000)

# Written in this order, so that where two overlap by a partial voxel the smaller organ keeps it.
ROIS = {"bladder": "Bladder", "rectum": "Rectum", "seminal_vesicles": "SeminalVes", "prostate": "Prostate"}
MARGIN_MM = 30.0
SCAN_MM = (3.0, 1.5, 1.5)  # coarser in-plane than a clinic's 0.9, so that a pool is made in minutes
AFFINE_ERROR_MM, AFFINE_ERROR_DEG = 1.0, 0.5  # what an affine registration leaves of the set-up


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


def make_man(seed: int) -> tuple[Volume, Movable]:
    """A phantom's planning scan with its noise, and what is needed to move it."""
    anatomy = make_anatomy(seed, SCAN_MM)
    return anatomy.planning, prepare(anatomy.volume, anatomy.level_sets, None, anatomy.noise_hu, clean=True)


def make_pair(planning: Volume, man: Movable, motion: Motion) -> ScanPair:
    """The man on another day beside his planning scan: affine taken off but for a small error, at 1 mm."""
    shapes = {organ: man.level_sets[roi] for organ, roi in ROIS.items()}
    region = _region(shapes)
    scanned = region.with_spacing(1.0)
    slices = Grid.of((int(scanned.size[0] / SCAN_MM[0]) + 1, *scanned.size[1:]), (SCAN_MM[0], 1, 1), scanned.origin_mm)
    day = move_prepared(man, motion, slices)
    aligned = _with_error(day.affine_daily_to_planning, scanned, motion.seed)
    fixed = resample_volume(day.volume, scanned)
    moving = resample_volume(planning, scanned, affine=aligned)
    fixed_shapes = {organ: day.level_sets[roi] for organ, roi in ROIS.items()}
    return ScanPair(
        np.rint(fixed.array).astype(np.int16),
        np.rint(moving.array).astype(np.int16),
        label_map(fixed_shapes, scanned),
        label_map(shapes, scanned, aligned),
    )


def label_map(shapes: Mapping[str, LevelSet], grid: Grid, affine: Affine | None = None) -> NDArray[np.uint8]:
    """(D, H, W) uint8 on `grid`: where each organ is, as in LABELS; `affine` takes the grid's points to the shapes'."""
    out = np.zeros(grid.size, np.uint8)
    for organ in ROIS:
        if organ in shapes:
            out[resample_level_set(shapes[organ], grid, affine).array > 0] = LABELS.index(organ)
    return out


def write_pool(pool: Path, anatomies: range, motions: int, severity: float = 1.0) -> None:
    """Pairs of every man of `anatomies` with `motions` days each; those that are there already are left as they are."""
    for seed in anatomies:
        folders = {pool / f"{seed:06d}-{seed * 100 + day:08d}": seed * 100 + day for day in range(motions)}
        missing = {folder: motion for folder, motion in folders.items() if not (folder / f"{PARTS[-1]}.npy").exists()}
        if not missing:
            continue
        planning, man = make_man(seed)
        for folder, motion_seed in missing.items():
            pair = make_pair(planning, man, Motion.draw(motion_seed, severity))
            folder.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                np.save(folder / f"{part}.npy", getattr(pair, part))


def read_pool(pool: Path) -> list[ScanPair]:
    """All whole pairs of a pool, memory-mapped, by name. Raises UsageError where there is none."""
    folders = sorted(path.parent for path in pool.glob(f"*/{PARTS[-1]}.npy"))
    if not folders:
        raise UsageError("no training pairs", where=pool.name, allowed="a folder made by recontour prepare")
    return [_read_pair(folder) for folder in folders]


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


def _read_pair(folder: Path) -> ScanPair:
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


def _has_about(folder: Path) -> bool:
    return (folder / ABOUT).exists()


def _region(shapes: Mapping[str, LevelSet]) -> Grid:
    bounds = [shape.grid.bounds_mm() for shape in shapes.values()]
    low = np.min([b[0] for b in bounds], axis=0) - MARGIN_MM
    high = np.max([b[1] for b in bounds], axis=0) + MARGIN_MM
    return Grid.around(low, high, 1.0)


def _with_error(affine: Affine, grid: Grid, seed: int) -> Affine:
    rng = np.random.default_rng((seed, 30))
    low, high = grid.bounds_mm()
    turn = Affine.rotation(rng.normal(0, AFFINE_ERROR_DEG, 3), (low + high) / 2)
    return affine.after(Affine.shift(rng.normal(0, AFFINE_ERROR_MM, 3))).after(turn)
