"""recontour export-model: a training run becomes a model that `run` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import stderr, table

if TYPE_CHECKING:
    from recontour.network.released import ModelCard


@app.command("export-model")
def export_model(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    name: Annotated[str, typer.Option("--name", help="What the model, and its folder, will be called.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that holds models.")] = Path("models"),
    summary: Annotated[str, typer.Option(help="One sentence on the card: what this model is.")] = "",
    limit: Annotated[list[str] | None, typer.Option(help="A limit to add to the card; may be repeated.")] = None,
    mean_of: Annotated[
        str, typer.Option("--mean-of", metavar="MODEL", help="Take the means of the run's weights and this model's.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of that name.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")] = False,
) -> None:
    """Score a run's best weights on its validation pairs and write them with a card: models/NAME/."""
    from recontour.train.card import worse_than_affine
    from recontour.train.export import Remarks
    from recontour.train.export import export_model as export

    def on_pair(number: int, of: int) -> None:
        if not quiet:
            stderr(f"  validation pair {number + 1} of {of}")

    card = export(run, name, out, Remarks(summary, tuple(limit or ())), overwrite, on_pair, mean_of)
    if not quiet:
        table(["organ", "path", "MSD mm", "HD95 mm", "Dice", "lost", ""], _rows(card))
        print(f"{out / name}: weights.safetensors, card.toml and README.md written")
    for organ, (got, beside) in worse_than_affine(card).items():
        measured = f"MSD {got:.2f} mm, affine alone {beside:.2f} mm"
        stderr(f"WARNING: {organ.replace('_', ' ')}: WORSE THAN AFFINE ALONE: {measured}.")
        stderr("         The card says so among its limits. Do not use this contour.")


def _rows(card: ModelCard) -> list[list[str]]:
    """Means alone; the card has the rest."""
    return [
        [
            row["organ"].replace("_", " "),
            row["path"],
            f"{row['msd_mm_mean']:.2f}",
            f"{row['hd95_mm_mean']:.2f}",
            f"{row['dice_mean']:.3f}",
            f"{row['lost']} of {row['n']}",
            "chosen" if card.path_per_organ[row["organ"]] == row["path"] else "",
        ]
        for row in card.scores
        if "path" in row
    ]
