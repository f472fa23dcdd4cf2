"""Outcomes as a CSV and as the markdown tables of docs/accuracy.md."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from recontour.evaluate.scores import Score, summarise


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
