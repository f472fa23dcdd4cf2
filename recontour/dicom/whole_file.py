"""Files that appear whole and checked, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.disk import sync_folder
from recontour.errors import OutputRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def save_whole(dataset: Dataset, path: Path, overwrite: bool, check: Callable[[Path], None]) -> None:
    """Writes `dataset` beside `path`, syncs it, lets `check` read it back, and only then gives it its name.

    Raises OutputRefused where `path` exists and `overwrite` is not set, or where it cannot be written, and whatever
    `check` raises; then there is no new file, and an existing one is as it was.
    """
    if not overwrite:
        refuse_existing(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            dataset.save_as(file, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
        check(beside)
        if not overwrite:
            refuse_existing(path)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where=path.name, allowed="a folder that can be written to") from error
    finally:
        beside.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raises OutputRefused where `path` is there."""
    if path.exists():
        raise OutputRefused("there is already a file", where=path.name, allowed="another name, or --overwrite")
