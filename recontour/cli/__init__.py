"""The command line: what is asked, what is shown, and the exit codes. The only place for rich, prints and exits.

0  done            2  asked wrongly           3  input or result refused, nothing written
4  contours written, but one was rejected, or with --strict one needs review
5  contours written and in place, but the report that was asked for could not be made  130  interrupted
"""

# The commands are imported for what they register.
# ruff: noqa: F401
# pyright: reportUnusedImport=false

from __future__ import annotations

import os
import signal
import sys

from recontour.cli import (
    batch,
    calibrate,
    checks,
    compare,
    course,
    evaluate,
    export_model,
    node,
    personalize,
    prepare,
    report,
    review,
    run,
    train,
    watch,
)
from recontour.cli.app import app
from recontour.cli.screen import show_error, show_unforeseen, stderr

_INTERRUPTED = 130


def main() -> None:
    """The entry point: every error is one screen, none a traceback."""
    from recontour.errors import RecontourError

    # Threads that wait must not burn a core that another process needs: three times slower otherwise. Read when torch
    # loads its threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RecontourError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # typer's answer to Ctrl-C; a second one, meanwhile, would show a traceback
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stderr("Interrupted. No file is half written.")
        raise
    except Exception as error:
        show_unforeseen(error)
        sys.exit(3)
