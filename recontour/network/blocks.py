"""The three bricks of all networks: convolution, resampling of feature maps, and the cross-stitch unit.

Shapes: B batch, C channels, then z, y, x.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.2  # of LeakyReLU: the default of TensorFlow, which the paper used


class Conv(nn.Sequential):
    """A 3x3x3 convolution with bias, batch norm, LeakyReLU.

    Valid, so a side loses 2 voxels; or, `strided`, with stride 2 and a padding of 1: an even side is halved.
    """

    def __init__(self, channels: int, width: int, strided: bool = False) -> None:
        stride, padding = (2, 1) if strided else (1, 0)
        super().__init__(
            nn.Conv3d(channels, width, 3, stride=stride, padding=padding),
            nn.BatchNorm3d(width),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )


def two_convs(channels: int, width: int) -> nn.Sequential:
    """(B, channels, n) -> (B, width, n - 4)."""
    return nn.Sequential(Conv(channels, width), Conv(width, width))


def up(features: Tensor) -> Tensor:
    """(B, C, n) -> (B, C, 2n), trilinear.

    align_corners=False: with True the spacing of the samples, and so the result, would depend on the patch's size.
    """
    return nn.functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)


def join(features: Tensor, skip: Tensor) -> Tensor:
    """(B, C, n) and (B, S, m >= n) -> (B, C + S, n): the middle of the skip connection beside the features."""
    low = [(have - want) // 2 for have, want in zip(skip.shape[2:], features.shape[2:], strict=True)]
    d, h, w = (slice(a, a + n) for a, n in zip(low, features.shape[2:], strict=True))
    return torch.cat([features, skip[:, :, d, h, w]], dim=1)


class CrossStitch(nn.Module):
    """Mixes the feature maps of the two tasks, channel by channel, with a learned 2x2 matrix (eq. 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 2, 2))  # [channel, to, from]; 0 segmentation, 1 registration
        nn.init.trunc_normal_(self.weight, mean=0.5, std=0.25, a=0.0, b=1.0)  # cut at two standard deviations

    def forward(self, segmentation: Tensor, registration: Tensor) -> tuple[Tensor, Tensor]:
        """Two of (B, C, n) -> two of (B, C, n)."""
        ss, sr, rs, rr = self.weight.reshape(-1, 4).t().reshape(4, 1, -1, 1, 1, 1)
        return ss * segmentation + sr * registration, rs * segmentation + rr * registration


class Heads(nn.Module):
    """One 1x1x1 convolution for each of the coarse, mid and fine resolutions."""

    def __init__(self, widths: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.coarse, self.mid, self.fine = (nn.Conv3d(width, channels, 1) for width in widths)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Three of (B, width, n) -> three of (B, channels, n), in the heads' own precision."""
        coarse, mid, fine = (f.to(self.fine.weight.dtype) for f in features)
        return self.coarse(coarse), self.mid(mid), self.fine(fine)


def initialise(network: nn.Module) -> None:
    """Convolutions: normal (0, 0.02), no offset (section III-B)."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
