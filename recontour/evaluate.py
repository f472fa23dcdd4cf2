"""Scores of any method against known truth: one case, many cases, and the table in docs/accuracy.md.

All methods start from the same alignment and the same region; what they are timed for begins after it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from recontour.errors import RecontourError, UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Grid, Index
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.motion import MovedScan
from recontour.pipeline import HU_RANGE, PlannedRoi, align_scans, propagate_from, region_of
from recontour.qa.manifest import write_text
from recontour.qa.metrics import common_ml, surface_distances
from recontour.qa.shape import volume_ml
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


@dataclass(frozen=True)
class Score:
    """One organ of one result against its truth; qa.metrics says what each measure is. A lost organ is infinitely far
    off. volume_ratio: result over truth."""

    organ: str
    msd_mm: float
    hd95_mm: float
    hd_mm: float
    dice: float
    volume_ratio: float


@dataclass(frozen=True)
class Outcome:
    """One method on one pair. error: empty, or why there are no scores."""

    pair: str
    group: str
    method: str
    seconds: float
    align_seconds: float
    scores: tuple[Score, ...]
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """A measure over pairs; worst is the largest distance or the lowest overlap, p95 lies on the same side."""

    count: int
    median: float
    mean: float
    sd: float
    p95: float
    worst: float


def score(
    result: Mapping[str, LevelSet], truth: Mapping[str, LevelSet], organs: Mapping[str, str] | None = None
) -> list[Score]:
    """A row for every ROI of `truth` (of `organs`, where given); what is missing in `result` counts as lost."""
    names = [name for name in truth if organs is None or name in organs]
    return [_score(organs[name] if organs else name, result.get(name), truth[name]) for name in names]


def summarise(values: Sequence[float], larger_is_worse: bool = True) -> Summary:
    """Median, mean, sample standard deviation, 95th percentile and worst of at least one value."""
    found = np.asarray(values, float)
    with np.errstate(invalid="ignore"):
        sd = float(found.std(ddof=1)) if len(found) > 1 else 0.0
        p95 = float(np.percentile(found, 95 if larger_is_worse else 5, method="linear"))
    worst = float(found.max() if larger_is_worse else found.min())
    return Summary(len(found), float(np.median(found)), float(found.mean()), sd, p95, worst)


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
    """The outcomes in a journal, none where it does not exist; a last line that was cut short is passed over."""
    if not path.exists():
        return []
    out: list[Outcome] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            raw = cast("dict[str, Any]", json.loads(line))
        except json.JSONDecodeError:
            continue
        scores = tuple(Score(**s) for s in cast("list[dict[str, Any]]", raw.pop("scores")))
        out.append(Outcome(scores=scores, **raw))
    return out


def csv_of(outcomes: Iterable[Outcome]) -> str:
    """One line for each pair, method and organ."""
    text = io.StringIO()
    measures = [f.name for f in fields(Score)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "pair", "method", "seconds", "align_seconds", *measures, "error"])
    for o in outcomes:
        start = [o.group, o.pair, o.method, f"{o.seconds:.3f}", f"{o.align_seconds:.3f}"]
        for s in o.scores:
            values = [v if isinstance(v, str) else f"{v:.4f}" for v in asdict(s).values()]
            writer.writerow([*start, *values, o.error])
    return text.getvalue()


def markdown_of(outcomes: Sequence[Outcome]) -> str:
    """For every group of pairs a table per organ, and one of seconds."""
    parts: list[str] = []
    for group in dict.fromkeys(o.group for o in outcomes):
        members = [o for o in outcomes if o.group == group]
        pairs = len({o.pair for o in members})
        parts.append(f"## {group}: {pairs} pair{'s' * (pairs != 1)}\n\n{_organ_table(members)}\n{_time_table(members)}")
    return "\n".join(parts)


def _score(organ: str, found: LevelSet | None, truth: LevelSet) -> Score:
    if found is None or not (found.array > 0).any() or not (truth.array > 0).any():
        return Score(organ, math.inf, math.inf, math.inf, 0.0, 0.0)
    on_grid = _around_both(found, truth)
    apart = surface_distances(on_grid, truth)
    common = common_ml(on_grid, resample_level_set(truth, on_grid.grid))
    own, true = volume_ml(on_grid), volume_ml(truth)  # each on its own grid: a tight one may not hold all of the other
    return Score(organ, apart.msd_mm, apart.hd95_mm, apart.hd_mm, 2 * common / (own + true), own / true)


def _around_both(found: LevelSet, truth: LevelSet) -> LevelSet:
    """`found` on as much of its grid as holds both shapes: what lies farther is not worth its memory."""
    box = bounding_box(found.array, margin=3)
    if box is None:
        raise UsageError("an empty shape", where="evaluate", allowed="a shape with volume")
    corners = found.grid.index_at(truth.grid.corners_mm())
    low = np.minimum([part.start for part in box], np.floor(corners.min(axis=0)))
    high = np.maximum([part.stop for part in box], np.ceil(corners.max(axis=0)) + 1)
    first, last = _index(np.maximum(low, 0)), _index(np.minimum(high, found.grid.size))
    part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    return LevelSet(found.grid.crop(first, last), np.ascontiguousarray(found.array[part]))


def _index(values: Any) -> Index:
    z, y, x = (int(v) for v in values)
    return z, y, x


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
    rows = tuple(score(found, case.pair.moved.level_sets, case.pair.organs))
    return Outcome(name, case.pair.group, label, seconds, case.align_seconds, rows)


def _all_lost(pair: Pair) -> tuple[Score, ...]:
    return tuple(score({}, pair.moved.level_sets, pair.organs))


def _append(journal: Path, outcome: Outcome) -> None:
    """A line of its own, also after one that was cut short."""
    with journal.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
        fresh = file.read(1) in (b"", b"\n")
        file.write((("" if fresh else "\n") + json.dumps(asdict(outcome)) + "\n").encode())


def _organ_table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| organ | method | MSD median mm | mean ± sd | 95 % | worst | HD95 median mm | worst | DSC median | worst |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for organ in dict.fromkeys(s.organ for o in outcomes for s in o.scores):
        for method in dict.fromkeys(o.method for o in outcomes):
            rows = [s for o in outcomes if o.method == method for s in o.scores if s.organ == organ]
            if rows:
                lines.append(f"| {organ} | {method} | {_organ_cells(rows)} |")
    return "\n".join(lines) + "\n"


def _organ_cells(rows: Sequence[Score]) -> str:
    msd, hd95 = summarise([s.msd_mm for s in rows]), summarise([s.hd95_mm for s in rows])
    overlap = summarise([s.dice for s in rows], larger_is_worse=False)
    spread = f"{_mm(msd.mean)} ± {_mm(msd.sd)}" if math.isfinite(msd.mean) else "lost"
    cells = [_mm(msd.median), spread, _mm(msd.p95), _mm(msd.worst), _mm(hd95.median), _mm(hd95.worst)]
    return " | ".join([*cells, f"{overlap.median:.3f}", f"{overlap.worst:.3f}"])


def _time_table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| method | seconds: median | worst | failed |", "|---|---|---|---|"]
    aligned = summarise([o.align_seconds for o in {o.pair: o for o in outcomes}.values()])
    lines.append(f"| (alignment, shared by all) | {aligned.median:.1f} | {aligned.worst:.1f} | |")
    for method in dict.fromkeys(o.method for o in outcomes):
        members = [o for o in outcomes if o.method == method]
        times = summarise([o.seconds for o in members if not o.error] or [math.nan])
        lines.append(f"| {method} | {times.median:.1f} | {times.worst:.1f} | {sum(bool(o.error) for o in members)} |")
    return "\n".join(lines) + "\n"


def _mm(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "lost"


def _clipped(scan: Volume) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *HU_RANGE))
