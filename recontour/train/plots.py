"""What happened in trainings, as figures that a paper can print: 180 mm wide, 8 pt, colours that the colour-blind tell
apart.

    losses        each term, one line a run
    weights       the weights of the losses over the steps, one panel a run (figure 3 of Elmahdy et al. 2021)
    cross-stitch  means of the four units, solid on the diagonal, dashed off it (figure 4)
    validation    MSD per organ and path, one line a run
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.errors import OutputRefused, UsageError
from recontour.network.catalogue import LABELS, LOSSES
from recontour.train.folder import LOG, VALIDATION, read_run_settings
from recontour.train.log import STITCHES, read_rows

WIDTH_INCHES, PANEL_INCHES = 180 / 25.4, 1.9
ACROSS = 3  # panels
# Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
SMOOTHED_OVER = 50  # parts of a training: noise of single patches hides what changes
DASHES = {"affine": ":", "registration": "--", "segmentation": "-", "blend": "-."}
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text: journals refuse type 3 fonts
}
Line = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """A run as its logs have it. columns: of log.csv, (rows,) each. validation: rows of validation.csv."""

    title: str
    columns: dict[str, Line]
    validation: list[dict[str, str]]

    @property
    def name(self) -> str:
        return self.title.split("\n")[0]

    @property
    def steps(self) -> Line:
        return self.columns["step"]

    def named(self, prefix: str) -> list[str]:
        """Columns that begin with it."""
        return [name for name in self.columns if name.startswith(prefix)]


def plot_training(runs: Sequence[Path], out: Path) -> list[Path]:
    """Writes the figures of one or more runs as PNG and PDF into the folder `out`; returns what was written. A figure
    that would be empty is left out. Raises UsageError without matplotlib or logs, OutputRefused."""
    if util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed", where="plot-training", allowed="pip install recontour[train]")
    histories = [read_history(run) for run in runs]
    figures = {
        "losses": losses_figure,
        "weights": weights_figure,
        "cross-stitch": stitch_figure,
        "validation": validation_figure,
    }
    written: list[Path] = []
    with import_module("matplotlib").rc_context(_STYLE):
        for name, draw in figures.items():
            figure = draw(histories)
            if figure is not None:
                written += _save(figure, out, name)
    return written


def read_history(run: Path) -> History:
    """Raises UsageError where the folder holds no training that has logged anything."""
    settings = read_run_settings(run)
    rows = read_rows(run / LOG)
    if not rows:
        raise UsageError("nothing was logged yet", where=run.name, allowed="a run's folder")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    title = f"{run.name}\n{settings.network.architecture}, {settings.loss.weighting}"
    return History(title, columns, read_rows(run / VALIDATION))


def smoothed(values: Line) -> Line:
    """The mean over a window around each value, a fiftieth of the whole, less at both ends: (n,) -> (n,)."""
    half = len(values) // SMOOTHED_OVER // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def losses_figure(histories: Sequence[History]) -> Any:
    """One panel a term, and one for their weighted sum."""
    known = (*LOSSES, "boundary", "field", "adversarial", "critic")
    terms = ["loss", *(t for t in known if any(t in history.columns for history in histories))]
    figure, panels = _panels(len(terms))
    for panel, term in zip(panels, terms, strict=True):
        panel.set_title(_words(term))
        for history, colour in zip(histories, _colours(len(histories)), strict=True):
            if term in history.columns:
                values = history.columns[term]
                _plot_smoothed(panel, history.steps, values, colour, history.name)
    _legend(figure, panels)
    return figure


def weights_figure(histories: Sequence[History]) -> Any:
    """Figure 3: one panel a run."""
    figure, panels = _panels(len(histories))
    names = list(dict.fromkeys(name for history in histories for name in history.named("w_")))
    for panel, history in zip(panels, histories, strict=True):
        panel.set_title(history.title)
        for name, colour in zip(names, _colours(len(names)), strict=True):
            if name in history.columns:
                term = _words(name.removeprefix("w_"))
                _plot_smoothed(panel, history.steps, history.columns[name], colour, term)
        panel.set_ylim(bottom=0)
    panels[0].set_ylabel("weight")
    _legend(figure, panels)
    return figure


def stitch_figure(histories: Sequence[History]) -> Any:
    """Figure 4: one panel a run of the cross-stitch network; None where there is none."""
    stitched = [history for history in histories if history.named("stitch_")]
    if not stitched:
        return None
    figure, panels = _panels(len(stitched))
    for panel, history in zip(panels, stitched, strict=True):
        panel.set_title(history.title)
        for number, (unit, colour) in enumerate(zip(STITCHES, COLOURS, strict=False), start=1):
            for part, dashes in (("diagonal", "-"), ("off_diagonal", "--")):
                label = f"CS#{number} {part.replace('_', '-')}"
                panel.plot(history.steps, history.columns[f"{unit}_{part}"], dashes, color=colour, label=label)
    panels[0].set_ylabel("mean of the unit's weights")
    _legend(figure, panels)
    return figure


def validation_figure(histories: Sequence[History]) -> Any:
    """One panel an organ: mean MSD of each path over the pairs; None where nothing was validated."""
    validated = [history for history in histories if history.validation]
    organs = [organ for organ in LABELS[1:] if any(r["organ"] == organ for h in validated for r in h.validation)]
    if not organs:
        return None
    figure, panels = _panels(len(organs))
    for panel, organ in zip(panels, organs, strict=True):
        panel.set_title(_words(organ))
        for history, colour in zip(validated, _colours(len(validated)), strict=True):
            for path, dashes in DASHES.items():
                steps, means = mean_msd(history, organ, path)
                if steps:
                    label = path if len(validated) == 1 else f"{history.name}, {path}"
                    panel.plot(steps, means, dashes, marker=".", markersize=3, color=colour, label=label)
        panel.set_ylim(bottom=0)
    panels[0].set_ylabel("MSD (mm)")
    _legend(figure, panels)
    return figure


def mean_msd(history: History, organ: str, path: str) -> tuple[list[int], list[float]]:
    """Steps at which an organ was found by a path in every pair, and the mean MSD there, mm."""
    values: dict[int, list[float]] = {}
    for row in history.validation:
        if (row["organ"], row["path"]) == (organ, path):
            values.setdefault(int(row["step"]), []).append(float(row["msd_mm"]))
    found = {step: v for step, v in sorted(values.items()) if all(map(math.isfinite, v))}
    return list(found), [float(np.mean(v)) for v in found.values()]


def _plot_smoothed(panel: Any, steps: Line, values: Line, colour: str, label: str) -> None:
    panel.plot(steps, values, color=colour, alpha=0.2, linewidth=0.5)
    panel.plot(steps, smoothed(values), color=colour, label=label)


def _panels(count: int) -> tuple[Any, list[Any]]:
    down = -(-count // ACROSS)
    size = (WIDTH_INCHES, PANEL_INCHES * down + 0.6)
    figure = import_module("matplotlib.figure").Figure(figsize=size, layout="constrained")
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)  # needs no screen
    axes = figure.subplots(down, min(count, ACROSS), squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    for panel in axes[:count]:
        panel.set_xlabel("step")
        panel.xaxis.set_major_formatter(import_module("matplotlib.ticker").EngFormatter(sep=""))  # 50k
    return figure, axes[:count]


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """One for all panels, below them, each entry once."""
    handles: dict[str, Any] = {}
    for panel in panels:
        handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    columns = 4 if max(map(len, handles)) < 24 else 2
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def _save(figure: Any, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            figure.savefig(path, dpi=300)
    except OSError as error:
        raise OutputRefused(f"cannot be written: {error.strerror}", where=name, allowed="a writable folder") from error
    return paths


def _colours(count: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(count)]


def _words(name: str) -> str:
    return name.replace("_", " ")
