"""recontour train, plot-training: a network learns, and what happened meanwhile."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recontour.cli.app import app
from recontour.cli.screen import stderr

if TYPE_CHECKING:
    from recontour.train.recorder import Progress, Watcher

LINE_EVERY_S = 60.0  # into a log file
INTERRUPTED = 130


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file: what to train, on what (docs/training.md).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder. A run that is there goes on.")],
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes, with a checkpoint.")] = None,
    from_previous: Annotated[
        bool, typer.Option("--from-previous", help="Go on from the checkpoint before the last one.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train a network; run again, go on. Several GPUs or nodes: torchrun -m recontour train ..."""
    import math

    from recontour.train.loop import train as train_network
    from recontour.train.settings import read_train_settings

    settings = read_train_settings(config)
    silent = quiet or os.environ.get("RANK", "0") != "0"
    with watching(silent) as watcher:
        ended = train_network(settings, out, watcher, math.inf if minutes is None else minutes, from_previous)
    if ended.interrupted:
        if not silent:
            stderr(f"Interrupted at step {ended.step}. The same command goes on from there.")
        raise typer.Exit(INTERRUPTED)
    if not silent and ended.step < settings.steps:
        stderr(f"Time is up at step {ended.step} of {settings.steps}. The same command goes on from there.")


@app.command("plot-training")
def plot_training(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; their lines share the panels.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the figures.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Draw losses, their weights, cross-stitch units and validation over the steps, as PNG and PDF."""
    from recontour.train.plots import plot_training as draw

    written = draw(runs, out)
    if not quiet:
        print(*written, sep="\n")


@contextmanager
def watching(silent: bool) -> Generator[Watcher | None]:
    """What the training tells is shown on stderr: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if silent:
        yield None
    elif console.is_terminal:
        with _bar(console) as bar:
            yield bar
    else:
        yield _lines()


@contextmanager
def _bar(console: Any) -> Generator[Watcher]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from recontour.train.recorder import Watcher

    columns = ("[progress.description]{task.description}", "loss {task.fields[loss]}", "{task.fields[speed]}")
    last = ("{task.fields[left]} left", "{task.fields[msd]}")
    text = [TextColumn(column) for column in (*columns, *last)]
    shown: Any = Progress(text[0], BarColumn(), MofNCompleteColumn(), *text[1:], console=console)
    with shown as bar:
        task = bar.add_task("training", total=None, loss="-", speed="-", left="-", msd="")

        class Bar(Watcher):
            def on_step(self, progress: Any) -> None:
                bar.update(task, total=progress.steps, completed=progress.step, **_shown(progress))

            def say(self, text: str) -> None:
                console.print(text)

        yield Bar()


def _lines() -> Watcher:
    from time import monotonic

    from recontour.train.recorder import Watcher

    class Lines(Watcher):
        last_s = -LINE_EVERY_S

        def on_step(self, progress: Any) -> None:
            if monotonic() - self.last_s >= LINE_EVERY_S or progress.step == progress.steps:
                self.last_s = monotonic()
                s = _shown(progress)
                line = f"loss {s['loss']}  {s['speed']}  {s['left']} left  {s['msd']}".rstrip()
                stderr(f"step {progress.step}/{progress.steps}  {line}")

        def say(self, text: str) -> None:
            stderr(text)

    return Lines()


def _shown(progress: Progress) -> dict[str, str]:
    from datetime import timedelta
    from math import isfinite

    pace = progress.steps_per_second
    return {
        "loss": f"{progress.loss:.4f}",
        "speed": f"{pace:.1f} steps/s" if pace >= 1 else f"{1 / pace:.1f} s/step",
        "left": str(timedelta(seconds=round(progress.seconds_left))),
        "msd": f"MSD {progress.validation_msd_mm:.2f} mm" if isfinite(progress.validation_msd_mm) else "",
    }
