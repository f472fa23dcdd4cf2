"""What one method made of one pair, and the journal that keeps it: everything that tables and calibration need.

A journal (.jsonl) has one JSON object a line, an `Outcome` with its fields as keys:

    {"pair": "phantom 100000 day 2", "group": "phantoms", "man": "phantom 100000", "method": "recontour refine",
     "seconds": 2.4, "align_seconds": 0.6, "error": "", "own": true, "model": "", "machine": "2 cores", "note": "",
     "stages": {"region": 0.2, "refine": 1.8, ...},
     "study": {"rotation_degrees": 1.2, "scale": 1.01, "alignment_match": 0.93, ...},        fields of qa StudyFacts
     "organs": [{"roi": "Bladder", "planned_ml": 141.3, "jacobian_sd": 0.21, "folding": 0.0,
                 "score": {"organ": "bladder", "msd_mm": 0.21, "hd95_mm": 0.6, "dice": 0.989, ...},  fields of Score
                 "light": "pass", "reasons": [],
                 "facts": {"name": "Bladder", "organ": "bladder", "before_ml": ..., ...},            fields of RoiFacts
                 "paths": [{"path": "registration", "msd_mm": 0.3, "hd95_mm": 0.8, "dice": 0.98}, ...]}, ...]}

`own` outcomes have lights, reasons, facts and, where nothing went wrong, a study; a rival's have "" and null. A lost
organ is Infinity mm off (Python's json writes and reads that word). `light` is by the settings of the run: judging the
`facts` again with other limits needs no run (`roi_facts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from recontour.errors import UsageError
from recontour.evaluate.scores import Score
from recontour.qa.checks import RoiFacts, StudyFacts


@dataclass(frozen=True)
class PathOutcome:
    """One of the two paths before they were combined: "registration" or "segmentation"; distances in mm."""

    path: str
    msd_mm: float
    hd95_mm: float
    dice: float


@dataclass(frozen=True)
class OrganOutcome:
    """One organ of one outcome.

    roi: its name in the plan. planned_ml: its volume there; the day's true one is score.reference_volume_ml.
    jacobian_sd, folding: of the method's field inside the organ's true daily shape: the standard deviation of the
    Jacobian determinant, and the share where it is not positive; None where the method gave no field.
    light, reasons, facts, paths: of recontour's own methods, as `run` would have judged them.
    """

    score: Score
    roi: str
    planned_ml: float
    jacobian_sd: float | None = None
    folding: float | None = None
    light: str = ""
    reasons: tuple[str, ...] = ()
    facts: dict[str, Any] | None = None
    paths: tuple[PathOutcome, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One method on one pair.

    man: who it is; his pairs are days of his. seconds: wall time after the alignment, which took align_seconds and is
    shared by all. error: empty, or why there are no scores. own: one of recontour's methods. model: the network used.
    machine: what it ran on. note: what a reader of the table has to know. stages: seconds by stage. study: the facts
    of the fraction (qa.checks.StudyFacts). others_share: of the processors, 0 to 1, what other programs took meanwhile;
    None: not known.
    """

    pair: str
    group: str
    man: str
    method: str
    seconds: float
    align_seconds: float
    organs: tuple[OrganOutcome, ...]
    error: str = ""
    own: bool = False
    model: str = ""
    machine: str = ""
    note: str = ""
    stages: dict[str, float] = field(default_factory=dict[str, float])
    study: dict[str, Any] = field(default_factory=dict[str, Any])
    others_share: float | None = None


def read_journal(path: Path) -> list[Outcome]:
    """The outcomes in a journal, none where it does not exist; a last line that was cut short is passed over. Raises
    UsageError where it has other measures."""
    if not path.exists():
        return []
    out: list[Outcome] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            raw = cast("dict[str, Any]", json.loads(line))
        except json.JSONDecodeError:
            continue
        out.append(_outcome(raw, path))
    return out


def read_journals(paths: Iterable[Path]) -> list[Outcome]:
    """Of several journals, each pair and method once: what was written last counts."""
    found = {(o.pair, o.method): o for path in paths for o in read_journal(path)}
    return list(found.values())


def append_outcome(journal: Path, outcome: Outcome) -> None:
    """A line of its own, also after one that was cut short."""
    with journal.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
        fresh = file.read(1) in (b"", b"\n")
        file.write((("" if fresh else "\n") + json.dumps(asdict(outcome)) + "\n").encode())


def as_json(facts: RoiFacts | StudyFacts) -> dict[str, Any]:
    """By name, as JSON gives them back."""
    return cast("dict[str, Any]", json.loads(json.dumps(asdict(facts))))


def roi_facts(raw: Mapping[str, Any]) -> RoiFacts:
    """The facts of an organ as the checks take them. Facts that the checks do not know any more are passed over, such
    as they did not know yet have their default."""
    known = {f.name for f in fields(RoiFacts)}
    return RoiFacts(**{name: _frozen(value) for name, value in raw.items() if name in known})


def _outcome(raw: dict[str, Any], journal: Path) -> Outcome:
    try:
        organs = tuple(_organ(o) for o in cast("list[dict[str, Any]]", raw.pop("organs")))
        return Outcome(organs=organs, **raw)
    except (KeyError, TypeError, AttributeError) as error:
        allowed = "a journal with the measures of today: move it away to start anew"
        raise UsageError("a journal of another version", where=journal.name, allowed=allowed) from error


def _organ(raw: dict[str, Any]) -> OrganOutcome:
    score = Score(**raw.pop("score"))
    reasons, paths = tuple(raw.pop("reasons")), tuple(PathOutcome(**p) for p in raw.pop("paths"))
    return OrganOutcome(score=score, reasons=reasons, paths=paths, **raw)


def _frozen(value: Any) -> Any:
    """JSON has lists where facts have tuples."""
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value
