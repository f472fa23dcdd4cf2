"""The six networks of Elmahdy et al., IEEE Access 2021, whole, from top to bottom.

All share one shape. For an input patch of n^3 voxels (n a multiple of 4, at least 44):

    level 0   two convolutions           n - 4     ------------------------------.
    down 0    strided convolution        n/2 - 2                                 |
    level 1   two convolutions           n/2 - 6   -----------------.            |
    down 1    strided convolution        n/4 - 3                    |            |
    level 2   two convolutions           n/4 - 7   = coarse output  |            |
    up, join                             n/2 - 14  <----------------'            |
    level 3   two convolutions           n/2 - 18  = mid output                  |
    up, join                             n - 36    <-----------------------------'
    level 4   two convolutions           n - 40    = fine output

Output voxel k of a resolution lies over input voxel START + STRIDE * k.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, cat, nn

from recontour.errors import UsageError
from recontour.network.blocks import Conv, CrossStitch, Heads, initialise, join, two_convs, up
from recontour.network.catalogue import (
    ARCHITECTURES,
    FIXED,
    INPUTS,
    LABELS,
    MOVING,
    MOVING_LABELS,
    Architecture,
)

__all__ = ["ARCHITECTURES", "LABELS", "STARTS", "STRIDES", "Network", "Output", "build_network", "output_sizes"]

STARTS = (14, 18, 20)  # coarse, mid, fine
STRIDES = (4, 2, 1)

Three = tuple[Tensor, Tensor, Tensor]
Widths = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Output:
    """Both of coarse, mid and fine resolution; None where the network has no such head.

    field_mm: (B, 3, d, h, w), displacement in mm with components x, y, z, from the daily to the planning scan.
    logits: (B, K, d, h, w), one channel for each of LABELS, before the softmax.
    """

    field_mm: Three | None
    logits: Three | None


def output_sizes(n: int) -> tuple[int, int, int]:
    """Sides of the coarse, mid and fine output of an input with side n. Raises UsageError where n does not fit."""
    if n % 4 or n < 44:
        raise UsageError(f"a patch with a side of {n} voxels", where="network", allowed="multiples of 4 from 44 on")
    return n // 4 - 7, n // 2 - 18, n - 40


class Encoder(nn.Module):
    """Levels 0 and 1."""

    def __init__(self, channels: int, widths: Widths) -> None:
        super().__init__()
        self.level0 = two_convs(channels, widths[0])
        self.down0 = Conv(widths[0], widths[0], strided=True)
        self.level1 = two_convs(widths[0], widths[1])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, n) -> (B, w0, n - 4), (B, w1, n/2 - 6)."""
        level0 = self.level0(image)
        return level0, self.level1(self.down0(level0))


class Decoder(nn.Module):
    """From the second strided convolution to the fine output."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        _, w1, w2, w3, w4 = widths
        self.down1 = Conv(w1, w1, strided=True)
        self.level2 = two_convs(w1, w2)
        self.level3 = two_convs(w2 + w1, w3)
        self.level4 = two_convs(w3 + widths[0], w4)

    def forward(self, level0: Tensor, level1: Tensor) -> Three:
        """(B, w0, n - 4), (B, w1, n/2 - 6) -> (B, w2, n/4 - 7), (B, w3, n/2 - 18), (B, w4, n - 40)."""
        coarse = self.level2(self.down1(level1))
        mid = self.level3(join(up(coarse), level1))
        return coarse, mid, self.level4(join(up(mid), level0))


class Network(nn.Module):
    """What all six have in common: the inputs, the heads, and one way to be called."""

    def __init__(self, architecture: Architecture, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.architecture = architecture
        self.inputs = inputs
        self.segmentation_inputs: tuple[str, ...] = ()  # where that path has inputs of its own
        widths = architecture.widths[2:]
        self.segment = Heads(widths, len(LABELS)) if "segmentation" in architecture.heads else None
        self.register_field = Heads(widths, 3) if "field" in architecture.heads else None

    def forward(self, fixed: Tensor, moving: Tensor, moving_labels: Tensor) -> Output:
        """Three of (B, 1, D, H, W) -> Output.

        fixed, moving: the daily and the planning scan on one 1 mm grid, HU / 1000 within the window of the card.
        moving_labels: the planning label map, values as in LABELS. Sides are multiples of 4 from 44 on.
        """
        given = {FIXED: fixed, MOVING: moving, MOVING_LABELS: moving_labels}
        segmentation, registration = self.features(given)
        return Output(
            self.register_field(registration) if self.register_field is not None else None,
            self.segment(segmentation) if self.segment is not None else None,
        )

    def features(self, given: dict[str, Tensor]) -> tuple[Three, Three]:
        """The feature maps that the segmentation and the registration heads see, at three resolutions each."""
        raise NotImplementedError


def stack(given: dict[str, Tensor], inputs: tuple[str, ...]) -> Tensor:
    """Images by name, each (B, 1, D, H, W), as channels in the order of `inputs`: (B, number of inputs, D, H, W)."""
    return cat([given[name] for name in inputs], dim=1)


class SingleNetwork(Network):
    """Seg, Reg, JRS-reg and Dense: one encoder, one decoder (figure 1a)."""

    def __init__(self, architecture: Architecture, inputs: tuple[str, ...]) -> None:
        super().__init__(architecture, inputs)
        self.encoder = Encoder(len(inputs), architecture.widths)
        self.decoder = Decoder(architecture.widths)

    def features(self, given: dict[str, Tensor]) -> tuple[Three, Three]:
        """The same maps for both."""
        both = self.decoder(*self.encoder(stack(given, self.inputs)))
        return both, both


class SharedEncoder(Network):
    """SEDD: one encoder, two decoders (figure 1b)."""

    def __init__(self, architecture: Architecture, inputs: tuple[str, ...]) -> None:
        super().__init__(architecture, inputs)
        self.encoder = Encoder(len(inputs), architecture.widths)
        self.segmentation = Decoder(architecture.widths)
        self.registration = Decoder(architecture.widths)

    def features(self, given: dict[str, Tensor]) -> tuple[Three, Three]:
        """One decoder's maps each."""
        level0, level1 = self.encoder(stack(given, self.inputs))
        return self.segmentation(level0, level1), self.registration(level0, level1)


class CrossStitchNetwork(Network):
    """Two networks with a cross-stitch unit after each down-sampling and each up-sampling (figure 1c)."""

    def __init__(
        self, architecture: Architecture, inputs: tuple[str, ...], segmentation_inputs: tuple[str, ...] = (FIXED,)
    ) -> None:
        super().__init__(architecture, inputs)
        self.segmentation_inputs = segmentation_inputs
        widths = architecture.widths
        self.segmentation_encoder = Encoder(len(segmentation_inputs), widths)
        self.segmentation_decoder = Decoder(widths)
        self.registration_encoder, self.registration_decoder = Encoder(len(inputs), widths), Decoder(widths)
        self.stitch_down0, self.stitch_down1 = CrossStitch(widths[0]), CrossStitch(widths[1])
        self.stitch_up0, self.stitch_up1 = CrossStitch(widths[2]), CrossStitch(widths[3])

    def features(self, given: dict[str, Tensor]) -> tuple[Three, Three]:
        """Each path's own maps. As the paper chose it, the segmentation path sees the daily scan alone, and the rest
        through the units.

        A unit after an up-sampling is computed before it: both are linear in each channel, so that the order is
        nothing to the result, and an eighth of the voxels is less work.
        """
        s_in, s_out = self.segmentation_encoder, self.segmentation_decoder
        r_in, r_out = self.registration_encoder, self.registration_decoder

        s0 = s_in.level0(stack(given, self.segmentation_inputs))  # n - 4
        r0 = r_in.level0(stack(given, self.inputs))
        s, r = self.stitch_down0(s_in.down0(s0), r_in.down0(r0))  # n/2 - 2
        s1, r1 = s_in.level1(s), r_in.level1(r)  # n/2 - 6
        s, r = self.stitch_down1(s_out.down1(s1), r_out.down1(r1))  # n/4 - 3
        s2, r2 = s_out.level2(s), r_out.level2(r)  # n/4 - 7
        s, r = self.stitch_up0(s2, r2)
        s3, r3 = s_out.level3(join(up(s), s1)), r_out.level3(join(up(r), r1))  # up: n/2 - 14; n/2 - 18
        s, r = self.stitch_up1(s3, r3)
        r4 = r_out.level4(join(up(r), r0))  # up: n - 36; n - 40
        s4 = s3 if self.segment is None else s_out.level4(join(up(s), s0))  # not asked for: see without_segmentation
        return (s2, s3, s4), (r2, r3, r4)


def without_segmentation(network: Network) -> Network:
    """A copy that registers as before and does not segment: what only the segmentation needs is not computed."""
    copied = copy.deepcopy(network)
    copied.segment = None
    return copied


_KINDS: dict[str, type[Network]] = {
    "seg": SingleNetwork,
    "reg": SingleNetwork,
    "jrs-reg": SingleNetwork,
    "dense": SingleNetwork,
    "sedd": SharedEncoder,
    "cross-stitch": CrossStitchNetwork,
}


def build_network(
    name: str, inputs: tuple[str, ...] | None = None, segmentation_inputs: tuple[str, ...] | None = None
) -> Network:
    """One of ARCHITECTURES, freshly initialised from torch's random state.

    `inputs`: other input channels than the paper's choice, as it compares them (table 1); some of INPUTS, each once.
    `segmentation_inputs`: likewise for the segmentation path of the cross-stitch network, which alone has its own.
    Raises UsageError on an unknown name or input.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"unknown network {name!r}", where="architecture", allowed=", ".join(ARCHITECTURES))
    row = ARCHITECTURES[name]
    chosen = _checked(inputs or row.inputs)
    if segmentation_inputs and name != "cross-stitch":
        raise UsageError("segmentation_inputs", where=name, allowed="only for the cross-stitch network")
    if segmentation_inputs:
        network: Network = CrossStitchNetwork(row, chosen, _checked(segmentation_inputs))
    else:
        network = _KINDS[name](row, chosen)
    initialise(network)
    return network


def _checked(inputs: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(inputs)
    if FIXED not in chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(INPUTS):
        allowed = f"{FIXED}, and others of {', '.join(INPUTS)}, once"
        raise UsageError(f"inputs {chosen}", where="inputs", allowed=allowed)
    return chosen


def parameter_count(network: Network) -> int:
    """Trainable parameters, without those of the cross-stitch units: as the paper counts."""
    stitches = {id(p) for m in network.modules() if isinstance(m, CrossStitch) for p in m.parameters()}
    return sum(p.numel() for p in network.parameters() if p.requires_grad and id(p) not in stitches)
