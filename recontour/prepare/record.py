"""cohort.json: who is in which split, what was written, what was left out and why. It names no patient."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recontour import __version__
from recontour.errors import SettingsError

FORMAT = 1
RECORD = "cohort.json"
_DIGITS = 8


@dataclass(frozen=True)
class PatientRecord:
    """A patient in cohort.json. planning: series UID. fractions: series UID of a daily scan to its number."""

    split: str
    planning: str
    fractions: dict[str, int]


@dataclass(frozen=True)
class LeftOutRecord:
    """What was left out. patient: pseudonym, "" where it is not known. what, reason: words without identity."""

    patient: str
    what: str
    reason: str


@dataclass(frozen=True)
class CohortRecord:
    """cohort.json. patients: by pseudonym. pairs: <split>/<patient>-<fraction> of those on disk."""

    salt: str = field(repr=False)
    settings: dict[str, Any]
    patients: dict[str, PatientRecord] = field(default_factory=dict[str, PatientRecord])
    pairs: tuple[str, ...] = ()
    left_out: tuple[LeftOutRecord, ...] = ()
    recontour: str = __version__
    format: int = FORMAT

    def pairs_of(self, split: str) -> list[str]:
        """Names of the pairs of a split that are on disk."""
        return [pair.partition("/")[2] for pair in self.pairs if pair.startswith(f"{split}/")]

    def pseudonym(self, patient_id: str) -> str:
        """ "p" and 8 hexadecimal digits."""
        code = hmac.new(bytes.fromhex(self.salt), patient_id.strip().encode(), hashlib.sha256)
        return "p" + code.hexdigest()[:_DIGITS]


def read_record(out: Path) -> CohortRecord:
    """cohort.json of a folder. Raises SettingsError where it is damaged or of another format."""
    allowed = f"a {RECORD} of format {FORMAT}, as recontour prepare writes it"
    try:
        raw = json.loads((out / RECORD).read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise SettingsError(f"format {raw['format']}", where=RECORD, allowed=allowed)
        bytes.fromhex(raw["salt"])
        return CohortRecord(
            salt=raw["salt"],
            settings=dict(raw["settings"]),
            patients={name: PatientRecord(**patient) for name, patient in raw["patients"].items()},
            pairs=tuple(raw["pairs"]),
            left_out=tuple(LeftOutRecord(**item) for item in raw["left_out"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError("a record that cannot be read", where=RECORD, allowed=allowed) from error


def write_record(out: Path, record: CohortRecord) -> None:
    """cohort.json, written beside and renamed. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    beside = out / f".{RECORD}.part"
    try:
        write_json(beside, asdict(record))
        os.replace(beside, out / RECORD)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Written through to the disk. Raises OSError."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
