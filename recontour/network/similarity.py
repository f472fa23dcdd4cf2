"""How alike two scans are: value, gradient and curvature, written out by hand.

Local correlation: in a Gaussian window around each centre the fixed image f is fitted by a line in the moving image
m, f ~ a m + b. What stays unexplained, 1 - cc^2, is a weighted sum of squares of f - a m - b, so its exact gradient and
a Gauss-Newton curvature with respect to every m cost six window sums, with no graph of operations to keep.
A scanner's offset and gain change a and b, not the result.

Intensities: Hounsfield units are calibrated, so for two scans of one patient a plain, robust difference knows more
than any correlation. One offset between the scans is taken out first.
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
        mean, variance, covariance = self._moments(moving)
        slope = covariance / (variance + self.floor)
        return slope, self.mean - slope * mean, slope * covariance / self.variance

    def agreement(self, moving: Tensor) -> Tensor:
        """(d, h, w), 0 to 1: the share of the fixed image's variance that is in `moving` too, or may be noise."""
        _, variance, covariance = self._moments(moving)
        explained = covariance.square() / variance.clamp(min=1e-6)
        return ((explained + self.floor) / self.variance).clamp(0.0, 1.0)

    def _moments(self, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance of `moving`, and its covariance with the fixed image where that is positive: the same
        tissue is not bright on one day and dark on the next."""
        mean, square, product = self.windows.mean(moving, moving * moving, moving * self.fixed)
        return mean, (square - mean**2).clamp(min=0.0), (product - mean * self.mean).clamp(min=0.0)

    def linearised(self, moving: Tensor, visible: Tensor) -> tuple[float, Tensor, Tensor]:
        """The mean of 1 - cc^2; and half its sum's gradient and curvature in every voxel of `moving`, (D, H, W).

        visible: (D, H, W), 1 where both scans show tissue, 0 in gas; windows count as the square of its mean.
        """
        slope, offset, squared = self.fit(moving)
        weight = slope / self.variance * self.windows.mean(visible)[0].square()
        a, aa, ab = self.windows.spread(weight, weight * slope, weight * offset)
        return 1.0 - float(squared.mean()), moving * aa + ab - self.fixed * a, aa


def intensity_offset(fixed: Tensor, moving: Tensor, visible: Tensor, tissue: tuple[float, float]) -> float:
    """The median of fixed - moving over voxels that show soft tissue, between the `tissue` values, in both; 0 where
    there are none. Two scanners differ by some 10 HU, which a term that trusts intensities would read as motion."""
    low, high = tissue
    both = (visible > 0.99) & (torch.minimum(fixed, moving) > low) & (torch.maximum(fixed, moving) < high)
    return float((fixed - moving)[both].median()) if bool(both.any()) else 0.0


@dataclass(frozen=True)
class Intensities:
    """outlier^2 * log(1 + (difference / outlier)^2) / (noise^2 + (edge_mm * slope)^2).

    Least squares for what noise explains, and ever less trust in what it does not, such as contrast medium (Cauchy's
    weights). Two scans are not equally sharp, which shows where the slope is steep: bone must not outvote the rest.
    """

    fixed: Tensor  # (D, H, W)
    offset: float  # of fixed over moving
    noise: float
    edge_mm: float
    outlier: float

    def linearised(self, moving: Tensor, visible: Tensor, steepness: Tensor) -> tuple[float, Tensor, Tensor]:
        """As LocalCorrelation.linearised; `steepness` (D, H, W) is the squared slope of `moving` per mm."""
        difference = moving + self.offset - self.fixed
        squared = (difference / self.outlier).square()
        weight = visible / (self.noise**2 + self.edge_mm**2 * steepness)
        trust = weight / (1.0 + squared)
        energy = self.outlier**2 * float((weight * torch.log1p(squared)).mean())
        return energy, trust * difference, trust
