"""recontour review: who looked at a result, and what he decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import stderr, table

if TYPE_CHECKING:
    from recontour.qa.decisions import Choice, Reviewed


@app.command()
def review(
    rtstruct: Annotated[Path, typer.Argument(help="The RTSTRUCT that was looked at, its manifest beside it.")],
    who: Annotated[str, typer.Option(help="Who looked: a login or initials, kept as given.")] = "",
    accept: Annotated[list[str] | None, typer.Option(help="An ROI that can be used; all: every other one.")] = None,
    edit: Annotated[list[str] | None, typer.Option(help="An ROI that must be corrected first.")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="An ROI that must not be used.")] = None,
    comment: Annotated[list[str] | None, typer.Option(help="ROI=TEXT, with a decision on that ROI.")] = None,
    from_page: Annotated[
        Path | None, typer.Option("--from", help="The file of decisions that the report's page gave.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print what was decided, and check that nothing is lost.")
    ] = False,
) -> None:
    """Record who looked at a result and what he decided, in a file beside it. The RTSTRUCT stays UNAPPROVED."""
    from recontour.errors import UsageError
    from recontour.qa.decisions import choices_from_page, choices_in_words, open_reviewed, records_of
    from recontour.qa.review import append_review, now, review_file

    reviewed = open_reviewed(rtstruct)
    by_decision = {"accept": accept or [], "edit": edit or [], "reject": reject or []}
    if from_page and (any(by_decision.values()) or comment):
        raise UsageError("decisions in a file and in words", where="--from", allowed="either")
    choices: list[Choice] = (
        choices_from_page(from_page, reviewed.sha256, reviewed.names)
        if from_page
        else choices_in_words(by_decision, comment or [], reviewed.names)
    )
    if not choices and not show:
        raise UsageError("nothing was decided", where="review", allowed="--accept, --edit, --reject, --from or --show")
    if choices:
        reviewed.require_unchanged()
        records = records_of(choices, who, now(), reviewed.sha256)
        append_review(review_file(rtstruct), records)
        print(f"{len(records)} decision{'s' * (len(records) != 1)} recorded: {review_file(rtstruct).name}")
    if show:
        _show(reviewed)


def _show(reviewed: Reviewed) -> None:
    from recontour.qa.review import latest, read_reviews, review_file

    records = read_reviews(review_file(reviewed.rtstruct))
    holds = latest(records, reviewed.sha256)
    rows: list[list[str]] = []
    for record in records:
        state = "" if holds.get(record.roi) is record else "overruled"
        state = state if record.rtstruct_sha256 == reviewed.sha256 else "of another RTSTRUCT"
        rows.append([record.when, record.who, record.roi or "(all of it)", record.decision, state, record.comment])
    table(["when", "who", "ROI", "decision", "", "comment"], [[_plain(cell) for cell in row] for row in rows])
    open_rois = [name for name in reviewed.names if name not in holds]
    print(f"{len(records)} lines, none changed or missing. Not decided: {', '.join(open_rois) or 'nothing'}.")
    others = sum(record.rtstruct_sha256 != reviewed.sha256 for record in records)
    if others:
        stderr(
            f"recontour: {others} of {len(records)} decisions are on another RTSTRUCT that lay here: they do not hold."
        )
    reviewed.require_unchanged()


def _plain(text: str) -> str:
    """Brackets as they are, not as markup."""
    from rich.markup import escape

    return escape(text)
