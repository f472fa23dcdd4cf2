"""The boundary loss of Kervadec et al., MIDL 2019 (PMLR 102:285-296): how far off the wrong voxels are."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.geometry.boxes import bounding_box


def boundary_loss(probabilities: Tensor, truth_labels: Tensor, known: Tensor, spacing_mm: float) -> Tensor:
    """The mean over voxels and organs of (p - g) * phi, in mm (eq. 5 to 8; g is 1 inside the truth, else 0).

    probabilities: (B, K, d, h, w), K as LABELS; the background has no term. truth_labels: (B, 1, d, h, w) int.
    known: (B, K) bool. phi is the signed distance to the truth's boundary, negative inside. An organ with no boundary
    in a patch, or not known there, drops out of the mean; 0 where none is left.

    Kervadec leaves out the part with g, which does not depend on p; with it the loss is 0 for the truth and positive
    for all else. Divided by the number of voxels, not by the organ's: a wrong voxel costs the same in every organ, so
    small ones are not drowned. In mm it needs no further factor: 4 mm off an organ that fills a tenth of the patch, a
    voxel weighs about as much as it does in the Dice of five classes, nearer less, farther more.
    """
    distance, truth, has_boundary = _maps(truth_labels, probabilities.shape[1] - 1, spacing_mm)
    where = probabilities.device
    counted = torch.as_tensor(has_boundary).to(where) & known[:, 1:]  # (B, K - 1)
    wrong = probabilities[:, 1:] - torch.as_tensor(truth).to(where)
    per_organ = (wrong * torch.as_tensor(distance).to(where)).mean((2, 3, 4))
    return (per_organ * counted).sum() / counted.sum().clamp(min=1)


def signed_distance_mm(inside: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.float32]:
    """(d, h, w) mm, negative inside: the distance to the boundary, which lies half-way between the centres of voxels
    inside and outside. There must be both."""
    out = _to_nearest(~inside, spacing_mm)
    box = bounding_box(inside, 1)  # with a rim of outside: none farther can be nearest
    assert box is not None
    out[box] -= _to_nearest(inside[box], spacing_mm)
    return out


def _to_nearest(mask: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.float32]:
    """Where `mask` is, mm to the border of the nearest voxel where it is not; elsewhere 0."""
    from scipy import ndimage

    distance = cast("Any", ndimage).distance_transform_edt(mask, sampling=spacing_mm)
    return np.where(mask, distance - spacing_mm / 2, 0.0).astype(np.float32)


def _maps(
    labels: Tensor, organs: int, spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """phi and g, (B, organs, d, h, w) float32, and which organs have a boundary, (B, organs); phi is 0 elsewhere."""
    volumes = cast("NDArray[np.int64]", labels[:, 0].detach().cpu().numpy())
    truth = np.stack([volumes == organ for organ in range(1, organs + 1)], axis=1)
    has_boundary = np.asarray(truth.any(axis=(2, 3, 4)) & ~truth.all(axis=(2, 3, 4)))
    distance = np.zeros(truth.shape, np.float32)
    for patch, organ in np.argwhere(has_boundary):
        distance[patch, organ] = signed_distance_mm(truth[patch, organ], spacing_mm)
    return distance, truth.astype(np.float32), has_boundary
