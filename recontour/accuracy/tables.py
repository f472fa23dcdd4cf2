"""The tables of one group of pairs, in markdown, and every row of all of them as a CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

import numpy as np

from recontour.accuracy.rows import methods_of, named, organ_rows, organs_of, scores
from recontour.evaluate.flagged import Flags, Share
from recontour.evaluate.journal import Outcome
from recontour.evaluate.markdown import markdown_table
from recontour.evaluate.scores import Measure, Score, summarise


def measure_table(outcomes: Sequence[Outcome], measure: Measure) -> str:
    """Per organ and method the statistics of one measure; the 95th percentile on the bad side."""
    heads = ["organ", "method", "n", "median", "mean ± sd", "95 %", "worst", "lost"]
    return markdown_table(
        heads,
        [
            [
                named(organ),
                method,
                *_cells(scores(outcomes, method, organ, measure), _lost(outcomes, method, organ), measure),
            ]
            for organ in organs_of(outcomes)
            for method in methods_of(outcomes)
            if organ_rows(outcomes, method, organ)
        ],
    )


def field_table(outcomes: Sequence[Outcome]) -> str:
    """Per organ and method the Jacobian determinant inside the organ, and where it folds."""
    heads = ["organ", "method", "n", "Jacobian sd: median", "worst", "folding: mean", "worst", "pairs with any"]
    rows: list[list[str]] = []
    for organ in organs_of(outcomes):
        for method in methods_of(outcomes):
            found = [r for r in organ_rows(outcomes, method, organ) if r.jacobian_sd is not None]
            spread = [r.jacobian_sd for r in found if r.jacobian_sd is not None]
            folded = [100 * r.folding for r in found if r.folding is not None]
            if found:
                cells = [f"{np.median(spread):.3f}", f"{max(spread):.3f}", f"{np.mean(folded):.3f} %"]
                any_ = str(sum(share > 0 for share in folded))
                rows.append([named(organ), method, str(len(found)), *cells, f"{max(folded):.3f} %", any_])
    return markdown_table(heads, rows)


def time_table(outcomes: Sequence[Outcome]) -> str:
    """Seconds of every method, and on how many pairs it failed."""
    aligned = [o.align_seconds for o in {o.pair: o for o in outcomes}.values()]
    rows = [["(alignment, shared by all)", str(len(aligned)), *_seconds(aligned), ""]]
    for method in methods_of(outcomes):
        members = [o for o in outcomes if o.method == method]
        failed = sum(bool(o.error) for o in members)
        rows.append([method, str(len(members)), *_seconds([o.seconds for o in members if not o.error]), str(failed)])
    return markdown_table(["method", "n", "median s", "mean s", "worst s", "failed"], rows)


def flags_table(found: Iterable[Flags]) -> str:
    """Per method and organ how many contours were wrong and good, and how many of each the checks flagged."""
    heads = ["method", "organ", "wrong", "of them flagged", "good", "of them flagged"]
    rows = [
        [
            f.method,
            named(f.organ) or "all organs",
            str(f.wrong.count),
            _share(f.wrong),
            str(f.good.count),
            _share(f.good),
        ]
        for f in found
    ]
    return markdown_table(heads, rows)


def csv_of(outcomes: Iterable[Outcome]) -> str:
    """One line for each pair, method and organ."""
    text = io.StringIO()
    measures = [f.name for f in fields(Score)]
    about = ["group", "pair", "method", "seconds", "align_seconds"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*about, *measures, "planned_ml", "jacobian_sd", "folding", "light", "error"])
    for o in outcomes:
        start = [o.group, o.pair, o.method, f"{o.seconds:.3f}", f"{o.align_seconds:.3f}"]
        for row in o.organs:
            beside = [row.planned_ml, row.jacobian_sd, row.folding]
            writer.writerow([*start, *map(_plain, [*asdict(row.score).values(), *beside]), row.light, o.error])
    return text.getvalue()


def number(value: float, decimals: int) -> str:
    """With so many decimals; "lost" where it is no finite number."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else "lost"


def _cells(values: Sequence[float], lost: int, measure: Measure) -> list[str]:
    found = summarise(values, larger_is_worse=measure.worse == "high")
    median, mean, p95, worst = (number(v, measure.decimals) for v in (found.median, found.mean, found.p95, found.worst))
    spread = f"{mean} ± {number(found.sd, measure.decimals)}" if math.isfinite(found.mean) else "lost"
    return [str(found.count), median, spread, p95, worst, str(lost)]


def _lost(outcomes: Sequence[Outcome], method: str, organ: str) -> int:
    return sum(math.isinf(row.score.msd_mm) for row in organ_rows(outcomes, method, organ))


def _seconds(values: Sequence[float]) -> list[str]:
    if not values:
        return ["", "", ""]
    return [f"{np.median(values):.1f}", f"{np.mean(values):.1f}", f"{max(values):.1f}"]


def _plain(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4f}"


def _share(share: Share) -> str:
    return f"{share.flagged} ({share.flagged / share.count:.0%})" if share.count else "none"
