"""Metal in a scan: its streaks mislead whatever goes by grey values."""

from __future__ import annotations

import numpy as np

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

METAL_HU = 2500.0  # no bone is as dense; scanners of 12 bits end at 3071


def metal_ml(scan: Volume, region: Grid, affine_to_scan: Affine | None = None) -> float:
    """Millilitres above METAL_HU on the slices of `scan` that `region` reaches, to their edges: streaks cross a slice.

    affine_to_scan: takes points of the region's frame to the scan's; None where they have one frame.
    """
    corners = region.corners_mm()
    heights = scan.grid.index_at(corners if affine_to_scan is None else affine_to_scan.apply(corners))[:, 0]
    first, last = max(int(np.floor(heights.min())), 0), max(int(np.ceil(heights.max())) + 1, 0)
    return int(np.count_nonzero(scan.array[first:last] > METAL_HU)) * scan.grid.voxel_ml
