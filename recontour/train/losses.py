"""The losses of the paper (eq. 1 to 6), each a mean over the batch, lower is better.

Shapes: (B, C, D, H, W) at one of the three output resolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recontour.network.architectures import STARTS, STRIDES, Output
from recontour.network.warp import warp

RESOLUTIONS = range(3)
FLAT = 1e-4  # variance, (HU / 1000)^2, about that of noise: below it there is nothing to correlate


@dataclass(frozen=True)
class LossWeights:
    """w0 to w3 of eq. 6; the paper keeps the bending energy at 0.5.

    local_window: side, in voxels of each resolution, of the windows that the correlation is taken in; 0: the whole
    patch, as in the paper.
    """

    similarity: float = 1.0
    dice_registration: float = 1.0
    dice_segmentation: float = 1.0
    bending: float = 0.5
    local_window: int = 0


@dataclass(frozen=True)
class Batch:
    """fixed, moving: (B, 1, n, n, n) float32, HU / 1000. fixed_labels, moving_labels: (B, 1, n, n, n) int64."""

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor

    def both_ways(self) -> Batch:
        """Twice the batch: fixed and moving swapped in the second half (section III-B)."""

        def doubled(a: Tensor, b: Tensor) -> Tensor:
            return torch.cat([a, b])

        return Batch(
            doubled(self.fixed, self.moving),
            doubled(self.moving, self.fixed),
            doubled(self.fixed_labels, self.moving_labels),
            doubled(self.moving_labels, self.fixed_labels),
        )


def joint_loss(output: Output, batch: Batch, weights: LossWeights, classes: int) -> tuple[Tensor, dict[str, float]]:
    """Eq. 6, a third for each resolution (deep supervision), and its terms by name before weighting."""
    sums: dict[str, Tensor] = {}
    for k in RESOLUTIONS:
        for name, term in _terms(output, batch, k, weights.local_window, classes).items():
            sums[name] = sums.get(name, torch.zeros(())) + term / len(RESOLUTIONS)
    total = sum((getattr(weights, name) * term for name, term in sums.items()), torch.zeros(()))
    return total, {name: float(term.detach()) for name, term in sums.items()}


def _terms(output: Output, batch: Batch, k: int, window: int, classes: int) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    truth = None
    if output.logits is not None:
        truth = one_hot(at_resolution(batch.fixed_labels, k, tuple(output.logits[k].shape[2:])), classes)
        terms["dice_segmentation"] = dice_loss(output.logits[k].float().softmax(dim=1), truth)
    if output.field_mm is not None:
        field = output.field_mm[k].float()
        size = tuple(field.shape[2:])
        if truth is None:
            truth = one_hot(at_resolution(batch.fixed_labels, k, size), classes)
        fixed = at_resolution(batch.fixed, k, size)
        moved = warp(batch.moving, field, STARTS[k], STRIDES[k])
        labels = warp(one_hot(batch.moving_labels, classes), field, STARTS[k], STRIDES[k])
        terms["similarity"] = local_ncc_loss(fixed, moved, window) if window else ncc_loss(fixed, moved)
        terms["dice_registration"] = dice_loss(labels, truth)
        terms["bending"] = bending_energy(field, float(STRIDES[k]))
    return terms


def at_resolution(image: Tensor, k: int, size: tuple[int, ...]) -> Tensor:
    """The voxels of an input patch that output k lies over: cropped and strided."""
    d, h, w = (slice(STARTS[k], STARTS[k] + STRIDES[k] * n, STRIDES[k]) for n in size)
    return image[:, :, d, h, w]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, 1, ...) int -> (B, classes, ...) float32."""
    return torch.cat([(labels == c).float() for c in range(classes)], dim=1)


def dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Eq. 1: 1 - mean over classes of 2 |A B| / (|A| + |B|), sums over the batch as well as the voxels.

    One voxel is added above and below, so that a class that is rightly absent counts as found.
    """
    over = (0, 2, 3, 4)
    shared, both = (probabilities * truth).sum(over), probabilities.sum(over) + truth.sum(over)
    return 1.0 - ((2.0 * shared + 1.0) / (both + 1.0)).mean()


def ncc_loss(fixed: Tensor, moved: Tensor) -> Tensor:
    """Eq. 2: 1 - the correlation coefficient over each patch, (B, 1, ...) both."""
    a = fixed - fixed.mean(dim=(1, 2, 3, 4), keepdim=True)
    b = moved - moved.mean(dim=(1, 2, 3, 4), keepdim=True)
    over = (1, 2, 3, 4)
    scale = ((a * a).mean(over) + FLAT).sqrt() * ((b * b).mean(over) + FLAT).sqrt()
    return (1.0 - (a * b).mean(over) / scale).mean()


def local_ncc_loss(fixed: Tensor, moved: Tensor, window: int) -> Tensor:
    """1 - the mean squared correlation over all windows of `window`^3 voxels that lie inside the patch.

    Squared and local: it asks whether the same edges lie at the same places, not whether the gas is the same.
    """
    window = min(window, *fixed.shape[2:])

    def mean(image: Tensor) -> Tensor:
        return nn.functional.avg_pool3d(image, window, stride=1)

    a, b = mean(fixed), mean(moved)
    covariance = mean(fixed * moved) - a * b
    variances = (mean(fixed * fixed) - a * a + FLAT) * (mean(moved * moved) - b * b + FLAT)
    return 1.0 - (covariance * covariance / variances).mean()


def bending_energy(field_mm: Tensor, spacing_mm: float) -> Tensor:
    """Eq. 3: the mean over voxels of the squared Frobenius norm of the Hessian, all components, in 1 / mm^2.

    By central differences, at the voxels whose neighbours all lie inside. Mixed derivatives count twice.
    """
    u = field_mm
    c = slice(1, -1)
    total = torch.zeros(u.shape[0], *(n - 2 for n in u.shape[2:]), dtype=u.dtype, device=u.device)
    for axis in (2, 3, 4):
        total = total + _second(u, axis, axis)[:, :, c, c, c].square().sum(1)
    for a, b in ((2, 3), (2, 4), (3, 4)):
        total = total + 2.0 * _second(u, a, b)[:, :, c, c, c].square().sum(1)
    return total.mean() / spacing_mm**4


def _second(u: Tensor, a: int, b: int) -> Tensor:
    """The second difference along axes a and b, valid away from the border (torch.roll wraps around there)."""
    if a == b:
        return u.roll(-1, a) - 2.0 * u + u.roll(1, a)
    ahead, behind = u.roll(-1, a), u.roll(1, a)
    return (ahead.roll(-1, b) - ahead.roll(1, b) - behind.roll(-1, b) + behind.roll(1, b)) / 4.0
