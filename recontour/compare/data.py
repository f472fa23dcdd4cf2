"""The pairs that every configuration is scored on: the validation pairs and an independent test set.

OUT/men/                              made men, shared by all trainings, and their validation pairs
OUT/test/<seed>-<day>-severity<s>/    days of men whom no training and no validation sees
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from recontour.compare.results import TEST, VALIDATION
from recontour.compare.settings import CompareSettings
from recontour.train.dataset import PARTS, ScanPair, read_pair, read_pool, read_splits, write_pair
from recontour.train.settings import TrainSettings

FIRST_TEST_SEED = 100_000  # train.dataset: from here on for tests alone
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
    from recontour.train.phantoms import validation_pairs

    men = Path(training.data.folder)
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + settings.test.men)
    days = [(seed, 100 * seed + day) for seed in seeds for day in range(settings.test.days)]
    test = [_test_pair(out / TEST, men, man, motion, settings.test.severity) for man, motion in days]
    return {VALIDATION: validation_pairs(training, men), TEST: test}


def _prepared(folder: Path) -> dict[str, list[ScanPair]]:
    if not (folder / TEST).is_dir():
        return {VALIDATION: read_splits(folder)[VALIDATION]}
    read_splits(folder, ("training", VALIDATION, TEST))  # refuses a patient in two of them
    return {which: read_pool(folder / which) for which in (VALIDATION, TEST)}


def _test_pair(pool: Path, men: Path, man_seed: int, motion_seed: int, severity: float) -> ScanPair:
    from recontour.train.days import dense_day
    from recontour.train.moved import day_of

    folder = pool / f"{man_seed:06d}-{motion_seed:08d}-severity{severity:g}"
    if not folder.exists():
        cpu = cast("Any", "cpu")  # torch takes a device by its name as well; torch itself stays in its rooms
        day = dense_day(day_of(men, man_seed, motion_seed, severity), cpu)
        write_pair(folder, ScanPair(*(getattr(day, part).numpy() for part in PARTS)))
    return read_pair(folder)
