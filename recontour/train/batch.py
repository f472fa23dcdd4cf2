"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, cat, device


@dataclass(frozen=True)
class Batch:
    """Patches of pairs, cut at the same place in all four images.

    fixed, moving: (B, 1, n, n, n) float32, HU / 1000 within the window. fixed_labels, moving_labels: (B, 1, n, n, n)
    int64, values as in LABELS. known: (B, K) bool, which of LABELS are contoured in both scans of the pair; an organ
    that nobody contoured is not taught to be absent. motion: (B, 6, n, n, n) float32, mm, the true displacements from
    the daily to the planning scan (x, y, z) and back (x, y, z);
    None where nobody knows them. spacing_mm: of the voxels.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    known: Tensor
    motion: Tensor | None = None
    spacing_mm: float = 1.0

    def both_ways(self) -> Batch:
        """Twice the batch: fixed and moving swapped in the second half (section III-B)."""
        return Batch(
            cat([self.fixed, self.moving]),
            cat([self.moving, self.fixed]),
            cat([self.fixed_labels, self.moving_labels]),
            cat([self.moving_labels, self.fixed_labels]),
            cat([self.known, self.known]),
            None if self.motion is None else cat([self.motion, self.motion.roll(3, dims=1)]),
            self.spacing_mm,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def to(self, where: device) -> Batch:
        """The same on another device."""

        def sent(part: Tensor) -> Tensor:
            return part.to(where, non_blocking=True)

        return Batch(
            sent(self.fixed),
            sent(self.moving),
            sent(self.fixed_labels),
            sent(self.moving_labels),
            sent(self.known),
            None if self.motion is None else sent(self.motion),
            self.spacing_mm,
        )
