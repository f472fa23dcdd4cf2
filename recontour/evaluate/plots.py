"""Plots of a scored cohort that a paper can print: 180 mm wide, 8 pt, colours that the colour-blind tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np

from recontour.dicom.names import ORGANS
from recontour.errors import UsageError
from recontour.evaluate.cohort import CohortResult
from recontour.evaluate.fraction import Row
from recontour.evaluate.report import organs_of, value_of
from recontour.evaluate.scores import MEASURES, Measure

# Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
WIDTH_INCHES = 180 / 25.4  # a journal's two columns
FEWEST_FOR_A_BOX = 5  # quartiles of fewer values say nothing
_AXES = {"dice": "DSC", "msd_mm": "mean surface\ndistance (mm)", "hd95_mm": "95 % Hausdorff\ndistance (mm)"}
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # text stays text: journals refuse type 3 fonts
}


def check_matplotlib() -> None:
    """Raises UsageError where it is not installed."""
    if util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed", where="--plots", allowed="install recontour[train]")


def write_plots(result: CohortResult, folder: Path) -> None:
    """scores.png and .pdf: DSC, MSD and 95 % HD of every organ. bladder.png and .pdf: MSD against how much the bladder
    has filled since the plan, for runs with a manifest. Raises UsageError without matplotlib, OSError."""
    check_matplotlib()
    with style():
        _save(_score_figure(result.rows), folder / "scores")
        changes = bladder_changes_ml(result.rows)
        if changes:
            _save(_bladder_figure(result.rows, changes), folder / "bladder")


def bladder_changes_ml(rows: Sequence[Row]) -> dict[str, float]:
    """Fraction -> the bladder's reference volume minus that in the plan, where both are known."""
    return {
        row.fraction: row.score.reference_volume_ml - row.planning_volume_ml
        for row in rows
        if row.score.organ == "bladder" and row.planning_volume_ml is not None
    }


def style() -> AbstractContextManager[None]:
    """What is drawn inside is drawn so."""
    return import_module("matplotlib").rc_context(_STYLE)


def figure_of(height_inches: float) -> Any:
    """As wide as a page, this high, on no screen."""
    figure = import_module("matplotlib.figure").Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".png"), dpi=300)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})


def _score_figure(rows: Sequence[Row]) -> Any:
    """Organs from top to bottom; one panel for each measure."""
    organs = organs_of(rows)
    shown = [measure for measure in MEASURES if measure.name in _AXES]
    figure = figure_of(0.9 + 0.33 * len(organs))
    figure.get_layout_engine().set(wspace=0.08)
    for axes, measure in zip(figure.subplots(1, len(shown), sharey=True), shown, strict=True):
        for place, organ in enumerate(organs):
            values = [value_of(row, measure) for row in rows if row.score.organ == organ and not _lost(row)]
            _box(axes, place, [value for value in values if value is not None])
        axes.set_xlabel(_AXES[measure.name])
        axes.locator_params(axis="x", nbins=4)
        _limit(axes, measure)
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        axes.set_axisbelow(True)
    first = figure.axes[0]
    first.set_yticks(range(len(organs)), [_named(organ, rows) for organ in organs])
    first.set_ylim(len(organs) - 0.5, -0.5)
    return figure


def _box(axes: Any, place: int, values: Sequence[float]) -> None:
    """The median, every value as a point, and where they are enough the quartiles, with whiskers to 1.5 times their
    distance."""
    if not values:
        return
    colour = COLOURS[place % len(COLOURS)]
    line = {"color": "black", "linewidth": 0.8}
    boxed = len(values) >= FEWEST_FOR_A_BOX
    axes.boxplot(
        [values], positions=[place], orientation="horizontal", widths=0.55, showfliers=False, patch_artist=True,
        showbox=boxed, showcaps=boxed,
        boxprops={"facecolor": colour, "alpha": 0.35, "linewidth": 0.8}, medianprops=line | {"linewidth": 1.4},
        whiskerprops=line | {"linewidth": 0.8 * boxed}, capprops=line, manage_ticks=False,
    )  # fmt: skip
    aside = place + 0.18 * np.sin(2.4 * np.arange(len(values)))  # so that equal values do not hide each other
    point = {"markersize": 2.5, "color": colour, "markeredgecolor": "black", "markeredgewidth": 0.3}
    axes.plot(values, aside, "o", clip_on=False, zorder=3, **point)


def _limit(axes: Any, measure: Measure) -> None:
    if measure.worse == "low":
        axes.set_xlim(right=1.0)
    else:
        axes.set_xlim(left=0.0)


def _bladder_figure(rows: Sequence[Row], changes_ml: dict[str, float]) -> Any:
    """Figures 5 and 6 of the paper: a panel for each of our organs."""
    present = organs_of(rows)
    organs = [organ for organ in ORGANS if organ in present]
    figure = figure_of(2.3)
    grid = np.atleast_1d(figure.subplots(1, len(organs), sharex=True, sharey=True))
    for number, (axes, organ) in enumerate(zip(grid, organs, strict=True)):
        own = [r for r in rows if r.score.organ == organ and r.fraction in changes_ml and not _lost(r)]
        points = [changes_ml[row.fraction] for row in own], [row.score.msd_mm for row in own]
        axes.plot(*points, "o", markersize=4, color=COLOURS[number], markeredgecolor="black", markeredgewidth=0.4)
        axes.axvline(0.0, color="grey", linewidth=0.6)
        axes.set_title(_named(organ, [row for row in rows if row.fraction in changes_ml]))
        axes.grid(linewidth=0.4, alpha=0.5)
        axes.set_axisbelow(True)
    grid[0].set_ylim(bottom=0.0)
    grid[0].set_ylabel(_AXES["msd_mm"])
    figure.supxlabel("bladder volume, daily minus planning (ml)", fontsize=8)
    return figure


def _lost(row: Row) -> bool:
    return math.isinf(row.score.msd_mm)


def _named(organ: str, rows: Sequence[Row]) -> str:
    """As it is read, with how many fractions, and how many of them lost it and are not drawn."""
    own = [row for row in rows if row.score.organ == organ]
    lost = sum(map(_lost, own))
    name = organ.replace("_", " ")
    return f"{name} ({len(own)}" + (f", {lost} lost)" if lost else ")")
