"""recontour node: the DICOM service on the hospital's network."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from recontour.cli.app import app
from recontour.cli.screen import table

if TYPE_CHECKING:
    from recontour.node.config import NodeConfig
    from recontour.queue.jobs import Jobs


class _RunUnlessSaid(TyperGroup):
    """`recontour node CONFIG` is `recontour node run CONFIG`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


node_app = typer.Typer(
    cls=_RunUnlessSaid,
    no_args_is_help=True,
    help="Receive scans and plans by DICOM, and send contours back: recontour node CONFIG.toml runs the service.",
)
app.add_typer(node_app, name="node")

Config = Annotated[Path, typer.Argument(help="The node's TOML file, as deploy/node.toml.", metavar="CONFIG.toml")]
JobId = Annotated[int, typer.Argument(help="As the status shows it.", metavar="JOB")]


@node_app.command()
def run(config: Config) -> None:
    """Run the service until it is told to stop (SIGTERM, Ctrl-C)."""
    from recontour.node.config import read_config

    asked = read_config(config)
    _need_library()
    from recontour.node.service import Node, own_process

    node = Node(asked)
    with own_process(node):
        try:
            node.start()
            print(f"{asked.ae_title} listens on {_ports(asked)}; {len(asked.peers)} peers", flush=True)
            node.serve()
        finally:
            node.close()
    print("stopped; what is left is done at the next start", flush=True)


@node_app.command()
def check(config: Config) -> None:
    """Check the configuration and its files, and send a C-ECHO to every peer; exit with 3 where one is silent."""
    from rich.markup import escape

    from recontour.node.config import read_config

    asked = read_config(config)
    _need_library()
    from recontour.node.check import check_files, echo_all

    check_files(asked)
    print(f"{asked.ae_title}: the configuration and its files can be used")
    answers = list(echo_all(asked))
    table(["peer", "where", "found"], [[escape(text) for text in (a.peer, a.where, a.found)] for a in answers])
    if not all(answer.ok for answer in answers):
        raise typer.Exit(3)


@node_app.command()
def status(config: Config) -> None:
    """Show what the queue holds, what waits for what, what failed and what a person has to know."""
    from recontour.cli.watch import show_queue
    from recontour.node.config import read_config
    from recontour.node.running import is_running

    asked = read_config(config)
    running = is_running(asked.spool_folder)
    print(f"{asked.ae_title}: " + ("running" if running else "NOT running"))
    if (asked.spool_folder / "queue.db").exists():
        from recontour.queue.spool import Spool

        spool = Spool(asked.spool_folder)
        show_queue(spool, asked.keep_days)
        spool.database.close()
    if not running:
        raise typer.Exit(3)


@node_app.command()
def requeue(config: Config, job: JobId) -> None:
    """Run a failed or done job again, with all that is there now."""
    with _jobs(config) as jobs:
        jobs.requeue(job)
    print(f"job {job} will be run again")


@node_app.command("send-again")
def send_again(config: Config) -> None:
    """Try again to deliver what was given up."""
    with _jobs(config) as jobs:
        print(f"{jobs.send_again(time.time())} results are due again")


@node_app.command()
def plan(
    config: Config,
    series: Annotated[str, typer.Argument(help="The UID of a CT series that has a structure set.", metavar="UID")],
) -> None:
    """Say that a CT series with its structure set is a plan, whatever the queue took it for."""
    from recontour.queue.matching import appoint

    with _jobs(config) as jobs:
        appoint(jobs, series, time.time())
    print(f"series ...{series[-8:]} is a plan")


@contextmanager
def _jobs(config: Path) -> Generator[Jobs]:
    """Of a queue that is there."""
    from recontour.errors import UsageError
    from recontour.node.config import read_config
    from recontour.queue.jobs import Jobs
    from recontour.queue.spool import Spool

    folder = read_config(config).spool_folder
    if not (folder / "queue.db").exists():
        raise UsageError("there is no queue yet", where="spool", allowed="a node that has run")
    jobs = Jobs(Spool(folder))
    try:
        yield jobs
    finally:
        jobs.close()
        jobs.spool.database.close()


def _need_library() -> None:
    from importlib.util import find_spec

    from recontour.errors import UsageError

    if find_spec("pynetdicom") is None:
        raise UsageError("pynetdicom is missing", where="recontour node", allowed="pip install 'recontour[node]'")


def _ports(config: NodeConfig) -> str:
    said = [f"port {config.port}"] if config.port else []
    return " and ".join(said + ([f"port {config.tls.port} (TLS)"] if config.tls.port else []))
