"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, cat, device


@dataclass(frozen=True)
class Batch:
    """Patches of pairs, cut at the same place in all four images.

    fixed, moving: (B, 1, n, n, n) float32, HU / 1000 within the window. fixed_labels, moving_labels: (B, 1, n, n, n)
    int64, values as in LABELS. known: (B, K) bool, which of LABELS are contoured in both scans of the pair; an organ
    that nobody contoured is not taught to be absent.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    known: Tensor

    def both_ways(self) -> Batch:
        """Twice the batch: fixed and moving swapped in the second half (section III-B)."""
        return Batch(
            cat([self.fixed, self.moving]),
            cat([self.moving, self.fixed]),
            cat([self.fixed_labels, self.moving_labels]),
            cat([self.moving_labels, self.fixed_labels]),
            cat([self.known, self.known]),
        )

    def to(self, where: device) -> Batch:
        """The same on another device."""
        parts = (self.fixed, self.moving, self.fixed_labels, self.moving_labels, self.known)
        return Batch(*(part.to(where, non_blocking=True) for part in parts))
