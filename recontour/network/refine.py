"""Multi-resolution instance optimisation of the displacement field of one pair of scans.

    minimise over u:  mean of 1 - cc^2 (x; fixed, moving(x + u))        local correlation, similarity.py
                    + dice_weight * squared Dice of labels, where both scans have them
                    + bending * |laplacian u|^2 + stretching * |grad u|^2

u is a cubic B-spline. Each step solves the Gauss-Newton system: curvature of the data, gathered on the knots, plus
stiffness, which is diagonal among cosine waves and serves as the preconditioner of conjugate gradients. Some ten
steps a level do what a hundred of a first-order method do. Where the scans show nothing (the inside of an
organ, gas) the stiffness carries the motion of what surrounds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.errors import UsageError
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.lattice import (
    Axis,
    Lattice,
    Separable,
    adjoint,
    apply,
    cells,
    cosines,
    cubic,
    knots,
    linear,
    windows,
)
from recontour.network.similarity import LocalCorrelation, Windows
from recontour.settings import RefineSettings

LabelSets = Mapping[str, LevelSet | Volume]

_LABEL_EDGE_MM = 2.0  # how soft the edge of a label is made, so that its Dice has a slope to follow
_START_KNOTS_MM = 4.0  # of the spline that holds a start field
_TISSUE_HU = 30.0  # what stands in for gas: the wall and the stool that surround it


def refine_field(
    fixed: Volume,
    moving: Volume,
    start: Field | None,
    settings: RefineSettings,
    device: str = "cpu",
    moving_level_sets: Mapping[str, LevelSet] | None = None,
    fixed_probabilities: LabelSets | None = None,
) -> Field:
    """The field u on the grid of both scans: what lies at x in `fixed` lies at x + u(x) in `moving`, mm.

    fixed, moving: daily scan and planning scan, HU, on the same grid along the LPS axes.
    start: a field to begin from, such as a network's; None begins from zero.
    fixed_probabilities: per organ the daily scan's segmentation, a LevelSet or a Volume of probabilities; those also
        in `moving_level_sets` join the optimisation. All on the scans' grid.
    Raises UsageError where grids differ or are not axial.
    """
    _must_share(fixed.grid, moving.grid, start, moving_level_sets, fixed_probabilities)
    labels = _label_pairs(moving_level_sets or {}, fixed_probabilities or {})
    pair = _Pair.of(fixed, moving, labels, settings, torch.device(device))
    with torch.no_grad():
        spline = _start(pair, start)
        for spacing_mm, steps in zip(settings.levels_mm, settings.steps, strict=True):
            spline = _Level(pair, spacing_mm, settings, spline).solve(steps)
        dense = spline.on(pair.voxels)
    return Field(fixed.grid, np.ascontiguousarray(dense.cpu().numpy()[::-1]))


def local_correlation(
    fixed: Volume, warped: Volume, settings: RefineSettings, device: str = "cpu"
) -> NDArray[np.float32]:
    """(D, H, W) float32, 0 to 1: cc^2 of two scans on one grid around every voxel, as the optimisation sees it at its
    finest level. Low where they do not match, or where there is nothing to see."""
    pair = _Pair.of(fixed, warped, [], settings, torch.device(device))
    with torch.no_grad():
        level = _Level(pair, settings.levels_mm[-1], settings, _start(pair, None))
        squared = level.correlation.fit(level.moving[0])[2][None]
        up = [linear(c, v).to(pair.device) for c, v in zip(level.centres, pair.voxels, strict=True)]
        return apply(up, squared)[0].cpu().numpy()


@dataclass(frozen=True)
class _Pair:
    """Both scans, prepared, with label pairs as further channels. All arrays (D, H, W); axes z, y, x in mm."""

    voxels: Lattice
    fixed: Tensor  # (1 + labels, D, H, W)
    moving: Tensor  # (1 + labels, D, H, W)

    @property
    def device(self) -> torch.device:
        return self.fixed.device

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        z, y, x = (axis.step_mm * (axis.count - 1) for axis in self.voxels)
        return z, y, x

    @staticmethod
    def of(
        fixed: Volume,
        moving: Volume,
        labels: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        settings: RefineSettings,
        device: torch.device,
    ) -> _Pair:
        grid = fixed.grid
        z, y, x = (Axis(0.0, step, count) for step, count in zip(grid.spacing_mm, grid.size, strict=True))
        first = [_prepared(fixed.array, settings, device), *(_tensor(a, device) for a, _ in labels)]
        second = [_prepared(moving.array, settings, device), *(_tensor(b, device) for _, b in labels)]
        return _Pair((z, y, x), torch.stack(first), torch.stack(second))


def _prepared(hu: NDArray[np.float32], settings: RefineSettings, device: torch.device) -> Tensor:
    """HU to about 0 .. 1 inside the window."""
    low, high = settings.window_hu
    scan = _tensor(hu, device)
    return (scan.clamp(low, high) - low) / (high - low)


@dataclass(frozen=True)
class _Spline:
    """A displacement field: `knots` (3, d, h, w) mm, components z, y, x, on `lattice`."""

    lattice: Lattice
    knots: Tensor

    def on(self, points: Lattice) -> Tensor:
        """(3, D, H, W) mm at the points of a lattice."""
        return apply([cubic(k, p).to(self.knots) for k, p in zip(self.lattice, points, strict=True)], self.knots)

    def renewed(self, lattice: Lattice, extent_mm: tuple[float, float, float]) -> _Spline:
        """The same displacements on other knots, exact at the new ones; what lies outside the box takes its border."""
        inside = [cubic(k, p, e) for k, p, e in zip(self.lattice, lattice, extent_mm, strict=True)]
        return _Spline(lattice, apply([m.to(self.knots) for m in _through(lattice, inside)], self.knots))

    @staticmethod
    def through(values: Tensor, points: Lattice, lattice: Lattice) -> _Spline:
        """The spline that takes the smoothed (3, D, H, W) values at `points` in its knots."""
        means = [windows(p, k, 0.4 * k.step_mm) for p, k in zip(points, lattice, strict=True)]
        return _Spline(lattice, apply([m.to(values) for m in _through(lattice, means)], values))


def _knot_lattice(extent_mm: tuple[float, float, float], spacing_mm: float) -> Lattice:
    z, y, x = (knots(e, spacing_mm) for e in extent_mm)
    return z, y, x


def _through(lattice: Lattice, values_at_knots: Sequence[Tensor]) -> list[Tensor]:
    """Along each axis, from what gives values in the knots to what gives the coefficients that pass through them."""
    return [torch.inverse(cubic(k, k)) @ m for k, m in zip(lattice, values_at_knots, strict=True)]


def _start(pair: _Pair, start: Field | None) -> _Spline:
    lattice = _knot_lattice(pair.extent_mm, _START_KNOTS_MM)
    if start is None:
        return _Spline(lattice, torch.zeros((3, *(axis.count for axis in lattice)), device=pair.device))
    return _Spline.through(_tensor(start.array[::-1], pair.device), pair.voxels, lattice)


def _tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    return torch.tensor(np.ascontiguousarray(array, np.float32), device=device)


class _Level:
    """One resolution: both scans shrunk to `spacing_mm`, and the knots that move the moving one."""

    def __init__(self, pair: _Pair, spacing_mm: float, settings: RefineSettings, start: _Spline) -> None:
        device, extent = pair.device, pair.extent_mm
        self.settings, self.spacing_mm = settings, spacing_mm
        z, y, x = (cells(e, spacing_mm) for e in extent)
        self.voxels: Lattice = (z, y, x)
        z, y, x = (cells(e, spacing_mm * settings.window_stride) for e in extent)
        self.centres: Lattice = (z, y, x)
        self.lattice = _knot_lattice(extent, max(spacing_mm * settings.knot_voxels, settings.knot_min_mm))
        shrink = [_shrinking(v, p).to(device) for v, p in zip(pair.voxels, self.voxels, strict=True)]
        self.fixed, self.moving = apply(shrink, pair.fixed), apply(shrink, pair.moving)
        sigma_mm = settings.window_sigma_voxels * spacing_mm
        self.correlation = LocalCorrelation(
            self.fixed[0], Windows.between(self.voxels, self.centres, sigma_mm, device), settings.variance_floor
        )
        a, b, c = (cubic(k, p).to(device) for k, p in zip(self.lattice, self.voxels, strict=True))
        self.to_voxels: Separable = (a, b, c)
        self.to_knots = adjoint(self.to_voxels)
        self.sampler = _Sampler(self.moving, self.voxels)
        self.stiffness = _Stiffness(self.lattice, settings, spacing_mm, device)
        self.knots = start.renewed(self.lattice, extent).knots

    def solve(self, steps: int) -> _Spline:
        """Gauss-Newton steps from the start until the largest is below a tenth of a voxel."""
        best, damping = math.inf, 0.0
        previous = self.knots
        for _ in range(steps):
            energy, gradient, curvature = self._linearised()
            if energy > best + 1e-5:
                self.knots, damping = previous + 0.5 * (self.knots - previous), damping + 1.0
                if damping > 3:
                    break
                continue
            best, previous = energy, self.knots
            step = self.stiffness.solve(curvature, gradient)
            largest = float(apply(self.to_voxels, step).square().sum(0).max().sqrt())
            self.knots = self.knots + step * min(1.0, self.settings.step_voxels * self.spacing_mm / max(largest, 1e-6))
            if largest < 0.1 * self.spacing_mm:
                break
        return _Spline(self.lattice, self.knots)

    def _linearised(self) -> tuple[float, Tensor, Tensor]:
        """The energy per voxel; its gradient (3, d, h, w) and curvature (6, d, h, w) on the knots."""
        displacement = apply(self.to_voxels, self.knots)
        warped, slopes = self.sampler.at(displacement)
        energy, force, weight = self.correlation.linearised(warped[0])
        gradient, curvature = force * slopes[0], _outer(slopes[0]) * weight
        for k in range(1, len(warped)):
            difference = warped[k] - self.fixed[k]
            scale = self.settings.dice_weight
            energy += scale * float(difference.square().mean())
            gradient = gradient + scale * difference * slopes[k]
            curvature = curvature + scale * _outer(slopes[k])
        stiff = self.stiffness.force(self.knots)
        energy += float((stiff * self.knots).sum()) / warped[0].numel()
        return energy, apply(self.to_knots, gradient) + stiff, apply(self.to_knots, curvature)


def _shrinking(source: Axis, target: Axis) -> Tensor:
    """Averages over the width of the coarser point, or interpolates where there is nothing to average."""
    if target.step_mm < 1.5 * source.step_mm:
        return linear(source, target)
    return windows(source, target, 0.5 * target.step_mm)


def _outer(v: Tensor) -> Tensor:
    """(3, D, H, W) to the six distinct entries of v v^T: zz, yy, xx, zy, zx, yx."""
    z, y, x = v
    return torch.stack((z * z, y * y, x * x, z * y, z * x, y * x))


def _times(six: Tensor, v: Tensor) -> Tensor:
    zz, yy, xx, zy, zx, yx = six
    z, y, x = v
    return torch.stack((zz * z + zy * y + zx * x, zy * z + yy * y + yx * x, zx * z + yx * y + xx * x))


class _Sampler:
    """Values and slopes of images (C, D, H, W) at displaced voxels, trilinear, the border value outside."""

    def __init__(self, images: Tensor, voxels: Lattice) -> None:
        slopes = torch.stack([torch.stack(torch.gradient(c, spacing=voxels[0].step_mm)) for c in images])
        self.channels = len(images)
        self.source = torch.cat((images, slopes.flatten(0, 1)))[None]  # (1, 4C, D, H, W)
        self.place = [
            torch.arange(axis.count, device=images.device, dtype=torch.float32).mul_(2.0).add_(1.0 - axis.count)
            for axis in voxels
        ]  # twice the voxel index from the middle
        self.step_mm = voxels[0].step_mm

    def at(self, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """(3, D, H, W) mm, z y x, to values (C, D, H, W) and slopes (C, 3, D, H, W) per mm."""
        _, d, h, w = displacement.shape
        where = displacement.new_empty((1, d, h, w, 3))
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        for k, count in enumerate((d, h, w)):  # grid_sample wants x, y, z in -1 .. 1 of the box
            where[0, ..., 2 - k] = (displacement[k] * (2.0 / self.step_mm) + self.place[k].view(shapes[k])) / count
        out = torch.nn.functional.grid_sample(self.source, where, "bilinear", "border", align_corners=False)[0]
        slopes = out[self.channels :].reshape(self.channels, 3, d, h, w)
        return out[: self.channels], slopes


class _Stiffness:
    """bending * |laplacian u|^2 + stretching * |grad u|^2 of the knots, per voxel of the level."""

    def __init__(self, lattice: Lattice, settings: RefineSettings, spacing_mm: float, device: torch.device) -> None:
        waves = [cosines(axis) for axis in lattice]
        z, y, x = (matrix.to(device) for matrix, _ in waves)
        self.forward: Separable = (z, y, x)
        self.back = adjoint(self.forward)
        z, y, x = (s.to(device) for _, s in waves)
        laplacian = z[:, None, None] + y[None, :, None] + x[None, None, :]
        voxels_per_knot = (lattice[0].step_mm / spacing_mm) ** 3
        self.waves = (settings.bending * laplacian**2 + settings.stretching * laplacian) * voxels_per_knot
        self.steps = settings.solver_steps

    def force(self, knots: Tensor) -> Tensor:
        """Half the gradient of the energy, (3, d, h, w)."""
        return apply(self.back, self.waves * apply(self.forward, knots))

    def solve(self, curvature: Tensor, gradient: Tensor) -> Tensor:
        """The step s with (curvature + stiffness) s = -gradient, by conjugate gradients among the waves."""
        level = float(curvature[:3].mean()) + 1e-6
        inverse = 1.0 / (self.waves + level)
        tiny = 1e-3 * level
        residual = -apply(self.forward, gradient)
        step = torch.zeros_like(residual)
        ready = inverse * residual
        direction, power = ready, float((residual * ready).sum())
        first = power
        for _ in range(self.steps):
            along = apply(self.forward, _times(curvature, apply(self.back, direction)))
            along += (self.waves + tiny) * direction
            length = power / max(float((direction * along).sum()), 1e-30)
            step = step + length * direction
            residual = residual - length * along
            ready = inverse * residual
            last, power = power, float((residual * ready).sum())
            if power < 1e-4 * first:
                break
            direction = ready + (power / last) * direction
        return apply(self.back, step)


def _label_pairs(
    moving: Mapping[str, LevelSet], fixed: LabelSets
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Soft labels of the daily and the planning scan, (D, H, W) each, for the organs that both have."""
    return [(_soft(fixed[name]), _soft(moving[name])) for name in sorted(set(moving) & set(fixed))]


def _soft(label: LevelSet | Volume) -> NDArray[np.float32]:
    if isinstance(label, Volume):
        return np.clip(label.array, 0.0, 1.0)
    return (0.5 + 0.5 * np.tanh(label.array / _LABEL_EDGE_MM)).astype(np.float32)


def _must_share(
    grid: Grid,
    moving: Grid,
    start: Field | None,
    level_sets: Mapping[str, LevelSet] | None,
    probabilities: LabelSets | None,
) -> None:
    if not grid.is_axial():
        raise UsageError("a grid that is not along the LPS axes", where="refine_field", allowed="an axial grid")
    others = {"moving": moving, **({"start": start.grid} if start else {})}
    others |= {f"moving {name}": label.grid for name, label in (level_sets or {}).items()}
    others |= {f"fixed {name}": label.grid for name, label in (probabilities or {}).items()}
    for name, other in others.items():
        if not other.same_as(grid):
            raise UsageError("not on the fixed scan's grid", where=name, allowed="resample it first")
