"""Scans, labels and answers between the 1 mm grid and that of a model which works on coarser voxels.

A coarse voxel is the mean of a block of `factor`^3 fine ones; the first block begins with the first voxel, and at the
far ends the outermost voxels repeat until the last block is full.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from recontour.geometry.grid import Grid, Index
from recontour.network.catalogue import LABELS
from recontour.network.lattice import Axis, apply, linear


def coarser_grid(grid: Grid, factor: int) -> Grid:
    """The grid of the blocks, along the same axes; its first centre is that of the first block."""
    size = [-(-n // factor) for n in grid.size]
    spacing_mm = [factor * mm for mm in grid.spacing_mm]
    return Grid.of(size, spacing_mm, grid.points_at(np.full(3, (factor - 1) / 2)), grid.direction)


def coarser_scan(hu: Tensor, factor: int) -> Tensor:
    """(D, H, W) -> (d, h, w) float32: block means."""
    return avg_pool3d(_filled_up(hu.float(), factor)[None], factor)[0, 0]


def coarser_labels(labels: Tensor, factor: int) -> Tensor:
    """(D, H, W) values as in LABELS -> (d, h, w) uint8: the organ that holds half of a block or more, else 0."""
    out: Tensor | None = None
    for label in range(1, len(LABELS)):
        most = coarser_scan(labels == label, factor) >= 0.5
        out = torch.zeros(most.shape, dtype=torch.uint8, device=labels.device) if out is None else out
        out[most] = label
    assert out is not None
    return out


def finer(values: Tensor, factor: int, first: Index, size: Index) -> Tensor:
    """(C, d, h, w) at blocks -> (C, *size) at fine voxels, linear along each axis, the border value outside.

    first: the fine voxel (z, y, x), counted from the first block's first one, that the result begins with.
    """
    middle = (factor - 1) / 2  # of the first block
    maps = [
        linear(Axis(middle, factor, blocks), Axis(begin, 1, count)).to(values)
        for blocks, begin, count in zip(values.shape[1:], first, size, strict=True)
    ]
    return apply(maps, values)


def _filled_up(values: Tensor, factor: int) -> Tensor:
    """(1, D', H', W'), multiples of `factor`."""
    ends = [p for n in reversed(values.shape) for p in (0, -n % factor)]
    return pad(values[None, None], ends, "replicate")[0] if any(ends) else values[None]
