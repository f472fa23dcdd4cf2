"""Plots are there, of the printed size, and say what they leave out."""

from __future__ import annotations

import math
from importlib import util
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.evaluate import plots
from recontour.evaluate.cohort import CohortResult
from recontour.evaluate.fraction import Row
from recontour.evaluate.scores import Score


def rows(planned: bool = True) -> tuple[Row, ...]:
    """Six fractions; the seminal vesicles are lost in one. The bladder holds 100 ml in the plan, 110 to 160 later."""
    out: list[Row] = []
    for k in range(6):
        for organ, msd in (("bladder", 0.5 + k / 10), ("seminal_vesicles", math.inf if k == 2 else 1.0), ("CTV", 0.4)):
            score = Score(organ, msd, 2 * msd, 3 * msd, 0.9, 1.0, 0.8, 0.9, 10.0, 50.0, 110.0 + 10 * k)
            out.append(Row(f"f{k}", score, planning_volume_ml=100.0 if planned else None))
    return tuple(out)


def test_files_are_180_mm_wide_at_300_dpi(tmp_path: Path) -> None:
    plots.write_plots(CohortResult(rows(), (), (), 6), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"scores.png", "scores.pdf", "bladder.png", "bladder.pdf"}
    for name in ("scores", "bladder"):
        picture = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert picture.shape[1] == pytest.approx(180 / 25.4 * 300, abs=1)
        assert (picture[..., :3] < 0.5).any()
        assert b"/Type3" not in (tmp_path / f"{name}.pdf").read_bytes()


def test_without_planning_volumes_there_is_no_bladder_plot(tmp_path: Path) -> None:
    plots.write_plots(CohortResult(rows(planned=False), (), (), 6), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"scores.png", "scores.pdf"}


def test_the_bladder_has_filled_by_so_much() -> None:
    assert plots.bladder_changes_ml(rows()) == {f"f{k}": pytest.approx(10.0 + 10 * k) for k in range(6)}
    figure = plots._bladder_figure(rows(), plots.bladder_changes_ml(rows()))
    panel, lost_one = figure.axes
    np.testing.assert_allclose(panel.lines[0].get_xdata(), [10, 20, 30, 40, 50, 60])
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert (panel.get_title(), lost_one.get_title()) == ("bladder (6)", "seminal vesicles (6, 1 lost)")
    assert len(lost_one.lines[0].get_xdata()) == 5


def test_axes_have_units_and_labels_do_not_overlap() -> None:
    with plots.style():
        figure = plots._score_figure(rows())
        figure.canvas.draw()
        labels = [axes.get_xlabel() for axes in figure.axes]
        assert labels == ["DSC", "mean surface\ndistance (mm)", "95 % Hausdorff\ndistance (mm)"]
        ticks = [tick for axes in figure.axes for tick in axes.get_xticklabels()]
        inside = [t.get_window_extent() for t in ticks if t.get_text()]
        shown = sorted((box for box in inside if box.x0 > 0 and box.x1 < figure.bbox.x1), key=lambda box: box.x0)
        named = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert named == ["bladder (6)", "seminal vesicles (6, 1 lost)", "CTV (6)"]
        assert all(8 <= text.get_fontsize() <= 10 for text in (*ticks, *(axes.xaxis.label for axes in figure.axes)))
        assert all(axes.xaxis.label.get_window_extent().x1 <= figure.bbox.x1 for axes in figure.axes)
        names = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
        for boxes in (names, shown):
            assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"install recontour\[train\]"):
        plots.write_plots(CohortResult(rows(), (), (), 6), tmp_path)
    assert not list(tmp_path.iterdir())
