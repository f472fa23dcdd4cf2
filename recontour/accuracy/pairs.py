"""The men of the tables and their days: made men, and a real planning scan, moved. No day has a seed of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.accuracy.request import AccuracyRequest
from recontour.evaluate.cases import Pair
from recontour.train.dataset import FIRST_TEST_SEED

if TYPE_CHECKING:
    from recontour.geometry.volume import LevelSet, Volume

PHANTOMS, REAL = "phantoms", "real scan, moved"
REAL_MAN = "real"
_ORGANS = {
    "Prostate": "prostate",
    "SeminalVes": "seminal_vesicles",
    "Bladder": "bladder",
    "Rectum": "rectum",
    "CTV": "CTV",
}


@dataclass(frozen=True, eq=False)
class Man:
    """seed: what a made man is drawn from; None: he was scanned. days: pair name -> what makes the pair."""

    name: str
    days: dict[str, Callable[[], Pair]]
    seed: int | None = None


def men(request: AccuracyRequest) -> list[Man]:
    """All men of a request, the made ones first; of a part, its share: every n-th made man, every n-th real day.

    Raises InputRefused for a bad planning folder.
    """
    k, n = request.part or (1, 1)
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + request.phantoms)[k - 1 :: n]
    made = [_made(seed, request.days_each) for seed in seeds]
    if request.planning is None or not request.days:
        return made
    moved = _scanned(request.planning, dict(request.chosen_rois), request.days)
    return [*made, replace(moved, days=dict(list(moved.days.items())[k - 1 :: n]))]


def motion_seed(man: int, day: int) -> int:
    """Of a made man's day, from 1: his own seed, then others from FIRST_TEST_SEED on that no other man has."""
    return man + (day - 1) * FIRST_TEST_SEED


def _made(seed: int, days: int) -> Man:
    name = f"phantom {seed}"

    def make(day: int) -> Pair:
        from recontour.phantom.scans import phantom_pair

        planning, shapes, moved = phantom_pair(seed, motion_seed=motion_seed(seed, day))
        planned = {roi: shapes[roi] for roi in _ORGANS}
        truth = replace(moved, level_sets={roi: moved.level_sets[roi] for roi in _ORGANS})
        return Pair(PHANTOMS, planning, planned, _ORGANS, truth, name)

    return Man(name, {f"{name} day {day}": partial(make, day) for day in range(1, days + 1)}, seed)


def _scanned(folder: Path, chosen: dict[str, str], days: int) -> Man:
    """The real scan, read once."""
    planning, shapes, organs = _read(folder, chosen)
    by_organ = {organ: roi for roi, organ in organs.items()}

    def make(seed: int) -> Pair:
        from recontour.phantom.scans import moved_pair

        return Pair(REAL, planning, shapes, organs, moved_pair(planning, shapes, seed, by_organ)[2], REAL_MAN)

    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + days)
    return Man(REAL_MAN, {f"{REAL_MAN} {seed}": partial(make, seed) for seed in seeds})


def _read(folder: Path, chosen: dict[str, str]) -> tuple[Volume, dict[str, LevelSet], dict[str, str]]:
    """The planning scan, the level sets of the organs it has, and ROI name -> organ."""
    from recontour.dicom.names import match_organs
    from recontour.dicom.series import read_series
    from recontour.dicom.structures import read_structures
    from recontour.phantom.scans import shapes_of

    series = read_series(folder)
    closed = [roi for roi in read_structures(folder, series).rois if roi.kind == "closed_planar"]
    organs = {name: str(organ) for organ, name in match_organs([roi.name for roi in closed], chosen).items()}
    return series.volume, shapes_of([roi for roi in closed if roi.name in organs], series), organs
