"""The paper's tables 1 to 5 in markdown, of whatever is done by now, and every number of them as a CSV."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from recontour.compare.plan import Row, rows_of
from recontour.compare.results import TEST, VALIDATION, Outcome
from recontour.compare.settings import CompareSettings
from recontour.compare.statistics import SIGNIFICANT, p_of_two
from recontour.evaluate.markdown import markdown_table
from recontour.train.validate import AFFINE, LOST_MM, counted_mm

ORGANS = {"prostate": "Prostate", "seminal_vesicles": "Seminal vesicles", "rectum": "Rectum", "bladder": "Bladder"}
_LETTERS = {"segmentation": "Segmentation", "registration": "Registration", AFFINE: "(affine alone)"}
_SET_OF = {1: VALIDATION, 2: VALIDATION, 3: VALIDATION, 4: TEST}
_TITLES = {
    1: "The effect of network input for the different architectures on the validation set, MSD (mm).",
    2: "The different networks and loss weighting methods on the validation set, MSD (mm).",
    3: "The different networks on the validation set, MSD (mm).",
    4: "The different networks on the independent test set, MSD (mm).",
    5: "The determinant of the Jacobian of the fields, on the validation and the independent test set.",
}


@dataclass(frozen=True)
class Line:
    """One output path of one row: MSD by organ and pair, or why there is none. weight_of: the line's detail."""

    network: str
    detail: str
    path: str
    key: str
    values: Mapping[str, Mapping[str, float]]
    missing: str = ""


@dataclass(frozen=True)
class Cell:
    """One number of a table as the CSV has it. lost: pairs in which the organ was not found; they count as 50 mm.
    p: against the reference that the mark speaks of; NaN without one."""

    table: int
    network: str
    detail: str
    path: str
    organ: str
    pairs: int
    mean: float
    sd: float
    median: float
    lost: int
    best: bool
    mark: str
    p: float


def markdown(settings: CompareSettings, outcomes: Mapping[str, Outcome], head: str) -> str:
    """All wanted tables; `head` stands above them."""
    parts = [head]
    for number in settings.tables:
        body = _field_table(settings, outcomes) if number == 5 else _msd_table(number, settings, outcomes)
        parts.append(f"## Table {number}\n\n{_TITLES[number]}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def csv_of(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> str:
    """Every number of the wanted tables."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(Cell)])
    for number in settings.tables:
        found = field_cells(settings, outcomes) if number == 5 else msd_cells(number, settings, outcomes)
        for cell in found:
            writer.writerow([f"{v:.5g}" if isinstance(v, float) else v for v in astuple(cell)])
    return text.getvalue()


def msd_cells(table: int, settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> list[Cell]:
    """Tables 1 to 4, one cell for each organ of each line that has values."""
    lines = [line for line in _lines(table, settings, outcomes) if not line.missing]
    cells: list[Cell] = []
    for organ in ORGANS:
        with_organ = [line for line in lines if line.values[organ]]
        if with_organ:
            best = min(with_organ, key=lambda line: _mean(line.values[organ]))
            cells += [_cell(table, line, organ, best, lines) for line in with_organ]
    order = {(line.key, line.path): k for k, line in enumerate(lines)}
    place = {(line.network, line.detail, line.path): order[line.key, line.path] for line in lines}
    return sorted(cells, key=lambda cell: place[cell.network, cell.detail, cell.path])


def field_cells(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> list[Cell]:
    """Table 5: the set stands where the others have the organ."""
    cells: list[Cell] = []
    for which in (VALIDATION, TEST):
        for measure in ("jacobian_sd", "folding"):
            found = [
                (row, list(outcomes[row.job.key].of_field(which, measure).values()))
                for row in rows_of(5, settings)
                if row.job is not None and row.job.key in outcomes
            ]
            found = [(row, values) for row, values in found if values]
            lowest = min((float(np.mean(values)) for _, values in found), default=math.nan)
            for row, values in found:
                mean, sd, median = _summary(values)
                about = (5, row.network, "", "registration", f"{which} {measure}", len(values))
                cells.append(Cell(*about, mean, sd, median, 0, mean == lowest, "", math.nan))
    return cells


def _lines(table: int, settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> list[Line]:
    lines: list[Line] = []
    for row in rows_of(table, settings):
        paths = row.job.paths if row.job else ("registration",)
        lines += [_line(row, path, _SET_OF[table], outcomes) for path in paths]
    if table in (3, 4):
        lines += _affine_line(lines, _SET_OF[table], outcomes)
    return lines


def _line(row: Row, path: str, which: str, outcomes: Mapping[str, Outcome]) -> Line:
    if row.job is None:
        return Line(row.network, row.detail, path, "", {}, "not in this study")
    outcome = outcomes.get(row.job.key, Outcome())
    values = {organ: _counted(outcome.of(which, path, organ)) for organ in ORGANS}
    missing = "failed" if outcome.failed else "not done yet" if not outcome.scores else ""
    if not missing and not any(values.values()):
        missing = "no such set"
    return Line(row.network, row.detail, path, row.job.key, values, missing)


def _affine_line(lines: Sequence[Line], which: str, outcomes: Mapping[str, Outcome]) -> list[Line]:
    """What all of them start from, of any that has it: it is the same for all."""
    for line in lines:
        values = {o: _counted(outcomes.get(line.key, Outcome()).of(which, AFFINE, o)) for o in ORGANS}
        if any(values.values()):
            return [Line("Affine", "", AFFINE, AFFINE, values)]
    return []


def _cell(table: int, line: Line, organ: str, best: Line, lines: Sequence[Line]) -> Cell:
    values = line.values[organ]
    mark, p = _mark_of_2(line, organ, lines) if table == 2 else _mark(line, organ, best, "\\*")
    lost = sum(value >= LOST_MM for value in values.values())
    about = (table, line.network, line.detail, line.path, organ, len(values))
    return Cell(*about, *_summary(list(values.values())), lost, line is best, mark, p)


def _mark_of_2(line: Line, organ: str, lines: Sequence[Line]) -> tuple[str, float]:
    """Table 2: a star against the same network's homoscedastic line, a dagger against the cross-stitch network's with
    equal weights, each for the same path. The p is the star's, or else the dagger's."""
    marks, ps = "", [math.nan]
    for network, detail, sign in ((line.network, "Homoscedastic", "\\*"), ("Cross-stitch", "Equal", "†")):
        found = [x for x in lines if (x.network, x.detail, x.path) == (network, detail, line.path)]
        if found:
            mark, p = _mark(line, organ, found[0], sign)
            marks, ps = marks + mark, [*ps, p]
    return marks, next((p for p in ps if p == p), math.nan)


def _mark(line: Line, organ: str, reference: Line, sign: str) -> tuple[str, float]:
    p = None if line is reference else p_of_two(dict(line.values[organ]), dict(reference.values[organ]))
    return (sign if p is not None and p < SIGNIFICANT else ""), math.nan if p is None else p


def _msd_table(table: int, settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> str:
    lines = _lines(table, settings, outcomes)
    cells = {(c.network, c.detail, c.path, c.organ): c for c in msd_cells(table, settings, outcomes)}
    middle = {1: ["Input"], 2: ["Weight"]}.get(table, [])
    heads = ["Network", *middle, "Output path"]
    heads += [f"{name} {part}" for name in ORGANS.values() for part in ("μ ± σ", "median")]
    rows: list[list[str]] = []
    before = ("", "")
    for line in lines:
        start = ["" if line.network == before[0] else line.network]
        start += ["" if (line.network, line.detail) == before else line.detail for _ in middle]
        before = (line.network, line.detail)
        found = [cells.get((line.network, line.detail, line.path, organ)) for organ in ORGANS]
        numbers = [line.missing] + [""] * 7 if line.missing else [text for cell in found for text in _texts(cell)]
        rows.append([*start, _LETTERS[line.path], *numbers])
    return "\n".join([markdown_table(heads, rows), _legend(table, lines, list(cells.values()))])


def _field_table(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> str:
    cells = {(c.network, c.organ): c for c in field_cells(settings, outcomes)}
    columns = [f"{which} {measure}" for which in (VALIDATION, TEST) for measure in ("jacobian_sd", "folding")]
    heads = ["Network", "Validation: std. Jacobian", "folding fraction", "Test: std. Jacobian", "folding fraction"]
    rows: list[list[str]] = []
    for row in rows_of(5, settings):
        found = [cells.get((row.network, column)) for column in columns]
        missing = _missing(row, outcomes)
        shown = [f"{c.mean:.4f} ± {c.sd:.4f}" if c else "" for c in found]
        bold = [f"**{text}**" if c and c.best else text for text, c in zip(shown, found, strict=True)]
        rows.append([row.network, *([missing, "", "", ""] if missing else bold)])
    legend = "Mean ± standard deviation over pairs; lower is better, **bold** is lowest. The rivals stand below."
    return f"{markdown_table(heads, rows)}\n{legend}"


def _missing(row: Row, outcomes: Mapping[str, Outcome]) -> str:
    if row.job is None:
        return "not in this study"
    outcome = outcomes.get(row.job.key, Outcome())
    return "failed" if outcome.failed else "" if outcome.fields else "not done yet"


def _texts(cell: Cell | None) -> list[str]:
    if cell is None:
        return ["", ""]
    lost = f" ({cell.lost} lost)" if cell.lost else ""
    mean = f"{cell.mean:.2f} ± {cell.sd:.2f}"
    return [(f"**{mean}**" if cell.best else mean) + cell.mark + lost, f"{cell.median:.2f}"]


def _legend(table: int, lines: Sequence[Line], cells: Sequence[Cell]) -> str:
    pairs = max((cell.pairs for cell in cells), default=0)
    text = f"Mean ± standard deviation and median over {pairs} pair{'s' * (pairs != 1)}; **bold** is the lowest mean. "
    if table == 2:
        text += (
            "\\*: differs from the same network and path with homoscedastic weights, †: from the same path of the "
            "cross-stitch network with equal weights (repeated-measures ANOVA, p < 0.05, not corrected for how many)."
        )
    else:
        text += (
            "\\*: differs from the best of its column (repeated-measures ANOVA, p < 0.05, not corrected for how many)."
        )
    if any(cell.lost for cell in cells):
        text += f" A lost organ counts as {LOST_MM:.0f} mm."
    worse = "; ".join(_worse_paths(lines))
    return text + (f" The worse of a network's two paths, by the mean over the organs: {worse}." if worse else "")


def _worse_paths(lines: Sequence[Line]) -> list[str]:
    """In words what the paper prints in grey."""
    out: list[str] = []
    for first, second in itertools.pairwise(lines):
        if first.key and first.key == second.key and not first.missing:
            worse = max((first, second), key=lambda line: float(np.mean([_mean(v) for v in line.values.values() if v])))
            out.append(" ".join(part for part in (worse.network, worse.detail, worse.path) if part))
    return out


def _counted(values: Mapping[str, float]) -> dict[str, float]:
    return {pair: counted_mm(value) for pair, value in values.items()}


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _summary(values: Sequence[float]) -> tuple[float, float, float]:
    found = np.asarray(values, float)
    return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else 0.0, float(np.median(found))
