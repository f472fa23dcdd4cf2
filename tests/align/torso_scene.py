"""A torso drawn analytically: no two of its parts alike, and it may be scanned from any frame on any grid."""

from __future__ import annotations

import numpy as np

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

# centre x, y, z and half axes in mm, HU; painted in this order
ELLIPSOIDS = (
    ((0, 0, 20), (175, 110, 330), -90),  # fat
    ((5, 8, 10), (150, 88, 280), 45),  # muscle
    ((0, 70, 20), (24, 16, 90), 450),  # sacrum
    ((-95, 5, -10), (26, 24, 30), 620),  # right femoral head
    ((92, 9, -16), (26, 24, 30), 600),
    ((-80, 35, 70), (45, 12, 55), 420),  # ilium
    ((78, 38, 66), (45, 12, 55), 430),
    ((2, -10, 25), (38, 30, 28), 5),  # bladder
    ((1, 22, -12), (20, 16, 19), 60),  # prostate
    ((0, 48, 0), (13, 12, 60), -600),  # rectum, with gas
    ((-40, -30, 110), (30, 25, 40), -300),  # bowel
    ((50, -35, 95), (26, 22, 30), 80),
    ((-60, 0, -130), (17, 17, 110), 700),  # femur
    ((66, 2, -140), (17, 17, 110), 690),
)
ORGAN_POINTS = np.array(
    [[-36, -10, 25], [40, -10, 25], [2, 20, 25], [2, -10, 53], [1, 22, -31], [-19, 22, -12], [0, 60, 0], [0, 48, 58]],
    float,
)


def scan(grid: Grid, to_scene: Affine | None = None, noise_hu: float = 10.0, seed: int = 0) -> Volume:
    """The scene on `grid`; `to_scene` takes points of the grid's frame to the scene's."""
    points = (to_scene or Affine.identity()).apply(grid.points())
    hu = np.full(grid.size, -1000.0)
    for centre, half, value in ELLIPSOIDS:
        radius = np.sqrt((((points - centre) / half) ** 2).sum(axis=-1))
        inside = np.clip((1 - radius) * min(half) / 4 + 0.5, 0, 1)  # an edge 4 mm wide, so that nothing aliases
        hu = hu * (1 - inside) + value * inside
    hu += np.random.default_rng(seed).normal(0, noise_hu, grid.size)
    return Volume(grid, hu.astype(np.float32))


def grid_over(z_low_mm: float, z_high_mm: float, offset_mm=(0.0, 0.0, 0.0)) -> Grid:  # type: ignore[no-untyped-def]
    """An anisotropic grid over x -200..200, y -130..140, moved by `offset_mm`."""
    size = [int((z_high_mm - z_low_mm) / 5) + 1, 68, 90]
    return Grid.of(size, (5.0, 4.0, 4.5), np.add((-200.0, -130.0, z_low_mm), offset_mm))


def residual_mm(found: Affine, truth: Affine) -> float:
    """The mean distance between found and true places of the organ points, which are given in the target's frame."""
    daily = truth.inverse().apply(ORGAN_POINTS)
    return float(np.linalg.norm(found.apply(daily) - ORGAN_POINTS, axis=1).mean())
