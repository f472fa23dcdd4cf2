"""The folder of a run: what lies in it, whose it is, and how a file gets there whole or not at all.

RUN/settings.json            TrainSettings, how many processes train, and recontour's version
RUN/checkpoint.safetensors   everything that a training needs to go on;  previous.safetensors: the one before
RUN/best.safetensors         the network's weights at the lowest validation MSD
RUN/log.csv, validation.csv  what happened;  RUN/tensorboard: the same as events
RUN/lock                     held by the process that trains
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import recontour
from recontour.disk import sync_folder, try_lock
from recontour.errors import OutputRefused, SettingsError, UsageError
from recontour.train.settings import TrainSettings, train_settings_from

SETTINGS, LOCK, STOPPED = "settings.json", "lock", "stopped.safetensors"
CHECKPOINT, PREVIOUS, BEST = "checkpoint.safetensors", "previous.safetensors", "best.safetensors"
SET_ASIDE = "set-aside.safetensors"
LOG, VALIDATION, TENSORBOARD, MEN = "log.csv", "validation.csv", "tensorboard", "men"

# What says how long, where and how often, and not what is learnt.
MAY_CHANGE = {
    "steps",
    "device",
    "log_every",
    "validate_every",
    "checkpoint_every_s",
    "data.folder",
    "data.workers",
    "recontour",
}


@contextmanager
def locked(run: Path) -> Generator[None]:
    """The folder, made where it is missing, is this process's own until the block ends or the process dies.

    Raises OutputRefused where another process trains in it, where it holds something else, or cannot be written to.
    """
    try:
        if run.is_dir() and any(run.iterdir()) and not (run / SETTINGS).exists() and not (run / LOCK).exists():
            raise OutputRefused("the folder holds something else", where=run.name, allowed="a new folder, or a run's")
        run.mkdir(parents=True, exist_ok=True)
        file = (run / LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise _cannot_write(run, error) from error
    with file:
        if not try_lock(file):
            allowed = "wait for it, or train in another folder"
            raise OutputRefused("another process trains in this folder", where=run.name, allowed=allowed)
        yield


def keep_settings(run: Path, settings: TrainSettings, processes: int) -> None:
    """Writes the run's settings where it begins, and compares them where a checkpoint was made with them.

    Raises SettingsError that names the first setting that differs, but for those that say how long, where and how
    often.
    """
    path = run / SETTINGS
    now = {**settings.as_dict(), "processes": processes, "recontour": recontour.__version__}
    now = cast("dict[str, Any]", json.loads(json.dumps(now)))  # tuples become lists, as in the file
    if (run / CHECKPOINT).exists() or (run / PREVIOUS).exists():
        for name, value in _flat(now).items():
            then = _flat(_read_json(path)).get(name)
            if name not in MAY_CHANGE and then != value:
                allowed = "the run's own settings, or another folder"
                raise SettingsError(f"{value!r}, and the run began with {then!r}", where=name, allowed=allowed)
    write_whole(path, json.dumps(now, indent=1).encode())


def read_run_settings(run: Path) -> TrainSettings:
    """What the run in a folder was told. Raises UsageError where there is no run, SettingsError on settings that this
    version does not know."""
    raw = _read_json(run / SETTINGS)
    return train_settings_from({name: value for name, value in raw.items() if name not in ("processes", "recontour")})


def check_room(run: Path, needed_bytes: float) -> None:
    """Raises OutputRefused where the disk has less room than checkpoints and logs will take."""
    free = shutil.disk_usage(run).free
    if free < needed_bytes:
        found = f"{free / 1e6:.0f} MB free, and the run needs {needed_bytes / 1e6:.0f} MB"
        raise OutputRefused(found, where=run.name, allowed="more room, or a folder on another disk")


def write_beside(path: Path, content: bytes) -> Path:
    """`content` beside `path`, on the disk to the last byte; returns where. Leaves nothing behind on OSError."""
    beside = path.with_name(f"{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return beside


def put_in_place(*moves: tuple[Path, Path]) -> None:
    """Renames each first to its second, in this order, and has the folder know it for good."""
    for source, target in moves:
        os.replace(source, target)
    sync_folder(moves[0][1].parent)


def write_whole(path: Path, content: bytes) -> None:
    """The file is the old one or the new one, never a part. Raises OutputRefused where it cannot be written."""
    try:
        put_in_place((write_beside(path, content), path))
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> OutputRefused:
    return OutputRefused(
        f"cannot be written: {error.strerror}", where=path.name, allowed="a folder with room, writable"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(
            "no run's settings", where=f"{path.parent.name}/{path.name}", allowed="a run's folder"
        ) from error


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in nested.items():
        out |= (
            _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
            if isinstance(value, dict)
            else {prefix + name: value}
        )
    return out
