"""recontour run: one fraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.options import (
    Device,
    Dose,
    Goals,
    Identify,
    Method,
    Model,
    Only,
    Pairs,
    Plan,
    PseudonymKey,
    Quiet,
    SettingsFile,
    Skip,
    Strict,
)
from recontour.cli.screen import chosen_settings, organ_pairs, show_error, stages, stderr

if TYPE_CHECKING:
    from recontour.report import ReportRequest
    from recontour.study import StudyResult


Out = Annotated[Path, typer.Option("--out", "-o", help="The RTSTRUCT to write.")]
Series = Annotated[str | None, typer.Option(help="The daily CT series, where a folder holds several.")]
PlanningSeries = Annotated[str | None, typer.Option(help="The planning CT series, likewise.")]
Structures = Annotated[
    str | None, typer.Option(help="The planning RTSTRUCT's SOP instance UID, where there are several.")
]
Registration = Annotated[Path | None, typer.Option(help="Also write the registration (DICOM) to this file.")]
Report = Annotated[
    Path | None, typer.Option(help="Also make a QA report (page, PDF, DICOM) in this folder.", metavar="DIR")
]
DifferentPatients = Annotated[
    bool, typer.Option("--allow-different-patients", help="Go on where the two PatientIDs differ.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON, and nothing else.")]


@app.command()
def run(
    planning: Annotated[Path, typer.Argument(help="Folder with the planning CT and its RTSTRUCT.")],
    daily: Annotated[Path, typer.Argument(help="Folder with the daily CT.")],
    out: Out,
    method: Method = None,
    model: Model = None,
    device: Device = None,
    settings: SettingsFile = None,
    roi: Pairs = None,
    only: Only = None,
    skip: Skip = None,
    series: Series = None,
    planning_series: PlanningSeries = None,
    structures: Structures = None,
    registration: Registration = None,
    report: Report = None,
    identify: Identify = False,
    dose: Dose = None,
    plan: Plan = None,
    goals: Goals = None,
    pseudonym_key: PseudonymKey = None,
    allow_different_patients: DifferentPatients = False,
    overwrite: Overwrite = False,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Give the daily scan its contours: an RTSTRUCT, and beside it a manifest of how it came about.

    Exit codes: 0 done; 2 asked wrongly; 3 refused, nothing written; 4 written, but a contour was rejected (with
    --strict: or needs review); 5 the contours are written and stand, but the report could not be made.
    """
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
        report=_report_request(
            report, identify, (dose, plan, goals), pseudonym_key, overwrite, allow_different_patients
        ),
        allow_different_patients=allow_different_patients,
        overwrite=overwrite,
    )
    with stages(silent=quiet or as_json) as on_stage:
        result = run_study(request, on_stage)
    if as_json:
        print(result.manifest_json)
    elif not quiet:
        _show_result(result)
    _show_failure(result)
    raise typer.Exit(_exit_code(result, strict))


def _report_request(
    folder: Path | None,
    identify: bool,
    files: tuple[Path | None, Path | None, Path | None],
    pseudonym_key: Path | None,
    overwrite: bool,
    allow_different_patients: bool,
) -> ReportRequest | None:
    from recontour.errors import UsageError
    from recontour.report import ReportRequest

    if folder is None:
        if identify or pseudonym_key or any(files):
            raise UsageError("what belongs to a report, without one", where="--report", allowed="--report DIR as well")
        return None
    return ReportRequest(folder, identify, *files, pseudonym_key, overwrite, allow_different_patients)


def _show_result(result: StudyResult) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading, side in (("ROI", "left"), ("", "left"), ("ml then", "right"), ("now", "right"), ("moved mm", "right")):
        table.add_column(heading, justify=side)  # pyright: ignore[reportArgumentType]
    table.add_column("why", overflow="fold", max_width=36)
    colours = {"pass": "green", "review": "yellow", "reject": "bold red"}
    for row in result.rows:
        light = f"[{colours[row.light]}]{row.light}[/]"
        name, why = escape(row.name), escape(" ".join(row.reasons))
        table.add_row(name, light, f"{row.before_ml:.1f}", f"{row.after_ml:.1f}", f"{row.moved_mm:.1f}", why)
    console.print(table)
    for name, reason in result.left_out.items():
        console.print(escape(f"left out: {name} ({reason})"))
    console.print(f"[{colours[result.light]}]{result.light}[/]: {escape(str(result.out))}  ({result.seconds:.1f} s)")
    for file in result.report[:1]:
        console.print(f"report: {escape(str(file))}")
    console.print("Check every contour before use: the structure set is marked UNAPPROVED.")


def _show_failure(result: StudyResult) -> None:
    if result.report_failure:
        stderr("recontour: THE REPORT WAS NOT MADE. The contours and their manifest are complete and in place.")
        show_error(result.report_failure)


def _exit_code(result: StudyResult, strict: bool) -> int:
    """A rejected contour matters more than a report that is missing."""
    if result.light == "reject" or (strict and result.light != "pass"):
        return 4
    return 5 if result.report_failure else 0
