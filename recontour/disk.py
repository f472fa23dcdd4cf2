"""What the system does for files: what reaches the disk, who may read it, who works on it, which file it is."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

_LOOK_AGAIN_S = 1.0


def _umask() -> int:
    """It can only be asked for by setting it, for all threads at once."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


UMASK = _umask()  # asked for once: between two threads that ask, one would leave the other's for good


def sync_folder(folder: Path) -> None:
    """So that new names in `folder`, too, outlive a power cut; Windows cannot and need not. Raises OSError."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def try_lock(file: IO[Any]) -> bool:
    """Locks a file until it is closed, or the last process that was given it ends, however it ends. False where
    somebody else has it."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            cast("Any", msvcrt).locking(file.fileno(), cast("Any", msvcrt).LK_NBLCK, 1)
    except OSError:
        return False
    return True


@contextmanager
def alone(path: Path) -> Generator[IO[bytes]]:
    """A file that is locked until the block ends, made where there is none; waits for whoever has it. Raises OSError
    where it cannot be made."""
    with path.open("ab") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            while not try_lock(file):
                time.sleep(_LOOK_AGAIN_S)
        yield file


def file_sha256(path: Path) -> str:
    """In hexadecimal digits. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the share of it that one may use, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
