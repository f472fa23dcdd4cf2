"""One patient's planning scan, moved anew all the time, and his earlier fractions: what fine-tunes a model to him.

    <folder>/020000-man1.npz     the patient, as recontour.train.men keeps men
             validation/         days that were made once: some choose the weights, others judge them
             fractions/          pairs of his earlier fractions, where there are contours

Seeds of motions are of three ranges that never meet: what is learnt from is drawn beyond 2^32 (train.phantoms), what
chooses among the weights comes from CHOOSING, and what judges the result, once, from HELD_BACK.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recontour.train.batch import Batch
from recontour.train.dataset import ABOUT, SCANNED, ScanPair, read_pool
from recontour.train.men import kept_man
from recontour.train.phantoms import PhantomSource, kept_pair, stream_day
from recontour.train.settings import TrainSettings
from recontour.train.sources import PairSource

PATIENT = SCANNED.start
CHOOSING, HELD_BACK = range(2_000_000, 3_000_000), range(3_000_000, 4_000_000)
DAYS, FRACTIONS = "validation", "fractions"
SHARE_OF_FRACTIONS = 0.25  # of the steps, where there are any: few days, seen often, are soon known by heart

_OF_CHOICE = 3  # first number of a seed, as in train.phantoms


class PatientSource:
    """Batches of the patient in `settings.data.folder`: made days, and in a quarter of the steps real ones, where
    there are any. rank: of this process among several. Raises UsageError where he cannot be read."""

    def __init__(self, settings: TrainSettings, device: torch.device, rank: int = 0) -> None:
        folder = Path(settings.data.folder)
        self._settings, self._rank = settings, rank
        self._made = PhantomSource(settings, folder, device, rank, PATIENT, kept_man(folder, PATIENT).organs)
        real = fractions_of(folder)
        self._real = PairSource(real, settings, device, rank) if real else None

    def batch(self, step: int) -> Batch:
        """`settings.batch` patches of step `step`, not yet swapped; fixed is the daily scan."""
        if self._real and _is_real(self._settings, self._rank, step):
            return self._real.batch(step)
        return self._made.batch(step)

    def close(self) -> None:
        """Ends the processes that make days."""
        self._made.close()


def fractions_of(folder: Path) -> list[ScanPair]:
    """The pairs of earlier fractions; none where there are none."""
    pool = folder / FRACTIONS
    return read_pool(pool) if any(pool.glob(f"*/{ABOUT}")) else []


def motions_seen(settings: TrainSettings, steps: int) -> int:
    """How many made days the first `steps` steps of one process took patches from."""
    real = bool(fractions_of(Path(settings.data.folder)))
    made = [step for step in range(steps) if not (real and _is_real(settings, 0, step))]
    patches = (n for step in made for n in range(step * settings.batch, (step + 1) * settings.batch))
    return len({stream_day(settings.data, n) for n in patches})


def choosing_days(settings: TrainSettings) -> list[ScanPair]:
    """`settings.validation_pairs` days by which a training chooses its best weights."""
    return _days(settings, CHOOSING[: settings.validation_pairs])


def held_back_days(settings: TrainSettings, count: int) -> list[ScanPair]:
    """`count` days that neither teach nor choose anything."""
    return _days(settings, HELD_BACK[:count])


def _is_real(settings: TrainSettings, rank: int, step: int) -> bool:
    return np.random.default_rng((_OF_CHOICE, settings.seed, rank, step)).random() < SHARE_OF_FRACTIONS


def _days(settings: TrainSettings, motions: Sequence[int]) -> list[ScanPair]:
    folder = Path(settings.data.folder)
    return [kept_pair(folder / DAYS, folder, (PATIENT, seed), settings.data.severity) for seed in motions]
