"""Multi-resolution instance optimisation of the displacement field of one pair of scans.

    minimise over u:  mean of  1 - cc^2                                  local correlation, similarity.py
                             + robust (moving(x + u) - fixed(x))^2 / (noise^2 + (edge |slope|)^2)
                             + dice_weight * squared difference of soft labels, where both scans have them
                             + bending * |laplacian u|^2 + stretching * |grad u|^2

u is a cubic B-spline. Each step solves the Gauss-Newton system: curvature of the data, gathered on the knots, plus
stiffness, which is diagonal among cosine waves and serves as the preconditioner of conjugate gradients. Some five
steps a level do what a hundred of a first-order method do. Where the scans show nothing (the inside of an
organ, gas) the stiffness carries the motion of what surrounds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.errors import UsageError
from recontour.geometry.field import Field, jacobian_determinant
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
from recontour.network.noise import SOFT_HU, noise_hu
from recontour.network.pages import pages_kept
from recontour.network.similarity import Intensities, LocalCorrelation, Windows, intensity_offset
from recontour.network.warp import sample
from recontour.settings import RefineSettings

LabelSets = Mapping[str, LevelSet | Volume]
_LabelPairs = list[tuple[NDArray[np.float32], NDArray[np.float32]]]

_LABEL_EDGE_MM = 2.0  # how soft the edge of a label is made, so that its Dice has a slope to follow
_START_KNOTS_MM = 4.0  # of the spline that holds a start field
_TISSUE_HU = 30.0  # what stands in for gas: the wall and the stool that surround it
_STIFFNESS_RANGE = (0.5, 3.0)  # scans differ by more than noise, and shapes are never without edges
_STIFFEST_BENDING = 1000.0  # beyond which a fold is in the scans or in the start, and left for the checks to find
_MOST_SETBACKS = 3  # halvings of one step
_ENOUGH = 0.003  # share of the energy: a step that gains less ends a level


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
    start: a field to begin from, such as a network's; None begins from zero. A start is only an offer: one that the
        scans agree with less than with none is not taken.
    fixed_probabilities: per organ the daily scan's segmentation, a LevelSet or a Volume of probabilities; those also
        in `moving_level_sets` join the optimisation. All on the scans' grid.
    Raises UsageError where grids differ or are not axial.
    """
    _must_share(fixed.grid, moving.grid, start, moving_level_sets, fixed_probabilities)
    labels = _label_pairs(moving_level_sets or {}, fixed_probabilities or {})
    settings = replace(settings, bending=settings.bending * _stiffness_for_noise(fixed, moving, settings))
    with torch.no_grad(), pages_kept():
        pair = _Pair.of(fixed, moving, labels, settings, device)
        offered = None if start is None else _taken_over(pair, start)
        dense = _unfolded(pair, offered, settings).on(pair.voxels)
        array = np.ascontiguousarray(dense.cpu().numpy()[::-1])
    return Field(fixed.grid, array)


def _stiffness_for_noise(fixed: Volume, moving: Volume, settings: RefineSettings) -> float:
    """What the bending is multiplied with: the mean of both scans' variances of noise over that which the setting is
    meant for. The most probable field weighs its smoothness against the data by the data's variance."""
    noises = [noise for scan in (fixed, moving) if (noise := noise_hu(scan)) is not None]
    if not noises:
        return 1.0
    variance = sum(noise**2 for noise in noises) / len(noises)
    return float(np.clip(variance / settings.bending_noise_hu**2, *_STIFFNESS_RANGE))


def local_correlation(
    fixed: Volume, warped: Volume, settings: RefineSettings, device: str = "cpu"
) -> NDArray[np.float32]:
    """(D, H, W) float32, 0 to 1: how much of what two scans on one grid show around a voxel is the same, or noise.

    cc^2 of the finest windows, with contrast below the settings' noise taken for agreement: 1 in flat tissue and in
    gas that is filled, low where one scan shows an edge that the other does not.
    """
    pair = _Pair.of(fixed, warped, [], settings, device)
    finest = settings.levels_mm[-1]
    with torch.no_grad():
        there = pair.at_level(finest)
        back = _Pair(there.voxels, there.moving, there.fixed)
        one, other = (_correlation(p, finest, settings).agreement(p.moving.images[0]) for p in (there, back))
        centres = [cells(extent, finest * settings.window_stride) for extent in pair.extent_mm]
        up = [linear(c, v).to(pair.device) for c, v in zip(centres, pair.voxels, strict=True)]
        return apply(up, torch.minimum(one, other)[None])[0].cpu().numpy()


def _unfolded(pair: _Pair, start: _Spline | None, settings: RefineSettings) -> _Spline:
    """The optimum; where it folds, that of a stiffer field."""
    spline = _optimum(pair, start, settings)
    if spline.least_jacobian(pair.extent_mm) > 0.0 or settings.bending > _STIFFEST_BENDING:
        return spline
    return _unfolded(pair, start, replace(settings, bending=4.0 * settings.bending))


def _optimum(pair: _Pair, start: _Spline | None, settings: RefineSettings) -> _Spline:
    """From coarse to fine. A start that the scans agree with replaces the coarse half, which knows less than it."""
    levels = list(zip(settings.levels_mm, settings.steps, strict=True))
    halfway = (len(levels) + 1) // 2
    if start is None or not _agrees(pair, start, settings.levels_mm[halfway - 1], settings):
        start = _through_levels(pair, _zero(pair), levels[:halfway], settings)
    return _through_levels(pair, start, levels[halfway:], settings)


def _agrees(pair: _Pair, start: _Spline, spacing_mm: float, settings: RefineSettings) -> bool:
    """Whether there is less energy in it than without it."""
    level = _Level(pair, spacing_mm, settings, start)
    return level.energy(level.spline.knots) < level.energy(torch.zeros_like(level.spline.knots))


def _through_levels(
    pair: _Pair, spline: _Spline, levels: Sequence[tuple[float, int]], settings: RefineSettings
) -> _Spline:
    for spacing_mm, steps in levels:
        spline = _Level(pair, spacing_mm, settings, spline).solve(steps)
    return spline


@dataclass(frozen=True)
class _Scan:
    """One day, or one resolution of it: `images` (1 + labels, D, H, W), the scan in units of the HU window and soft
    labels; `gas` (1, D, H, W), 1 where gas was filled in."""

    images: Tensor
    gas: Tensor

    @staticmethod
    def of(scan: Volume, labels: list[NDArray[np.float32]], settings: RefineSettings, device: torch.device) -> _Scan:
        image, gas = _prepared(_tensor(scan.array, device), settings)
        return _Scan(torch.stack([image, *(_tensor(label, device) for label in labels)]), gas[None])

    def shrunk(self, maps: Sequence[Tensor]) -> _Scan:
        return _Scan(apply(maps, self.images), apply(maps, self.gas))


@dataclass(frozen=True)
class _Pair:
    """Both days on one lattice, axes z, y, x in mm."""

    voxels: Lattice
    fixed: _Scan
    moving: _Scan

    @property
    def device(self) -> torch.device:
        return self.fixed.images.device

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        z, y, x = (axis.extent_mm for axis in self.voxels)
        return z, y, x

    @staticmethod
    def of(fixed: Volume, moving: Volume, labels: _LabelPairs, settings: RefineSettings, device: str) -> _Pair:
        grid, place = fixed.grid, torch.device(device)
        z, y, x = (Axis(0.0, step, count) for step, count in zip(grid.spacing_mm, grid.size, strict=True))
        return _Pair(
            (z, y, x),
            _Scan.of(fixed, [daily for daily, _ in labels], settings, place),
            _Scan.of(moving, [planned for _, planned in labels], settings, place),
        )

    def at_level(self, spacing_mm: float) -> _Pair:
        """Both days averaged to a coarser spacing."""
        z, y, x = (cells(extent, spacing_mm) for extent in self.extent_mm)
        maps = [_shrinking(v, c).to(self.device) for v, c in zip(self.voxels, (z, y, x), strict=True)]
        return _Pair((z, y, x), self.fixed.shrunk(maps), self.moving.shrunk(maps))


def _prepared(hu: Tensor, settings: RefineSettings) -> tuple[Tensor, Tensor]:
    """(D, H, W) HU to about 0 .. 1 inside the window, with gas filled in; and where that was, as 0 and 1.

    Gas comes and goes within a day: filled with tissue, a wall looks much alike with gas behind it or stool. Air around
    the patient is filled too, in both scans alike.
    """
    low, high = settings.window_hu
    gas = _grown(hu < settings.gas_hu)
    filled = torch.where(gas, hu.clamp(min=_TISSUE_HU), hu)
    return (filled.clamp(low, high) - low) / (high - low), gas.float()


def _grown(mask: Tensor) -> Tensor:
    """(D, H, W) bool, one voxel larger in all 26 directions: the rim that gas only half fills."""
    for axis in range(3):
        grown = mask.clone()
        n = mask.shape[axis] - 1
        grown.narrow(axis, 0, n).logical_or_(mask.narrow(axis, 1, n))
        grown.narrow(axis, 1, n).logical_or_(mask.narrow(axis, 0, n))
        mask = grown
    return mask


@dataclass(frozen=True)
class _Spline:
    """A displacement field: `knots` (3, d, h, w) mm, components z, y, x, on `lattice`."""

    lattice: Lattice
    knots: Tensor

    def on(self, points: Lattice) -> Tensor:
        """(3, D, H, W) mm at the points of a lattice."""
        return apply([cubic(k, p).to(self.knots) for k, p in zip(self.lattice, points, strict=True)], self.knots)

    def least_jacobian(self, extent_mm: tuple[float, float, float]) -> float:
        """The smallest determinant of x -> x + u inside the box, on points half a knot apart."""
        step_mm = self.lattice[0].step_mm / 2
        z, y, x = (cells(extent, step_mm) for extent in extent_mm)
        grid = Grid.of((z.count, y.count, x.count), (step_mm, step_mm, step_mm), (0.0, 0.0, 0.0))
        displacement = self.on((z, y, x)).cpu().numpy()
        return float(jacobian_determinant(Field(grid, displacement[::-1])).min())

    def renewed(self, lattice: Lattice, extent_mm: tuple[float, float, float]) -> _Spline:
        """The same displacements on other knots, exact at the new ones; what lies outside the box takes its border."""
        inside = [cubic(k, p, e) for k, p, e in zip(self.lattice, lattice, extent_mm, strict=True)]
        return _Spline(lattice, apply([m.to(self.knots) for m in _through(lattice, inside)], self.knots))

    @staticmethod
    def through(values: Tensor, points: Lattice, lattice: Lattice) -> _Spline:
        """The spline that takes the smoothed (3, D, H, W) values at `points` in its knots."""
        means = [windows(p, k, 0.4 * k.step_mm, p.extent_mm) for p, k in zip(points, lattice, strict=True)]
        return _Spline(lattice, apply([m.to(values) for m in _through(lattice, means)], values))


def _knot_lattice(extent_mm: tuple[float, float, float], spacing_mm: float) -> Lattice:
    z, y, x = (knots(e, spacing_mm) for e in extent_mm)
    return z, y, x


def _through(lattice: Lattice, values_at_knots: Sequence[Tensor]) -> list[Tensor]:
    """Along each axis, from what gives values in the knots to what gives the coefficients that pass through them."""
    return [torch.inverse(_reflecting(k)) @ m for k, m in zip(lattice, values_at_knots, strict=True)]


def _reflecting(axis: Axis) -> Tensor:
    """The spline's values in its own knots, as if the last knots were repeated beyond: that is how stiffness sees them,
    and a uniform motion has uniform coefficients."""
    matrix = cubic(axis, axis)
    return matrix + torch.diag(1.0 - matrix.sum(1))


def _zero(pair: _Pair) -> _Spline:
    lattice = _knot_lattice(pair.extent_mm, _START_KNOTS_MM)
    return _Spline(lattice, torch.zeros((3, *(axis.count for axis in lattice)), device=pair.device))


def _taken_over(pair: _Pair, start: Field) -> _Spline:
    lattice = _knot_lattice(pair.extent_mm, _START_KNOTS_MM)
    return _Spline.through(_tensor(start.array[::-1], pair.device), pair.voxels, lattice)


def _tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    return torch.tensor(np.ascontiguousarray(array, np.float32), device=device)


class _Level:
    """One resolution: both scans shrunk to `spacing_mm`, and the knots that move the moving one."""

    def __init__(self, pair: _Pair, spacing_mm: float, settings: RefineSettings, start: _Spline) -> None:
        self.settings, self.spacing_mm = settings, spacing_mm
        here = pair.at_level(spacing_mm)
        self.voxels, self.fixed = here.voxels, here.fixed
        self.sampler = _Sampler(here.moving, here.voxels)
        knot_mm = max(spacing_mm * settings.knot_voxels, settings.knot_min_mm)
        self.spline = start.renewed(_knot_lattice(pair.extent_mm, knot_mm), pair.extent_mm)
        a, b, c = (cubic(k, v).to(pair.device) for k, v in zip(self.spline.lattice, here.voxels, strict=True))
        self.to_voxels: Separable = (a, b, c)
        self.to_knots = adjoint(self.to_voxels)
        self.correlation = _correlation(here, spacing_mm, settings)
        self.intensities = _intensities(here, settings)
        self.stiffness = _Stiffness(self.spline.lattice, settings, spacing_mm, pair.device)

    def solve(self, steps: int) -> _Spline:
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
        return _Spline(self.spline.lattice, knots)

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
        curvature = (weight + parts[2]) * _outer(slopes[0])
        for found, wanted, slope in zip(warped[1:], self.fixed.images[1:], slopes[1:], strict=True):
            difference = self.settings.dice_weight * (found - wanted)
            energy += float((difference * (found - wanted)).mean())
            gradient = gradient + difference * slope
            curvature = curvature + self.settings.dice_weight * _outer(slope)
        stiff = self.stiffness.force(knots)
        energy += float((stiff * knots).sum()) / warped[0].numel()
        return energy, apply(self.to_knots, gradient) + stiff, apply(self.to_knots, curvature)


def _correlation(pair: _Pair, spacing_mm: float, settings: RefineSettings) -> LocalCorrelation:
    z, y, x = (cells(extent, spacing_mm * settings.window_stride) for extent in pair.extent_mm)
    sigma_mm = settings.window_sigma_voxels * spacing_mm
    around = Windows.between(pair.voxels, (z, y, x), sigma_mm, pair.device)
    return LocalCorrelation(pair.fixed.images[0], around, settings.variance_floor)


def _intensities(pair: _Pair, settings: RefineSettings) -> Intensities:
    low, high = settings.window_hu
    noise = settings.noise_hu / (high - low)
    tissue = ((SOFT_HU[0] - low) / (high - low), (SOFT_HU[1] - low) / (high - low))
    visible = (1.0 - pair.fixed.gas[0]) * (1.0 - pair.moving.gas[0])
    offset = intensity_offset(pair.fixed.images[0], pair.moving.images[0], visible, tissue)
    outlier = settings.outlier_hu / (high - low)
    return Intensities(pair.fixed.images[0], offset, noise, settings.edge_mm, outlier)


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
    """The moving day at displaced voxels, trilinear, the border value outside."""

    def __init__(self, scan: _Scan, voxels: Lattice) -> None:
        self.step_mm, self.channels = voxels[0].step_mm, len(scan.images)
        slopes = [torch.stack(torch.gradient(image, spacing=self.step_mm)) for image in scan.images]
        self.source = torch.cat((scan.gas, scan.images, *slopes))  # (1 + 4C, D, H, W)
        self.place = [  # twice the voxel's index from the middle
            torch.arange(axis.count, device=scan.gas.device, dtype=torch.float32) * 2.0 + (1.0 - axis.count)
            for axis in voxels
        ]

    def at(self, displacement: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(3, D, H, W) mm, z y x, to images (C, D, H, W), their slopes (C, 3, D, H, W) per mm, and gas (D, H, W)."""
        _, d, h, w = displacement.shape
        where = displacement.new_empty((d, h, w, 3))
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        for k, count in enumerate((d, h, w)):  # grid_sample wants x, y, z in -1 .. 1 of the box
            where[..., 2 - k] = (displacement[k] * (2.0 / self.step_mm) + self.place[k].view(shapes[k])) / count
        out = sample(self.source, where, align_corners=False)
        images, slopes = out[1 : 1 + self.channels], out[1 + self.channels :]
        return images, slopes.reshape(self.channels, 3, d, h, w), out[0]


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


def _label_pairs(moving: Mapping[str, LevelSet], fixed: LabelSets) -> _LabelPairs:
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
