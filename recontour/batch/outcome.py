"""What became of one fraction, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb

from recontour.batch.task import Task
from recontour.errors import MemoryShort, OutputRefused, RecontourError, UsageError

# These speak of the place and of the moment, not of the fraction: the next start tries again.
_PASSING = (OutputRefused, MemoryShort, UsageError)


@dataclass(frozen=True)
class Outcome:
    """light, reasons: of a fraction that is done, else "" and (). found, where, allowed: of one that failed, as in
    RecontourError. passing: whether the failure may be gone the next time. report_missing: why a report is not there,
    "" where it is or was not asked for. seconds: of its stages, until its contours were in place; of one that failed,
    until then."""

    patient: str
    name: str
    light: str = ""
    reasons: tuple[str, ...] = ()
    found: str = ""
    where: str = ""
    allowed: str = ""
    passing: bool = False
    report_missing: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.found)


def failure_of(task: Task, error: Exception) -> Outcome:
    """In words without identity: files may be named after the patient, so they are called by what they are."""
    if not isinstance(error, RecontourError):
        last = extract_tb(error.__traceback__)[-1:]
        place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
        found = f"an error that should not happen ({type(error).__name__}{place})"
        return Outcome(task.patient, task.name, found=found, allowed="please report this line")
    where, passing = _without_names(error.where, task), isinstance(error, _PASSING)
    return Outcome(task.patient, task.name, found=error.found, where=where, allowed=error.allowed, passing=passing)


def _without_names(where: str, task: Task) -> str:
    """The place with what stands for the fraction's own files and folders; no path of any other."""
    called = {task.structures_file: "the planning structure set"}
    for which, scan in (("planning", task.planning), ("daily", task.daily)):
        count = len(scan.files)
        called |= {name: f"{which} image {number} of {count}" for number, name in enumerate(scan.files, 1)}
        called[scan.folder] = f"the {which} folder"
    called |= {Path(name).name: words for name, words in called.items()}
    first = where.split("\n")[0]
    name, comma, rest = first.partition(", frame ")
    if name in called:
        return f"{called[name]}{comma}{rest}"
    return "" if "/" in first or "\\" in first else first
