"""Local correlation of two images: its value, its gradient and its curvature, written out by hand.

In a Gaussian window around each centre the fixed image f is fitted by a line in the moving image m, f ~ a m + b.
What stays unexplained, 1 - cc^2, is a weighted sum of squares of f - a m - b, so its exact gradient and a
Gauss-Newton curvature with respect to every m cost six window sums, with no graph of operations to keep.
A scanner's offset and gain, or contrast in the bladder, change a and b, not the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recontour.network.lattice import Lattice, Separable, adjoint, apply, windows


@dataclass(frozen=True)
class Windows:
    """`to_centres` averages voxels (D, H, W) over the window of every centre; `to_voxels` is its adjoint."""

    to_centres: Separable
    to_voxels: Separable
    share: float  # voxels per centre, so that sums over centres stand for sums over voxels

    @staticmethod
    def between(voxels: Lattice, centres: Lattice, sigma_mm: float, device: torch.device) -> Windows:
        """Gaussian windows of `sigma_mm` around `centres`."""
        z, y, x = (windows(v, c, sigma_mm).to(device) for v, c in zip(voxels, centres, strict=True))
        share = math.prod(v.count / c.count for v, c in zip(voxels, centres, strict=True))
        return Windows((z, y, x), adjoint((z, y, x)), share)

    def mean(self, *images: Tensor) -> Tensor:
        """(D, H, W) images to (C, d, h, w) window means."""
        return apply(self.to_centres, torch.stack(images))

    def spread(self, *values: Tensor) -> Tensor:
        """(d, h, w) values of centres, each given back to the voxels of its window: (C, D, H, W)."""
        return apply(self.to_voxels, torch.stack(values) * self.share)


class LocalCorrelation:
    """1 - cc^2 of one fixed image with any moving one, summed over windows.

    fixed: (D, H, W) float32, in units in which `variance_floor` is the variance of noise: windows with less
    contrast than that say little.
    """

    def __init__(self, fixed: Tensor, windows: Windows, variance_floor: float) -> None:
        self.fixed, self.windows, self.floor = fixed, windows, variance_floor
        self.mean, square = windows.mean(fixed, fixed * fixed)
        self.variance = (square - self.mean**2).clamp(min=0.0) + variance_floor

    def fit(self, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The slope a, the offset b and cc^2 of every window, (d, h, w) each."""
        mean, square, product = self.windows.mean(moving, moving * moving, moving * self.fixed)
        variance = (square - mean**2).clamp(min=0.0) + self.floor
        covariance = product - mean * self.mean
        slope = covariance / variance
        return slope, self.mean - slope * mean, slope * covariance / self.variance

    def linearised(self, moving: Tensor) -> tuple[float, Tensor, Tensor]:
        """The mean of 1 - cc^2; and half its sum's gradient and curvature in every voxel of `moving`, (D, H, W)."""
        slope, offset, squared = self.fit(moving)
        weight = slope / self.variance
        a, aa, ab = self.windows.spread(weight, weight * slope, weight * offset)
        return 1.0 - float(squared.mean()), moving * aa + ab - self.fixed * a, aa
