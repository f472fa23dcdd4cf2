"""How noisy a scan is, read from the scan itself."""

from __future__ import annotations

import numpy as np
import torch

from recontour.geometry.volume import Volume
from recontour.network.coarse import coarser_scan

SOFT_HU = (-120.0, 160.0)  # fat to muscle: bone and gas have more edges than noise
_VOXEL_MM = 2.0  # whose means are looked at: finer noise says nothing to a comparison of scans
_FEWEST = 500  # voxels of soft tissue, below which nothing is said
_MEDIAN_TO_SD = 1.4826  # of a normal distribution: from the median distance to its standard deviation
_LAPLACIAN_TO_SD = 20**-0.5  # 4 v less its four neighbours, all independent, has 16 + 4 times the variance of v


def noise_hu(scan: Volume) -> float | None:
    """Standard deviation, HU, of noise in soft tissue in means over 2 mm (or over a voxel that is larger); None where
    there is no soft tissue.

    From the difference between each voxel and its four neighbours on the slice, as a median: edges are few, and do not
    count. Structure of the tissue that is as fine as noise counts as noise.
    """
    factor = max(1, round(_VOXEL_MM / min(scan.grid.spacing_mm)))
    v = coarser_scan(torch.as_tensor(scan.array), factor)  # (d, h, w)
    low, high = SOFT_HU
    soft = (v > low) & (v < high)
    middle, beside = v[:, 1:-1, 1:-1], (v[:, :-2, 1:-1], v[:, 2:, 1:-1], v[:, 1:-1, :-2], v[:, 1:-1, 2:])
    all_soft = soft[:, 1:-1, 1:-1] & soft[:, :-2, 1:-1] & soft[:, 2:, 1:-1] & soft[:, 1:-1, :-2] & soft[:, 1:-1, 2:]
    rough = (4.0 * middle - sum(beside, torch.zeros_like(middle)))[all_soft].numpy()
    if len(rough) < _FEWEST:
        return None
    return _MEDIAN_TO_SD * _LAPLACIAN_TO_SD * float(np.median(np.abs(rough - np.median(rough))))
