"""Scores of any method against known truth: one case, many cases, and their journal.

All methods start from the same alignment and the same region; what they are timed for begins after it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from recontour.errors import RecontourError, UsageError
from recontour.evaluate.scores import Score, score, slices_of
from recontour.evaluate.tables import Outcome, csv_of, markdown_of
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.motion import MovedScan
from recontour.pipeline import HU_RANGE, PlannedRoi, align_scans, propagate_from, region_of
from recontour.qa.manifest import write_text
from recontour.settings import Settings


@dataclass(frozen=True, eq=False)
class Pair:
    """A planning scan with its shapes, and a day of it whose truth is known.

    group: pairs of one kind are tabled together ("real", "phantom"). organs: ROI name -> what its rows are called;
    only these are scored, all of `planned` are propagated.
    """

    group: str
    planning: Volume
    planned: dict[str, LevelSet]
    organs: dict[str, str]
    moved: MovedScan


@dataclass(frozen=True, eq=False)
class Case:
    """A pair, aligned once for all methods.

    region: the 1 mm box, daily frame. fixed, moving: the daily and the affinely placed planning scan on it, HU within
    [-1000, 1000]. affine_daily_to_planning: the alignment found, not the true one; it took align_seconds.
    """

    pair: Pair
    affine_daily_to_planning: Affine
    region: Grid
    fixed: Volume
    moving: Volume
    align_seconds: float

    @property
    def rois(self) -> list[PlannedRoi]:
        """The planned ROIs as the pipeline takes them."""
        return [PlannedRoi(name, shape, self.pair.organs.get(name, "")) for name, shape in self.pair.planned.items()]


# A method gives daily shapes by ROI name, on any one grid, and the seconds that it took after alignment.
Method = Callable[[Case], tuple[dict[str, LevelSet], float]]


def align_pair(pair: Pair, settings: Settings | None = None) -> Case:
    """Aligns a pair and cuts its region, as the pipeline does. Raises AlignmentFailed."""
    start = time.perf_counter()
    affine = align_scans(pair.moved.volume, pair.planning)
    took = time.perf_counter() - start
    rois = [PlannedRoi(name, shape) for name, shape in pair.planned.items()]
    region = region_of(rois, affine, pair.moved.volume.grid, settings or Settings())
    fixed = resample_volume(pair.moved.volume, region)
    moving = resample_volume(pair.planning, region, affine)
    return Case(pair, affine, region, _clipped(fixed), _clipped(moving), took)


def own_method(settings: Settings) -> Method:
    """recontour itself with these settings: all that it does after the alignment, which every method starts from."""

    def run(case: Case) -> tuple[dict[str, LevelSet], float]:
        scans = case.pair.planning, case.pair.moved.volume
        found = propagate_from(case.affine_daily_to_planning, *scans, case.rois, settings)
        return found.level_sets, sum(found.seconds.values())

    return run


def run_accuracy(
    pairs: Mapping[str, Callable[[], Pair]],
    methods: Mapping[str, Method],
    out_markdown: Path,
    out_csv: Path,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Every method on every pair, to a markdown table and a CSV.

    pairs: name -> what makes it, called only when it is needed. Every outcome is appended to a journal beside the CSV
    (.jsonl) at once: a later call skips what is there, so a run that was cut short goes on; delete it to start anew.
    A method that fails on a pair is recorded with its error; its organs count as lost.
    """
    journal = out_csv.with_suffix(".jsonl")
    done = {(o.pair, o.method): o for o in read_journal(journal)}
    for name, make in pairs.items():
        missing = {label: run for label, run in methods.items() if (name, label) not in done}
        for outcome in _run_pair(name, make, missing) if missing else ():
            done[(name, outcome.method)] = outcome
            _append(journal, outcome)
            if on_outcome:
                on_outcome(outcome)
    outcomes = [done[(name, label)] for name in pairs for label in methods]
    write_text(out_csv, csv_of(outcomes))
    write_text(out_markdown, markdown_of(outcomes))
    return outcomes


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


def _outcome(raw: dict[str, Any], journal: Path) -> Outcome:
    try:
        scores = tuple(Score(**s) for s in cast("list[dict[str, Any]]", raw.pop("scores")))
        return Outcome(scores=scores, **raw)
    except (KeyError, TypeError) as error:
        allowed = "a journal with the measures of today: move it away to start anew"
        raise UsageError("a journal of another version", where=journal.name, allowed=allowed) from error


def _run_pair(name: str, make: Callable[[], Pair], methods: Mapping[str, Method]) -> Iterable[Outcome]:
    pair = make()
    try:
        case = align_pair(pair)
    except RecontourError as error:
        for label in methods:
            yield Outcome(name, pair.group, label, 0.0, 0.0, _all_lost(pair), str(error))
        return
    for label, run in methods.items():
        yield _run_method(name, label, run, case)


def _run_method(name: str, label: str, run: Method, case: Case) -> Outcome:
    """RuntimeError is what torch and itk raise: a rival's failure is a result as well."""
    try:
        found, seconds = run(case)
    except (RecontourError, RuntimeError) as error:
        why = str(error) or type(error).__name__
        return Outcome(name, case.pair.group, label, 0.0, case.align_seconds, _all_lost(case.pair), why)
    rows = tuple(_scores(case.pair, found))
    return Outcome(name, case.pair.group, label, seconds, case.align_seconds, rows)


def _all_lost(pair: Pair) -> tuple[Score, ...]:
    return tuple(_scores(pair, {}))


def _scores(pair: Pair, found: Mapping[str, LevelSet]) -> list[Score]:
    return score(found, pair.moved.level_sets, pair.organs, slices_of(pair.moved.volume.grid))


def _append(journal: Path, outcome: Outcome) -> None:
    """A line of its own, also after one that was cut short."""
    with journal.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
        fresh = file.read(1) in (b"", b"\n")
        file.write((("" if fresh else "\n") + json.dumps(asdict(outcome)) + "\n").encode())


def _clipped(scan: Volume) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *HU_RANGE))
