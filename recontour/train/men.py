"""Men to be moved: a planning scan each, and what is needed to move it. Made ones, and patients; kept on disk.

    <folder>/<seed>-man1.npz    arrays and grids, nothing pickled; the digit changes when what is kept changes

Knows nothing of torch, so that the processes that make days start at once.
"""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.crop import crop_volume
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.anatomy import make_anatomy
from recontour.phantom.movable import REACH_MM, Movable, prepare
from recontour.train.dataset import ROIS, SCANNED

SCAN_MM = (3.0, 1.5, 1.5)  # coarser in-plane than a clinic's 0.9, so that a man is made in seconds
_ROOM_MM = 20.0  # around all that moves: a day's set-up brings no more than that into the picture


@dataclass(frozen=True, eq=False)
class Man:
    """planning: his planning scan, the surroundings of the organs alone. movable: what there is, before any scanner,
    ready to be moved; level sets of the organs in ROIS alone, of a patient those that are contoured. Both hold whole
    HU."""

    planning: Volume
    movable: Movable

    @property
    def organs(self) -> tuple[str, ...]:
        """Those that are contoured, in the order of ROIS."""
        return tuple(organ for organ in ROIS if organ in self.movable.organs)


def make_man(seed: int) -> Man:
    """The phantom of this seed. Takes seconds."""
    anatomy = make_anatomy(seed, SCAN_MM)
    shapes = {roi: anatomy.level_sets[roi] for roi in ROIS.values()}
    movable = prepare(anatomy.volume, shapes, None, anatomy.noise_hu, clean=True)
    part = _surroundings(anatomy.volume.grid, movable.knots)
    return Man(_whole_hu(crop_volume(anatomy.planning, part)), replace(movable, volume=_whole_hu(anatomy.volume)))


def scanned_man(planning: Volume, shapes: Mapping[str, LevelSet]) -> Man:
    """A patient, by his planning scan and the shapes of one organ at least (by the names in ROIS), in one frame.

    What a scanner does to a scan is in his already: its noise is measured and shrunk away before moving, and its blur
    counts when a day is blurred. Takes seconds.
    """
    upright = {ROIS[organ]: _upright_shape(shapes[organ]) for organ in ROIS if organ in shapes}
    whole = _heights_of(_upright(planning), upright)
    movable = prepare(whole, upright, {organ: roi for organ, roi in ROIS.items() if roi in upright})
    near = crop_volume(whole, _surroundings(whole.grid, movable.knots))
    return Man(_whole_hu(near), replace(movable, volume=_whole_hu(movable.volume)))


def keep_man(folder: Path, seed: int, man: Man) -> None:
    """Puts a man into `folder`, whole or not at all. Raises OSError where it cannot be written."""
    _write(_file(folder, seed), man)


def kept_man(folder: Path, seed: int) -> Man:
    """The man of this seed from `folder`; made and put there the first time.

    Several processes may ask for the same man at once: each that finds none makes him, and the file appears whole.
    Who was scanned is never made. Raises UsageError where his file cannot be read.
    """
    path = _file(folder, seed)
    if not path.exists() and seed not in SCANNED:
        _write(path, make_man(seed))
    return _read(path)


def is_kept(folder: Path, seed: int) -> bool:
    """Whether the man of this seed lies in `folder`."""
    return _file(folder, seed).exists()


def _file(folder: Path, seed: int) -> Path:
    return folder / f"{seed:06d}-man1.npz"


def _upright(volume: Volume) -> Volume:
    """The same along the positive LPS axes, about as fine as it was."""
    grid = volume.grid
    if grid.is_axial():
        return volume
    spacing = np.abs(grid.matrix[:3, :3]).max(axis=1)[::-1]
    low, high = grid.bounds_mm()
    size = np.floor((high - low)[::-1] / spacing + 1e-6) + 1
    return resample_volume(volume, Grid.of(size, spacing, low))


def _upright_shape(shape: LevelSet) -> LevelSet:
    return shape if shape.grid.is_axial() else resample_level_set(shape, Grid.around(*shape.grid.bounds_mm(), 1.0))


def _heights_of(volume: Volume, shapes: Mapping[str, LevelSet]) -> Volume:
    """The slices that show anything that moves, and what a day's set-up brings into the picture."""
    bounds = [shape.grid.bounds_mm() for shape in shapes.values()]
    low, high = min(b[0][2] for b in bounds) - REACH_MM - _ROOM_MM, max(b[1][2] for b in bounds) + REACH_MM + _ROOM_MM
    grid = volume.grid
    slices = np.round(np.clip((np.array([low, high]) - grid.origin_mm[2]) / grid.spacing_mm[0], 0, grid.size[0] - 1))
    return crop_volume(volume, grid.crop((int(slices[0]), 0, 0), (int(slices[1]) + 1, *grid.size[1:])))


def _surroundings(grid: Grid, moving: Grid) -> Grid:
    low, high = moving.bounds_mm()
    first = np.clip(np.floor(grid.index_at(low - _ROOM_MM)).astype(int), 0, grid.size)
    end = np.clip(np.ceil(grid.index_at(high + _ROOM_MM)).astype(int) + 1, 0, grid.size)
    return grid.crop((int(first[0]), int(first[1]), int(first[2])), (int(end[0]), int(end[1]), int(end[2])))


def _whole_hu(volume: Volume) -> Volume:
    limits = np.iinfo(np.int16)
    return Volume(volume.grid, np.clip(np.rint(volume.array), limits.min, limits.max))


def _write(path: Path, man: Man) -> None:
    scan = man.movable
    arrays: dict[str, NDArray[np.generic]] = {
        "planning": man.planning.array.astype(np.int16),
        "still": scan.volume.array.astype(np.int16),
        "noise_hu": np.asarray(scan.noise_hu),
        "held_mm": np.asarray(scan.held_mm),
        "mobility": scan.mobility,
        "grid of planning": _numbers(man.planning.grid),
        "grid of still": _numbers(scan.volume.grid),
        "grid of knots": _numbers(scan.knots),
    }
    for organ in man.organs:
        shape = scan.level_sets[ROIS[organ]]
        arrays |= {f"{organ} shape": shape.array, f"{organ} grid": _numbers(shape.grid)}
        arrays[f"{organ} distance"] = scan.distance[organ]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}-{uuid.uuid4().hex}.new")
    try:
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _read(path: Path) -> Man:
    try:
        with np.load(path, allow_pickle=False) as file:
            return _man_of({name: np.asarray(file[name]) for name in file.files})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError("a man who cannot be read", where=path.name, allowed="delete the file") from error


def _man_of(arrays: Mapping[str, NDArray[np.generic]]) -> Man:
    planning, still = (
        Volume(_grid(arrays[f"grid of {name}"]), arrays[name].astype(np.float32)) for name in ("planning", "still")
    )
    knots, noise_hu = _grid(arrays["grid of knots"]), float(arrays["noise_hu"].astype(np.float64))
    held_mm = float(arrays.get("held_mm", np.zeros(())).astype(np.float64))  # older files hold made men alone
    organs = {organ: roi for organ, roi in ROIS.items() if f"{organ} shape" in arrays}
    shapes = {
        roi: LevelSet(_grid(arrays[f"{organ} grid"]), arrays[f"{organ} shape"].astype(np.float32))
        for organ, roi in organs.items()
    }
    distance = {organ: arrays[f"{organ} distance"].astype(np.float32) for organ in organs}
    mobility = arrays["mobility"].astype(np.float32)
    return Man(planning, Movable(still, shapes, organs, knots, mobility, distance, noise_hu, held_mm))


def _numbers(grid: Grid) -> NDArray[np.float64]:
    """(3, 3): size, spacing, origin of a grid that lies along the LPS axes."""
    return np.array([grid.size, grid.spacing_mm, grid.origin_mm], np.float64)


def _grid(numbers: NDArray[np.generic]) -> Grid:
    size, spacing, origin = numbers.astype(np.float64)
    return Grid.of(size, spacing, origin)
