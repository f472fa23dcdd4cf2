"""recontour phantom, accuracy, models, doctor: what the tool is worth, and what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recontour.cli.app import app
from recontour.cli.screen import organ_pairs, table


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
        write_moved(out, source, seed, organ_pairs(roi or []) or None)
    if not quiet:
        print(f"{out}: planning/, daily/ and truth/ written (seed {seed})")


@app.command()
def accuracy(
    out: Annotated[Path, typer.Argument(help="The markdown file; a CSV, a journal and img/ lie beside it.")],
    planning: Annotated[Path | None, typer.Option(help="A real planning CT + RTSTRUCT, to be moved.")] = None,
    roi: Annotated[list[str] | None, typer.Option(help="ORGAN=ROI in that plan, as for run.")] = None,
    days: Annotated[int, typer.Option(help="How many days of the real scan.")] = 20,
    phantoms: Annotated[int, typer.Option(help="How many made patients.")] = 30,
    fractions_per_man: Annotated[int, typer.Option(help="Days of each made patient.")] = 2,
    method: Annotated[list[str] | None, typer.Option(help="recontour's own methods. Default: run's.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Of methods with a network: a model's name or folder; each of several.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    rival: Annotated[list[str] | None, typer.Option(help="Only these. Default: affine, elastix, fast demons.")] = None,
    personal_minutes: Annotated[
        float, typer.Option(help="Train the model so long for each of some men. 0: not.")
    ] = 0.0,
    personal_men: Annotated[int, typer.Option(help="For how many made patients; the real one is one more.")] = 3,
    part: Annotated[
        str | None, typer.Option(help="K/N: only the K-th of N shares, to its own journal; no tables.")
    ] = None,
    from_journal: Annotated[
        bool, typer.Option("--from-journal", help="Tables of what was measured; run nothing.")
    ] = False,
) -> None:
    """Measure recontour beside its rivals on known motions: the tables of docs/accuracy.md.

    Called again, it goes on where it stopped. Parts may run side by side; the call without --part tables them all.
    """
    from recontour.accuracy.request import AccuracyRequest, Personal
    from recontour.accuracy.work import measure
    from recontour.settings import Settings, settings_from

    asked = [
        settings_from({"method": name, "model": used, "device": device})
        for name in method or [Settings.method]
        for used in model or [Settings.model]
    ]
    own = [s for s in asked if s.asks_network or s.model == asked[0].model]  # models are nothing to the other methods
    request = AccuracyRequest(
        out=out,
        planning=planning,
        chosen_rois=organ_pairs(roi or []),
        days=days,
        phantoms=phantoms,
        days_each=fractions_per_man,
        settings=tuple(own),
        rivals=tuple(rival or ()),
        personal=Personal(personal_minutes, personal_men),
        part=_share(part) if part else None,
        from_journals=from_journal,
    )
    measure(request, _show_outcome, lambda text: print(text, flush=True))


def _share(text: str) -> tuple[int, int]:
    """ "2/3" as (2, 3)."""
    from recontour.errors import UsageError

    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal()):
        raise UsageError(f"{text!r}", where="--part", allowed="K/N, such as 1/2")
    return int(k), int(n)


def _show_outcome(outcome: Any) -> None:
    mm = "  ".join(f"{o.score.organ} {o.score.msd_mm:.2f}" for o in outcome.organs)
    print(f"{outcome.pair:<22}{outcome.method:<36}{outcome.seconds:6.1f} s  {outcome.error or mm}", flush=True)


@app.command()
def models(
    architectures: Annotated[
        bool, typer.Option("--architectures", help="The paper's six networks and their trainable parameters.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="A folder of your own models. Default: the released ones.")
    ] = None,
) -> None:
    """List models, each verified against its checksum; exit with 3 where one is not what its card says."""
    from recontour.doctor import VERIFIED, architecture_rows, model_rows

    if architectures:
        table(["network", "what it is", "outputs", "trainable parameters"], architecture_rows())
        return
    rows = model_rows(folder)
    if not rows:
        print("no models")
    else:
        _show_models(rows)
    if any(row[-1] != VERIFIED for row in rows):
        raise typer.Exit(3)


def _show_models(rows: list[list[str]]) -> None:
    """Names whole, whatever the width of the screen: they are what `run --model` is told."""
    from rich.console import Console
    from rich.table import Table

    listing = Table(box=None, pad_edge=False)
    for heading in ("model", "network", "released", "contours from", "state"):
        listing.add_column(heading, no_wrap=heading in ("model", "released"), overflow="fold")
    for row in rows:
        listing.add_row(*row)
    Console(highlight=False).print(listing)


@app.command()
def doctor() -> None:
    """Say what this installation has, and what is wrong with it."""
    from recontour.doctor import examine

    findings = examine()
    table(["", "found", "remark"], [[f.name, f.found, f.remark] for f in findings])
    if any(f.broken for f in findings):
        raise typer.Exit(3)
