"""A planning scan, a phantom's or a real one, made ready to be moved: where its organs lie, and how freely what lies
around them moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume, sample
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.flow import Array, Floats, rise
from recontour.phantom.noise import noise_level_hu, without_noise
from recontour.phantom.scanner import MEDIUM_BLUR_MM

KNOTS_MM = 4.0
REACH_MM = 80.0  # how far from the organs soft tissue still moves

ORGANS = ("bladder", "rectum", "prostate", "seminal_vesicles")
_NAMES = {"Bladder": "bladder", "Rectum": "rectum", "Prostate": "prostate", "SeminalVes": "seminal_vesicles"}


@dataclass(frozen=True, eq=False)
class Movable:
    """A planning scan made ready to be moved often: what depends on the scan alone.

    knots: the lattice of the velocity, LPS-axial. mobility (D, H, W) of it: 0 in bone, air and at the rim, 1 in free
    soft tissue. distance: organ -> signed distance in mm on `knots`, positive inside. held_mm: the blur that the scan
    holds already, 0 for a made one without a scanner's doing.
    """

    volume: Volume
    level_sets: Mapping[str, LevelSet]
    organs: Mapping[str, str]
    knots: Grid
    mobility: Array
    distance: Mapping[str, Array]
    noise_hu: float
    held_mm: float = MEDIUM_BLUR_MM


def prepare(
    volume: Volume,
    level_sets: Mapping[str, LevelSet],
    organs: Mapping[str, str] | None = None,
    noise_hu: float | None = None,
    clean: bool = False,
) -> Movable:
    """What `move` needs of a scan whatever the motion. `clean`: the scan shows what is there and nothing of a
    scanner, no noise, blur or streaks; `noise_hu` is then what a daily scan gets."""
    known = organs if organs is not None else _organs_in(level_sets)
    level = noise_level_hu(volume) if noise_hu is None else noise_hu
    knots = _knots(volume.grid, [level_sets[name] for name in known.values()])
    distance = {organ: _signed_distance(level_sets[name], knots) for organ, name in known.items()}
    mobility = _mobility(volume, knots, distance)
    still = volume if clean else without_noise(volume, level)
    return Movable(still, level_sets, known, knots, mobility, distance, level, 0.0 if clean else MEDIUM_BLUR_MM)


def _organs_in(level_sets: Mapping[str, LevelSet]) -> dict[str, str]:
    return {_NAMES.get(key, key): key for key in level_sets if _NAMES.get(key, key) in ORGANS}


def _knots(grid: Grid, organs: list[LevelSet]) -> Grid:
    """The region that moves: the organs and 80 mm around them, or the whole scan where no organ is known."""
    low, high = grid.bounds_mm()
    if organs:
        boxes = [shape.grid.bounds_mm() for shape in organs]
        low = np.maximum(low, np.min([b[0] for b in boxes], axis=0) - REACH_MM)
        high = np.minimum(high, np.max([b[1] for b in boxes], axis=0) + REACH_MM)
    return Grid.around(low, np.maximum(high, low + 2 * KNOTS_MM), KNOTS_MM)


def _signed_distance(shape: LevelSet, knots: Grid) -> Array:
    """True distances, beyond the level set's band, at the knots."""
    from scipy.ndimage import distance_transform_edt

    near = resample_level_set(shape, knots).array
    inside = near > 0
    if not inside.any():
        return np.full(knots.size, -1e3, np.float32)
    far = np.asarray(distance_transform_edt(inside)) - np.asarray(distance_transform_edt(~inside))
    return np.where(np.abs(near) < KNOTS_MM, near, far * KNOTS_MM).astype(np.float32)


def _mobility(volume: Volume, knots: Grid, distance: Mapping[str, Array]) -> Array:
    """0 within a knot of bone, rising over 10 mm; 0 at the skin, outside the body and at the rim of the lattice."""
    from scipy.ndimage import distance_transform_edt

    fine = knots.with_spacing(3.0)
    hu = resample_volume(volume, fine).array
    bone = _bone(hu)
    for shape in distance.values():
        bone &= sample(shape, knots, fine.points(), -1e3) < -2.0  # stones, contrast and markers move with the organ
    to_bone = np.asarray(distance_transform_edt(~bone, 3.0)) if bone.any() else np.full(fine.size, 1e3)
    to_skin = np.asarray(distance_transform_edt(np.pad(_body(hu), 1), 3.0))[1:-1, 1:-1, 1:-1]
    free = rise((to_bone - KNOTS_MM) / 10.0) * rise((to_skin - 3.0) / 15.0)
    at_knots = sample(free.astype(np.float32), fine, knots.points(), 0.0)
    return (at_knots * _rim(knots)).astype(np.float32)


def _bone(hu: Array) -> NDArray[np.bool_]:
    """Bone with its marrow, without vessel walls, stones and markers, on a 3 mm lattice."""
    from scipy.ndimage import binary_closing, binary_fill_holes, label

    hard = np.pad(hu > 170.0, 2)
    closed = np.asarray(binary_closing(hard, iterations=2))[2:-2, 2:-2, 2:-2]
    for plane in closed:
        plane[...] = binary_fill_holes(plane)
    parts, count = label(closed)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(np.asarray(parts).ravel(), minlength=int(count) + 1)
    sizes[0] = 0
    return (sizes >= 60)[np.asarray(parts)]  # 60 x 27 mm3 = 1.6 ml


def _body(hu: Array) -> NDArray[np.bool_]:
    """The patient without the couch; gas inside belongs to him. All of it where that finds nothing."""
    from scipy.ndimage import binary_fill_holes, binary_opening, label

    parts, count = label(binary_opening(hu > -300.0))  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return np.ones(hu.shape, bool)
    sizes = np.bincount(np.asarray(parts).ravel())
    sizes[0] = 0
    body = np.asarray(parts) == int(sizes.argmax())
    for plane in body:
        plane[...] = binary_fill_holes(plane)
    return body


def _rim(knots: Grid) -> Floats:
    """0 on the outermost knots, 1 from 20 mm inside."""
    out = np.ones(knots.size)
    for axis, count in enumerate(knots.size):
        k = np.arange(count)
        shape = [1, 1, 1]
        shape[axis] = -1
        out *= rise(np.minimum(k, count - 1 - k) * KNOTS_MM / 20.0).reshape(shape)
    return out
