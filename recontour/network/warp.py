"""The spatial transformer: images warped by a displacement field, differentiable in both."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def warp(
    image: Tensor, field_mm: Tensor, start: int = 0, stride: int = 1, spacing_mm: float = 1.0,
    between: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:  # fmt: skip
    """The image, taken where the field points.

    image: (B, C, D, H, W). field_mm: (B, 3, d, h, w), mm, components x, y, z, so component 0 moves along W.
    Output voxel k lies over image voxel start + stride * k and takes the value that the image has, trilinearly (or in
    the nearest voxel, for labels), at that place + field / spacing_mm; beyond the image the nearest border value holds.
    Returns (B, C, d, h, w).
    """
    places = _places(field_mm, start, stride, spacing_mm)
    last = torch.tensor([max(n - 1, 1) for n in reversed(image.shape[2:])], dtype=places.dtype, device=places.device)
    normalised = 2.0 * places / last - 1.0  # -1 and 1 are the centres of the first and the last voxel
    if len(image) == 1:
        return sample(image[0], normalised[0], between, align_corners=True)[None]
    return torch.nn.functional.grid_sample(image, normalised, between, "border", align_corners=True)


def sample(
    image: Tensor, places: Tensor, between: Literal["bilinear", "nearest"] = "bilinear", *, align_corners: bool
) -> Tensor:
    """(C, d, h, w): what an image (C, D, H, W) has at places (d, h, w, 3), x y z from -1 to 1, as `grid_sample` counts
    them; beyond the image its border.

    Each plane is a sample of its own, of the same image: only over samples are threads shared out on a processor.
    """
    source = image.expand(len(places), *image.shape)
    out = torch.nn.functional.grid_sample(source, places[:, None], between, "border", align_corners=align_corners)
    return out[:, :, 0].transpose(0, 1)


def _places(field_mm: Tensor, start: int, stride: int, spacing_mm: float) -> Tensor:
    """(B, d, h, w, 3): where each output voxel looks, in image voxels, in the order x, y, z of grid_sample."""
    z, y, x = (
        start + stride * torch.arange(n, dtype=field_mm.dtype, device=field_mm.device) for n in field_mm.shape[2:]
    )
    own = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)  # (d, h, w, 3)
    return own + field_mm.movedim(1, -1) / spacing_mm
