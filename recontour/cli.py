"""The command line: what is asked, what is shown, and the exit codes. The only place for rich, prints and exits.

0  done            2  asked wrongly           3  input or result refused, nothing written
4  contours written, but one was rejected, or with --strict one needs review           130  interrupted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recontour.study import StudyResult

_INTERRUPTED = 130

app = typer.Typer(
    name="recontour",
    help="Contours for the daily scan in adaptive radiotherapy of prostate cancer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    planning: Annotated[Path, typer.Argument(help="Folder with the planning CT and its RTSTRUCT.")],
    daily: Annotated[Path, typer.Argument(help="Folder with the daily CT.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The RTSTRUCT to write.")],
    method: Annotated[
        str | None, typer.Option(help="refine, network, network+refine, affine or elastix. Default: refine.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A released model's name, or a model folder.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    roi: Annotated[
        list[str] | None, typer.Option(help="ORGAN=ROI where several ROIs could be it: bladder=Vescica, or =none.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Propagate only ROIs that match this pattern.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out ROIs that match this pattern.")] = None,
    series: Annotated[str | None, typer.Option(help="The daily CT series, where a folder holds several.")] = None,
    planning_series: Annotated[str | None, typer.Option(help="The planning CT series, likewise.")] = None,
    structures: Annotated[
        str | None, typer.Option(help="The planning RTSTRUCT's SOP instance UID, where there are several.")
    ] = None,
    registration: Annotated[Path | None, typer.Option(help="Also write the registration (DICOM) to this file.")] = None,
    allow_different_patients: Annotated[
        bool, typer.Option("--allow-different-patients", help="Go on where the two PatientIDs differ.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 if anything needs review.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON, and nothing else.")] = False,
) -> None:
    """Give the daily scan its contours: an RTSTRUCT, and beside it a manifest of how it came about."""
    from recontour.study import StudyRequest, run_study

    request = StudyRequest(
        planning=planning,
        daily=daily,
        out=out,
        settings=_settings(settings, method, model, device),
        chosen_rois=_pairs(roi or []),
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        daily_series=series,
        planning_series=planning_series,
        structures=structures,
        registration=registration,
        allow_different_patients=allow_different_patients,
        overwrite=overwrite,
    )
    with _stages(silent=quiet or as_json) as on_stage:
        result = run_study(request, on_stage)
    if as_json:
        print(result.manifest_json)
    elif not quiet:
        _show_result(result)
    raise typer.Exit(_exit_code(result, strict))


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make: planning/, daily/ and truth/.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same patient and the same day.")] = 1,
    source: Annotated[
        Path | None, typer.Option("--from", help="Move this planning CT + RTSTRUCT instead of making a patient.")
    ] = None,
    roi: Annotated[list[str] | None, typer.Option(help="With --from, ORGAN=ROI: which ROIs move as organs.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make a patient who never lived, or move a real scan: planning and daily scans with known truth."""
    from recontour.phantom.scans import write_moved, write_phantom

    if source is None:
        write_phantom(out, seed)
    else:
        write_moved(out, source, seed, _pairs(roi or []) or None)
    if not quiet:
        print(f"{out}: planning/, daily/ and truth/ written (seed {seed})")


@app.command()
def accuracy(
    out: Annotated[Path, typer.Argument(help="The markdown file to write; a CSV and a journal lie beside it.")],
    planning: Annotated[Path | None, typer.Option(help="A real planning CT + RTSTRUCT, to be moved.")] = None,
    roi: Annotated[list[str] | None, typer.Option(help="ORGAN=ROI in that plan, as for run.")] = None,
    days: Annotated[int, typer.Option(help="How many days of the real scan.")] = 10,
    phantoms: Annotated[int, typer.Option(help="How many made patients.")] = 10,
    method: Annotated[list[str] | None, typer.Option(help="recontour's own methods. Default: refine.")] = None,
    rival: Annotated[
        list[str] | None, typer.Option(help="Only these rivals, by name. Default: all that run here.")
    ] = None,
) -> None:
    """Measure recontour beside its rivals on known motions: the tables of docs/accuracy.md."""
    from recontour.accuracy import AccuracyRequest, measure
    from recontour.settings import settings_from

    chosen = tuple(settings_from({"method": name}) for name in method or ["refine"])
    request = AccuracyRequest(out, planning, _pairs(roi or []), days, phantoms, chosen, tuple(rival or ()))

    def show(outcome: Any) -> None:
        scores = "  ".join(f"{s.organ} {s.msd_mm:.2f}" for s in outcome.scores)
        print(f"{outcome.pair:<16}{outcome.method:<34}{outcome.seconds:6.1f} s  {outcome.error or scores}", flush=True)

    measure(request, show)


@app.command()
def models(
    architectures: Annotated[
        bool, typer.Option("--architectures", help="The paper's six networks and their trainable parameters.")
    ] = False,
) -> None:
    """List the released models, each verified against its checksum."""
    from recontour.doctor import architecture_rows, model_rows

    if architectures:
        _table(["network", "what it is", "outputs", "trainable parameters"], architecture_rows())
    else:
        _table(["model", "network", "released", "state"], model_rows())


@app.command()
def doctor() -> None:
    """Say what this installation has, and what is wrong with it."""
    from recontour.doctor import examine

    findings = examine()
    _table(["", "found", "remark"], [[f.name, f.found, f.remark] for f in findings])
    if any(f.broken for f in findings):
        raise typer.Exit(3)


def main() -> None:
    """The entry point: every error is one screen, none a traceback."""
    from recontour.errors import RecontourError

    # Threads that wait must not burn a core that another process needs: three times slower otherwise. Read when torch
    # loads its threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RecontourError as error:
        _show_error(error)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # typer's answer to Ctrl-C
            _stderr("Interrupted. Nothing was written.")
        raise
    except Exception as error:
        _show_unforeseen(error)
        sys.exit(3)


def _settings(file: Path | None, method: str | None, model: str | None, device: str | None) -> Any:
    from dataclasses import replace

    from recontour.settings import Settings, read_settings

    changes: dict[str, Any] = {"method": method, "model": model, "device": device}
    chosen = read_settings(file) if file else Settings()
    return replace(chosen, **{name: value for name, value in changes.items() if value is not None})


def _pairs(texts: list[str]) -> dict[str, str]:
    from recontour.errors import UsageError

    pairs: dict[str, str] = {}
    for text in texts:
        organ, separator, name = text.partition("=")
        if not (separator and organ.strip() and name.strip()):
            raise UsageError(f"{text!r}", where="--roi", allowed="ORGAN=ROI, such as bladder=Vescica")
        pairs[organ.strip().lower()] = name.strip()
    return pairs


@contextmanager
def _stages(silent: bool) -> Generator[Callable[[str], None] | None]:
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


def _show_result(result: StudyResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading, side in (("ROI", "left"), ("", "left"), ("ml then", "right"), ("now", "right"), ("moved mm", "right")):
        table.add_column(heading, justify=side)  # pyright: ignore[reportArgumentType]
    table.add_column("why", overflow="fold", max_width=36)
    colours = {"pass": "green", "review": "yellow", "reject": "bold red"}
    for row in result.rows:
        light = f"[{colours[row.light]}]{row.light}[/]"
        why = "; ".join(row.reasons)
        table.add_row(row.name, light, f"{row.before_ml:.1f}", f"{row.after_ml:.1f}", f"{row.moved_mm:.1f}", why)
    console.print(table)
    for name, reason in result.left_out.items():
        console.print(f"left out: {name} ({reason})")
    console.print(f"[{colours[result.light]}]{result.light}[/]: {result.out}  ({result.seconds:.1f} s)")
    console.print("Check every contour before use: the structure set is marked UNAPPROVED.")


def _exit_code(result: StudyResult, strict: bool) -> int:
    return 4 if result.light == "reject" or (strict and result.light != "pass") else 0


def _table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _show_error(error: Any) -> None:
    _stderr(f"recontour: {error.found}")
    if error.where:
        _stderr(f"  where:   {error.where}")
    if error.allowed:
        _stderr(f"  allowed: {error.allowed}")


def _show_unforeseen(error: Exception) -> None:
    """An error that nobody foresaw: its kind and place, not its text, which might hold a patient's name."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "recontour" in Path(f.filename).parts] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    _stderr(f"recontour: an error that should not happen ({type(error).__name__} at {place})")
    _stderr("  Nothing was written. Please report this line with the output of `recontour doctor`.")


def _stderr(text: str) -> None:
    print(text, file=sys.stderr)
