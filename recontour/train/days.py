"""A day's scans and label maps, made on the training device from what a processor made of it.

The convention is geometry.resample's: the target's voxel at x takes the source's value at affine(x + field(x)), mm.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Index
from recontour.network.catalogue import LABELS
from recontour.network.coarse import coarser_grid, coarser_labels, coarser_scan
from recontour.network.warp import sample, warp
from recontour.train.dataset import ROIS
from recontour.train.moved import CoarseDay
from recontour.train.sampling import AT_RISK, TARGETS, TORSO_HU

AIR_HU = -1000.0
_SLAB_VOXELS = 1_000_000  # what is in between takes 16 bytes a voxel, and stays near the processor
_LATTICE_MM = 3.0  # of the true displacements, as the motion engine's own
_ROUNDS = 12  # of inverting them: each leaves less than half of the error where nothing stretches by half
_TRIES = 64  # voxels drawn at once until one lies in the torso


@dataclass(frozen=True, eq=False)
class TrueMotion:
    """The displacements that a perfect registration would find: `lattice` (6, d, h, w) float32 in mm on `grid`, from
    the daily to the planning scan (x, y, z) and back (x, y, z). scanned: the grid of the day's scans."""

    lattice: Tensor
    grid: Grid
    scanned: Grid

    def at(self, *voxels: Tensor) -> Tensor:
        """(6, len(z), len(y), len(x)) at voxels of `scanned`, given as their numbers along z, y, x."""
        to_index = np.linalg.inv(self.grid.matrix) @ self.scanned.matrix
        values = self.lattice
        for axis, numbers in enumerate(voxels):
            values = _linear(values, axis, to_index[axis, 3] + to_index[axis, axis] * numbers.cpu().numpy())
        return values


@dataclass(frozen=True, eq=False)
class Day:
    """A daily (fixed) and a planning (moving) scan on one grid, on a device: 6 bytes a voxel, some 40 MB at 1 mm.

    *_hu: (D, H, W) int16. *_labels: (D, H, W) uint8, values as in LABELS. voxels: label -> (N,) int32, where the daily
    scan shows that organ, as places in the flat array; organs that are out of sight have no entry. motion: the truth.
    """

    fixed_hu: Tensor
    moving_hu: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    voxels: dict[int, Tensor]
    motion: TrueMotion | None = None

    def draw_centre(self, rng: np.random.Generator) -> Index:
        """The voxel (z, y, x) that a patch is cut around, with the chances of `sampling.draw_centre`."""
        group = int(rng.integers(3))
        here = [label for label in (TARGETS, AT_RISK, ())[group] if label in self.voxels]
        if here:
            voxels = self.voxels[int(rng.choice(here))]
            chosen = int(voxels[int(rng.integers(len(voxels)))])
        else:
            chosen = self._in_torso(rng)
        z, y, x = (int(v) for v in np.unravel_index(chosen, tuple(self.fixed_hu.shape)))
        return z, y, x

    def _in_torso(self, rng: np.random.Generator) -> int:
        """Any voxel of the torso; of the scan, where it shows hardly any."""
        flat = self.fixed_hu.view(-1)
        drawn = rng.integers(flat.numel(), size=_TRIES)
        shown = flat[torch.as_tensor(drawn, device=flat.device)] > TORSO_HU
        return int(drawn[int(shown.to(torch.uint8).argmax())])

    def cut(self, centre: Index, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Four patches (side, side, side): both scans, then both label maps; beyond the day its border repeats."""
        z, y, x = self._voxels_around(centre, side)

        def part(whole: Tensor) -> Tensor:
            return whole.index_select(0, z).index_select(1, y).index_select(2, x)

        return part(self.fixed_hu), part(self.moving_hu), part(self.fixed_labels), part(self.moving_labels)

    def cut_motion(self, centre: Index, side: int) -> Tensor:
        """(6, side, side, side) mm, as in TrueMotion, at the voxels of `cut`."""
        assert self.motion is not None
        return self.motion.at(*self._voxels_around(centre, side))

    def _voxels_around(self, centre: Index, side: int) -> list[Tensor]:
        return [
            torch.arange(c - side // 2, c - side // 2 + side, device=self.fixed_hu.device).clamp(0, n - 1)
            for c, n in zip(centre, self.fixed_hu.shape, strict=True)
        ]


def dense_day(coarse: CoarseDay, device: torch.device, factor: int = 1) -> Day:
    """Both scans and both label maps at 1 mm, or in voxels `factor` times as large."""
    on = _Device(device)
    fixed = spread(on.tensor(coarse.daily.array), coarse.daily.grid, coarse.scanned)
    aligned = coarse.affine_scanned_to_planning
    moving = on.resampled(coarse.planning.array, coarse.planning.grid, coarse.scanned, aligned)
    fixed_labels = _labels(coarse, on, coarse.affine_daily_to_planning, coarse.field_daily_to_planning)
    moving_labels = _labels(coarse, on, aligned, None)
    grid = coarse.scanned
    if factor > 1:
        grid = coarser_grid(grid, factor)
        fixed, moving = coarser_scan(fixed, factor), coarser_scan(moving, factor)
        fixed_labels, moving_labels = coarser_labels(fixed_labels, factor), coarser_labels(moving_labels, factor)
    flat = fixed_labels.view(-1)
    voxels = {k: torch.nonzero(flat == k).view(-1).to(torch.int32) for k in range(1, len(LABELS))}
    seen = {label: places for label, places in voxels.items() if len(places)}
    return Day(_whole(fixed), _whole(moving), fixed_labels, moving_labels, seen, true_motion(coarse, grid, device))


def true_motion(coarse: CoarseDay, scanned: Grid, device: torch.device) -> TrueMotion:
    """With B the affine that the planning scan is shown under, y shows A(y + u(y)) = B(y + v(y)): v and its inverse.

    scanned: the grid of the scans that it is asked for on."""
    grid = Grid.around(*coarse.scanned.bounds_mm(), _LATTICE_MM)
    points = torch.as_tensor(np.moveaxis(grid.points(), -1, 0).astype(np.float32), device=device)
    u = spread(_Device(device).tensor(coarse.field_daily_to_planning.array), coarse.field_daily_to_planning.grid, grid)
    known = coarse.affine_scanned_to_planning.inverse().after(coarse.affine_daily_to_planning)
    matrix = torch.as_tensor(known.matrix.astype(np.float32), device=device)
    there = torch.einsum("ij,jzyx->izyx", matrix[:3, :3], points + u) + matrix[:3, 3, None, None, None]
    forth = (there - points)[None]
    back = -forth
    for _ in range(_ROUNDS):
        back = -warp(forth, back, spacing_mm=_LATTICE_MM)
    return TrueMotion(torch.cat([forth[0], back[0]]), grid, scanned)


def _whole(hu: Tensor) -> Tensor:
    return hu.round().to(torch.int16)


def _labels(coarse: CoarseDay, on: _Device, affine: Affine, field: Field | None) -> Tensor:
    """(D, H, W) uint8 on `scanned`, as dataset.label_map; each organ is looked for only where it can be."""
    out = torch.zeros(coarse.scanned.size, dtype=torch.uint8, device=on.device)
    for organ in ROIS:  # in this order: where two overlap by a partial voxel the smaller organ keeps it
        shape = coarse.shapes.get(organ)
        box = _within_reach(shape.grid, coarse.scanned, affine, field) if shape is not None else None
        if shape is None or box is None:
            continue
        inside = on.resampled(shape.array, shape.grid, box, affine, field, -1.0) > 0
        out[coarse.scanned.box_of(box)][inside] = LABELS.index(organ)
    return out


def _within_reach(source: Grid, target: Grid, affine: Affine, field: Field | None) -> Grid | None:
    """The part of `target` that may show anything of `source`; None where there is none."""
    reach = np.abs(field.array).max(axis=(1, 2, 3)) if field is not None else np.zeros(3)
    corners = affine.inverse().apply(source.corners_mm())
    box = np.array(list(itertools.product(*zip(corners.min(axis=0) - reach, corners.max(axis=0) + reach, strict=True))))
    index = target.index_at(box)
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, target.size)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, target.size)
    if (high <= low).any():
        return None
    return target.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


@dataclass(frozen=True)
class _Device:
    """Where the arithmetic is done."""

    device: torch.device

    def tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)  # pyright: ignore[reportUnknownMemberType]

    def resampled(
        self, array: NDArray[np.float32], grid: Grid, target: Grid, affine: Affine, field: Field | None = None,
        fill: float = AIR_HU,
    ) -> Tensor:  # fmt: skip
        moved = None if field is None else spread(self.tensor(field.array), field.grid, target)
        return resample(self.tensor(array), grid, target, affine, moved, fill)


def resample(
    source: Tensor, grid: Grid, target: Grid, affine: Affine, displacement: Tensor | None, fill: float
) -> Tensor:
    """(*target.size) float32: `source` (D, H, W) on `grid`, trilinear, `fill` outside.

    displacement: (3, *target.size), components x, y, z in mm, at the target's voxels.
    """
    to_index = np.linalg.inv(grid.matrix) @ affine.matrix @ target.matrix
    mm_to_index = to_index[:3, :3] @ np.linalg.inv(target.matrix[:3, :3])
    scale = 2.0 / np.maximum(np.asarray(grid.size) - 1, 1)  # to places from -1 to 1 over the source's voxels
    step, shift = to_index * np.append(scale, 1.0)[:, None], mm_to_index * scale[:, None]
    step[:3, 3] -= 1.0
    out = torch.empty(target.size, device=source.device)
    planes = max(1, _SLAB_VOXELS // (target.size[1] * target.size[2]))
    for first in range(0, target.size[0], planes):
        slab = slice(first, min(first + planes, target.size[0]))
        moved = None if displacement is None else displacement[:, slab]
        out[slab] = _sampled(source, *_places(step, shift, target, slab, moved, source.device), fill)
    return out


def _places(
    step: NDArray[np.float64], shift: NDArray[np.float64], target: Grid, slab: slice, displacement: Tensor | None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Where voxels of a slab of planes find their values: (d, H, W, 3), x, y, z from -1 to 1; (d, H, W) bool, those
    that lie outside."""
    ranges = (range(slab.start, slab.stop), *(range(n) for n in target.size[1:]))
    z, y, x = (
        torch.tensor(r, dtype=torch.float32, device=device).view([-1 if a == k else 1 for a in range(3)])
        for k, r in enumerate(ranges)
    )
    size = (len(ranges[0]), *target.size[1:])
    place, outside = torch.empty((*size, 3), device=device), torch.zeros(size, dtype=torch.bool, device=device)
    for axis in range(3):
        row = (step[axis, 0] * z + step[axis, 3] + step[axis, 1] * y) + step[axis, 2] * x
        if displacement is not None:
            for component, factor in zip(displacement, shift[axis], strict=True):
                row.add_(component, alpha=float(factor))
        outside |= row.abs() > 1.0 + 1e-6
        place[..., 2 - axis] = row
    return place, outside


def _sampled(source: Tensor, place: Tensor, outside: Tensor, fill: float) -> Tensor:
    out = sample(source[None], place, align_corners=True)[0]
    return out.masked_fill_(outside, fill)


def spread(array: Tensor, grid: Grid, target: Grid) -> Tensor:
    """(..., *target.size): `array` (..., D, H, W) on another grid along the same axes, linear axis by axis; the border
    value holds outside."""
    to_index = np.linalg.inv(grid.matrix) @ target.matrix
    for axis in range(3):
        array = _linear(array, axis, to_index[axis, 3] + to_index[axis, axis] * np.arange(target.size[axis]))
    return array


def _linear(array: Tensor, axis: int, positions: NDArray[np.float64]) -> Tensor:
    """Along one of the last three axes, at `positions`, in voxels; the border value holds outside."""
    dim = array.dim() - 3 + axis
    last = array.shape[dim] - 1
    position = np.clip(positions, 0, last)
    low = np.minimum(np.floor(position).astype(np.int64), max(last - 1, 0))
    share = torch.as_tensor((position - low).astype(np.float32), device=array.device)
    share = share.view([-1 if a == axis else 1 for a in range(3)])
    below, above = (torch.as_tensor(np.minimum(low + k, last), device=array.device) for k in (0, 1))
    return torch.lerp(array.index_select(dim, below), array.index_select(dim, above), share)
