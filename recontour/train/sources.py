"""Where batches come from.

A source gives the batch of step k from the settings' seed and k alone: a run that was broken off sees, once it is
taken up, what it would have seen, and no state of a sampler has to be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recontour.network.catalogue import LABELS
from recontour.network.coarse import coarser_labels, coarser_scan
from recontour.train.batch import Batch
from recontour.train.dataset import PARTS, ScanPair
from recontour.train.sampling import cut_patch, draw_centre
from recontour.train.settings import TrainSettings


class Source(Protocol):
    """Gives batches on the training device."""

    def batch(self, step: int) -> Batch:
        """`settings.batch` patches for step `step` (from 0), not yet swapped."""
        ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...


class PairSource:
    """Patches of pairs that lie on disk. rank: of this process among several, each of which sees other patches."""

    def __init__(self, pairs: Sequence[ScanPair], settings: TrainSettings, device: torch.device, rank: int = 0) -> None:
        self.pairs, self.settings, self.device, self.rank = pairs, settings, device, rank
        self._coarse: dict[int, ScanPair] = {}  # by its place in `pairs`

    def batch(self, step: int) -> Batch:
        """Each patch from a pair drawn at random, all pairs with equal chance."""
        rng = np.random.default_rng((self.settings.seed, step, self.rank))
        chosen = [self._pair(int(rng.integers(len(self.pairs)))) for _ in range(self.settings.batch)]
        return batch_of([cut_pair(pair, self.settings.patch_voxels, rng) for pair in chosen], self.settings).to(
            self.device
        )

    def close(self) -> None:
        """Nothing runs in the background."""

    def _pair(self, number: int) -> ScanPair:
        """The pair in the voxels that the network sees; coarser ones are kept, an eighth of what lies on disk."""
        factor = round(self.settings.spacing_mm)
        if factor == 1:
            return self.pairs[number]
        if number not in self._coarse:
            self._coarse[number] = coarser_pair(self.pairs[number], factor)
        return self._coarse[number]


def coarser_pair(pair: ScanPair, factor: int) -> ScanPair:
    """The same pair in voxels `factor` times as large."""
    scans, labels = PARTS[:2], PARTS[2:]
    parts = {part: coarser_scan(torch.tensor(getattr(pair, part)), factor).round().to(torch.int16) for part in scans}
    parts |= {part: coarser_labels(torch.tensor(getattr(pair, part)), factor) for part in labels}
    return replace(pair, **{part: values.numpy() for part, values in parts.items()})


def cut_pair(pair: ScanPair, side: int, rng: np.random.Generator) -> ScanPair:
    """One patch of a pair, around a target, an organ at risk or anywhere in the torso with equal chance."""
    centre = draw_centre(pair.fixed_labels, pair.fixed_hu, rng)
    return replace(pair, **{part: cut_patch(getattr(pair, part), centre, side) for part in PARTS})


def batch_of(patches: Sequence[ScanPair], settings: TrainSettings) -> Batch:
    """Patches of equal size as one batch, HU clipped and scaled, on the CPU."""
    stacked: list[NDArray[np.generic]] = [np.stack([getattr(p, part) for p in patches])[:, None] for part in PARTS]
    low, high = settings.hu_window
    scans = [torch.as_tensor(hu, dtype=torch.float32).clamp(low, high) / 1000.0 for hu in stacked[:2]]
    labels = [torch.as_tensor(array, dtype=torch.int64) for array in stacked[2:]]
    known = torch.tensor([known_labels(patch.organs) for patch in patches])
    return Batch(scans[0], scans[1], labels[0], labels[1], known, spacing_mm=settings.spacing_mm)


def known_labels(organs: Sequence[str]) -> list[bool]:
    """For each of LABELS whether it may be taught. The background is known only where every organ is: an organ that
    was not contoured lies in it."""
    contoured = [organ in organs for organ in LABELS[1:]]
    return [all(contoured), *contoured]
