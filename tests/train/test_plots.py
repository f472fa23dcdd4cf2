"""The figures of a training show what its logs hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.train import plots
from recontour.train.folder import keep_settings
from recontour.train.log import STITCHES, RunLog
from recontour.train.plots import mean_msd, plot_training, read_history, smoothed
from recontour.train.settings import LossSettings, NetworkSettings, TrainSettings
from recontour.train.validate import PathScore

STEPS = [10, 20, 30]


def write_run(run: Path, architecture: str = "cross-stitch", weighting: str = "equal") -> Path:
    """Three rows; unit k has k tenths on its diagonal, 1 - k tenths off it; the loss is the step."""
    run.mkdir(parents=True)
    chosen = replace(TrainSettings(), network=NetworkSettings(architecture), loss=LossSettings(weighting=weighting))
    keep_settings(run, chosen, 1)
    log = RunLog(run, 0, 0)
    for step in STEPS:
        row = {
            "step": step,
            "loss": float(step),
            "similarity": 0.5,
            "bending": 0.1,
            "w_similarity": 2.0,
            "w_bending": 0.5,
        }
        if architecture == "cross-stitch":
            for k, unit in enumerate(STITCHES, start=1):
                row |= {f"{unit}_diagonal": k / 10, f"{unit}_off_diagonal": 1 - k / 10}
        log.step(row)
        for pair, msd_mm in (("a-1", 40.0 / step), ("b-1", float("inf") if step == 10 else 1.0)):
            log.validation(step, [PathScore(pair, "registration", "bladder", msd_mm, 3.0, 0.9)], msd_mm)
    log.close()
    return run


def lines(panel: Any) -> dict[str, tuple[str, list[float], list[float]]]:
    """Label -> (dashes, x, y)."""
    named = [line for line in panel.get_lines() if not line.get_label().startswith("_")]
    return {str(l.get_label()): (l.get_linestyle(), list(l.get_xdata()), list(l.get_ydata())) for l in named}  # noqa: E741


def test_figure_4_has_solid_diagonals_and_dashed_off_diagonals(tmp_path: Path):
    figure = plots.stitch_figure([read_history(write_run(tmp_path / "run"))])
    (panel,) = figure.axes
    shown = lines(panel)
    assert shown["CS#2 diagonal"] == ("-", STEPS, [0.2] * 3)
    assert shown["CS#2 off-diagonal"] == ("--", STEPS, [0.8] * 3)
    assert len(shown) == 8
    assert plots.stitch_figure([read_history(write_run(tmp_path / "dense", "dense"))]) is None


def test_figure_3_has_a_panel_for_each_run(tmp_path: Path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", "dense", "dwa")]
    figure = plots.weights_figure([read_history(run) for run in runs])
    assert [panel.get_title() for panel in figure.axes] == ["a\ncross-stitch, equal", "b\ndense, dwa"]
    assert lines(figure.axes[1])["similarity"][1:] == (STEPS, [2.0] * 3)


def test_losses_and_validation(tmp_path: Path):
    history = read_history(write_run(tmp_path / "run"))
    losses = plots.losses_figure([history])
    assert [panel.get_title() for panel in losses.axes] == ["loss", "similarity", "bending"]
    assert lines(losses.axes[0])["run"][1:] == (STEPS, [10, 20, 30])
    assert mean_msd(history, "bladder", "registration") == ([20, 30], pytest.approx([1.5, (4 / 3 + 1) / 2], rel=1e-5))
    (bladder,) = plots.validation_figure([history]).axes
    assert bladder.get_title() == "bladder" and list(lines(bladder)) == ["registration"]


def test_smoothing_is_a_mean_that_narrows_at_the_ends():
    values = np.arange(100.0) ** 2  # a fiftieth of 100: one to each side
    got = smoothed(values)
    assert got[50] == pytest.approx((49**2 + 50**2 + 51**2) / 3)
    assert got[0] == pytest.approx(0.5) and got[99] == pytest.approx((98**2 + 99**2) / 2)
    assert smoothed(np.array([3.0, 1.0])).tolist() == [3.0, 1.0]


def test_files_are_pictures_and_print(tmp_path: Path):
    written = plot_training([write_run(tmp_path / "run")], tmp_path / "out")
    names = {
        f"{name}.{kind}" for name in ("losses", "weights", "cross-stitch", "validation") for kind in ("png", "pdf")
    }
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    for path in written:
        assert path.read_bytes()[:4] == (b"%PDF" if path.suffix == ".pdf" else b"\x89PNG")
    assert b"/Type3" not in (tmp_path / "out" / "weights.pdf").read_bytes()


def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="nowhere"):
        plot_training([tmp_path / "nowhere"], tmp_path / "out")
    keep_settings(tmp_path, TrainSettings(), 1)
    with pytest.raises(UsageError, match="nothing was logged"):
        plot_training([tmp_path], tmp_path / "out")
    monkeypatch.setattr(plots.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install recontour\[train\]"):
        plot_training([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
