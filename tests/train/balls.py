"""A man of four balls, each of its own HU, in a soft block in air: what training data is proved on."""

from __future__ import annotations

import numpy as np

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.movable import prepare
from recontour.train.dataset import ROIS
from recontour.train.men import Man

CENTRES = {"bladder": (5, 0, 62), "rectum": (0, 40, 45), "seminal_vesicles": (-4, 18, 55), "prostate": (3, 5, 35)}
RADII = {"bladder": 14.0, "rectum": 11.0, "seminal_vesicles": 8.0, "prostate": 12.0}
HU = {"bladder": 200, "rectum": 300, "seminal_vesicles": 400, "prostate": 500}


def ball(organ: str, spacing_mm: float = 1.5) -> LevelSet:
    c, r = np.array(CENTRES[organ], float), RADII[organ]
    grid = Grid.around(c - r - 6, c + r + 6, spacing_mm)
    return LevelSet(grid, (r - np.linalg.norm(grid.points() - c, axis=-1)).astype(np.float32))


def ball_man(noise_hu: float = 0.0, x_mm: float = 0.0) -> Man:
    """x_mm: how far to the left the soft block's middle lies; two men that differ."""
    grid = Grid.of((41, 71, 61), (3.0, 2.0, 2.0), (-60.0, -50.0, -10.0))
    points = grid.points()
    hu = np.where(np.abs(points - (x_mm, 20, 50)).max(axis=-1) < 55, 0.0, -1000.0)
    for organ, centre in CENTRES.items():
        share = np.clip((RADII[organ] - np.linalg.norm(points - centre, axis=-1)) / 2.0 + 0.5, 0.0, 1.0)
        hu += share * (HU[organ] - hu)
    still = Volume(grid, np.rint(hu).astype(np.float32))
    rng = np.random.default_rng(9)
    planning = Volume(grid, np.rint(still.array + noise_hu * rng.standard_normal(grid.size)).astype(np.float32))
    return Man(planning, prepare(still, {ROIS[organ]: ball(organ) for organ in ROIS}, None, noise_hu, clean=True))
