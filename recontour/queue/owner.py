"""Which process works on what: a locked file for each, which the system unlocks when the process ends, however it
ends."""

from __future__ import annotations

import uuid
from pathlib import Path

from recontour.disk import try_lock
from recontour.errors import OutputRefused


class Owner:
    """This process, or this part of it, as long as the object lives."""

    def __init__(self, folder: Path) -> None:
        """Raises OutputRefused where no file can be made in `folder`."""
        self.token = uuid.uuid4().hex
        self._path = folder / self.token
        try:
            self._file = self._path.open("xb")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputRefused(reason, where="owners", allowed="a queue that may be written to") from error
        try_lock(self._file)

    def close(self) -> None:
        """The process does not work on the queue any more."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def is_gone(folder: Path, token: str) -> bool:
    """Whether nobody of this token works any more; then its file is taken away."""
    path = folder / token
    try:
        with path.open("r+b") as file:
            if not try_lock(file):
                return False
    except FileNotFoundError:
        return True
    path.unlink(missing_ok=True)
    return True
