"""Tables by hand, and files that are there whole or not at all."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from recontour.errors import OutputRefused
from recontour.evaluate.cohort import CohortResult
from recontour.evaluate.fraction import BODY, FieldRow, Row, Smoothness
from recontour.evaluate.pairing import Remark
from recontour.evaluate.report import medians, scores_csv, summaries_of, summary_csv, summary_markdown, write_report
from recontour.evaluate.scores import Score


def row(fraction: str, organ: str, msd_mm: float, dice: float, ratio: float = 1.0, sd: float | None = None) -> Row:
    score = Score(organ, msd_mm, 2 * msd_mm, 3 * msd_mm, dice, ratio, 0.8, 0.9, 100.0, 50.0 * ratio, 50.0)
    return Row(
        fraction, score, Smoothness() if sd is None else Smoothness(sd, 0.25), 40.0 if organ == "bladder" else None
    )


ROWS = (
    row("f1", "zone", 1.0, 0.9),
    row("f1", "bladder", 1.0, 0.9, 1.25, sd=0.1),
    row("f2", "bladder", 2.0, 0.8, 0.75),
    row("f3", "bladder", 6.0, 0.7, 1.3, sd=0.4),
    row("f3", "rectum", math.inf, 0.0, 0.0),
    row("f2", "rectum", 1.5, 0.9),
)
RESULT = CohortResult(
    ROWS,
    (FieldRow("f1", BODY, Smoothness(0.2, 0.0)), FieldRow("f3", BODY, Smoothness(0.4, 0.5))),
    (Remark("Extra is only in the result: not scored", "f1"), Remark("something of all")),
    3,
)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_summaries_by_hand() -> None:
    found = {(line["organ"], line["measure"]): line for line in table(summary_csv(RESULT))}
    bladder = found["bladder", "msd_mm"]
    assert [bladder[name] for name in ("n", "lost", "mean", "median", "worst")] == ["3", "0", "3", "2", "6"]
    assert float(bladder["sd"]) == pytest.approx(math.sqrt((4 + 1 + 9) / 2), rel=1e-5)
    assert found["bladder", "dice"]["worst"] == "0.7"
    assert found["bladder", "volume_ratio"]["worst"] == "0.75"  # a third too much would weigh as much: 1.3 is less
    assert found["bladder", "volume_ml"]["worst"] == ""
    assert [found["bladder", "jacobian_sd"][name] for name in ("n", "mean", "worst")] == ["2", "0.25", "0.4"]
    assert [found["body", "folding_fraction"][name] for name in ("n", "mean", "worst")] == ["2", "0.25", "0.5"]
    assert ("rectum", "jacobian_sd") not in found and ("body", "dice") not in found


def test_a_lost_organ_is_infinite_and_counted() -> None:
    rectum = {line["measure"]: line for line in table(summary_csv(RESULT)) if line["organ"] == "rectum"}
    assert [rectum["msd_mm"][name] for name in ("n", "lost", "mean", "sd", "worst")] == ["2", "1", "inf", "", "inf"]
    assert (rectum["dice"]["mean"], rectum["volume_ratio"]["worst"]) == ("0.45", "0")
    assert "| rectum | 2 | 1 | 0.450 ± 0.636 | 0.450 | 0.000 | lost | lost | lost |" in summary_markdown(RESULT)


def test_one_value_has_no_spread() -> None:
    zone = {line["measure"]: line for line in table(summary_csv(RESULT)) if line["organ"] == "zone"}
    assert [zone["msd_mm"][name] for name in ("n", "mean", "sd", "worst")] == ["1", "1", "", "1"]
    assert "| zone | 1 | 0 | 0.900 | 0.900 | 0.900 | 1.00 |" in summary_markdown(RESULT)


def test_organs_of_ours_come_first_and_remarks_are_grouped() -> None:
    headings, rows = medians(summaries_of(RESULT))
    assert [line[0] for line in rows] == ["bladder", "rectum", "zone"]
    assert dict(zip(headings[3:5], rows[0][3:5], strict=True)) == {"DSC": "0.800", "worst": "0.700"}
    text = summary_markdown(RESULT)
    assert "- Extra is only in the result: not scored (1: f1)\n- something of all\n" in text


def test_every_fraction_and_organ_has_a_line() -> None:
    lines = table(scores_csv(RESULT))
    assert [(line["fraction"], line["organ"]) for line in lines] == [
        ("f1", "zone"), ("f1", "bladder"), ("f1", "body"), ("f2", "bladder"), ("f2", "rectum"),
        ("f3", "bladder"), ("f3", "rectum"), ("f3", "body"),
    ]  # fmt: skip
    of = {(line["fraction"], line["organ"]): line for line in lines}
    assert [of["f1", "bladder"][name] for name in ("msd_mm", "jacobian_sd", "planning_volume_ml")] == ["1", "0.1", "40"]
    assert [of["f2", "bladder"][name] for name in ("jacobian_sd", "folding_fraction")] == ["", ""]
    assert of["f3", "rectum"]["msd_mm"] == "inf"
    assert [of["f1", "body"][name] for name in ("dice", "jacobian_sd", "planning_volume_ml")] == ["", "0.2", ""]


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def draw_one(result: CohortResult, folder: Path) -> None:
    (folder / "scores.png").write_text("drawn")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    write_report(RESULT, out, draw=draw_one)
    assert names(out) == {"scores.csv", "summary.csv", "summary.md", "plots/scores.png"}
    (out / "scores.csv").write_text("precious")
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputRefused, match=r"exists already.*scores\.csv"):
        write_report(RESULT, out)
    assert (out / "scores.csv").read_text() == "precious"
    write_report(RESULT, out, overwrite=True)
    assert (out / "scores.csv").read_text() == scores_csv(RESULT)
    assert names(out) == {"scores.csv", "summary.csv", "summary.md", "mine.txt"}  # no plot of an earlier evaluation
    assert names(tmp_path) == {f"deep/out/{name}" for name in names(out)}


def test_a_failure_leaves_nothing_new(tmp_path: Path) -> None:
    def full(result: CohortResult, folder: Path) -> None:
        draw_one(result, folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputRefused, match="No space left"):
        write_report(RESULT, tmp_path / "out", draw=full)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputRefused, match="this is a file"):
        write_report(RESULT, tmp_path / "file")
