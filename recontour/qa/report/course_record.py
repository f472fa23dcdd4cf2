"""What a report leaves beside its page for the course: a small file that says whose page it is, and how goals went.

report.json    {"schema": 1, "pseudonym", "treated_on", "rtstructs": [sha256, ...], "page", "goals": [...]}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from recontour.errors import InputRefused
from recontour.qa.fraction import Fraction, GoalResult

FILE = "report.json"
SCHEMA = 1


@dataclass(frozen=True)
class CourseRecord:
    """rtstructs: sha256 of the files of the run that the page speaks of. page: its name, in the record's folder."""

    pseudonym: str
    treated_on: str
    rtstructs: tuple[str, ...]
    page: str
    goals: tuple[GoalResult, ...] = ()


def course_record(fraction: Fraction, page: str) -> CourseRecord:
    """Of a fraction whose page is the file `page` in the folder that the record goes to."""
    return CourseRecord(
        fraction.pseudonym,
        fraction.treated_on,
        tuple(output.sha256 for output in fraction.manifest.outputs),
        page,
        fraction.dose.goals if fraction.dose else (),
    )


def as_json(record: CourseRecord) -> str:
    """The text of the file."""
    return json.dumps({"schema": SCHEMA, **asdict(record)}, indent=2, ensure_ascii=False) + "\n"


def read_course_record(path: Path) -> CourseRecord:
    """Raises InputRefused where the file is no such record."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        if raw["schema"] != SCHEMA or Path(str(raw["page"])).name != raw["page"]:
            raise ValueError
        goals = tuple(GoalResult(**cast("dict[str, Any]", goal)) for goal in raw["goals"])
        files = tuple(str(sha256) for sha256 in raw["rtstructs"])
        return CourseRecord(str(raw["pseudonym"]), str(raw["treated_on"]), files, str(raw["page"]), goals)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefused("no record of a report", where=path.name, allowed="the file beside report.html") from error
