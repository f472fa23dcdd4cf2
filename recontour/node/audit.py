"""Who came, what was taken, what was sent: one line of JSON for each event, and nothing that tells who the patient is.

An object is named by the end of its UID, as in the status, and by the first digits of the UID's SHA-256, by which the
archive's own list of UIDs can be searched.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from recontour.errors import OutputRefused

MOST_BYTES = 10_000_000  # of one file
KEPT_FILES = 20  # beside the one that is written

_TAIL, _DIGITS = 8, 16
_LONGEST_TITLE = 16


class Audit:
    """Safe with several threads. A line that cannot be written is said on stderr and lost: a full disk must not stop
    what is being received from being refused properly."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES, kept_files: int = KEPT_FILES) -> None:
        """Makes the folder. Raises OutputRefused where the file cannot be written."""
        self._path, self._most_bytes, self._kept_files = path, most_bytes, kept_files
        self._lock = threading.Lock()
        self._lost = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
        except OSError as error:
            found = f"the audit log cannot be written: {error.strerror or type(error).__name__}"
            raise OutputRefused(found, where="audit", allowed="a file on a local disk") from error

    def write(self, event: str, **facts: str | int | float | None) -> None:
        """event: a few words that stay the same. facts: without identity; None is left out."""
        said = {key: value for key, value in facts.items() if value is not None}
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **said})
        with self._lock:
            try:
                self._rotate()
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line.encode("ascii") + b"\n")
                finally:
                    os.close(handle)
                self._lost = 0
            except OSError as error:
                self._lost += 1
                if self._lost == 1:
                    _say(f"the audit log cannot be written ({error.strerror or type(error).__name__})")

    def _rotate(self) -> None:
        """audit.jsonl -> audit.jsonl.1 -> audit.jsonl.2 ..., the oldest is lost."""
        if not self._path.exists() or self._path.stat().st_size < self._most_bytes:
            return
        for number in range(self._kept_files, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            with suppress(FileNotFoundError):
                os.replace(newer, older)


def tail(uid: str) -> str:
    """The end of a UID, as the status shows it."""
    return f"...{_plain(uid, 64)[-_TAIL:]}"


def digest(uid: str) -> str:
    """By which a UID that is at hand is found in the log."""
    return hashlib.sha256(uid.encode("utf-8", "replace")).hexdigest()[:_DIGITS]


def title(ae_title: object) -> str:
    """What a stranger calls itself, cut to what may be an AE title."""
    return _plain(str(ae_title), _LONGEST_TITLE)


def _plain(text: str, longest: int) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text.strip(" \0"))[:longest]


def _say(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"recontour: {text}\n")
