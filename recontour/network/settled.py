"""The network alone, made to settle: its own pull is taken away, and it is asked again about what it left.

Shown the planning scan beside itself, a perfect network would answer that nothing moved. Where contours are drawn
otherwise than in its training, it pulls them to where it would have drawn them, on every day alike; its answer to the
planning scan beside itself is that pull, and is subtracted. And it leaves a share of a large motion: asked again, with
the planning scan where the answer so far puts it, it sees the rest as a small one (Zhao et al., ICCV 2019, "Recursive
cascaded networks"). The rest is asked for in both directions: the motion changes its sign and the pull does not, so
that half the difference is the motion.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.geometry.boxes import bounding_box
from recontour.geometry.crop import crop_field, crop_volume
from recontour.geometry.field import Field
from recontour.geometry.grid import Index
from recontour.geometry.volume import Volume
from recontour.network.architectures import without_segmentation
from recontour.network.around import predict_around_organs
from recontour.network.coarse import coarser_scan, finer
from recontour.network.predict import Precision, Prediction
from recontour.network.released import ReleasedModel
from recontour.network.warp import warp

_ROUNDS = 2  # of looking up the pull where the answer leads: it is a mm or two, and smooth
_BOTH_WAYS = 2  # times that what is left is asked for: a third changes next to nothing
_BLOCK = 2  # voxels a side: fields are smooth, and are looked up in an eighth of the places
_MARGIN_VOXELS = 16  # around where the first answer moves anything; a region may be many times larger


def predict_settled(
    model: ReleasedModel,
    fixed: Volume,
    moving: Volume,
    moving_labels: NDArray[np.uint8],
    device: str = "auto",
    precision: Precision = "auto",
) -> Prediction:
    """As `predict_around_organs`, with a better field; asks the network six times. The probabilities are those of its
    first answer, as is all of a network that does not register."""
    first = predict_around_organs(model, fixed, moving, moving_labels, device, precision)
    if first.field is None:
        return first
    box = bounding_box(np.abs(first.field.array).max(axis=0), _MARGIN_VOXELS)
    if box is None:
        return first
    near = fixed.grid.part(box)
    registering = replace(model, network=without_segmentation(model.network))
    ask = partial(_asked, registering, device=device, precision=precision)
    fixed, moving, labels = crop_volume(fixed, near), crop_volume(moving, near), moving_labels[box]
    field = _without_pull(_blocks(crop_field(first.field, near)), ask(moving, moving, labels))
    for _ in range(_BOTH_WAYS):
        moved, moved_labels = _moved(moving, labels, _voxels(field, near.size))
        left = (ask(fixed, moved, moved_labels) - ask(moved, fixed, moved_labels)) / 2
        field = left + warp(field, left, spacing_mm=_BLOCK)
    whole = np.zeros_like(first.field.array)
    whole[(slice(None), *box)] = _voxels(field, near.size)[0].numpy()
    return replace(first, field=Field(first.field.grid, whole))


def _asked(
    model: ReleasedModel, fixed: Volume, moving: Volume, labels: NDArray[np.uint8], device: str, precision: Precision
) -> Tensor:
    field = predict_around_organs(model, fixed, moving, labels, device, precision).field
    assert field is not None
    return _blocks(field)


def _without_pull(field: Tensor, pull: Tensor) -> Tensor:
    """v with v(y) = field(y) - pull(y + v(y)): the pull is at home in the planning scan."""
    found = field
    for _ in range(_ROUNDS):
        found = field - warp(pull, found, spacing_mm=_BLOCK)
    return found


def _moved(moving: Volume, labels: NDArray[np.uint8], field: Tensor) -> tuple[Volume, NDArray[np.uint8]]:
    """The planning scan and its labels where a field (1, 3, D, H, W) puts them."""
    scan = warp(torch.as_tensor(moving.array)[None, None], field)
    organs = warp(torch.as_tensor(labels).float()[None, None], field, between="nearest")
    return Volume(moving.grid, scan[0, 0].numpy()), organs[0, 0].to(torch.uint8).numpy()


def _blocks(field: Field) -> Tensor:
    """(1, 3, d, h, w) mm, means over blocks of _BLOCK voxels a side."""
    return torch.stack([coarser_scan(torch.as_tensor(component), _BLOCK) for component in field.array])[None]


def _voxels(blocks: Tensor, size: Index) -> Tensor:
    """Of (1, 3, d, h, w) at blocks: (1, 3, *size) at voxels."""
    return finer(blocks[0], _BLOCK, (0, 0, 0), size)[None]
