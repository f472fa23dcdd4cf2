"""recontour run: one fraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import chosen_settings, organ_pairs, stages

if TYPE_CHECKING:
    from recontour.study import StudyResult


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
        settings=chosen_settings(settings, method, model, device),
        chosen_rois=organ_pairs(roi or []),
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        daily_series=series,
        planning_series=planning_series,
        structures=structures,
        registration=registration,
        allow_different_patients=allow_different_patients,
        overwrite=overwrite,
    )
    with stages(silent=quiet or as_json) as on_stage:
        result = run_study(request, on_stage)
    if as_json:
        print(result.manifest_json)
    elif not quiet:
        _show_result(result)
    raise typer.Exit(_exit_code(result, strict))


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
