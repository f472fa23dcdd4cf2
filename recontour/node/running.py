"""One node for each queue, and whether it runs."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from recontour.disk import try_lock
from recontour.errors import OutputRefused, UsageError

LOCK = "node.lock"


def only_one(folder: Path) -> IO[bytes]:
    """Held as long as the file is open; the system lets go of it when the process ends, however it ends. Raises
    UsageError where another node holds it."""
    try:
        file = (folder / LOCK).open("ab")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where="spool", allowed="a folder that may be written to") from error
    if not try_lock(file):
        file.close()
        raise UsageError("another node works on this queue", where="spool", allowed="one node for each queue")
    return file


def is_running(folder: Path) -> bool:
    """Whether a node works on this queue."""
    if not (folder / LOCK).exists():
        return False
    try:
        only_one(folder).close()
    except UsageError:
        return True
    return False
