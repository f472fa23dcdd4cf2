"""Multi-resolution instance optimisation of the displacement field of one pair of scans.

    minimise over u:  mean of  1 - cc^2                                  local correlation, similarity.py
                             + robust (moving(x + u) - fixed(x))^2 / (noise^2 + (edge |slope|)^2)
                             + dice_weight * squared difference of soft labels, where both scans have them
                             + bending * |laplacian u|^2 + stretching * |grad u|^2

u is a cubic B-spline (spline.py). Each step (level.py) solves the Gauss-Newton system: curvature of the data, gathered
on the knots, plus stiffness (stiffness.py), which is diagonal among cosine waves and serves as the preconditioner of
conjugate gradients. Some five steps a level do what a hundred of a first-order method do. Where the scans show nothing
(the inside of an organ, gas) the stiffness carries the motion of what surrounds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.network.lattice import apply, cells, linear
from recontour.network.level import Level, correlation_of
from recontour.network.noise import noise_hu
from recontour.network.pages import pages_kept
from recontour.network.pair import LabelSets, Pair, label_pairs, tensor_of
from recontour.network.spline import Spline, knot_lattice
from recontour.settings import RefineSettings

_START_KNOTS_MM = 4.0  # of the spline that holds a start field
_STIFFNESS_RANGE = (0.5, 3.0)  # scans differ by more than noise, and shapes are never without edges
_STIFFEST_BENDING = 1000.0  # beyond which a fold is in the scans or in the start, and left for the checks to find


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
    labels = label_pairs(moving_level_sets or {}, fixed_probabilities or {})
    settings = replace(settings, bending=settings.bending * _stiffness_for_noise(fixed, moving, settings))
    with torch.no_grad(), pages_kept():
        pair = Pair.of(fixed, moving, labels, settings, device)
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
    pair = Pair.of(fixed, warped, [], settings, device)
    finest = settings.levels_mm[-1]
    with torch.no_grad():
        there = pair.at_level(finest)
        back = Pair(there.voxels, there.moving, there.fixed)
        one, other = (correlation_of(p, finest, settings).agreement(p.moving.images[0]) for p in (there, back))
        centres = [cells(extent, finest * settings.window_stride) for extent in pair.extent_mm]
        up = [linear(c, v).to(pair.device) for c, v in zip(centres, pair.voxels, strict=True)]
        return apply(up, torch.minimum(one, other)[None])[0].cpu().numpy()


def _unfolded(pair: Pair, start: Spline | None, settings: RefineSettings) -> Spline:
    """The optimum; where it folds, that of a stiffer field."""
    spline = _optimum(pair, start, settings)
    if spline.least_jacobian(pair.extent_mm) > 0.0 or settings.bending > _STIFFEST_BENDING:
        return spline
    return _unfolded(pair, start, replace(settings, bending=4.0 * settings.bending))


def _optimum(pair: Pair, start: Spline | None, settings: RefineSettings) -> Spline:
    """From coarse to fine. A start that the scans agree with replaces the coarse half, which knows less than it."""
    levels = list(zip(settings.levels_mm, settings.steps, strict=True))
    halfway = (len(levels) + 1) // 2
    if start is None or not _agrees(pair, start, settings.levels_mm[halfway - 1], settings):
        start = _through_levels(pair, _zero(pair), levels[:halfway], settings)
    return _through_levels(pair, start, levels[halfway:], settings)


def _agrees(pair: Pair, start: Spline, spacing_mm: float, settings: RefineSettings) -> bool:
    """Whether there is less energy in it than without it."""
    level = Level(pair, spacing_mm, settings, start)
    return level.energy(level.spline.knots) < level.energy(torch.zeros_like(level.spline.knots))


def _through_levels(
    pair: Pair, spline: Spline, levels: Sequence[tuple[float, int]], settings: RefineSettings
) -> Spline:
    for spacing_mm, steps in levels:
        spline = Level(pair, spacing_mm, settings, spline).solve(steps)
    return spline


def _zero(pair: Pair) -> Spline:
    lattice = knot_lattice(pair.extent_mm, _START_KNOTS_MM)
    return Spline(lattice, torch.zeros((3, *(axis.count for axis in lattice)), device=pair.device))


def _taken_over(pair: Pair, start: Field) -> Spline:
    lattice = knot_lattice(pair.extent_mm, _START_KNOTS_MM)
    return Spline.through(tensor_of(start.array[::-1], pair.device), pair.voxels, lattice)


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
