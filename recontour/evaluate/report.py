"""A scored cohort as files: one line for each fraction and organ, and statistics of each measure for each organ."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recontour import __version__
from recontour.dicom.names import ORGANS
from recontour.errors import OutputRefused
from recontour.evaluate.cohort import CohortResult
from recontour.evaluate.fraction import BODY, WHOLE_FIELD, Row
from recontour.evaluate.markdown import markdown_table
from recontour.evaluate.pairing import Remark
from recontour.evaluate.scores import MEASURES, Measure, Summary, summarise
from recontour.qa.manifest import write_text

TEXTS = ("scores.csv", "summary.csv", "summary.md")
PLOTS = tuple(f"plots/{name}.{kind}" for name in ("scores", "bladder") for kind in ("png", "pdf"))
SMOOTHNESS = (
    Measure("jacobian_sd", "sd of Jacobian", 3, "high"),
    Measure("folding_fraction", "folding fraction", 5, "high"),
)

_SHOWN = tuple(measure for measure in MEASURES if measure.name in ("dice", "msd_mm", "hd95_mm"))


@dataclass(frozen=True)
class OrganSummary:
    """One measure of one organ over the fractions that have it. lost: how many of them lost the organ."""

    organ: str
    measure: Measure
    lost: int
    summary: Summary


def summaries_of(result: CohortResult) -> list[OrganSummary]:
    """Every measure of every organ: bladder, rectum, prostate and seminal vesicles first, the field last."""
    out: list[OrganSummary] = []
    for organ in organs_of(result.rows):
        rows = [row for row in result.rows if row.score.organ == organ]
        lost = sum(math.isinf(row.score.msd_mm) for row in rows)
        for measure in (*MEASURES, *SMOOTHNESS):
            out += _summary(organ, measure, lost, [value_of(row, measure) for row in rows])
    for region in (BODY, WHOLE_FIELD):
        fields = [found.smoothness for found in result.fields if found.region == region]
        for measure in SMOOTHNESS:
            out += _summary(region, measure, 0, [getattr(found, measure.name) for found in fields])
    return out


def organs_of(rows: Iterable[Row]) -> list[str]:
    """The organs of a cohort, ours first, then the others by name."""
    found = {row.score.organ for row in rows}
    return [*(organ for organ in ORGANS if organ in found), *sorted(found - set(ORGANS))]


def value_of(row: Row, measure: Measure) -> float | None:
    """The measure in that row; None where it has none."""
    return getattr(row.smoothness if measure in SMOOTHNESS else row.score, measure.name)


def check_output(out: Path, overwrite: bool) -> None:
    """Before any work. Raises OutputRefused where `out` cannot be written to, or holds a file that would be."""
    if out.exists() and not out.is_dir():
        raise OutputRefused("this is a file", where=out.name, allowed="a folder to write to")
    there = next((name for name in (*TEXTS, *PLOTS) if (out / name).exists()), None)
    if there and not overwrite:
        raise OutputRefused("this file exists already", where=there, allowed="another folder, or --overwrite")
    parent = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputRefused("the folder cannot be written to", where=out.name, allowed="a folder of your own")


def write_report(
    result: CohortResult, out: Path, overwrite: bool = False, draw: Callable[[CohortResult, Path], None] | None = None
) -> None:
    """TEXTS, and what `draw` puts into the plots folder it is given, into `out`: all of it, or nothing.

    Of an earlier evaluation in `out` nothing is left. Raises OutputRefused as check_output does, or where the disk
    fails.
    """
    check_output(out, overwrite)
    beside = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True)
        for name, text in zip(TEXTS, (scores_csv(result), summary_csv(result), summary_markdown(result)), strict=True):
            write_text(beside / name, text)
        if draw:
            (beside / "plots").mkdir()
            draw(result, beside / "plots")
        _into_place(beside, out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where=out.name, allowed="a folder that can be written to") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def scores_csv(result: CohortResult) -> str:
    """One line for each fraction and organ, and one for its field; what was not measured is an empty cell."""
    columns = (*MEASURES, *SMOOTHNESS)
    lines = [["fraction", "organ", *(measure.name for measure in columns), "planning_volume_ml"]]
    for row in result.rows:
        cells = [_cell(value_of(row, measure)) for measure in columns]
        lines.append([row.fraction, row.score.organ, *cells, _cell(row.planning_volume_ml)])
    for found in result.fields:
        cells = [_cell(getattr(found.smoothness, measure.name)) for measure in SMOOTHNESS]
        lines.append([found.fraction, found.region, *[""] * len(MEASURES), *cells, ""])
    return _csv([lines[0], *sorted(lines[1:], key=lambda line: line[0])])


def summary_csv(result: CohortResult) -> str:
    """One line for each organ and measure."""
    lines = [["organ", "measure", "n", "lost", "mean", "sd", "median", "worst"]]
    for one in summaries_of(result):
        values = one.summary.mean, _sd(one), one.summary.median, _worst(one)
        counts = [str(one.summary.count), str(one.lost)]
        lines.append([one.organ, one.measure.name, *counts, *(_cell(value) for value in values)])
    return _csv(lines)


def summary_markdown(result: CohortResult) -> str:
    """A table of the organs, what the reader must know, and a table of all measures for each organ."""
    summaries = summaries_of(result)
    count = f"{result.fractions} fraction{'s' * (result.fractions != 1)}"
    parts = [f"# {count} against their references\n", f"recontour {__version__}; docs/evaluate.md says what is what.\n"]
    parts += [markdown_table(*overview(summaries)), "## Not as it should be, or left out\n", _remarks(result.remarks)]
    for organ in dict.fromkeys(one.organ for one in summaries):
        parts += [f"## {organ}\n", markdown_table(*_details([one for one in summaries if one.organ == organ]))]
    return "\n".join(parts)


def overview(summaries: Sequence[OrganSummary]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: DSC, MSD and HD95 of every organ, mean ± sd, median and worst."""
    headings = ["organ", "n", "lost"]
    for measure in _SHOWN:
        headings += [f"{measure.heading} mean ± sd", "median", "worst"]
    rows: list[list[str]] = []
    for start, shown in _of_organs(summaries):
        for mean, sd, median, worst in map(_statistics, shown):
            start += [f"{mean} ± {sd}" if sd else mean, median, worst]
        rows.append(start)
    return headings, rows


def medians(summaries: Sequence[OrganSummary]) -> tuple[list[str], list[list[str]]]:
    """The same without means: narrow enough for a screen."""
    headings = ["organ", "n", "lost"]
    for measure in _SHOWN:
        headings += [measure.heading, "worst"]
    rows = [
        [*start, *(cell for one in shown for cell in _statistics(one)[2:])] for start, shown in _of_organs(summaries)
    ]
    return headings, rows


def grouped(remarks: Sequence[Remark]) -> dict[str, list[str]]:
    """Remark -> the fractions it was made of, none for the whole cohort."""
    out: dict[str, list[str]] = {}
    for remark in remarks:
        out.setdefault(remark.text, []).extend([remark.fraction] if remark.fraction else [])
    return out


def _of_organs(summaries: Sequence[OrganSummary]) -> list[tuple[list[str], list[OrganSummary]]]:
    """For every organ its name and counts, and _SHOWN of it."""
    out: list[tuple[list[str], list[OrganSummary]]] = []
    for organ in dict.fromkeys(one.organ for one in summaries):
        found = {one.measure: one for one in summaries if one.organ == organ}
        shown = [found[measure] for measure in _SHOWN if measure in found]
        if shown:
            out.append(([organ, str(shown[0].summary.count), str(shown[0].lost)], shown))
    return out


def _summary(organ: str, measure: Measure, lost: int, values: Sequence[float | None]) -> list[OrganSummary]:
    found = [value for value in values if value is not None]
    if not found:
        return []
    summary = summarise(found, measure.worse != "low")
    if measure.worse == "away from 1":
        worst = max(found, key=lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf)
        summary = replace(summary, worst=worst)
    return [OrganSummary(organ, measure, lost, summary)]


def _sd(one: OrganSummary) -> float | None:
    return one.summary.sd if one.summary.count > 1 else None  # one value does not spread


def _worst(one: OrganSummary) -> float | None:
    return one.summary.worst if one.measure.worse else None


def _details(summaries: Sequence[OrganSummary]) -> tuple[list[str], list[list[str]]]:
    headings = ["measure", "n", "mean", "sd", "median", "worst"]
    return headings, [[s.measure.heading, str(s.summary.count), *_statistics(s)] for s in summaries]


def _statistics(one: OrganSummary) -> list[str]:
    """Mean, sd, median and worst as they are read; "lost" where a lost organ makes them infinite."""
    values = one.summary.mean, _sd(one), one.summary.median, _worst(one)
    return [_read(value, one.measure.decimals) for value in values]


def _read(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return ""
    return "lost" if math.isinf(value) else f"{value:.{decimals}f}"


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _csv(lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _remarks(remarks: Sequence[Remark]) -> str:
    lines = [
        f"- {text}" + f" ({len(names)}: {', '.join(names)})" * bool(names) for text, names in grouped(remarks).items()
    ]
    return "\n".join(lines or ["- nothing"]) + "\n"


def _into_place(beside: Path, out: Path) -> None:
    """At once where there was no folder, else file by file."""
    if not out.exists():
        os.replace(beside, out)
        return
    for name in (*TEXTS, *PLOTS):
        (out / name).unlink(missing_ok=True)
    for path in sorted(beside.rglob("*")):
        if path.is_file():
            target = out / path.relative_to(beside)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
