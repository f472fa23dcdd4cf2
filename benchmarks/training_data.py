"""What training data from made men costs, and whether a training waits for it.

    python benchmarks/training_data.py FOLDER [--patch 72] [--device cpu] [--train-minutes 2]

FOLDER keeps the made men. With --train-minutes, trains the cross-stitch network that long with each number of
--workers and prints the share of its time spent on data. Processor seconds hardly depend on what else a computer does;
wall seconds do, and are printed for a GPU and for the trainings alone.
"""

from __future__ import annotations

import argparse
import csv
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from recontour.train.days import dense_day
from recontour.train.loop import train
from recontour.train.men import kept_man
from recontour.train.moved import CoarseDay, day_of
from recontour.train.phantoms import PhantomSource
from recontour.train.settings import DataSettings, TrainSettings

MEN = range(2)
DAYS = range(1 << 32, (1 << 32) + 4)


def seconds(work: Callable[[], object], device: torch.device, repeat: int = 1) -> float:
    """Median processor seconds of one call; wall seconds on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    taken: list[float] = []
    for _ in range(repeat):
        begun = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(clock() - begun)
    return statistics.median(taken)


def of_men(folder: Path) -> float:
    """Making and keeping a man who is not there yet."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        return statistics.median(seconds(lambda s=s: kept_man(Path(fresh), s), torch.device("cpu")) for s in MEN)


def of_days(folder: Path) -> tuple[list[CoarseDay], float]:
    """Days by their seeds, as a worker makes them; the men are there."""
    made: list[CoarseDay] = []
    for man in MEN:
        kept_man(folder, man)
    taken = [
        seconds(lambda m=man, d=day: made.append(day_of(folder, m, d, 1.0)), torch.device("cpu"))
        for man in MEN
        for day in DAYS
    ]
    return made, statistics.median(taken)


def of_patches(folder: Path, device: torch.device, side: int) -> float:
    """Drawing, cutting and changing the look of one patch of a day that is there."""
    data = DataSettings("phantoms", training_men=1, days_at_once=1, patches_per_day=10_000, workers=0)
    source = PhantomSource(TrainSettings(batch=8, patch_voxels=side, data=data), folder, device)
    source.batch(0)
    return seconds(lambda: source.batch(1), device, 5) / 8


def print_costs(folder: Path, device: torch.device, side: int) -> None:
    per_day = DataSettings("phantoms").patches_per_day
    made, day = of_days(folder)
    megabytes = len(pickle.dumps(made[0])) / 1e6
    handed = seconds(lambda: pickle.loads(pickle.dumps(made[0])), torch.device("cpu"), 3)
    dense = seconds(lambda: dense_day(made[0], device), device, 5)
    voxels = made[0].daily.grid.size[1] * made[0].daily.grid.size[2] * made[0].scanned.size[0]
    patch = of_patches(folder, device, side)
    rows = [
        ("a man, once (worker)", of_men(folder)),
        ("a day (worker)", day),
        (f"a day handed over, {megabytes:.0f} MB (both)", handed),
        (f"a day at 1 mm, {voxels * 6 / 1e6:.0f} MB kept ({device})", dense),
        (f"a patch of {side}^3 ({device})", patch),
        (f"a patch in all, training process ({per_day} a day)", (dense + handed) / per_day + patch),
    ]
    for name, cost in rows:
        print(f"{name:<52} {cost:8.3f} s")
    print(f"{'one worker delivers':<52} {per_day / (day + handed):8.1f} patches a second")


def train_share(folder: Path, device: str, side: int, workers: int, minutes: float) -> tuple[int, float, float]:
    """Steps measured, wall seconds of a step, and of it spent on data; the first days apart, which nobody could make
    beforehand."""
    data = DataSettings(
        "phantoms", str(folder), training_men=len(MEN), validation_men=1, days_at_once=2, workers=workers
    )
    settings = TrainSettings(patch_voxels=side, device=device, log_every=1, data=data, validate_every=10**6)
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    try:
        train(settings, run, minutes=minutes)
        with (run / "log.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[2:]
    finally:
        shutil.rmtree(run.parent)
    step, wait = (statistics.mean(float(row[name]) for row in rows) for name in ("step_seconds", "wait_seconds"))
    return len(rows), step, wait


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where made men are kept")
    parser.add_argument("--patch", type=int, default=72, help="side of a patch in voxels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--train-minutes", type=float, default=0.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1])
    return parser.parse_args(given)


def main() -> None:
    asked = arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    print_costs(asked.folder, torch.device(asked.device), asked.patch)
    for workers in asked.workers if asked.train_minutes else ():
        count, step, wait = train_share(asked.folder, asked.device, asked.patch, workers, asked.train_minutes)
        print(f"workers {workers}: {count} steps of {step:.2f} s, {wait:.2f} s of it ({wait / step:.1%}) for data")


if __name__ == "__main__":
    main()
