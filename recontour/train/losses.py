"""The losses of the paper (eq. 1 to 6), each a mean over the batch, lower is better, float32.

Legend: B patches (both ways), K channels as LABELS, (d, h, w) voxels of one of the three output resolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recontour.errors import UsageError
from recontour.network.architectures import STARTS, STRIDES, Output
from recontour.network.catalogue import BENDING, DICE_REGISTRATION, DICE_SEGMENTATION, LABELS, SIMILARITY
from recontour.network.warp import warp
from recontour.train.batch import Batch
from recontour.train.boundary import boundary_loss
from recontour.train.mind import mind_loss
from recontour.train.settings import LossSettings

BOUNDARY, FIELD, CROSS_ENTROPY = "boundary", "field", "cross_entropy"
RESOLUTIONS = range(len(STRIDES))
TISSUE = -0.5  # HU / 1000: where less is shown nothing tells how it moved
ORGAN_WEIGHT = 4.0  # of a voxel in an organ, beside one of other tissue, in the field's loss
FLAT = 1e-4  # variance, (HU / 1000)^2, about that of noise: below it there is nothing to correlate

Size = tuple[int, int, int]


def loss_terms(output: Output, batch: Batch, loss: LossSettings, names: Sequence[str]) -> dict[str, Tensor]:
    """The terms `names` (of the catalogue's LOSSES, "boundary", "field", "cross_entropy"), unweighted, float32 scalars.

    batch: what `output` was made from, both ways. A term is the mean over the three resolutions (deep supervision);
    images and labels are cropped and strided to each. Raises UsageError where `output` lacks what a term is of.
    """
    with torch.autocast(batch.fixed.device.type, enabled=False):
        rows = [_terms_at(k, output, batch, loss, names) for k in RESOLUTIONS]
        return {name: torch.stack([row[name] for row in rows]).mean() for name in names}


def _terms_at(k: int, output: Output, batch: Batch, loss: LossSettings, names: Sequence[str]) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    spacing_mm = batch.spacing_mm * STRIDES[k]
    if {SIMILARITY, BENDING, DICE_REGISTRATION, FIELD} & set(names):
        field, size = _field(output, k)
        if SIMILARITY in names:
            moved = warp(batch.moving, field, STARTS[k], STRIDES[k], batch.spacing_mm)
            terms[SIMILARITY] = similarity_loss(at_resolution(batch.fixed, k, size), moved, loss, spacing_mm)
        if BENDING in names:
            terms[BENDING] = bending_energy(field, spacing_mm)
        if FIELD in names:
            terms[FIELD] = field_loss(field, batch, k)
        if DICE_REGISTRATION in names:
            truth = true_shares(batch, k, size)
            terms[DICE_REGISTRATION] = dice_loss(warped_shares(output, batch, k), truth, batch.known)
    if {DICE_SEGMENTATION, BOUNDARY, CROSS_ENTROPY} & set(names):
        logits, size = _logits(output, k)
        probabilities = logits.softmax(dim=1)
        if DICE_SEGMENTATION in names:
            terms[DICE_SEGMENTATION] = dice_loss(probabilities, true_shares(batch, k, size), batch.known)
        if BOUNDARY in names:
            labels = at_resolution(batch.fixed_labels, k, size)
            terms[BOUNDARY] = boundary_loss(probabilities, labels, batch.known, spacing_mm)
        if CROSS_ENTROPY in names:
            terms[CROSS_ENTROPY] = cross_entropy_loss(logits, at_resolution(batch.fixed_labels, k, size), batch.known)
    return terms


def warped_shares(output: Output, batch: Batch, k: int) -> Tensor:
    """The moving labels, one-hot, warped by the field of resolution k: (B, K, d, h, w) float32, 0 to 1.

    A channel that is not known in a patch is 0 there, as in `true_shares`.
    """
    field, _ = _field(output, k)
    return warp(_known_one_hot(batch.moving_labels, batch.known), field, STARTS[k], STRIDES[k], batch.spacing_mm)


def true_shares(batch: Batch, k: int, size: Size) -> Tensor:
    """The fixed labels, one-hot, at resolution k with `size` voxels: (B, K, d, h, w) float32, 0 or 1."""
    return _known_one_hot(at_resolution(batch.fixed_labels, k, size), batch.known)


def _known_one_hot(labels: Tensor, known: Tensor) -> Tensor:
    return one_hot(labels, len(LABELS)) * known[:, :, None, None, None]


def _field(output: Output, k: int) -> tuple[Tensor, Size]:
    if output.field_mm is None:
        raise UsageError("a loss of the displacements", where="loss", allowed="for a network that registers")
    return output.field_mm[k].float(), _size(output.field_mm[k])


def _logits(output: Output, k: int) -> tuple[Tensor, Size]:
    if output.logits is None:
        raise UsageError("a loss of the segmentation", where="loss", allowed="for a network that segments")
    return output.logits[k].float(), _size(output.logits[k])


def _size(tensor: Tensor) -> Size:
    d, h, w = tensor.shape[2:]
    return d, h, w


def at_resolution(image: Tensor, k: int, size: tuple[int, ...]) -> Tensor:
    """The voxels of an input patch that output k lies over: cropped and strided."""
    d, h, w = (slice(STARTS[k], STARTS[k] + STRIDES[k] * n, STRIDES[k]) for n in size)
    return image[:, :, d, h, w]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, 1, ...) int -> (B, classes, ...) float32."""
    return torch.cat([(labels == c).float() for c in range(classes)], dim=1)


def dice_loss(probabilities: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Eq. 1: 1 - mean over classes of 2 |A B| / (|A| + |B|), sums over the batch as well as the voxels.

    probabilities, truth: (B, K, d, h, w). known: (B, K) bool; what is not known counts in no sum, and a class that no
    patch knows is not in the mean (0 where none is). One voxel is added above and below, so that a class that is
    rightly absent counts as found.
    """
    shared = ((probabilities * truth).sum((2, 3, 4)) * known).sum(0)  # (K,)
    both = ((probabilities.sum((2, 3, 4)) + truth.sum((2, 3, 4))) * known).sum(0)
    taught = known.any(dim=0)
    missing = 1.0 - (2.0 * shared + 1.0) / (both + 1.0)
    return (missing * taught).sum() / taught.sum().clamp(min=1)


def cross_entropy_loss(logits: Tensor, truth_labels: Tensor, known: Tensor) -> Tensor:
    """The mean over voxels of -log p of the true label.

    logits: (B, K, d, h, w). truth_labels: (B, 1, d, h, w) int. known: (B, K) bool; a voxel whose label is not known in
    its patch does not count, 0 where none is left. Every voxel pulls on its own, however small its organ and however
    sure the network is of the opposite: beside Dice it teaches small organs early (Isensee et al., Nat Methods 2021).
    """
    truth = truth_labels[:, 0]
    counted = known.gather(1, truth.flatten(1)).view(truth.shape)
    surprise = nn.functional.cross_entropy(logits, truth, reduction="none")  # (B, d, h, w)
    return (surprise * counted).sum() / counted.sum().clamp(min=1)


def similarity_loss(fixed: Tensor, moved: Tensor, loss: LossSettings, spacing_mm: float) -> Tensor:
    """How unlike the daily and the warped planning scan are, (B, 1, d, h, w) both, as `loss.similarity` has it."""
    if loss.similarity == "mind":
        return mind_loss(fixed, moved, spacing_mm)
    return local_ncc_loss(fixed, moved, loss.local_window) if loss.similarity == "local-ncc" else ncc_loss(fixed, moved)


def ncc_loss(fixed: Tensor, moved: Tensor) -> Tensor:
    """Eq. 2: 1 - the correlation coefficient over each patch, (B, 1, d, h, w) both."""
    over = (1, 2, 3, 4)
    a, b = fixed - fixed.mean(over, keepdim=True), moved - moved.mean(over, keepdim=True)
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


def field_loss(field_mm: Tensor, batch: Batch, k: int) -> Tensor:
    """How far the displacements (B, 3, d, h, w) of resolution k are from the true ones, about in mm: the mean over
    tissue of the smooth L1 distance (quadratic below 1 mm), components summed; 0 where the truth is not known."""
    if batch.motion is None:
        return field_mm.sum() * 0.0
    size = _size(field_mm)
    truth = at_resolution(batch.motion[:, :3], k, size)
    tissue = (at_resolution(batch.fixed, k, size) > TISSUE).float()
    weight = tissue * (1.0 + (ORGAN_WEIGHT - 1.0) * (at_resolution(batch.fixed_labels, k, size) > 0))
    off = nn.functional.smooth_l1_loss(field_mm, truth, reduction="none").sum(1, keepdim=True)
    return (off * weight).sum() / weight.sum().clamp(min=1.0)


def bending_energy(field_mm: Tensor, spacing_mm: float) -> Tensor:
    """Eq. 3: the mean over voxels of the squared Frobenius norm of the Hessian, all components, in 1 / mm^2.

    field_mm: (B, 3, d, h, w). By central differences, at the voxels whose neighbours all lie inside.
    """
    pure = [_second(field_mm, axis, axis).square() for axis in (2, 3, 4)]
    mixed = [2.0 * _second(field_mm, a, b).square() for a, b in ((2, 3), (2, 4), (3, 4))]  # the Hessian has them twice
    return sum(pure + mixed, torch.zeros_like(pure[0])).sum(1).mean() / spacing_mm**4


def _second(u: Tensor, a: int, b: int) -> Tensor:
    """The second difference along axes a and b, away from the border."""
    if a == b:
        return _neighbours(u, {a: 1}) - 2.0 * _neighbours(u, {}) + _neighbours(u, {a: -1})
    same = _neighbours(u, {a: 1, b: 1}) + _neighbours(u, {a: -1, b: -1})
    return (same - _neighbours(u, {a: 1, b: -1}) - _neighbours(u, {a: -1, b: 1})) / 4.0


def _neighbours(u: Tensor, steps: dict[int, int]) -> Tensor:
    """Of every voxel but the outermost, the one that lies `steps` (axis -> -1 or 1) away."""
    for axis in (2, 3, 4):
        u = u.narrow(axis, 1 + steps.get(axis, 0), u.shape[axis] - 2)
    return u
