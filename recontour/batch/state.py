"""What was done so far: it stands in the result files themselves, and nowhere else.

    OUT/batch.json                      whose folder this is
    OUT/<patient>/<fraction>/           a result: there whole, or not there
        rtstruct.dcm, rtstruct.manifest.json, asked.json, registration.dcm and report/ where asked for
    OUT/<patient>/<fraction>.failed.json    why it could not be done
    OUT/superseded/                     results of inputs or settings that have changed since
    OUT/.work/                          what is being made; of no use once its process has ended
    OUT/.lock                           locked while a batch is at work

A result is made in .work and takes its name by one rename, which the file system does whole or not at all; so a
process may be killed at any moment, and what has its name is done. A database beside the files would be a second
truth, which a kill between its commit and the rename makes false; it could not lie on a network mount, where SQLite's
locks do not hold; and somebody who takes a result away would have to tell it so.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

from recontour.batch.outcome import Outcome
from recontour.batch.task import ASKED, REPORT, RTSTRUCT, SCHEMA, Task
from recontour.disk import UMASK, sync_folder, try_lock
from recontour.errors import InputRefused, OutputRefused, SettingsError
from recontour.qa.manifest import Manifest, read_manifest, write_text

BATCH, LOCK, WORK, SUPERSEDED = "batch.json", ".lock", ".work", "superseded"
MANIFEST = f"{Path(RTSTRUCT).stem}.manifest.json"
Standing = Literal["done", "failed", "changed", "open"]


def standing(task: Task) -> Standing:
    """done: the result is there, of these inputs and settings. failed: it was tried with these and could not be done.
    changed: a result of others is there, and these were not tried yet."""
    outcome = outcome_on_disk(task)
    if outcome is not None:
        return "failed" if outcome.failed else "done"
    return "changed" if task.folder.is_dir() else "open"


def outcome_on_disk(task: Task) -> Outcome | None:
    """Of a fraction that is done, or failed, with these inputs and settings; None of any other."""
    asked = task.asked()
    manifest = _whole(task.folder) if _read(task.folder / ASKED) == asked else None
    if manifest is not None:
        return _done(task, manifest)
    told = _read(task.failure)
    return _failed(task, told.get("outcome", {})) if told.get("asked") == asked else None


def _done(task: Task, manifest: Manifest) -> Outcome:
    there = not task.wanted.report or (task.folder / REPORT / "report.html").is_file()
    missing = "" if there else "no report: recontour report makes it"
    seconds = round(sum(manifest.seconds.values()), 3)
    return Outcome(task.patient, task.name, manifest.light, manifest.reasons, report_missing=missing, seconds=seconds)


def _failed(task: Task, told: dict[str, Any]) -> Outcome:
    found, where, allowed = (str(told.get(name, "")) for name in ("found", "where", "allowed"))
    seconds = float(told.get("seconds", 0.0))
    return Outcome(task.patient, task.name, found=found or "unknown", where=where, allowed=allowed, seconds=seconds)


def put_in_place(task: Task, made: Path) -> None:
    """Gives what was made in the folder `made` its name. A result of other inputs or settings that has the name is
    kept under SUPERSEDED; of the same, it stays and `made` is left. Raises OSError."""
    write_text(made / ASKED, json.dumps(task.asked(), indent=2) + "\n")
    for folder in (*(path for path in made.rglob("*") if path.is_dir()), made):
        sync_folder(folder)
    target = task.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and standing(task) != "done":
        _set_aside(task)
    try:
        os.rename(made, target)
    except OSError:
        if standing(task) != "done":
            raise
    task.failure.unlink(missing_ok=True)
    sync_folder(target.parent)
    sync_folder(target.parent.parent)


def write_failure(task: Task, outcome: Outcome) -> None:
    """Beside where the result would be. Raises OutputRefused."""
    told = {"schema": SCHEMA, "asked": task.asked(), "outcome": asdict(outcome)}
    try:
        task.failure.parent.mkdir(parents=True, exist_ok=True)
        write_text(task.failure, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise cannot_write(error, task.failure.name) from error


@contextmanager
def work_folder(task: Task) -> Generator[Path]:
    """A folder of this attempt alone, on the disk of the results, gone afterwards. Raises OutputRefused."""
    made: Path | None = None
    try:
        (Path(task.out) / WORK).mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=Path(task.out) / WORK, prefix=f"{task.name}-"))
        made.chmod(0o777 & ~UMASK)  # mkdtemp's own 700 would hide the result from colleagues
        yield made
    except OSError as error:
        raise cannot_write(error, task.name) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def held(out: Path, key_mark: str) -> Generator[None]:
    """The folder, for this batch alone; what one that was killed left half made is cleared away.

    key_mark: as for `check_folder`. Raises OutputRefused where another batch is at work in it, or it cannot be
    written to.
    """
    check_folder(out, key_mark)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("a+b")
    except OSError as error:
        raise cannot_write(error, out.name) from error
    with lock:
        if not try_lock(lock):
            found = "another batch is at work in this folder"
            raise OutputRefused(found, where=out.name, allowed="wait for its end, or another folder")
        try:
            shutil.rmtree(out / WORK, ignore_errors=True)
            write_text(out / BATCH, json.dumps({"schema": SCHEMA, "key": key_mark}) + "\n")
        except OSError as error:
            raise cannot_write(error, out.name) from error
        yield
        shutil.rmtree(out / WORK, ignore_errors=True)


def check_folder(out: Path, key_mark: str) -> None:
    """Raises OutputRefused where `out` is not empty and of no batch, SettingsError where its patients were named with
    another key: key_mark tells keys apart."""
    if out.exists() and not out.is_dir():
        raise OutputRefused("this is a file", where=out.name, allowed="a folder")
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise OutputRefused("the folder cannot be written to", where=out.name, allowed="a folder of your own")
    if not (out / BATCH).is_file():
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            allowed = f"a new or an empty folder, or one with a {BATCH}"
            raise OutputRefused("the folder is not empty", where=out.name, allowed=allowed)
        return
    if _read(out / BATCH).get("key") != key_mark:
        found = "the patients of this folder were named with another key of pseudonyms"
        raise SettingsError(found, where=BATCH, allowed="the same --pseudonym-key as before, or another folder")


def cannot_write(error: OSError, where: str) -> OutputRefused:
    """What the disk says of the file or folder `where`, as what is told."""
    reason = error.strerror or type(error).__name__
    allowed = "a folder with room, and the same command again: it goes on where it stopped"
    return OutputRefused(f"cannot be written: {reason}", where=where, allowed=allowed)


def _whole(folder: Path) -> Manifest | None:
    """The manifest, where it is there with every file that it names."""
    try:
        manifest = read_manifest(folder / MANIFEST)
    except InputRefused:
        return None
    return manifest if all((folder / output.file).is_file() for output in manifest.outputs) else None


def _set_aside(task: Task) -> None:
    kept = Path(task.out) / SUPERSEDED / task.patient
    kept.mkdir(parents=True, exist_ok=True)
    number = next(n for n in range(1, 1_000_000) if not (kept / f"{task.name}.{n}").exists())
    os.rename(task.folder, kept / f"{task.name}.{number}")
    sync_folder(kept)


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing where there is none, or it cannot be read."""
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
