"""recontour batch: a cohort, every fraction of it, gone on with where it was left."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recontour.cli.app import app
from recontour.cli.options import (
    Device,
    Method,
    Model,
    Only,
    Pairs,
    PseudonymKey,
    Quiet,
    SettingsFile,
    Skip,
    Strict,
)
from recontour.cli.screen import chosen_settings, organ_pairs, stderr, table

if TYPE_CHECKING:
    from recontour.batch.outcome import Outcome
    from recontour.batch.plan import Plan
    from recontour.batch.run import Outcomes
    from recontour.batch.table import Row
    from recontour.batch.task import Task

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes on this machine.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Use the workers of this Dask scheduler instead.", metavar="tcp://HOST:PORT")
]
PlanningName = Annotated[
    str, typer.Option(help="Planning scans are called so (series description or folder). Default: the earliest.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also try again what could not be done before.")]
WithRegistration = Annotated[
    bool, typer.Option("--registration", help="Also write the registration (DICOM) of each fraction.")
]
WithReport = Annotated[
    bool, typer.Option("--report", help="Also make a QA report of each fraction, and a course page a patient.")
]

_COLOURS = {"pass": "green", "review": "yellow", "reject": "bold red"}
_MOST_ROWS = 40  # of a table on the screen; the file has all


@app.command()
def batch(
    cohort: Annotated[Path, typer.Argument(help="A folder of any layout, a DICOMDIR, or a CSV: planning,daily.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of results: new, or to go on with.")],
    dry_run: DryRun = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    planning_name: PlanningName = "",
    retry_failed: RetryFailed = False,
    registration: WithRegistration = False,
    report: WithReport = False,
    method: Method = None,
    model: Model = None,
    device: Device = None,
    settings: SettingsFile = None,
    roi: Pairs = None,
    only: Only = None,
    skip: Skip = None,
    pseudonym_key: PseudonymKey = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Give every fraction of a cohort its contours. The same command goes on where it stopped, or was stopped.

    Exit codes: 0 all done; 2 asked wrongly; 3 a fraction, or what may be one, was left out or could not be done;
    4 all done, but a contour was rejected (with --strict: or needs review); 5 all done, but a report or a course page
    could not be made; 130 interrupted. Of several, the first of 3, 4, 5.
    """
    from recontour.batch.plan import BatchRequest, plan_batch
    from recontour.batch.run import run_batch

    request = BatchRequest(
        cohort=cohort,
        out=out,
        settings=chosen_settings(settings, method, model, device),
        chosen_rois=tuple(sorted(organ_pairs(roi or []).items())),
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        registration=registration,
        report=report,
        planning_name=planning_name,
        pseudonym_key=pseudonym_key,
    )
    plan = plan_batch(request, None if quiet else _show_files)
    if not quiet:
        _show_plan(plan, retry_failed)
    if dry_run:
        raise typer.Exit(0 if plan.tasks else 3)
    with _one_interruption():
        rows = run_batch(plan, _who_works(plan, workers, scheduler), retry_failed, None if quiet else _Progress(plan))
        pages_missing = _make_pages(plan, pseudonym_key) if report else []
    if not quiet:
        _show_end(rows, plan)
    for line in pages_missing:
        stderr(f"recontour: {line}")
    raise typer.Exit(_exit_code(rows, strict, bool(pages_missing)))


def _who_works(plan: Plan, workers: int, scheduler: str | None) -> Outcomes:
    """One process with fractions that overlap; several of them; or those of a cluster."""
    from recontour.batch.overlap import outcomes as overlapping
    from recontour.errors import UsageError

    if scheduler is None and workers == 1:
        return overlapping
    try:
        import distributed  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        allowed = "pip install 'recontour[cluster]'"
        raise UsageError("Dask distributed is not installed", where="--workers", allowed=allowed) from error
    from recontour.batch import cluster

    def outcomes(tasks: Sequence[Task]) -> Iterator[Outcome]:
        if not tasks:
            return
        device = plan.tasks[0].wanted.settings.device
        with cluster.connected(scheduler) if scheduler else cluster.local(workers, device) as client:
            missing = cluster.missing(tasks, client)
            if missing:
                stderr(f"recontour: {missing}")
            yield from cluster.outcomes(tasks, client)

    return outcomes


@contextmanager
def _one_interruption() -> Generator[None]:
    """The first Ctrl-C ends each fraction after the stage that it is in; the second ends the process, which is safe at
    any moment."""

    def at_once(*_: Any) -> None:
        os._exit(130)

    def gently(*_: Any) -> None:
        signal.signal(signal.SIGINT, at_once)
        stderr("Stopping after the stage at hand; Ctrl-C again stops at once. The same command goes on from here.")
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, gently)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show_files(number: int) -> None:
    if number % 1000 == 0:
        stderr(f"{number} files looked at")


def _show_plan(plan: Plan, retry_failed: bool) -> None:
    by_patient: dict[tuple[str, str], Counter[str]] = {}
    for task, now in zip(plan.tasks, plan.standings, strict=True):
        key = task.patient, f"...{task.planning.series_uid[-8:]}"
        by_patient.setdefault(key, Counter())[now] += 1
    rows = [
        [*key, str(found.total()), str(found["open"]), str(found["done"]), str(found["changed"]), str(found["failed"])]
        for key, found in by_patient.items()
    ]
    patients = len({patient for patient, _ in by_patient})
    stderr(f"{patients} patient(s), {len(plan.tasks)} fraction(s), {len(plan.to_do(retry_failed))} to do now")
    headings = ["patient", "planning scan", "fractions", "new", "done", "changed", "failed before"]
    _shortened(headings, rows)
    if plan.left_out:
        print()
        _shortened(["left out", "", "why"], [[item.patient, item.what, item.reason] for item in plan.left_out])
    if "changed" in plan.standings:
        print("changed: done with other inputs or settings. They are done again; earlier results are kept.")
    if "failed" in plan.standings and not retry_failed:
        print("failed before: left as they are, unless --retry-failed is given.")


def _shortened(headings: list[str], rows: list[list[str]]) -> None:
    from rich.markup import escape

    table(headings, [[escape(cell) for cell in row] for row in rows[:_MOST_ROWS]])
    if len(rows) > _MOST_ROWS:
        print(f"... and {len(rows) - _MOST_ROWS} more")


class _Progress:
    """A line for each fraction, on stderr: files of a queueing system hold no bars."""

    def __init__(self, plan: Plan) -> None:
        self._numbers = {(task.patient, task.name): task.number for task in plan.tasks}
        self._count, self._began = 0, perf_counter()

    def __call__(self, outcome: Outcome) -> None:
        from rich.console import Console
        from rich.markup import escape

        self._count += 1
        if outcome.failed:
            mark = f"[bold red]failed[/]: {escape(outcome.found)}"
        else:
            mark = f"[{_COLOURS[outcome.light]}]{outcome.light}[/]"
            mark += f"  no report: {escape(outcome.report_missing)}" if outcome.report_missing else ""
        number = self._numbers[outcome.patient, outcome.name]
        minutes, seconds = divmod(round(perf_counter() - self._began), 60)
        which = escape(f"{outcome.patient} {number:2d} {outcome.name}")
        line = f"  {minutes:3d}:{seconds:02d}  {self._count:4d}  {which}  {mark}"
        Console(stderr=True, highlight=False).print(line)


def _make_pages(plan: Plan, pseudonym_key: Path | None) -> list[str]:
    """OUT/<patient>/course.html for every patient with a result; what could not be made, in words."""
    from recontour.cli.course_files import find_course
    from recontour.errors import RecontourError
    from recontour.qa.manifest import write_text
    from recontour.qa.report.course import course_page

    missing: list[str] = []
    for patient in dict.fromkeys(task.patient for task in plan.tasks):
        page = plan.out / patient / "course.html"
        if not any((plan.out / patient).glob("*/rtstruct.manifest.json")):
            continue
        try:
            write_text(page, course_page(find_course(page.parent, page, pseudonym_key).entries))
        except (RecontourError, OSError) as error:
            reason = error.found if isinstance(error, RecontourError) else error.strerror or type(error).__name__
            missing.append(f"no course page of {patient}: {reason}")
    return missing


def _show_end(rows: Sequence[Row], plan: Plan) -> None:
    from rich.markup import escape

    from recontour.batch.table import TABLE

    def cells(row: Row) -> list[str]:
        light = f"[{_COLOURS[row.light]}]{row.light}[/]" if row.light else row.state
        number = "" if row.number is None else str(row.number)
        return [escape(row.patient), number, escape(row.fraction), light, escape(row.why)]

    shown = [row for row in rows if row.counts]
    print()
    table(["patient", "", "fraction", "", "why"], [cells(row) for row in shown[:_MOST_ROWS]])
    if len(shown) > _MOST_ROWS:
        print(f"... and {len(shown) - _MOST_ROWS} more")
    states = Counter(row.light or row.state for row in shown)
    print(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    print(f"{plan.out / TABLE}: all of them")
    print("Check every contour before use: the structure sets are marked UNAPPROVED.")


def _exit_code(rows: Sequence[Row], strict: bool, pages_missing: bool) -> int:
    """What is not done matters more than what was rejected, and that more than a report that is missing."""
    if any(row.counts and row.state != "done" for row in rows) or not rows:
        return 3
    if any(row.light == "reject" or (strict and row.light == "review") for row in rows):
        return 4
    return 5 if pages_missing or any(row.report not in ("", "made") for row in rows) else 0
