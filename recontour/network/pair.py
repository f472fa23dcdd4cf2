"""Two days as the refinement sees them: within the HU window, without gas, at any resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.geometry.volume import LevelSet, Volume
from recontour.network.lattice import Axis, Lattice, apply, cells, linear, windows
from recontour.network.warp import sample
from recontour.settings import RefineSettings

LabelSets = Mapping[str, LevelSet | Volume]
LabelPairs = list[tuple[NDArray[np.float32], NDArray[np.float32]]]

_LABEL_EDGE_MM = 2.0  # how soft the edge of a label is made, so that its Dice has a slope to follow
_TISSUE_HU = 30.0  # what stands in for gas: the wall and the stool that surround it


@dataclass(frozen=True)
class Scan:
    """One day, or one resolution of it: `images` (1 + labels, D, H, W), the scan in units of the HU window and soft
    labels; `gas` (1, D, H, W), 1 where gas was filled in."""

    images: Tensor
    gas: Tensor

    @staticmethod
    def of(scan: Volume, labels: list[NDArray[np.float32]], settings: RefineSettings, device: torch.device) -> Scan:
        """A scan in HU, and labels (D, H, W), 0 to 1, on its grid."""
        image, gas = _prepared(tensor_of(scan.array, device), settings)
        return Scan(torch.stack([image, *(tensor_of(label, device) for label in labels)]), gas[None])

    def shrunk(self, maps: Sequence[Tensor]) -> Scan:
        """Through three matrices, one an axis (lattice.py)."""
        return Scan(apply(maps, self.images), apply(maps, self.gas))


@dataclass(frozen=True)
class Pair:
    """Both days on one lattice, axes z, y, x in mm."""

    voxels: Lattice
    fixed: Scan
    moving: Scan

    @property
    def device(self) -> torch.device:
        """Where all tensors lie."""
        return self.fixed.images.device

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """From the first voxel centre to the last, z, y, x."""
        z, y, x = (axis.extent_mm for axis in self.voxels)
        return z, y, x

    @staticmethod
    def of(fixed: Volume, moving: Volume, labels: LabelPairs, settings: RefineSettings, device: str) -> Pair:
        """Both scans, HU, and the labels (daily, planning), all on one axial grid."""
        grid, place = fixed.grid, torch.device(device)
        z, y, x = (Axis(0.0, step, count) for step, count in zip(grid.spacing_mm, grid.size, strict=True))
        return Pair(
            (z, y, x),
            Scan.of(fixed, [daily for daily, _ in labels], settings, place),
            Scan.of(moving, [planned for _, planned in labels], settings, place),
        )

    def at_level(self, spacing_mm: float) -> Pair:
        """Both days averaged to a coarser spacing."""
        z, y, x = (cells(extent, spacing_mm) for extent in self.extent_mm)
        maps = [_shrinking(v, c).to(self.device) for v, c in zip(self.voxels, (z, y, x), strict=True)]
        return Pair((z, y, x), self.fixed.shrunk(maps), self.moving.shrunk(maps))


class Sampler:
    """The moving day at displaced voxels, trilinear, the border value outside."""

    def __init__(self, scan: Scan, voxels: Lattice) -> None:
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


def label_pairs(moving: Mapping[str, LevelSet], fixed: LabelSets) -> LabelPairs:
    """Soft labels of the daily and the planning scan, (D, H, W) each, for the organs that both have."""
    return [(_soft(fixed[name]), _soft(moving[name])) for name in sorted(set(moving) & set(fixed))]


def _soft(label: LevelSet | Volume) -> NDArray[np.float32]:
    if isinstance(label, Volume):
        return np.clip(label.array, 0.0, 1.0)
    return (0.5 + 0.5 * np.tanh(label.array / _LABEL_EDGE_MM)).astype(np.float32)


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


def _shrinking(source: Axis, target: Axis) -> Tensor:
    """Averages over the width of the coarser point, or interpolates where there is nothing to average."""
    if target.step_mm < 1.5 * source.step_mm:
        return linear(source, target)
    return windows(source, target, 0.5 * target.step_mm)


def tensor_of(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """A copy, float32."""
    return torch.tensor(np.ascontiguousarray(array, np.float32), device=device)
