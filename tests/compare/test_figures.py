from __future__ import annotations

from pathlib import Path

import pytest

from recontour.compare.figures import Point, draw_figure_2, points
from recontour.compare.report import write_tables
from recontour.compare.results import write_outcome
from recontour.compare.settings import compare_settings_from
from tests.compare.drawn import outcome

SETTINGS = compare_settings_from(
    {"tables": [], "figures": [2], "networks": ["reg", "cross-stitch"], "bending_weights": [0.5, 0.05]}
)
OUTCOMES = {
    "reg_fixed+moving_equal_be0.05": outcome({"registration": [1.0, 2.0]}),
    "reg_fixed+moving_equal_be0.5": outcome({"registration": [3.0, float("inf")]}),
    "cross-stitch_fixed+moving+moving_labels_equal_be0.5": outcome({"segmentation": [1.0], "registration": [2.0]}),
}


def test_points_are_means_over_pairs_and_organs() -> None:
    """A lost organ counts as 50 mm: (3 + 50) / 2. What is not done has no point. Jacobian sd of 0.1 and 0.2, or 0.1."""
    found = points(SETTINGS, OUTCOMES)
    assert [(p.network, p.path, p.weight, p.msd_mm) for p in found] == [
        ("Reg", "registration", 0.05, 1.5),
        ("Reg", "registration", 0.5, 26.5),
        ("Cross-stitch", "segmentation", 0.5, 1.0),
        ("Cross-stitch", "registration", 0.5, 2.0),
    ]
    assert [p.jacobian_sd for p in found] == pytest.approx([0.15, 0.15, 0.1, 0.1])
    assert isinstance(found[0], Point)


def test_the_picture_is_drawn_once_there_is_something_to_show(tmp_path: Path) -> None:
    draw_figure_2(SETTINGS, {}, tmp_path / "figure2.png")
    assert not (tmp_path / "figure2.png").exists()
    for key, value in OUTCOMES.items():
        (tmp_path / key).mkdir()
        write_outcome(tmp_path / key, value)
    write_tables(SETTINGS, tmp_path)
    assert (tmp_path / "figure2.png").read_bytes().startswith(b"\x89PNG")
    first = (tmp_path / "tables.md").read_text().splitlines()[0]
    assert first == "# Comparison of 4 configurations, in part: 3 done, 0 failed, 1 not yet"
