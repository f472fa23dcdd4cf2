"""recontour compare: the paper's study, networks and rivals side by side."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from recontour.cli.app import app
from recontour.cli.screen import stderr, table

if TYPE_CHECKING:
    from recontour.compare.schedule import Event
    from recontour.compare.settings import CompareSettings


@app.command()
def compare(
    config: Annotated[Path, typer.Argument(help="The study: a TOML file, as in docs/compare.md.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the study: new, or to go on with.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Do this one configuration alone, by its key: for the jobs of a cluster.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train and score every configuration that the paper's tables need, and lay the tables out."""
    from recontour.compare.settings import read_compare_settings

    settings = read_compare_settings(config)
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: what runs is told to stop, and can be taken up again
    if dry_run:
        _show_plan(settings, out)
    elif only is not None:
        from recontour.compare.work import do_job

        do_job(only, settings, out)
    else:
        _run(settings, out, quiet)


def _run(settings: CompareSettings, out: Path, quiet: bool) -> None:
    from recontour.compare.report import TABLES
    from recontour.compare.schedule import run_study

    finished = run_study(settings, out, _silent if quiet else _show)
    undone = [event for event in finished.values() if event.kind != "done"]
    if not quiet:
        print(f"{len(finished) - len(undone)} of {len(finished)} configurations done: {out / TABLES}")
    for event in undone:
        stderr(f"{event.kind}: {event.key}: {event.reason}")
    if undone:
        raise typer.Exit(3)


def _show_plan(settings: CompareSettings, out: Path) -> None:
    from recontour.compare.forecast import forecasts

    rows = [[f.key, f.state, f"{f.hours:.1f}" if f.hours is not None else "?"] for f in forecasts(settings, out)]
    table(["configuration", "state", "hours left"], rows)
    print(f"{len(rows)} configurations on {', '.join(settings.devices)}")


def _show(event: Event) -> None:
    took = f"  {event.seconds / 60:.1f} min" if event.seconds else ""
    print(f"{event.kind:<12}{event.key}  ({event.device}){took}  {event.reason}".rstrip(), flush=True)


def _silent(event: Event) -> None:
    pass


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
