"""A man, made or scanned, on another day, beside his planning scan.

Made here, by the motion engine on a processor, is the daily scan on its own slices and the displacement on its lattice;
`recontour.train.days` makes of it both scans and all contours at 1 mm, on the training device.

Knows nothing of torch, so that the processes that make days start at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.motion import Motion
from recontour.phantom.move import daily_scan, daily_to_planning
from recontour.train.dataset import ROIS
from recontour.train.men import Man, kept_man

MARGIN_MM = 30.0  # around the organs
# Of the daily scan; how thick its slices are is its scanner's affair. From 3 mm on, resampling from the men's scans
# would smooth against aliasing, in the slice too, and days would be softer than planning scans.
SLICE_MM = 2.0
AFFINE_ERROR_MM, AFFINE_ERROR_DEG = 1.0, 0.5  # what an affine registration leaves of the set-up


@dataclass(frozen=True, eq=False)
class CoarseDay:
    """What a worker hands over: some 40 MB.

    daily: the daily scan on its own slices. planning: the planning scan. shapes: organ -> level set in the planning
    frame. affine_daily_to_planning, field_daily_to_planning: daily voxel y shows planning point A(y + u(y)).
    affine_scanned_to_planning: the affine that a registration would have found, which the planning scan is shown under.
    scanned: the 1 mm grid of both scans, in the daily frame.
    """

    daily: Volume
    planning: Volume
    shapes: Mapping[str, LevelSet]
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field
    affine_scanned_to_planning: Affine
    scanned: Grid


def day_of(men_folder: Path, anatomy_seed: int, motion_seed: int, severity: float) -> CoarseDay:
    """One day of one man, from the two seeds alone. Raises UsageError where the man's file cannot be read."""
    return coarse_day(kept_man(men_folder, anatomy_seed), Motion.draw(motion_seed, severity))


def coarse_day(man: Man, motion: Motion) -> CoarseDay:
    """The part of a day that is made on a processor."""
    shapes = {organ: man.movable.level_sets[ROIS[organ]] for organ in man.organs}
    scanned = scanned_grid(shapes)
    affine, field = daily_to_planning(man.movable, motion)
    daily = daily_scan(man.movable, motion, slices_of(scanned), affine, field)
    return CoarseDay(daily, man.planning, shapes, affine, field, _with_error(affine, scanned, motion.seed), scanned)


def scanned_grid(shapes: Mapping[str, LevelSet]) -> Grid:
    """The organs and 30 mm around them, at 1 mm."""
    bounds = [shape.grid.bounds_mm() for shape in shapes.values()]
    low = np.min([b[0] for b in bounds], axis=0) - MARGIN_MM
    high = np.max([b[1] for b in bounds], axis=0) + MARGIN_MM
    return Grid.around(low, high, 1.0)


def slices_of(scanned: Grid) -> Grid:
    """The daily scan's own slices, from the first plane of `scanned` to its last or just beyond."""
    count = math.ceil((scanned.size[0] - 1) / SLICE_MM) + 1
    return Grid.of((count, *scanned.size[1:]), (SLICE_MM, 1.0, 1.0), scanned.origin_mm)


def _with_error(affine: Affine, grid: Grid, seed: int) -> Affine:
    rng = np.random.default_rng((seed, 30))
    low, high = grid.bounds_mm()
    turn = Affine.rotation(rng.normal(0, AFFINE_ERROR_DEG, 3), (low + high) / 2)
    return affine.after(Affine.shift(rng.normal(0, AFFINE_ERROR_MM, 3))).after(turn)
