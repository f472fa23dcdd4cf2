"""A plot for every table, small enough to lie beside the page: rivals are hollow, recontour's methods filled, so that
they are told apart in grey as well; colours are those that the colour-blind tell apart."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recontour.accuracy.filling import Point, binned, median_mm, points, rivals_shown
from recontour.accuracy.rows import methods_of, named, organ_rows, organs_of
from recontour.accuracy.summary import STATISTICS, Comparison, best_own
from recontour.evaluate.flagged import ALARM_AIM, FLAGGED_AIM, Flags
from recontour.evaluate.journal import OrganOutcome, Outcome
from recontour.evaluate.plots import COLOURS, FEWEST_FOR_A_BOX, figure_of, style
from recontour.evaluate.scores import Measure

_DPI, _TONES = 110, 64
_MOST_TICKS = 4
_RATIOS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_MARKS = ("o", "s", "^")
_LOOKS = (("o", "white", ":"), ("s", "#c0c0c0", "--"), ("^", COLOURS[0], "-"))  # mark, its face, line of medians
_PER_METHOD, _FRAME = 0.2, 0.75  # inches of height
_POINT: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0.4, "markeredgecolor": "black", "clip_on": False}

Value = Callable[[OrganOutcome], float]
Scale = Literal["log", "linear", "from 0"]


def measure_plot(outcomes: Sequence[Outcome], measure: Measure, path: Path) -> None:
    """A panel for each organ, a box for each method; lost organs are counted beside it (×2), not drawn."""

    def value(row: OrganOutcome) -> float:
        return float(getattr(row.score, measure.name)) if math.isfinite(row.score.msd_mm) else math.inf

    with style():
        figure = _organ_panels(outcomes, [(measure.heading, value, "log" if measure.worse == "high" else "linear")])
        _save(figure, path)


def field_plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """The spread of the Jacobian determinant, and how much of the organ folds."""

    def spread(row: OrganOutcome) -> float:
        return math.inf if row.jacobian_sd is None else row.jacobian_sd

    def folded(row: OrganOutcome) -> float:
        return math.inf if row.folding is None else 100 * row.folding

    with style():
        _save(_organ_panels(outcomes, [("Jacobian sd", spread, "from 0"), ("folding, %", folded, "from 0")]), path)


def time_plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """Seconds of every method, on a logarithmic axis."""
    methods = methods_of(outcomes)
    with style():
        figure = figure_of(_FRAME + _PER_METHOD * len(methods))
        axes = figure.subplots()
        for place, method in enumerate(methods):
            _box(
                axes,
                place,
                [o.seconds for o in outcomes if o.method == method and not o.error],
                _colour(outcomes, method),
            )
        axes.set_xlabel("seconds after the alignment")
        _logarithmic(axes)
        _method_axis(axes, methods)
        _save(figure, path)


def summary_plot(rows: Sequence[Comparison], path: Path) -> None:
    """Ours over the strongest elastix; left of 1 ours is the better one."""
    names = [f"{r.method.removeprefix('recontour ')}, {named(r.organ)}" for r in rows]
    with style():
        figure = figure_of(_FRAME + _PER_METHOD * len(rows))
        axes = figure.subplots()
        for k, statistic in enumerate(STATISTICS):
            both = [(r.ours[k] / r.elastix[k], place) for place, r in enumerate(rows) if 0 < r.elastix[k] < math.inf]
            shown = [(ratio, place) for ratio, place in both if 0 < ratio < math.inf]
            axes.plot(*_columns(shown), _MARKS[k], color=COLOURS[k], label=statistic, **_POINT, markersize=5)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_xlabel("MSD, ours over the strongest elastix's")
        _logarithmic(axes, _RATIOS)
        _method_axis(axes, names)
        axes.legend(fontsize=7, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
        _save(figure, path)


def flags_plot(found: Sequence[Flags], path: Path) -> None:
    """What share of wrong and of good contours was flagged; dashed, dotted: what is aimed at for either."""
    names = [f"{f.method.removeprefix('recontour ')}, {named(f.organ) or 'all organs'}" for f in found]
    with style():
        figure = figure_of(_FRAME + _PER_METHOD * len(found))
        axes = figure.subplots()
        wrong = [(100 * f.wrong.flagged / f.wrong.count, place) for place, f in enumerate(found) if f.wrong.count]
        good = [(100 * f.good.flagged / f.good.count, place) for place, f in enumerate(found) if f.good.count]
        axes.plot(*_columns(wrong), "o", color=COLOURS[2], label="wrong contours", markersize=5, **_POINT)
        axes.plot(*_columns(good), "s", color=COLOURS[5], label="good contours", markersize=5, **_POINT)
        axes.axvline(100 * FLAGGED_AIM, color=COLOURS[2], linewidth=0.8, linestyle="--")
        axes.axvline(100 * ALARM_AIM, color=COLOURS[5], linewidth=0.8, linestyle=":")
        axes.set_xlim(-2, 102)
        axes.set_xlabel("flagged, %")
        _method_axis(axes, names)
        axes.legend(fontsize=7, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
        _save(figure, path)


def filling_plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """MSD against the bladder's volume ratio, a panel for each organ: the affine, the strongest elastix and the best of
    recontour's methods, with the medians of the table's ranges; grey from half to twice as full."""
    organs = organs_of(outcomes)
    methods = [name for name in (*rivals_shown(outcomes), best_own(outcomes)) if name]
    with style():
        figure = figure_of(2.7)
        panels = np.atleast_1d(figure.subplots(1, len(organs), sharex=True, sharey=True))
        for axes, organ in zip(panels, organs, strict=True):
            axes.axvspan(0.5, 2.0, color="#eeeeee", linewidth=0)
            for look, method in zip(_LOOKS, methods, strict=False):
                _against_filling(axes, points(outcomes, method, organ), method, look)
            axes.set_title(named(organ))
            axes.grid(linewidth=0.4, alpha=0.5)
        _logarithmic(panels[0], _RATIOS)
        panels[0].set_yscale("log")
        _plain_ticks(panels[0].yaxis, _ticks_between(*panels[0].get_ylim()))
        panels[0].set_ylabel("MSD mm")
        figure.supxlabel("bladder volume, daily over planned", fontsize=8)
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, fontsize=7, ncols=len(methods), loc="outside upper center", frameon=False)
        _save(figure, path)


def _against_filling(axes: Any, found: Sequence[Point], method: str, look: tuple[str, str, str]) -> None:
    mark, inside, line = look
    shown = [(p.ratio, p.msd_mm) for p in found if 0 < p.msd_mm < math.inf]
    axes.plot(*_columns(shown), mark, label=method, markersize=3, **{**_POINT, "markerfacecolor": inside})
    bins = [inside_bin for inside_bin in binned(found) if inside_bin]
    medians = [(float(np.median([p.ratio for p in inside_bin])), median_mm(inside_bin)) for inside_bin in bins]
    axes.plot(*_columns([m for m in medians if math.isfinite(m[1])]), line, color="black", linewidth=1.0)


def _organ_panels(outcomes: Sequence[Outcome], shown: Sequence[tuple[str, Value, Scale]]) -> Any:
    """Organs from left to right, what is shown (heading, value, scale) from top to bottom."""
    organs, methods = organs_of(outcomes), methods_of(outcomes)
    figure = figure_of((_FRAME + _PER_METHOD * len(methods)) * len(shown))
    grid = figure.subplots(len(shown), len(organs), sharey=True, squeeze=False)
    for line, (heading, value, scale) in zip(grid, shown, strict=True):
        for axes, organ in zip(line, organs, strict=True):
            _organ_panel(axes, outcomes, organ, value)
            axes.set_title(named(organ))
            if scale == "log":
                _logarithmic(axes)
            else:
                axes.locator_params(axis="x", nbins=3)
                axes.set_xlim(left=0.0 if scale == "from 0" else None)
        _method_axis(line[0], methods)
        line[len(organs) // 2].set_xlabel(heading)
    return figure


def _organ_panel(axes: Any, outcomes: Sequence[Outcome], organ: str, value: Value) -> None:
    for place, method in enumerate(methods_of(outcomes)):
        values = [value(row) for row in organ_rows(outcomes, method, organ)]
        _box(axes, place, [v for v in values if math.isfinite(v)], _colour(outcomes, method))
        lost = sum(math.isinf(row.score.msd_mm) for row in organ_rows(outcomes, method, organ))
        if lost:
            axes.text(1.01, place, f"×{lost}", transform=axes.get_yaxis_transform(), fontsize=7, va="center")
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _box(axes: Any, place: int, values: Sequence[float], colour: str) -> None:
    """Quartiles, the median, whiskers to the 5th and 95th percentile, and what lies beyond as points; few values are
    all points."""
    if not values:
        return
    line = {"color": "black", "linewidth": 0.8}
    if len(values) >= FEWEST_FOR_A_BOX:
        axes.boxplot(
            [list(values)], positions=[place], orientation="horizontal", widths=0.6, patch_artist=True, whis=(5, 95),
            boxprops={"facecolor": colour, "linewidth": 0.8}, medianprops=line | {"linewidth": 1.6}, whiskerprops=line,
            capprops=line, flierprops={"marker": "o", "markersize": 2.0, "markeredgewidth": 0.5}, manage_ticks=False,
        )  # fmt: skip
    else:
        axes.plot(list(values), [place] * len(values), "o", markersize=3.5, markerfacecolor=colour, **_POINT)


def _colour(outcomes: Sequence[Outcome], method: str) -> str:
    """White for rivals; each of ours has its own."""
    ours = methods_of(outcomes, own=True)
    return COLOURS[ours.index(method) % len(COLOURS)] if method in ours else "white"


def _method_axis(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _logarithmic(axes: Any, ticks: Sequence[float] = ()) -> None:
    """After everything is drawn."""
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis, ticks or _ticks_between(*axes.get_xlim()))


def _ticks_between(low: float, high: float) -> list[float]:
    """1 and 3 of every decade, or 1 alone where they would be many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**e for e in exponents for digit in (1, 3) if low <= digit * 10.0**e <= high]
    return ticks if len(ticks) <= _MOST_TICKS else [10.0**e for e in exponents if low <= 10.0**e <= high]


def _plain_ticks(axis: Any, ticks: Sequence[float]) -> None:
    """As people write them, and none between."""
    ticker = import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.FixedLocator(ticks))
    axis.set_major_formatter(ticker.FuncFormatter(_as_written))
    axis.set_minor_locator(ticker.NullLocator())


def _as_written(value: float, _: int) -> str:
    return f"{value:g}"


def _columns(rows: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows]


def _save(figure: Any, path: Path) -> None:
    """In few tones: some ten kilobytes."""
    image = import_module("PIL.Image")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=_DPI, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    few = image.open(drawn).convert("RGB").quantize(_TONES, image.Quantize.MAXCOVERAGE, dither=image.Dither.NONE)
    few.save(path, optimize=True)
