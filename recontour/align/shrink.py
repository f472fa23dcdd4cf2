"""Scans made small quickly, for what needs no detail."""

from __future__ import annotations

import numpy as np

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume


def shrink(scan: Volume, spacing_mm: float, window_hu: tuple[float, float] = (-1000.0, 1000.0)) -> Volume:
    """Clipped to `window_hu` and averaged over blocks of whole voxels that do not exceed `spacing_mm`.

    One pass over the array, against the several of a Gaussian filter; an incomplete block at the far end is dropped.
    """
    size = scan.grid.size
    block = [min(n, max(1, int(spacing_mm / s + 1e-3))) for n, s in zip(size, scan.grid.spacing_mm, strict=True)]
    blocks = [n // b for n, b in zip(size, block, strict=True)]
    whole = scan.array[: blocks[0] * block[0], : blocks[1] * block[1], : blocks[2] * block[2]]
    planes = np.empty((blocks[0], blocks[1], blocks[2]), np.float32)
    for k in range(blocks[0]):  # plane by plane: the clipped copy stays in the processor's cache
        slab = np.clip(whole[k * block[0] : (k + 1) * block[0]], *window_hu)
        rows = slab.reshape(block[0], blocks[1], block[1], -1).sum((0, 2))  # whole rows first: those add fast
        planes[k] = sum(rows[:, start :: block[2]] for start in range(block[2]))
    planes /= block[0] * block[1] * block[2]
    grid = scan.grid
    first_centre = grid.points_at((np.asarray(block) - 1) / 2)
    return Volume(Grid.of(blocks, np.multiply(grid.spacing_mm, block), first_centre, grid.direction), planes)
