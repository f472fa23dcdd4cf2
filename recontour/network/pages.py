"""Keeps freed memory in the process while a network runs.

glibc hands large blocks back to the system at once, and the system clears every page again before the next layer may
use it: a quarter to a third of the time of a network on a CPU (measured).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3)
_DEFAULT_TRIM, _DEFAULT_MMAPS = 128 * 1024, 65536


@contextmanager
def pages_kept() -> Generator[None, None, None]:
    """glibc keeps what is freed until the end of the block, then gives it back; elsewhere this does nothing."""
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _DEFAULT_MMAPS)
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        library.malloc_trim(0)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)  # the process's own symbols
    return library if hasattr(library, "malloc_trim") else None
