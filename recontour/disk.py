"""What the system does for files: what reaches the disk, who may read it."""

from __future__ import annotations

import os
from pathlib import Path


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
