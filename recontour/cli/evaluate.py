"""recontour evaluate: a cohort of results against references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import organ_pairs, stderr, table

if TYPE_CHECKING:
    from recontour.evaluate.cohort import CohortResult


@app.command()
def evaluate(
    results: Annotated[Path, typer.Argument(help="Folder with result RTSTRUCTs, nested as it may be.")],
    references: Annotated[Path, typer.Argument(help="Folder with the daily scans' reference RTSTRUCTs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write tables and plots to.")],
    roi: Annotated[
        list[str] | None, typer.Option(help="ORGAN=ROI where several ROIs could be it: bladder=Vescica, or =none.")
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Also draw plots, as PNG and PDF.")] = False,
    allow_different_patients: Annotated[
        bool, typer.Option("--allow-different-patients", help="Go on where the two PatientIDs differ.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier evaluation in that folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Score results against reference contours of the same scans: Dice, distances, path to redraw, field, volumes."""
    from recontour.evaluate.cohort import CohortRequest, evaluate_cohort
    from recontour.evaluate.plots import check_matplotlib, write_plots
    from recontour.evaluate.report import check_output, write_report

    if plots:
        check_matplotlib()
    check_output(out, overwrite)

    def show(name: str, number: int, count: int) -> None:
        stderr(f"  {number + 1:>4} of {count}  fraction {name}")

    request = CohortRequest(results, references, organ_pairs(roi or []), allow_different_patients)
    result = evaluate_cohort(request, None if quiet else show)
    write_report(result, out, overwrite, write_plots if plots else None)
    if not quiet:
        _show(result, out)


def _show(result: CohortResult, out: Path) -> None:
    from recontour.evaluate.report import grouped, medians, summaries_of

    print("Median and worst of each organ:")
    table(*medians(summaries_of(result)))
    for text, names in grouped(result.remarks).items():
        some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        print(f"{text} ({len(names)}: {some})" if names else text)
    print(f"{result.fractions} fraction(s) scored: {out}")
