"""Regular lattices inside a box, and the separable linear maps between them.

A map along one axis is a small dense matrix, and a map of a volume is three matrix products: exact, its adjoint is
the transposed matrices, fast on any processor, and the same bits on every run. Smoothing windows, shrinking,
cubic B-splines and cosine transforms are all such maps.

Legend: C channels, (D, H, W) points along z, y, x. Positions are in mm from the box's first voxel centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """`count` points at `start_mm` + i * `step_mm`."""

    start_mm: float
    step_mm: float
    count: int

    @property
    def extent_mm(self) -> float:
        """From the first point to the last."""
        return self.step_mm * (self.count - 1)

    def positions(self) -> Tensor:
        """(count,) float64 mm."""
        return self.start_mm + self.step_mm * torch.arange(self.count, dtype=torch.float64)


Lattice = tuple[Axis, Axis, Axis]
Separable = tuple[Tensor, Tensor, Tensor]


def cells(extent_mm: float, step_mm: float) -> Axis:
    """The points `step_mm` apart that fit into 0 .. `extent_mm`, centred in it."""
    count = math.floor(extent_mm / step_mm + 1e-6) + 1
    return Axis((extent_mm - (count - 1) * step_mm) / 2, step_mm, count)


def knots(extent_mm: float, step_mm: float) -> Axis:
    """The cubic B-spline knots that reach every point of 0 .. `extent_mm`."""
    count = math.ceil(extent_mm / step_mm - 1e-6) + 3
    return Axis((extent_mm - (count - 1) * step_mm) / 2, step_mm, count)


def apply(maps: Sequence[Tensor], values: Tensor) -> Tensor:
    """(C, D, H, W) through three matrices (D', D), (H', H), (W', W) to (C, D', H', W')."""
    along_z, along_y, along_x = maps
    c, d, h, w = values.shape
    if along_z.shape[0] <= d:  # shrinking: the axis whose rows are longest in memory first, all that follows is smaller
        values = (along_z @ values.reshape(c, d, h * w)).reshape(c, -1, h, w)
        return (along_y @ values) @ along_x.T
    values = along_y @ (values @ along_x.T)  # (C, D, H', W')
    h, w = values.shape[2:]
    return (along_z @ values.reshape(c, d, h * w)).reshape(c, -1, h, w)


def adjoint(maps: Separable) -> Separable:
    """The transposed maps."""
    return maps[0].T.contiguous(), maps[1].T.contiguous(), maps[2].T.contiguous()


def windows(source: Axis, target: Axis, sigma_mm: float, within_mm: float = math.inf) -> Tensor:
    """(target, source): the Gaussian-weighted mean around each target point, over the source points there are; target
    points outside 0 .. `within_mm` are taken at that border, as in `cubic`."""
    distance = (_within(target, within_mm)[:, None] - source.positions()[None, :]) / sigma_mm
    weights = torch.exp(-0.5 * distance**2) * (distance.abs() <= 3.0)
    return (weights / weights.sum(1, keepdim=True)).float()


def linear(source: Axis, target: Axis) -> Tensor:
    """(target, source): linear interpolation, the border value outside."""
    index = ((target.positions() - source.start_mm) / source.step_mm).clamp(0, source.count - 1)
    distance = index[:, None] - torch.arange(source.count, dtype=torch.float64)[None, :]
    return (1.0 - distance.abs()).clamp(min=0.0).float()


def cubic(source: Axis, target: Axis, within_mm: float = math.inf) -> Tensor:
    """(target, source): cubic B-spline functions of the source's knots at the target's points, of which those
    outside 0 .. `within_mm` are taken at that border."""
    distance = ((_within(target, within_mm)[:, None] - source.positions()[None, :]) / source.step_mm).abs()
    near = 2.0 / 3.0 - distance**2 + 0.5 * distance**3
    far = (2.0 - distance).clamp(min=0.0) ** 3 / 6.0
    return torch.where(distance < 1.0, near, far).float()


def _within(axis: Axis, within_mm: float) -> Tensor:
    places = axis.positions()
    return places.clamp(0.0, within_mm) if math.isfinite(within_mm) else places


def cosines(axis: Axis) -> tuple[Tensor, Tensor]:
    """The orthonormal cosine transform (DCT-II) along an axis, (count, count), and what -d2/dx2 does to each of its
    waves, (count,) in mm^-2: the eigenvectors of second differences with a reflecting border."""
    n = axis.count
    wave, place = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * wave * (place + 0.5) / n) * math.sqrt(2.0 / n)
    matrix[0] /= math.sqrt(2.0)
    stiffness = (2.0 - 2.0 * torch.cos(math.pi * wave[:, 0] / n)) / axis.step_mm**2
    return matrix.float(), stiffness.float()
