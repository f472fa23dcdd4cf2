"""Batches of made men who are moved anew all the time, on the training device.

Patches are numbered 0, 1, 2 ... over the steps of one process. Patch n comes from stream n % days_at_once, which goes
from one day to the next every `patches_per_day` of its patches; the streams change at different times. Which man and
which motion a day is, where a patch is cut and how it is shown follow from the settings' seed, the rank, and these
numbers alone: neither the number of workers nor their pace changes what is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recontour.errors import SettingsError
from recontour.network.catalogue import LABELS
from recontour.train.augment import MIRRORED, Look, mirrored, mirrored_motion, shown
from recontour.train.batch import Batch
from recontour.train.dataset import PARTS, TRAINING, VALIDATION, ScanPair, read_pair, write_pair
from recontour.train.days import Day, dense_day
from recontour.train.drawn import drawn_anew
from recontour.train.moved import CoarseDay, day_of
from recontour.train.settings import DataSettings, TrainSettings
from recontour.train.sources import known_labels
from recontour.train.texture import textured
from recontour.train.workers import DayMaker, DaySeeds

_OF_DAY, _OF_PATCH, _OF_DRAWING = 1, 2, 3  # first number of a seed, so that no two uses draw the same
MOTION_SEEDS = (1 << 32, 1 << 48)  # beyond those of validation and tests


class PhantomSource:
    """Patches of `settings.data.training_men` made men, or of one patient. men_folder: where they are kept. rank: of
    this process among several, each of which sees other days. patient: his number, and organs: what he has contoured.
    Raises SettingsError where more men are asked for than there are seeds."""

    def __init__(
        self,
        settings: TrainSettings,
        men_folder: Path,
        device: torch.device,
        rank: int = 0,
        patient: int | None = None,
        organs: Sequence[str] = LABELS[1:],
    ) -> None:
        _check_count("data.training_men", settings.data.training_men, TRAINING)
        self.settings, self.device, self.rank = settings, device, rank
        self._men = range(settings.data.training_men) if patient is None else range(patient, patient + 1)
        self._known = known_labels(organs)
        self._maker = DayMaker(men_folder, settings.data.severity, settings.data.workers)
        self._days: dict[int, tuple[int, Day]] = {}  # stream -> its day's number, and the day

    def batch(self, step: int) -> Batch:
        """`settings.batch` patches of step `step`, not yet swapped; fixed is the daily scan."""
        first = step * self.settings.batch
        patches = [self._patch(n) for n in range(first, first + self.settings.batch)]
        parts = [torch.stack(part) for part in zip(*patches, strict=True)]
        images, motion = parts[:4], parts[4:]
        fixed, moving, fixed_labels, moving_labels = (image[:, None] for image in images)
        known = torch.tensor([self._known] * len(patches), device=self.device)
        return Batch(
            fixed, moving, fixed_labels, moving_labels, known, motion[0] if motion else None, self.settings.spacing_mm
        )

    def close(self) -> None:
        """Ends the processes that make days."""
        self._maker.close()

    def _patch(self, n: int) -> tuple[Tensor, ...]:
        """Two scans (side, side, side) float32 in HU / 1000 within the window, two label maps int64, and, where a loss
        or texture asks for it, the true motion (6, side, side, side) in mm."""
        rng = np.random.default_rng((_OF_PATCH, self.settings.seed, self.rank, n))
        day = self._day(n)
        centre = day.draw_centre(rng)
        parts = day.cut(centre, self.settings.patch_voxels)
        settings = self.settings
        asked = settings.loss.w_field > 0 or settings.data.texture_hu > 0
        motion = day.cut_motion(centre, settings.patch_voxels) if asked else None
        scans = parts[0].float(), parts[1].float()
        if motion is not None and settings.data.texture_hu > 0:
            in_voxels = motion / settings.spacing_mm
            scans = textured(*scans, parts[2], parts[3], in_voxels, settings.data.texture_hu, rng)
        low, high = settings.hu_window
        scans = tuple(shown(hu, Look.draw(rng)).clamp(low, high) / 1000.0 for hu in scans)
        patch = (*scans, *(labels.long() for labels in parts[2:]))
        true = () if motion is None else (motion,)
        if rng.random() < MIRRORED:
            return *mirrored(patch), *(mirrored_motion(part) for part in true)
        return *patch, *true

    def _day(self, n: int) -> Day:
        """The day that patch n is cut from; asks for the days after it."""
        stream, number = stream_day(self.settings.data, n)
        held = self._days.get(stream)
        if held is None or held[0] != number:
            self._maker.ask(self._missing(n))
            coarse = self._drawn_anew(self._maker.take(self._seeds(stream, number)), stream, number)
            self._maker.ask(self._missing(n, but=(stream, number)))
            self._days[stream] = number, dense_day(coarse, self.device, round(self.settings.spacing_mm))
        return self._days[stream][1]

    def _drawn_anew(self, coarse: CoarseDay, stream: int, number: int) -> CoarseDay:
        sd_mm = self.settings.data.drawing_mm
        if not sd_mm:
            return coarse
        rng = np.random.default_rng((_OF_DRAWING, self.settings.seed, self.rank, stream, number))
        return replace(coarse, shapes=drawn_anew(coarse.shapes, sd_mm, rng))

    def _missing(self, n: int, but: tuple[int, int] | None = None) -> list[DaySeeds]:
        """Seeds of the next days that are not held, by their first use from patch n on."""
        held = {(stream, number) for stream, (number, _) in self._days.items()} | {but}
        coming = (day for day in upcoming(self.settings.data, n) if day not in held)
        return [self._seeds(*day) for day in itertools.islice(coming, self._maker.ahead)]

    def _seeds(self, stream: int, number: int) -> DaySeeds:
        rng = np.random.default_rng((_OF_DAY, self.settings.seed, self.rank, stream, number))
        return self._men[int(rng.integers(len(self._men)))], int(rng.integers(*MOTION_SEEDS))


def stream_day(data: DataSettings, n: int) -> tuple[int, int]:
    """The stream that patch n comes from, and the number of its day."""
    visit, stream = divmod(n, data.days_at_once)
    ahead = stream * data.patches_per_day // data.days_at_once  # so that not all streams change at once
    return stream, (visit + ahead) // data.patches_per_day


def upcoming(data: DataSettings, n: int) -> Iterator[tuple[int, int]]:
    """All days (stream, number) that patches from n on are cut from, each once, by first use; without end."""
    seen: dict[int, int] = {}
    for later in itertools.count(n):
        stream, number = stream_day(data, later)
        if seen.get(stream) != number:
            seen[stream] = number
            yield stream, number


def validation_pairs(settings: TrainSettings, men_folder: Path) -> list[ScanPair]:
    """One day each of `settings.data.validation_men` men whom no training sees, made with the same severity and shown
    as they are. Written once under `men_folder`/validation and memory-mapped. Raises SettingsError as PhantomSource."""
    data = settings.data
    _check_count("data.validation_men", data.validation_men, VALIDATION)
    pool = men_folder / "validation"
    return [
        kept_pair(pool, men_folder, (seed, 100 * seed), data.severity) for seed in VALIDATION[: data.validation_men]
    ]


def kept_pair(pool: Path, men_folder: Path, seeds: DaySeeds, severity: float) -> ScanPair:
    """A man's day, made the first time and memory-mapped. The severity is in the name: a training of another severity
    is judged by days of its own."""
    folder = pool / f"{seeds[0]:06d}-{seeds[1]:08d}-severity{severity:g}"
    if not folder.exists():
        coarse = day_of(men_folder, *seeds, severity)
        day = dense_day(coarse, torch.device("cpu"))
        organs = tuple(organ for organ in LABELS[1:] if organ in coarse.shapes)
        write_pair(folder, ScanPair(*(getattr(day, part).numpy() for part in PARTS), organs=organs))
    return read_pair(folder)


def _check_count(where: str, count: int, seeds: range) -> None:
    if count > len(seeds):
        raise SettingsError(f"{count} men", where=where, allowed=f"at most {len(seeds)}")
