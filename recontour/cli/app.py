"""The command line: one module for each group of commands; all of them hang on `app`."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="recontour",
    help="Contours for the daily scan in adaptive radiotherapy of prostate cancer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
