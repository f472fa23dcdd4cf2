"""One resolution of the refinement: its energy, and Gauss-Newton steps down it."""

from __future__ import annotations

import math

from torch import Tensor

from recontour.network.lattice import Separable, adjoint, apply, cells, cubic
from recontour.network.noise import SOFT_HU
from recontour.network.pair import Pair, Sampler
from recontour.network.similarity import Intensities, LocalCorrelation, Windows, intensity_offset
from recontour.network.spline import Spline, knot_lattice
from recontour.network.stiffness import Stiffness, outer
from recontour.settings import RefineSettings

_MOST_SETBACKS = 3  # halvings of one step
_ENOUGH = 0.003  # share of the energy: a step that gains less ends a level


class Level:
    """One resolution: both scans shrunk to `spacing_mm`, and the knots that move the moving one."""

    def __init__(self, pair: Pair, spacing_mm: float, settings: RefineSettings, start: Spline) -> None:
        self.settings, self.spacing_mm = settings, spacing_mm
        here = pair.at_level(spacing_mm)
        self.voxels, self.fixed = here.voxels, here.fixed
        self.sampler = Sampler(here.moving, here.voxels)
        knot_mm = max(spacing_mm * settings.knot_voxels, settings.knot_min_mm)
        self.spline = start.renewed(knot_lattice(pair.extent_mm, knot_mm), pair.extent_mm)
        a, b, c = (cubic(k, v).to(pair.device) for k, v in zip(self.spline.lattice, here.voxels, strict=True))
        self.to_voxels: Separable = (a, b, c)
        self.to_knots = adjoint(self.to_voxels)
        self.correlation = correlation_of(here, spacing_mm, settings)
        self.intensities = _intensities(here, settings)
        self.stiffness = Stiffness(self.spline.lattice, settings, spacing_mm, pair.device)

    def solve(self, steps: int) -> Spline:
        """Gauss-Newton steps from the start until the longest is below a tenth of a voxel, or little improves."""
        best, knots, before, setbacks = math.inf, self.spline.knots, self.spline.knots, 0
        for _ in range(steps):
            energy, gradient, curvature = self._linearised(knots)
            if energy > best and setbacks < _MOST_SETBACKS:
                knots, setbacks = 0.5 * (before + knots), setbacks + 1
                continue
            if best - energy < _ENOUGH * best:
                knots = knots if energy < best else before
                break
            best, before, setbacks = energy, knots, 0
            step = self.stiffness.solve(curvature, gradient)
            longest = float(apply(self.to_voxels, step).square().sum(0).max().sqrt())
            knots = knots + step * min(1.0, self.settings.step_voxels * self.spacing_mm / max(longest, 1e-6))
            if longest < 0.1 * self.spacing_mm:
                break
        return Spline(self.spline.lattice, knots)

    def energy(self, knots: Tensor) -> float:
        """What is minimised, per voxel, with (3, d, h, w) mm on this level's knots."""
        return self._linearised(knots)[0]

    def _linearised(self, knots: Tensor) -> tuple[float, Tensor, Tensor]:
        """The energy per voxel; half its sum's gradient (3, d, h, w) and curvature (6, d, h, w) on the knots."""
        warped, slopes, gas = self.sampler.at(apply(self.to_voxels, knots))
        visible = (1.0 - self.fixed.gas[0]) * (1.0 - gas)
        energy, force, weight = self.correlation.linearised(warped[0], visible)
        steepness = slopes[0].square().sum(0)
        parts = self.intensities.linearised(warped[0], visible, steepness)
        energy, gradient = energy + parts[0], (force + parts[1]) * slopes[0]
        curvature = (weight + parts[2]) * outer(slopes[0])
        for found, wanted, slope in zip(warped[1:], self.fixed.images[1:], slopes[1:], strict=True):
            difference = self.settings.dice_weight * (found - wanted)
            energy += float((difference * (found - wanted)).mean())
            gradient = gradient + difference * slope
            curvature = curvature + self.settings.dice_weight * outer(slope)
        stiff = self.stiffness.force(knots)
        energy += float((stiff * knots).sum()) / warped[0].numel()
        return energy, apply(self.to_knots, gradient) + stiff, apply(self.to_knots, curvature)


def correlation_of(pair: Pair, spacing_mm: float, settings: RefineSettings) -> LocalCorrelation:
    """With the fixed day, in windows that go with `spacing_mm`."""
    z, y, x = (cells(extent, spacing_mm * settings.window_stride) for extent in pair.extent_mm)
    sigma_mm = settings.window_sigma_voxels * spacing_mm
    around = Windows.between(pair.voxels, (z, y, x), sigma_mm, pair.device)
    return LocalCorrelation(pair.fixed.images[0], around, settings.variance_floor)


def _intensities(pair: Pair, settings: RefineSettings) -> Intensities:
    low, high = settings.window_hu
    noise = settings.noise_hu / (high - low)
    tissue = ((SOFT_HU[0] - low) / (high - low), (SOFT_HU[1] - low) / (high - low))
    visible = (1.0 - pair.fixed.gas[0]) * (1.0 - pair.moving.gas[0])
    offset = intensity_offset(pair.fixed.images[0], pair.moving.images[0], visible, tissue)
    outlier = settings.outlier_hu / (high - low)
    return Intensities(pair.fixed.images[0], offset, noise, settings.edge_mm, outlier)
