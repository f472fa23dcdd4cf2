"""The network alone, made to settle: its own pull is taken away, and it is asked again about what it left.

Shown the planning scan beside itself, a perfect network would answer that nothing moved. Where contours are drawn
otherwise than in its training, it pulls them to where it would have drawn them, on every day alike; its answer to the
planning scan beside itself is that pull, and is subtracted. And it leaves a share of a large motion: asked again, with
the planning scan where the first answer puts it, it sees the rest as a small one (Zhao et al., ICCV 2019, "Recursive
cascaded networks").
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.geometry.boxes import bounding_box
from recontour.geometry.field import Field
from recontour.geometry.volume import Volume
from recontour.network.around import predict_around_organs
from recontour.network.catalogue import LABELS
from recontour.network.predict import Precision, Prediction
from recontour.network.released import ReleasedModel
from recontour.network.warp import warp

_ROUNDS = 3  # of looking up the pull where the answer leads: it is a mm or two, and smooth


def predict_settled(
    model: ReleasedModel,
    fixed: Volume,
    moving: Volume,
    moving_labels: NDArray[np.uint8],
    device: str = "auto",
    precision: Precision = "auto",
) -> Prediction:
    """As `predict_around_organs`, with a better field; asks the network three times. The probabilities are those of its
    first answer, as is all of a network that does not register."""
    first = predict_around_organs(model, fixed, moving, moving_labels, device, precision)
    if first.field is None:
        return first
    pull = _asked(model, moving, moving, moving_labels, device, precision)
    field = _without_pull(_tensor(first.field.array), pull)
    moved = Volume(moving.grid, warp(_tensor(moving.array[None]), field)[0, 0].numpy())
    left = _asked(model, fixed, moved, _moved_labels(moving_labels, field), device, precision)
    left = _without_pull(left, warp(pull, field))
    return replace(first, field=Field(fixed.grid, (left + warp(field, left))[0].numpy()))


def _asked(
    model: ReleasedModel, fixed: Volume, moving: Volume, labels: NDArray[np.uint8], device: str, precision: Precision
) -> Tensor:
    """(1, 3, D, H, W) mm."""
    field = predict_around_organs(model, fixed, moving, labels, device, precision).field
    assert field is not None
    return _tensor(field.array)


def _without_pull(field: Tensor, pull: Tensor) -> Tensor:
    """v with v(y) = field(y) - pull(y + v(y)), (1, 3, D, H, W) in voxels: the pull is at home in the planning scan."""
    moving = (field.abs().amax(dim=1) + pull.abs().amax(dim=1))[0].numpy()
    box = bounding_box(moving, 0)  # beyond it both are zero
    if box is None:
        return field
    given, known = field[..., *box], pull[..., *box]
    found = given
    for _ in range(_ROUNDS):
        found = given - warp(known, found)
    out = torch.zeros_like(field)
    out[..., *box] = found
    return out


def _moved_labels(labels: NDArray[np.uint8], field: Tensor) -> NDArray[np.uint8]:
    """The label that has most of a voxel, where any has more than half."""
    shares = torch.stack([warp(_tensor((labels == k)[None]), field)[0, 0] for k in range(1, len(LABELS))])
    most, which = shares.max(dim=0)
    return torch.where(most > 0.5, which + 1, 0).to(torch.uint8).numpy()


def _tensor(array: NDArray[np.float32] | NDArray[np.bool_]) -> Tensor:
    """(C, D, H, W) as a batch of one, float32."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]  # pyright: ignore[reportUnknownMemberType]
