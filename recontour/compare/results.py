"""What one configuration scored, in its folder: scores.csv, a line for each pair, path and organ, and fields.csv.

OUT/<key>/job.json      what it was asked to do: scores of something else are not taken for it
          train.toml    run/           its training
          fields.csv    scores.csv     written whole, the latter last: where it is, the configuration is done
          failed.txt    why it is not
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from recontour.compare.plan import Job
from recontour.compare.settings import CompareSettings
from recontour.errors import UsageError
from recontour.qa.manifest import write_text

SCORES, FIELDS, ASKED, FAILED = "scores.csv", "fields.csv", "job.json", "failed.txt"
VALIDATION, TEST = SETS = ("validation", "test")


@dataclass(frozen=True)
class ScoreRow:
    """One organ of one pair by one path. msd_mm, hd95_mm: infinite where it was lost, NaN where the pair lacks it."""

    set: str
    pair: str
    path: str
    organ: str
    msd_mm: float
    hd95_mm: float
    dice: float


@dataclass(frozen=True)
class FieldRow:
    """The field of one pair: standard deviation of its Jacobian determinant, and the share of it that folds."""

    set: str
    pair: str
    jacobian_sd: float
    folding: float


@dataclass(frozen=True)
class Outcome:
    """scores and fields are empty where the configuration is not done; failed: why, where it was tried."""

    scores: tuple[ScoreRow, ...] = ()
    fields: tuple[FieldRow, ...] = ()
    failed: str = ""

    def of(self, which: str, path: str, organ: str, measure: str = "msd_mm") -> dict[str, float]:
        """By pair; pairs without the organ are left out."""
        rows = [r for r in self.scores if (r.set, r.path, r.organ) == (which, path, organ)]
        values = {row.pair: float(getattr(row, measure)) for row in rows}
        return {pair: value for pair, value in values.items() if value == value}

    def of_field(self, which: str, measure: str) -> dict[str, float]:
        """By pair, of the field."""
        return {row.pair: float(getattr(row, measure)) for row in self.fields if row.set == which}


def read_outcome(folder: Path) -> Outcome:
    """What lies in a configuration's folder. Raises UsageError where a file of it cannot be read."""
    if not (folder / SCORES).exists():
        failed = folder / FAILED
        return Outcome(failed=failed.read_text("utf-8").strip() if failed.exists() else "")
    scores = [
        ScoreRow(which, pair, path, organ, float(msd), float(hd95), float(dice))
        for which, pair, path, organ, msd, hd95, dice in _rows(folder / SCORES, ScoreRow)
    ]
    smoothness = [
        FieldRow(which, pair, float(sd), float(fold)) for which, pair, sd, fold in _rows(folder / FIELDS, FieldRow)
    ]
    return Outcome(tuple(scores), tuple(smoothness))


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Both files, whole, scores.csv last."""
    write_text(folder / FIELDS, _csv(FieldRow, outcome.fields))
    write_text(folder / SCORES, _csv(ScoreRow, outcome.scores))
    (folder / FAILED).unlink(missing_ok=True)


def asked_of(job: Job, settings: CompareSettings) -> dict[str, Any]:
    """What makes the scores of a job what they are, as plain values: not on which device, nor how often it logs."""
    plain = asdict(job.training or settings.train)
    for name in ("device", "log_every", "checkpoint_every_s"):
        plain.pop(name)
    data = plain["data"]
    for name in ("workers", "folder") if settings.train.data.source == "phantoms" else ("workers",):
        data.pop(name)
    about = {"training": plain} if job.training else {"data": data}
    asked = {"method": job.method, "needs": job.needs, "test": asdict(settings.test), **about}
    return json.loads(json.dumps(asked))


def check_asked(folder: Path, job: Job, settings: CompareSettings) -> None:
    """Raises UsageError where the folder holds what came of other settings."""
    path = folder / ASKED
    if path.exists() and json.loads(path.read_text("utf-8")) != asked_of(job, settings):
        allowed = "the settings it was begun with, or another folder for this study"
        raise UsageError("this configuration was begun with other settings", where=job.key, allowed=allowed)


def _csv(kind: type[ScoreRow] | type[FieldRow], rows: Iterable[ScoreRow] | Iterable[FieldRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(kind)])
    writer.writerows([v if isinstance(v, str) else f"{v:.5g}" for v in astuple(row)] for row in rows)
    return text.getvalue()


def _rows(path: Path, kind: type[ScoreRow] | type[FieldRow]) -> Sequence[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = list(csv.reader(file))
    except (OSError, ValueError) as error:
        raise UsageError("scores that cannot be read", where=path.name, allowed="delete the file") from error
    names = [f.name for f in fields(kind)]
    if head != names or any(len(row) != len(names) for row in rows):
        raise UsageError("scores of another version", where=path.name, allowed="delete the file to score again")
    return rows
