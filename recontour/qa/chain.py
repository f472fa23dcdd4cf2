"""A file of lines that can be added to, and on which every other change shows.

    line n      {..., "line": n, "before": sha256 of line n - 1 without its line end}     (64 zeros before the first)
    the head    {"lines": n, "last": sha256 of line n}                                    in a small file beside it

The head is written after the lines. So the file may be ahead of it, by lines that chain on, or by a last line that
was cut off by a power failure and that nobody was told is there; being behind it means that something was taken out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from recontour.disk import sync_folder
from recontour.errors import OutputRefused, ReviewRefused, UsageError
from recontour.qa.manifest import write_text

NOTHING = "0" * 64
_ALLOWED = "the file as recontour wrote it, from a backup; or move both files away, to begin anew"


@dataclass(frozen=True)
class _Content:
    """values: of each line. hashes: of each line. whole: how many bytes the whole lines take."""

    values: tuple[dict[str, Any], ...]
    hashes: tuple[str, ...]
    whole: int


@dataclass(frozen=True)
class Chain:
    """The file at `path`, and `head` beside it."""

    path: Path

    @property
    def head(self) -> Path:
        """rtstruct.review.jsonl -> rtstruct.review.head."""
        return self.path.with_suffix(".head")

    def read(self) -> tuple[dict[str, Any], ...]:
        """What the lines hold, without the chain's own values; nothing where neither file is there.

        Raises ReviewRefused where a line was changed, moved, added otherwise, or is missing.
        """
        begun = self.head.exists()
        head = self._read_head() if begun else (0, NOTHING)  # before the lines: who adds meanwhile writes it after them
        try:
            data = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise ReviewRefused("it cannot be read", where=self.path.name, allowed="a readable file") from error
        if data and not begun:
            self._read_head()
        lines = self._checked(data, head).values
        return tuple({k: v for k, v in line.items() if k not in ("line", "before")} for line in lines)

    def append(self, values: Sequence[dict[str, Any]]) -> None:
        """Adds a line for each, all or none, and syncs them. Raises ReviewRefused where the file is not whole."""
        if not values:
            return
        try:
            with _locked(self.path) as file:
                if os.fstat(file.fileno()).st_size == 0 and not self.head.exists():
                    self._write_head(0, NOTHING)  # first, so that a file without a head is always a loss
                content = self._checked(file.read(), self._read_head())
                lines, last = _lines(values, content)
                with _undone(file, content.whole):
                    _append(file, b"".join(line + b"\n" for line in lines))
                    self._write_head(len(content.values) + len(lines), last)
                sync_folder(self.path.parent)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputRefused(reason, where=self.path.name, allowed="a folder that can be written to") from error

    def _checked(self, data: bytes, head: tuple[int, str]) -> _Content:
        """The whole lines. Raises ReviewRefused, saying at which line the chain breaks."""
        count, last = head
        pieces = data.split(b"\n")
        content = _Content((), (), 0)
        for piece in pieces[:-1]:
            content = self._joined(content, piece)
        if len(content.hashes) < count:
            missing = f"{count - len(content.hashes)} of {count} lines are missing at the end"
            raise ReviewRefused(missing, where=self.path.name, allowed=_ALLOWED)
        if count and content.hashes[count - 1] != last:
            raise ReviewRefused(f"line {count} was changed", where=self.path.name, allowed=_ALLOWED)
        return content

    def _joined(self, content: _Content, piece: bytes) -> _Content:
        number = len(content.hashes) + 1
        before = content.hashes[-1] if content.hashes else NOTHING
        try:
            raw: Any = json.loads(piece.decode("utf-8"))
        except ValueError as error:
            raise ReviewRefused(f"line {number} cannot be read", where=self.path.name, allowed=_ALLOWED) from error
        values = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
        if values.get("line") != number or values.get("before") != before:
            found = f"line {number} does not follow the one before: a line was changed, moved, added or taken out"
            raise ReviewRefused(found, where=self.path.name, allowed=_ALLOWED)
        hashes = (*content.hashes, _hash(piece))
        return _Content((*content.values, values), hashes, content.whole + len(piece) + 1)

    def _read_head(self) -> tuple[int, str]:
        try:
            raw = json.loads(self.head.read_text(encoding="utf-8"))
            count, last = int(raw["lines"]), str(raw["last"])
        except FileNotFoundError as error:
            found = f"the file {self.head.name} beside it is missing, so that lines could be, too"
            raise ReviewRefused(found, where=self.path.name, allowed=_ALLOWED) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReviewRefused("it cannot be read", where=self.head.name, allowed=_ALLOWED) from error
        return count, last

    def _write_head(self, count: int, last: str) -> None:
        write_text(self.head, json.dumps({"lines": count, "last": last}) + "\n")


def _lines(values: Sequence[dict[str, Any]], content: _Content) -> tuple[list[bytes], str]:
    """The lines to add, and the hash of the last."""
    number, before, out = len(content.values), content.hashes[-1] if content.hashes else NOTHING, list[bytes]()
    for one in values:
        number += 1
        text = json.dumps({**one, "line": number, "before": before}, ensure_ascii=False)
        try:
            out.append(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise UsageError("letters that UTF-8 does not have", where="review", allowed="text") from error
        before = _hash(out[-1])
    return out, before


def _append(file: IO[bytes], data: bytes) -> None:
    while data:
        data = data[file.write(data) :]
    os.fsync(file.fileno())


@contextmanager
def _undone(file: IO[bytes], whole: int) -> Generator[None]:
    """Drops what a power failure left behind the whole lines, and what is added meanwhile if that fails."""
    file.truncate(whole)
    try:
        yield
    except BaseException:
        file.truncate(whole)
        raise


@contextmanager
def _locked(path: Path) -> Generator[IO[bytes]]:
    """The file, made where there is none, open to read all of it and to add; nobody else adds meanwhile."""
    with path.open("a+b", buffering=0) as file:
        _lock(file)
        file.seek(0)
        yield cast("IO[bytes]", file)


def _lock(file: Any) -> None:
    """Until the file is closed. Waits for whoever holds it."""
    if os.name == "nt":
        import msvcrt

        module = cast("Any", msvcrt)
        file.seek(1 << 30)  # far behind the end: others may read the lines
        module.locking(file.fileno(), module.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX)


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
