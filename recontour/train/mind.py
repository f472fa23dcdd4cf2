"""MIND, the modality independent neighbourhood descriptor (Heinrich et al., Medical Image Analysis 2012).

A voxel is described by how unlike its six neighbours are, relative to one another: which is the same in two scans of
different grey values, as long as both show the same edges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recontour.network.lattice import Axis, apply, windows

NEIGHBOUR_MM = 2.0  # where the spacing is finer: at 1 mm a direct neighbour differs by little but noise
PATCH_SIGMA_MM = 1.0  # the paper's half a voxel, of the 2 mm that it works at
NOISE = 1e-4  # squared difference, (HU / 1000)^2: patches that differ by less are alike


def mind_loss(fixed: Tensor, moved: Tensor, spacing_mm: float) -> Tensor:
    """The mean absolute difference of the descriptors, over neighbours and voxels (eq. 7); 0 to 1.

    fixed, moved: (B, 1, d, h, w) HU / 1000 at a resolution of `spacing_mm`.
    """
    return (mind(fixed, spacing_mm) - mind(moved, spacing_mm)).abs().mean()


def mind(image: Tensor, spacing_mm: float) -> Tensor:
    """(B, 1, d, h, w) -> (B, 6, d, h, w): exp(-D / V), scaled so that the largest of the six is 1 (eq. 4).

    D: squared differences of the Gaussian patches (eq. 5, 6) around a voxel and around its neighbour, NEIGHBOUR_MM
    away, one voxel at least. V: the mean of the six D, which is the estimate of the local variance (eq. 8); noise is
    added to it, for tissue without any texture. Beyond the border, its voxels repeat; patches end there.
    """
    step = max(1, round(NEIGHBOUR_MM / spacing_mm))
    differences = torch.cat([image - _shifted(image, axis, sign * step) for axis in (2, 3, 4) for sign in (-1, 1)], 1)
    distances = _patch_means(differences.square(), spacing_mm)
    variance = distances.mean(dim=1, keepdim=True) + NOISE
    return torch.exp((distances.amin(dim=1, keepdim=True) - distances) / variance)


def _shifted(image: Tensor, axis: int, step: int) -> Tensor:
    """Of every voxel the one `step` voxels ahead along `axis`, or the outermost."""
    n = image.shape[axis]
    here = torch.arange(n, device=image.device)
    return image.index_select(axis, (here + step).clamp(0, n - 1))


def _patch_means(values: Tensor, spacing_mm: float) -> Tensor:
    """(B, C, d, h, w): the Gaussian-weighted mean around each voxel, half a voxel wide at least."""
    sigma_mm = max(PATCH_SIGMA_MM, spacing_mm / 2)
    axes = [Axis(0.0, spacing_mm, n) for n in values.shape[2:]]
    maps = [windows(axis, axis, sigma_mm).to(values) for axis in axes]
    return apply(maps, values.flatten(0, 1)).reshape(values.shape)
