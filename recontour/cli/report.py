"""recontour report: the page, the PDF and the DICOM of a run that is over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recontour.cli.app import app
from recontour.cli.options import Dose, Goals, Identify, Plan, PseudonymKey, Quiet
from recontour.cli.screen import stages


@app.command()
def report(
    rtstruct: Annotated[Path, typer.Argument(help="What recontour run wrote, its manifest beside it.")],
    planning: Annotated[Path, typer.Option(help="Folder with the planning CT and its RTSTRUCT.")],
    daily: Annotated[Path, typer.Option(help="Folder with the daily CT.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report.html, .pdf, .dcm and .json.")],
    registration: Annotated[
        Path | None, typer.Option(help="The registration of that run. Default: the one beside the RTSTRUCT.")
    ] = None,
    identify: Identify = False,
    dose: Dose = None,
    plan: Plan = None,
    goals: Goals = None,
    pseudonym_key: PseudonymKey = None,
    allow_different_patients: Annotated[
        bool, typer.Option("--allow-different-patients", help="Go on, in red, where the two PatientIDs differ.")
    ] = False,
    screenshots: Annotated[
        bool, typer.Option("--screenshots", help="Also pictures of the page (needs playwright and chromium).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make the report of a fraction anew from its files, without aligning or refining anything.

    Exit codes: 0 done; 2 asked wrongly; 3 refused, nothing written.
    """
    from recontour.finished import FinishedRun, read_finished
    from recontour.pipeline import Stopwatch
    from recontour.report import ReportRequest, check_request, make_report
    from recontour.screenshots import check_browser, take_screenshots

    request = ReportRequest(out, identify, dose, plan, goals, pseudonym_key, overwrite, allow_different_patients)
    check_request(request)
    if screenshots:
        check_browser()
    with stages(silent=quiet) as on_stage:
        watch = Stopwatch(on_stage)
        with watch.stage("read"):
            evidence = read_finished(FinishedRun(rtstruct, planning, daily, registration, allow_different_patients))
        made = make_report(evidence, request, rtstruct, watch)
        pictures: list[Path] = []
        if screenshots:
            with watch.stage("screenshots"):
                pictures = take_screenshots(made.files[0], out / "screenshots")
    if not quiet:
        for file in (*made.files, *pictures):
            print(file)
