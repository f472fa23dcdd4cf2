"""Who looked at a result, when, and what he decided: lines that are added and never changed, beside the RTSTRUCT.

    rtstruct.dcm  ->  rtstruct.review.jsonl   one line of JSON for each decision
                      rtstruct.review.head    how many lines there are, and the hash of the last

Every line names the sha256 of the RTSTRUCT that it speaks of and that of the line before it, so that a line that was
changed, moved or taken out breaks the chain; the head notices lines cut off at the end. This shows accidents and
careless edits. It is no signature: whoever can write both files can write them anew.

The RTSTRUCT itself is never touched, and stays UNAPPROVED.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from recontour.errors import ReviewRefused, UsageError
from recontour.qa.chain import Chain

Decision = Literal["accept", "edit", "reject"]
DECISIONS: tuple[Decision, ...] = ("accept", "edit", "reject")
WHOLE = ""  # the ROI of a decision on the whole fraction


@dataclass(frozen=True)
class ReviewRecord:
    """One decision.

    who: a login or initials, as given. when: ISO 8601 with an offset. roi: its name, or "" for the whole fraction.
    decision: accept, edit (use it once it is corrected) or reject. comment: as it was typed. rtstruct_sha256: of the
    file that was looked at. Raises UsageError where one of them is none of these.
    """

    who: str
    when: str
    roi: str
    decision: str
    comment: str
    rtstruct_sha256: str

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise UsageError(f"decision {self.decision!r}", where=self.roi, allowed=", ".join(DECISIONS))
        if not self.who.strip():
            raise UsageError("nobody looked", where="--who", allowed="a login or initials")
        if len(self.rtstruct_sha256) != 64 or set(self.rtstruct_sha256) - set("0123456789abcdef"):
            raise UsageError("no sha256", where="rtstruct_sha256", allowed="64 hexadecimal digits")
        if _offset_of(self.when) is None:
            raise UsageError(f"{self.when!r} is no time", where="when", allowed="ISO 8601 with an offset")


def review_file(rtstruct: Path) -> Path:
    """rtstruct.dcm -> rtstruct.review.jsonl, beside it."""
    return rtstruct.with_name(f"{rtstruct.stem}.review.jsonl")


def append_review(path: Path, records: Sequence[ReviewRecord]) -> None:
    """Adds lines to the file at `path` (review_file), which is made where there is none; synced before it returns.

    All of them or none. Others who add at the same time wait. Raises ReviewRefused where the file is not whole, or
    OutputRefused where it cannot be written; UsageError where a text cannot be encoded.
    """
    Chain(path).append([asdict(record) for record in records])


def read_reviews(path: Path) -> tuple[ReviewRecord, ...]:
    """All decisions, the oldest first, also those of an RTSTRUCT that was replaced since; none where there is no file.

    Raises ReviewRefused where a line was changed, moved, added by hand or is missing.
    """
    return tuple(_record(values, path.name) for values in Chain(path).read())


def sha256_of(file: Path) -> str:
    """Of the file's bytes. Raises UsageError where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError("it cannot be read", where=file.name, allowed="an RTSTRUCT that recontour wrote") from error


def latest(records: Iterable[ReviewRecord], rtstruct_sha256: str) -> dict[str, ReviewRecord]:
    """The decision that holds for each ROI of that RTSTRUCT: the last one."""
    return {record.roi: record for record in records if record.rtstruct_sha256 == rtstruct_sha256}


def now() -> str:
    """This second, with the offset of this place."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _offset_of(when: str) -> datetime.timedelta | None:
    try:
        return datetime.datetime.fromisoformat(when).utcoffset()
    except ValueError:
        return None


def _record(values: dict[str, Any], where: str) -> ReviewRecord:
    wanted = [f.name for f in fields(ReviewRecord)]
    if any(not isinstance(values.get(name), str) for name in wanted):
        raise ReviewRefused("a line without who, when, roi, decision or comment", where=where, allowed=_WHOLE_FILE)
    try:
        return ReviewRecord(**{name: cast("str", values[name]) for name in wanted})
    except UsageError as error:
        raise ReviewRefused(error.found, where=where, allowed=_WHOLE_FILE) from error


_WHOLE_FILE = "a file that recontour review wrote"
