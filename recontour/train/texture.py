"""Tissue that is not as even as the made men's: structures of any size, which move with what they lie in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from recontour.network.catalogue import LABELS

_CELLS_VOXELS = (2.0, 4.0, 8.0)  # of the lattices that structures are drawn on
_SOFT_HU = 150.0  # fat and muscle lie within; beyond it structures fade, gas and bone keep their own
_FADE_HU = 100.0
_LOOSE = tuple(LABELS.index(organ) for organ in ("bladder", "rectum"))  # what they hold moves by itself


def textured(
    fixed: Tensor, moving: Tensor, fixed_labels: Tensor, moving_labels: Tensor, motion: Tensor, largest_hu: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Both scans (n, n, n) float32 HU with the same structures, each where the truth has taken it.

    motion: (6, n, n, n), VOXELS: the true displacements, of which the first three (x, y, z) lead from the daily
    (fixed) to the planning (moving) scan. largest_hu: the largest standard deviation that structures of one size may
    have; each size draws its own.
    """
    n = len(moving)
    at = torch.arange(n, dtype=torch.float32, device=moving.device)
    z, y, x = torch.meshgrid(at, at, at, indexing="ij")
    here = torch.stack([x, y, z])
    drawn = torch.zeros(2, n, n, n, device=moving.device)
    places = torch.stack([here + motion[:3], here]).movedim(1, -1)  # (2, n, n, n, 3)
    for cell in _CELLS_VOXELS:
        size = int(np.ceil(n / cell)) + 1
        lattice = torch.as_tensor(rng.normal(0.0, rng.uniform(0.0, largest_hu), (size,) * 3), dtype=torch.float32)
        normalised = places * (2.0 / (cell * (size - 1))) - 1.0
        source = lattice.to(moving.device).expand(2, 1, size, size, size)
        drawn += grid_sample(source, normalised, "bilinear", "border", align_corners=True)[:, 0]
    return fixed + _share(fixed, fixed_labels) * drawn[0], moving + _share(moving, moving_labels) * drawn[1]


def _share(hu: Tensor, labels: Tensor) -> Tensor:
    """How much of the structures shows at each voxel, 0 to 1."""
    share = ((_SOFT_HU + _FADE_HU - hu.abs()) / _FADE_HU).clamp(0.0, 1.0)
    for label in _LOOSE:
        share = share.masked_fill(labels == label, 0.0)
    return share
