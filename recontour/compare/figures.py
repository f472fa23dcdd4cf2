"""Figure 2: what the bending energy's weight does to the contours and to the field."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recontour.compare.plan import figure_rows
from recontour.compare.results import VALIDATION, Outcome
from recontour.compare.settings import CompareSettings
from recontour.compare.tables import ORGANS
from recontour.train.validate import counted_mm

_DASHES = {"registration": "-", "segmentation": "--"}
_BESIDE = ((5, 6), (-20, 6), (5, -11))  # where the networks' numbers stand, in points from theirs, not to meet


@dataclass(frozen=True)
class Point:
    """One network and path at one bending weight, on the validation set: the mean MSD over pairs, then over organs,
    and the mean standard deviation of the Jacobian determinant."""

    network: str
    path: str
    weight: float
    msd_mm: float
    jacobian_sd: float


def points(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> list[Point]:
    """Of what is done by now, by weight."""
    found: list[Point] = []
    for weight, rows in figure_rows(settings).items():
        for row in rows:
            outcome = outcomes.get(row.job.key, Outcome()) if row.job else Outcome()
            paths = row.job.paths if row.job and outcome.scores else ()
            found += [_point(row.network, path, weight, outcome) for path in paths]
    return found


def draw_figure_2(settings: CompareSettings, outcomes: Mapping[str, Outcome], path: Path) -> None:
    """As PNG; nothing is written as long as there is nothing to show, or where matplotlib is not installed."""
    shown = points(settings, outcomes)
    if not shown:
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure: Any = Figure(figsize=(7.0, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, network in enumerate(dict.fromkeys(p.network for p in shown)):
        for which in dict.fromkeys(p.path for p in shown if p.network == network):
            _line(axes, [p for p in shown if (p.network, p.path) == (network, which)], number)
    axes.set_xscale("log")
    weights = sorted({p.weight for p in shown if p.weight > 0})
    axes.set_xticks(weights, [f"{w:g}" for w in weights])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("weight of the bending energy")
    axes.set_ylabel("mean MSD over the organs, mm")
    axes.set_title("Validation; beside each point the sd of the Jacobian determinant", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    FigureCanvasAgg(figure)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    path.write_bytes(image.getvalue())


def _line(axes: Any, of_one: list[Point], number: int) -> None:
    first, colour, place = of_one[0], f"C{number}", _BESIDE[number]
    x, y = [p.weight for p in of_one], [p.msd_mm for p in of_one]
    axes.plot(x, y, _DASHES[first.path], marker="o", color=colour, label=f"{first.network}, {first.path}")
    for p in of_one if first.path == "registration" else []:
        label = f"{p.jacobian_sd:.2f}"
        axes.annotate(label, (p.weight, p.msd_mm), place, textcoords="offset points", fontsize="x-small", color=colour)


def _point(network: str, path: str, weight: float, outcome: Outcome) -> Point:
    organs = [outcome.of(VALIDATION, path, organ) for organ in ORGANS]
    msd_mm = np.mean([np.mean([counted_mm(v) for v in values.values()]) for values in organs if values])
    spread = list(outcome.of_field(VALIDATION, "jacobian_sd").values())
    return Point(network, path, weight, float(msd_mm), float(np.mean(spread)) if spread else float("nan"))
