"""recontour course: several fractions of one patient on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import stderr


@app.command()
def course(
    folder: Annotated[Path, typer.Argument(help="Folder with the results of one patient, and their reports.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, such as course.html.")],
    pseudonym_key: Annotated[
        Path | None, typer.Option(help="The key of pseudonyms, for results without a report.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
) -> None:
    """Show how volumes, shifts, verdicts and goals went over the fractions of one patient, and what stands out."""
    from recontour.cli.course_files import find_course
    from recontour.errors import OutputRefused
    from recontour.qa.manifest import write_text
    from recontour.qa.report.course import course_page

    if out.exists() and not overwrite:
        raise OutputRefused("there is already a file", where=out.name, allowed="another name, or --overwrite")
    found = find_course(folder, out, pseudonym_key)
    page = course_page(found.entries)
    try:
        write_text(out, page)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where=out.name, allowed="a folder that can be written to") from error
    for remark in found.remarks:
        stderr(f"recontour: {remark}")
    print(f"{len(found.entries)} fraction{'s' * (len(found.entries) != 1)}: {out}")
