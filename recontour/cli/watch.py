"""recontour watch: files that appear in a folder -> contours in another, through the durable queue."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.options import Device, Method, Model, Only, Pairs, PseudonymKey, SettingsFile, Skip
from recontour.cli.screen import chosen_settings, organ_pairs, show_error, stderr, table

if TYPE_CHECKING:
    from recontour.queue.spool import Spool
    from recontour.queue.watching import Round, Watch

Once = Annotated[bool, typer.Option("--once", help="Take what is there, run it, deliver it, and end.")]
Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.0, metavar="SECONDS")]
Quiet = Annotated[
    float,
    typer.Option(
        "--quiet-seconds", help="A series is whole when nothing of it came for so long.", min=0.0, metavar="SECONDS"
    ),
]
QueueFolder = Annotated[
    Path | None, typer.Option(help="Where the queue lies, on a local disk. Default: OUT/.recontour.", metavar="DIR")
]
Status = Annotated[bool, typer.Option("--status", help="Show what the queue holds, and end.")]
Requeue = Annotated[int | None, typer.Option(help="Run this failed or done job again, and end.", metavar="JOB")]
PlanSeries = Annotated[
    str | None, typer.Option("--plan", help="This CT series with its RTSTRUCT is a plan; and end.", metavar="UID")
]
KeepDays = Annotated[
    float,
    typer.Option(help="Remove from the queue what was delivered so many days ago; 0: never.", min=0, metavar="DAYS"),
]
Remove = Annotated[bool, typer.Option("--remove", help="Delete files of FOLDER once they are safe in the queue.")]


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder in which scans and structure sets appear.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where results go: OUT/PATIENT/SERIES-JOB/.")],
    once: Once = False,
    every: Every = 5.0,
    quiet_seconds: Quiet = 30.0,
    queue: QueueFolder = None,
    status: Status = False,
    requeue: Requeue = None,
    plan: PlanSeries = None,
    remove: Remove = False,
    keep_days: KeepDays = 0.0,
    method: Method = None,
    model: Model = None,
    device: Device = None,
    settings: SettingsFile = None,
    roi: Pairs = None,
    only: Only = None,
    skip: Skip = None,
    pseudonym_key: PseudonymKey = None,
) -> None:
    """Watch a folder: every daily CT in it gets its patient's planning contours, as soon as both are whole.

    Exit codes: 0 done; 2 asked wrongly; 3 a job failed, or a file was refused; 4 done, but a contour was rejected;
    130 interrupted: what was begun is begun anew at the next start.
    """
    from recontour.queue.watching import Watch, WatchRequest
    from recontour.queue.worker import RunOptions

    chosen = chosen_settings(settings, method, model, device)
    options = RunOptions(organ_pairs(roi or []), tuple(only or ()), tuple(skip or ()), pseudonym_key)
    asked = WatchRequest(folder, out, queue or out / ".recontour", chosen, options, quiet_seconds, remove, keep_days)
    watching = Watch(asked)
    try:
        if requeue is not None or plan is not None:
            _do_as_asked(watching, requeue, plan)
        elif status:
            show_queue(watching.spool, keep_days)
        else:
            _serve(watching, once, every)
    finally:
        watching.close()


def _do_as_asked(watching: Watch, requeue: int | None, plan: str | None) -> None:
    from recontour.queue.matching import appoint

    if requeue is not None:
        watching.jobs.requeue(requeue)
        print(f"job {requeue} will be run again")
    if plan is not None:
        appoint(watching.jobs, plan, time.time())
        print(f"series ...{plan[-8:]} is a plan")


def show_queue(spool: Spool, keep_days: float) -> None:
    """Every table that has rows, and for how long what is done with is kept."""
    from rich.markup import escape

    from recontour.queue.status import HEADINGS, status

    found = status(spool)
    kept = f"for {keep_days:g} days after it was delivered" if keep_days else "until a person removes it"
    print(f"what is done with is kept {kept}")
    for name, headings in HEADINGS.items():
        rows = getattr(found, name)
        if rows:
            print(f"\n{name}")
            table(list(headings), [[escape(text) for text in row] for row in rows])


def _serve(watching: Watch, once: bool, every_s: float) -> None:
    from recontour.errors import OutputRefused

    signal.signal(signal.SIGTERM, _interrupted)  # as Ctrl-C: the job at hand is put back
    begun = time.time()
    watching.begin(begun)
    while True:
        try:
            told = watching.round(time.time())
        except OutputRefused as error:
            if once:
                raise
            show_error(error)  # a disk that is full now may not be so later
            told = None
        if told:
            _tell(told)
        if once and told and told.at_rest:
            raise typer.Exit(_exit_code(watching, begun))
        if told is None or not told.busy:
            time.sleep(every_s if not once else min(every_s, 1.0))


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _tell(told: Round) -> None:
    for line in told.lines:
        print(line, flush=True)
    for line in told.warnings:
        stderr(f"recontour: {line}")


def _exit_code(watching: Watch, begun: float) -> int:
    """Of what happened in this call."""
    ended = watching.ended_since(begun)
    if ended.failed or ended.refused or ended.undelivered:
        return 3
    return 4 if ended.rejected else 0
