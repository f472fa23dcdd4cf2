"""Moves a scan, a phantom's or a real one, by a motion that is known exactly.

The daily image is I_daily(y) = I_planning(T(y)) with T(y) = A(y + u(y)): A rigid, `affine_daily_to_planning`, the
patient's set-up and the daily scanner's own frame; u, `field_daily_to_planning`, what the soft tissue does: bladder and
rectum filling, the prostate shifting and turning with them, a smooth few millimetres everywhere else, and nothing in
bone. The image and the contours are warped by the same trilinear u, so the truth is exact whatever made it. Gas,
stool and urine change in the planning image before it is warped, the scanner's doing comes after: the truth knows of
neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.contents import refill, refill_bladder
from recontour.phantom.flow import Array, displace
from recontour.phantom.metal import metal_streaks, throws_far
from recontour.phantom.motion import Motion
from recontour.phantom.movable import KNOTS_MM, Movable, prepare
from recontour.phantom.scanner import as_scanned
from recontour.phantom.tissue import planning_displacement


@dataclass(frozen=True, eq=False)
class MovedScan:
    """The daily scan and the truth about it. Daily voxel y shows planning point A(y + u(y))."""

    volume: Volume
    level_sets: dict[str, LevelSet]
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field
    motion: Motion = field(default_factory=Motion)


def move(
    volume: Volume,
    level_sets: Mapping[str, LevelSet],
    motion: Motion,
    target: Grid | None = None,
    organs: Mapping[str, str] | None = None,
    noise_hu: float | None = None,
) -> MovedScan:
    """The planning scan as it would look on another day, with its contours.

    target: the daily grid, in the daily frame; by default the planning grid, moved by the frame's offset.
    organs: organ (see movable.ORGANS) -> key of `level_sets`; by default keys that are such an organ or its TG-263
    name.
    noise_hu: the planning scan's noise if it is known; 0 says that it holds none, which leaves the daily scan none
    either. By default it is measured, and shrunk away before moving.

    To move one scan often, `prepare` it once and call `move_prepared`. Raises nothing of its own.
    """
    return move_prepared(prepare(volume, level_sets, organs, noise_hu), motion, target)


def move_prepared(scan: Movable, motion: Motion, target: Grid | None = None) -> MovedScan:
    """As `move`, of a scan that `prepare` has seen."""
    daily = target or _in_daily_frame(scan.volume.grid, motion)
    affine, truth = daily_to_planning(scan, motion)
    shapes = {name: _shape(shape, affine, truth) for name, shape in scan.level_sets.items()}
    return MovedScan(daily_scan(scan, motion, daily, affine, truth), shapes, affine, truth, motion)


def daily_scan(scan: Movable, motion: Motion, daily: Grid, affine: Affine, truth: Field) -> Volume:
    """The scan of a day on the grid `daily`, by the truth that `daily_to_planning` gives."""
    rng = np.random.default_rng((motion.seed, 2))
    image = _image(with_contents(scan, motion, rng), daily, affine, truth)
    return as_pictured(scan, motion, Volume(daily, image), affine, rng)


def daily_to_planning(scan: Movable, motion: Motion) -> tuple[Affine, Field]:
    """The truth of a day: A, and u on a lattice of 3 mm in the daily frame that holds all that moves."""
    affine = set_up(scan.volume.grid, motion)
    return affine, _truth(scan, motion, affine)


def with_contents(scan: Movable, motion: Motion, rng: np.random.Generator) -> Volume:
    """The planning scan, not yet moved, with what rectum and bladder hold on the day."""
    volume = scan.volume
    if "rectum" in scan.organs and (motion.gas_goes or motion.gas_pockets):
        rectum = scan.level_sets[scan.organs["rectum"]]
        volume = refill(volume, rectum, rng, gas_goes=motion.gas_goes, pockets=motion.gas_pockets)
    if "bladder" in scan.organs and motion.urine is not None:
        volume = refill_bladder(volume, scan.level_sets[scan.organs["bladder"]], motion.urine)
    return volume


def as_pictured(scan: Movable, motion: Motion, image: Volume, affine: Affine, rng: np.random.Generator) -> Volume:
    """`image`, the moved anatomy on a daily grid, as the day's scanner shows it: with the streaks of metal where the
    scan is a made one, kernel, slice thickness, calibration, noise and field of view."""
    if scan.held_mm == 0.0:
        image = _with_streaks(scan.volume, image, affine, rng)
    scanner = motion.scanner(_width_mm(scan.volume) if motion.fov_share < math.inf else math.inf)
    return as_scanned(image, scanner, motion.noise * scan.noise_hu, rng, scan.held_mm)


def _with_streaks(planning: Volume, image: Volume, affine: Affine, rng: np.random.Generator) -> Volume:
    """Prostheses are rigid, and throw their streaks over grids that do not hold them; markers move with the organ."""
    far = throws_far(planning)
    streaks = metal_streaks(planning if far else image, rng)
    if streaks is None:
        return image
    there = resample_volume(streaks, image.grid, affine, fill_hu=0.0) if far else streaks
    return Volume(image.grid, image.array + there.array)


def _width_mm(volume: Volume) -> float:
    """Of the body: over all columns of the middle slices with more tissue than a couch has."""
    middle = volume.array[len(volume.array) // 2]
    thick = (middle > -300.0).sum(axis=0) * volume.grid.spacing_mm[1] > 50.0
    return float(thick.sum()) * volume.grid.spacing_mm[2]


def set_up(grid: Grid, motion: Motion) -> Affine:
    """`affine_daily_to_planning`: the patient turned about the middle of `grid`, shifted, seen in another frame."""
    low, high = grid.bounds_mm()
    turned = Affine.rotation(motion.rotation_deg, (low + high) / 2)
    shift = Affine.shift(np.add(motion.shift_mm, motion.frame_offset_mm))
    return shift.after(turned).inverse()


def _in_daily_frame(grid: Grid, motion: Motion) -> Grid:
    x, y, z = np.add(grid.origin_mm, motion.frame_offset_mm)
    return replace(grid, origin_mm=(float(x), float(y), float(z)))


def _truth(scan: Movable, motion: Motion, affine: Affine) -> Field:
    """u on an LPS-axial lattice of the daily frame that holds all that moves: u(y) = A^-1 rotation of w(A y)."""
    backward = planning_displacement(scan, motion)
    corners = affine.inverse().apply(scan.knots.corners_mm())
    grid = Grid.around(corners.min(axis=0), corners.max(axis=0) + KNOTS_MM, KNOTS_MM * 0.75)
    moved = displace(scan.knots, backward, grid, affine)
    turn_back = np.linalg.inv(affine.matrix[:3, :3])
    return Field(grid, np.einsum("ij,j...->i...", turn_back, moved).astype(np.float32))


def _image(volume: Volume, daily: Grid, affine: Affine, truth: Field) -> Array:
    """The scan on the daily grid: by the affine alone where nothing else moves, which is faster."""
    index = daily.index_at(truth.grid.corners_mm())
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, daily.size)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, daily.size)
    out = np.array(resample_volume(volume, daily, affine).array)
    if (high > low).all():
        box = daily.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        out[part] = resample_volume(volume, box, affine, truth).array
    return out


def _shape(shape: LevelSet, affine: Affine, truth: Field) -> LevelSet:
    """The organ on its own lattice in the daily frame: 1 mm, or 2 mm for what is larger than two litres."""
    corners = affine.inverse().apply(shape.grid.corners_mm())
    low, high = corners.min(axis=0) - 12.0, corners.max(axis=0) + 12.0
    spacing = 1.0 if np.prod(high - low) < 6e6 else 2.0
    return _tight(resample_level_set(shape, Grid.around(low, high, spacing), affine, truth))


def _tight(shape: LevelSet, margin: int = 4) -> LevelSet:
    inside = np.argwhere(shape.array > 0)
    if not len(inside):
        return shape
    low = np.maximum(inside.min(axis=0) - margin, 0)
    high = np.minimum(inside.max(axis=0) + margin + 1, shape.grid.size)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = shape.grid.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
    return LevelSet(grid, np.ascontiguousarray(shape.array[part]))
