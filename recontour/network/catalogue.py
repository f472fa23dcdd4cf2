"""The paper's six networks as a table: what each is given and answers.

Knows nothing of torch, so that it can be listed at once.

Elmahdy et al., IEEE Access 2021, sections II and III-B.
"""

from __future__ import annotations

from dataclasses import dataclass

# The order of the segmentation channels, and the values of a label map. Index 0 is what is no organ.
LABELS: tuple[str, ...] = ("background", "bladder", "rectum", "seminal_vesicles", "prostate")

FIXED, MOVING, MOVING_LABELS = "fixed", "moving", "moving_labels"
INPUTS: tuple[str, ...] = (FIXED, MOVING, MOVING_LABELS)

WIDE = (23, 45, 91, 45, 23)
NARROW = (16, 32, 64, 32, 16)

SIMILARITY, DICE_REGISTRATION, DICE_SEGMENTATION, BENDING = LOSSES = (
    "similarity",
    "dice_registration",
    "dice_segmentation",
    "bending",
)


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    widths: feature maps of the five levels. inputs: images it is given, in the order of its input channels (of the
    registration path where there are two; the segmentation path then sees the daily scan alone).
    heads: outputs. losses: the terms of eq. 6 that it is trained with. parameters: trainable ones, as the paper counts
    them (without the cross-stitch units' own).
    """

    name: str
    description: str
    widths: tuple[int, int, int, int, int]
    inputs: tuple[str, ...]
    heads: tuple[str, ...]
    losses: tuple[str, ...]
    parameters: int


_ROWS = (
    Architecture(
        "seg", "segments the daily scan by itself", WIDE, (FIXED,), ("segmentation",), (DICE_SEGMENTATION,), 779_436
    ),
    Architecture(
        "reg",
        "registers the two scans by their grey values",
        WIDE,
        (FIXED, MOVING),
        ("field",),
        (SIMILARITY, BENDING),
        779_733,
    ),
    Architecture(
        "jrs-reg",
        "as reg, trained with the overlap of the contours too; may be given the planning labels (780,354 parameters)",
        WIDE,
        (FIXED, MOVING),
        ("field",),
        (SIMILARITY, DICE_REGISTRATION, BENDING),
        779_733,
    ),
    Architecture(
        "dense",
        "one network for both tasks, apart from its heads",
        WIDE,
        (MOVING, FIXED, MOVING_LABELS),
        ("segmentation", "field"),
        LOSSES,
        781_164,
    ),
    Architecture(
        "sedd",
        "shared encoder, one decoder for each task",
        NARROW,
        (MOVING, FIXED, MOVING_LABELS),
        ("segmentation", "field"),
        LOSSES,
        722_936,
    ),
    Architecture(
        "cross-stitch",
        "two networks that exchange feature maps through learned 2x2 matrices",
        NARROW,
        (MOVING, FIXED, MOVING_LABELS),
        ("segmentation", "field"),
        LOSSES,
        779_000,
    ),
)

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}
