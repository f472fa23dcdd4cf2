"""The page: all of it from outcomes alone, and every plot that it links is there."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recontour.accuracy import plots, work
from recontour.accuracy.page import write_page
from recontour.accuracy.request import AccuracyRequest
from recontour.accuracy.rows import MSD
from recontour.accuracy.work import measure
from recontour.errors import UsageError
from recontour.evaluate.journal import Outcome, append_outcome
from recontour.settings import QaSettings
from tests.accuracy.made_outcomes import OURS, STRONG, facts, organ, outcome


def days(method: str, mm: float, group: str = "phantoms") -> list[Outcome]:
    """Six days of two men, the bladder as full as planned, half and twice as full."""
    return [
        outcome(
            f"{group} {k // 3} day {k % 3}",
            method,
            organ("bladder", mm * (1 + 0.1 * k), true_ml=100.0 * ratio, facts=facts()),
            organ("rectum", 1.1 * mm),
            group=group,
            machine="2 cores",
        )
        for k, ratio in enumerate((1.0, 0.6, 1.9, 1.1, 0.3, 2.5))
    ]


ALL = [*days("affine", 2.0), *days(STRONG, 0.6), *days(OURS, 0.3), *days(OURS, 0.4, "real scan, moved")]


def test_every_plot_that_is_linked_is_there_and_small(tmp_path: Path) -> None:
    write_page(ALL, tmp_path / "accuracy.md", QaSettings())
    linked = re.findall(r"!\[.*?\]\((.*?)\)", (tmp_path / "accuracy.md").read_text())
    kinds = {"msd-mm", "hd95-mm", "dice", "field", "seconds", "filling"}
    assert {f"img/accuracy-phantoms-{kind}.png" for kind in kinds | {"summary"}} < set(linked)
    assert {f"img/accuracy-real-scan-moved-{kind}.png" for kind in kinds} < set(linked)
    assert "img/accuracy-failures.png" in linked
    assert sorted(linked) == sorted(f"img/{path.name}" for path in (tmp_path / "img").iterdir())
    for name in linked:
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 40_000


def test_what_the_page_says(tmp_path: Path) -> None:
    write_page(ALL, tmp_path / "accuracy.md", QaSettings())
    text = (tmp_path / "accuracy.md").read_text()
    assert "## phantoms: 6 pairs of 2 men" in text
    assert "One method after the other, in one process. Machine: 2 cores." in text
    assert "    recontour accuracy accuracy.md --phantoms 2 --fractions-per-man 3 --planning PLANNING --days 6" in text
    assert "No elastix to compare with was run on these pairs." in text
    assert text.index("## In short") < text.index("## phantoms: 6") < text.index("## real scan, moved: 6")
    assert text.index("## Knowing when it fails") < text.index("## Bladder filling")
    rows = list(csv.DictReader((tmp_path / "accuracy.csv").open()))
    assert len(rows) == 2 * len(ALL)


def test_parts_and_failures_are_told(tmp_path: Path) -> None:
    failed = outcome("phantoms 0 day 0", "ANTs SyN", organ("rectum", np.inf), error="gave up")
    personal = outcome("phantoms 0 day 0", "recontour personalised network", organ("rectum", 1.0), note="not kept")
    write_page([*ALL, failed, personal], tmp_path / "accuracy.md", QaSettings(), journals=2)
    text = (tmp_path / "accuracy.md").read_text()
    assert "shared among 2 parts, which may have run side by side" in text
    assert "- phantoms 0 day 0, ANTs SyN, failed: gave up" in text
    assert "- phantoms 0: not kept" in text


def test_what_a_method_does_not_draw_is_told(tmp_path: Path) -> None:
    drawn = outcome("phantoms 0 day 0", "recontour network", organ("rectum", 1.0))
    write_page([*ALL, drawn], tmp_path / "accuracy.md", QaSettings())
    text = (tmp_path / "accuracy.md").read_text()
    assert "- phantoms, recontour network: no rows of bladder, which it does not draw" in text
    assert text.count("which it does not draw") == 1


def test_tables_are_made_anew_from_all_journals_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(request: AccuracyRequest) -> None:
        raise AssertionError("nothing may be run")

    monkeypatch.setattr(work, "men", never)
    request = AccuracyRequest(tmp_path / "accuracy.md", from_journals=True)
    with pytest.raises(UsageError, match="nothing was measured yet"):
        measure(request)
    assert list(tmp_path.iterdir()) == []
    for k, part in enumerate((1, 2)):
        for one in ALL[k::2]:
            append_outcome(tmp_path / f"accuracy.part-{part}-of-2.jsonl", one)
    assert len(measure(request)) == len(ALL)
    apart = (tmp_path / "accuracy.md").read_text()
    write_page(ALL, tmp_path / "accuracy.md", QaSettings(), journals=2)
    assert (tmp_path / "accuracy.md").read_text() == apart


def test_the_page_says_of_how_many_pairs_the_seconds_are(tmp_path: Path) -> None:
    """Of the twelve pairs two were timed with nothing beside them."""
    quiet = [replace(o, others_share=0.01) if o.pair in ("phantoms 0 day 0", "phantoms 1 day 2") else o for o in ALL]
    write_page(quiet, tmp_path / "accuracy.md", QaSettings())
    text = (tmp_path / "accuracy.md").read_text()
    assert "On 2 pairs one method ran after the other, in one process" in text
    assert "Of the 2 pairs during which other programs took at most 10% of the processors." in text
    assert "Other programs took time meanwhile, or it is not known" in text  # of the real scan


def test_boxes_are_where_the_values_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 1 to 9 the quartiles are 3 and 7, the median 5; lost organs are counted beside the axes."""
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    rows = [outcome(f"p{k}", STRONG, organ("rectum", float(k))) for k in range(1, 10)]
    plots.measure_plot([*rows, outcome("p0", STRONG, organ("rectum", np.inf))], MSD, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert axes.get_title() == "rectum"
    box = axes.patches[0].get_path().vertices[:, 0]
    assert (box.min(), box.max()) == (3.0, 7.0)
    assert [text.get_text() for text in axes.texts] == ["×1"]
    assert axes.get_xscale() == "log"
