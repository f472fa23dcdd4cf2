"""The pairs that every configuration is scored on: the validation pairs and an independent test set.

OUT/men/                              made men, shared by all trainings, and their validation pairs
OUT/test/<seed>-<day>-severity<s>/    days of men whom no training and no validation sees
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recontour.compare.results import TEST, VALIDATION
from recontour.compare.settings import CompareSettings
from recontour.train.dataset import FIRST_TEST_SEED, ScanPair, read_pool, read_splits
from recontour.train.settings import TrainSettings

PREPARED = "prepared"


def placed(training: TrainSettings, out: Path) -> TrainSettings:
    """The training with its men where all of a study share them."""
    if training.data.source == PREPARED or training.data.folder:
        return training
    return replace(training, data=replace(training.data, folder=str((out / "men").absolute())))


def pairs_of(settings: CompareSettings, out: Path) -> dict[str, list[ScanPair]]:
    """Validation and test pairs, by set, memory-mapped; phantoms are made the first time, which takes seconds each.

    Prepared data without a test/ have no test pairs. Raises UsageError where pairs are missing, or a patient is in two
    of the three.
    """
    training = placed(settings.train, out)
    if training.data.source == PREPARED:
        return _prepared(Path(training.data.folder))
    from recontour.train.phantoms import kept_pair, validation_pairs

    men = Path(training.data.folder)
    test_men = range(FIRST_TEST_SEED, FIRST_TEST_SEED + settings.test.men)
    days = [(seed, 100 * seed + day) for seed in test_men for day in range(settings.test.days)]
    test = [kept_pair(out / TEST, men, seeds, settings.test.severity) for seeds in days]
    return {VALIDATION: validation_pairs(training, men), TEST: test}


def _prepared(folder: Path) -> dict[str, list[ScanPair]]:
    if not (folder / TEST).is_dir():
        return {VALIDATION: read_splits(folder)[VALIDATION]}
    read_splits(folder, ("training", VALIDATION, TEST))  # refuses a patient in two of them
    return {which: read_pool(folder / which) for which in (VALIDATION, TEST)}
