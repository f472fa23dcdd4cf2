"""fractions.csv: every fraction of a batch, done or not, and what is left out, with the reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from recontour.batch.outcome import Outcome
from recontour.batch.plan import LeftOut, Plan
from recontour.batch.state import cannot_write, outcome_on_disk
from recontour.batch.task import Task
from recontour.qa.manifest import write_text

TABLE = "fractions.csv"
State = Literal["done", "failed", "open", "left out"]


@dataclass(frozen=True)
class Row:
    """A fraction, or what is left out. why: reasons of the light, or why it is not done. counts: of what is left out,
    whether a fraction may be lost by it."""

    patient: str
    fraction: str
    number: int | None
    state: State
    light: str = ""
    why: str = ""
    report: str = ""
    seconds: float | None = None
    counts: bool = True


def rows_of(plan: Plan, passing: Mapping[tuple[str, str], Outcome]) -> Iterator[Row]:
    """From the files, in the order of the tasks; `passing`: failures that are not written down."""
    for task in plan.tasks:
        yield _row(task, passing.get((task.patient, task.name)))
    for item in plan.left_out:
        yield _omitted(item)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Whole or not at all. Raises OutputRefused."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(f.name for f in fields(Row))
    writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise cannot_write(error, path.name) from error


def _row(task: Task, failed: Outcome | None) -> Row:
    outcome = failed or outcome_on_disk(task)
    if outcome is None:
        return Row(task.patient, task.name, task.number, "open", why="not done yet")
    if outcome.failed:
        why = "; ".join(part for part in (outcome.found, outcome.where, outcome.allowed) if part)
        return Row(task.patient, task.name, task.number, "failed", why=why, seconds=outcome.seconds)
    report = outcome.report_missing or ("made" if task.wanted.report else "")
    why = " ".join(outcome.reasons)
    return Row(task.patient, task.name, task.number, "done", outcome.light, why, report, outcome.seconds)


def _omitted(item: LeftOut) -> Row:
    return Row(item.patient, item.what, None, "left out", why=item.reason, counts=item.counts)
