"""recontour personalize: a released model becomes one patient's, before treatment begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import organ_pairs, stderr, table
from recontour.settings import Settings

if TYPE_CHECKING:
    from recontour.personalize.decide import Decision

NOT_BETTER = 3


@app.command()
def personalize(
    planning: Annotated[Path, typer.Argument(help="Folder with the planning CT and its RTSTRUCT.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to make; its name is on the card.")],
    model: Annotated[str, typer.Option(help="A released model's name, or a folder: begins with it.")] = Settings.model,
    fraction: Annotated[
        list[Path] | None, typer.Option(help="An earlier fraction, CT and checked RTSTRUCT; may be repeated.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Train so long at most; judging comes on top.")] = 30.0,
    roi: Annotated[
        list[str] | None, typer.Option(help="ORGAN=ROI where several ROIs could be it: bladder=Vescica, or =none.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="A TOML file of training settings (docs/personalize.md).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which motions are learnt from.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of that name.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Fine-tune a model to one patient: his planning scan, moved. Kept only where it beats the model it began with.

    Runs at low priority; run again, it goes on. Exit codes: 0 the model is written; 2 asked wrongly; 3 refused, or the
    model it began with is the better one: nothing written; 130 interrupted.
    """
    import os

    from recontour.cli.train import INTERRUPTED, watching
    from recontour.personalize.request import PersonalizeRequest
    from recontour.personalize.work import personalize as make

    request = PersonalizeRequest(
        planning=planning,
        out=out,
        model=model,
        fractions=tuple(fraction or ()),
        minutes=minutes,
        chosen_rois=organ_pairs(roi or []),
        training=training,
        seed=seed,
        device=device,
        overwrite=overwrite,
    )
    if hasattr(os, "nice"):
        os.nice(10)
    with watching(quiet) as watcher:
        ended = make(request, watcher)
    if ended.decision is None:
        if not quiet:
            stderr(f"Interrupted at step {ended.step}. The same command goes on from there.")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        _show(ended.decision)
        print(f"{out}: {ended.decision.reason}" if ended.card else "Nothing written.")
        print(f"To use it: recontour run --method network --model {out} ..." if ended.card else "")
    if ended.card is None:
        stderr(f"The released model is the better one for this patient. The personal one: {ended.decision.reason}.")
        raise typer.Exit(NOT_BETTER)


def _show(decision: Decision) -> None:
    rows = [*decision.organs, decision.mean_mm]
    cells = [[o.organ.replace("_", " "), *(f"{mm:.2f}" for mm in (o.affine_mm, o.before_mm, o.after_mm))] for o in rows]
    table(["MSD mm", "affine alone", "began with", "personal"], cells)
