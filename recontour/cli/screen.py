"""What the commands share: how options become settings, and how tables, stages and errors look on the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def chosen_settings(file: Path | None, method: str | None, model: str | None, device: str | None) -> Any:
    from recontour.settings import read_toml, settings_from

    asked = {"method": method, "model": model, "device": device}
    return settings_from(
        (read_toml(file) if file else {}) | {name: value for name, value in asked.items() if value is not None}
    )


def organ_pairs(texts: list[str]) -> dict[str, str]:
    from recontour.errors import UsageError

    pairs: dict[str, str] = {}
    for text in texts:
        organ, separator, name = text.partition("=")
        if not (separator and organ.strip() and name.strip()):
            raise UsageError(f"{text!r}", where="--roi", allowed="ORGAN=ROI, such as bladder=Vescica")
        pairs[organ.strip().lower()] = name.strip()
    return pairs


@contextmanager
def stages(silent: bool) -> Generator[Callable[[str], None] | None]:
    """A live list of stages with their times, on stderr: what it gives is called as each stage begins."""
    if silent:
        yield None
        return
    from time import perf_counter

    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    begun: list[tuple[str, float]] = []

    def finish_last() -> None:
        while begun:
            name, start = begun.pop()
            console.print(f"  [green]✓[/green] {name:<34}{perf_counter() - start:6.1f} s")

    with console.status("starting") as status:

        def on_stage(name: str) -> None:
            finish_last()
            begun.append((name, perf_counter()))
            status.update(name)

        yield on_stage
        finish_last()


def table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def show_error(error: Any) -> None:
    stderr(f"recontour: {error.found}")
    if error.where:
        stderr(f"  where:   {error.where}")
    if error.allowed:
        stderr(f"  allowed: {error.allowed}")


def show_unforeseen(error: Exception) -> None:
    """An error that nobody foresaw: its kind and place, not its text, which might hold a patient's name."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "recontour" in Path(f.filename).parts] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    stderr(f"recontour: an error that should not happen ({type(error).__name__} at {place})")
    stderr("  No file is half written. Please report this line with the output of `recontour doctor`.")


def stderr(text: str) -> None:
    print(text, file=sys.stderr)
