"""Tables of a few values, reckoned by hand."""

from __future__ import annotations

import csv
import io

import pytest

from recontour.compare.results import FieldRow, Outcome
from recontour.compare.settings import CompareSettings
from recontour.compare.tables import Cell, csv_of, markdown, msd_cells
from tests.compare.drawn import outcome, study

SEG = "seg_fixed_equal_be0.5"
REG = "reg_fixed+moving_equal_be0.5"
STITCH = "cross-stitch_fixed+moving+moving_labels_equal_be0.5"
DENSE = "dense_fixed+moving+moving_labels_{}_be0.5"
TABLE_3 = study(tables=[3], networks=["seg", "reg", "cross-stitch"], rivals=["elastix"])
LOST = float("inf")


def rows_of(text: str) -> list[list[str]]:
    """The cells of the first markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "---" not in line]


def the(cells: list[Cell], network: str, path: str, detail: str = "", organ: str = "rectum") -> Cell:
    return next(c for c in cells if (c.network, c.path, c.detail, c.organ) == (network, path, detail, organ))


def table_3(settings: CompareSettings = TABLE_3, **other: Outcome) -> list[Cell]:
    """Against the cross-stitch network's segmentation at 1, 1, 2 mm. Differences of reg: 1, 2, 3 (F = 12, p = 0.07)."""
    found = {
        SEG: outcome({"segmentation": [2.0, 2.1, 3.05]}),
        REG: outcome({"registration": [2.0, 3.0, 5.0]}),
        STITCH: outcome({"segmentation": [1.0, 1.0, 2.0], "registration": [4.0, 1.0, 2.5]}),
        **other,
    }
    return msd_cells(3, settings, found)


def test_mean_sd_and_median_over_the_pairs() -> None:
    cell = the(table_3(), "Reg", "registration")
    assert cell.pairs == 3
    assert cell.mean == pytest.approx(10 / 3)
    assert cell.sd == pytest.approx((((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2) ** 0.5)
    assert cell.median == 3.0


def test_the_best_of_a_column_is_marked_and_what_differs_from_it_has_a_star() -> None:
    cells = table_3()
    assert [(c.network, c.path) for c in cells if c.best and c.organ == "rectum"] == [("Cross-stitch", "segmentation")]
    assert the(cells, "Seg", "segmentation").mark == "\\*"  # differences 1.0, 1.1, 1.05
    assert the(cells, "Reg", "registration").mark == ""
    assert the(cells, "Reg", "registration").p == pytest.approx(1 - (12 / 14) ** 0.5)
    assert the(cells, "Affine", "affine").mark == "\\*"


def test_the_lines_are_the_paper_s() -> None:
    found = {STITCH: outcome({"segmentation": [1.0, 1.0], "registration": [4.0, 1.0]})}
    rows = rows_of(markdown(TABLE_3, found, "# Head"))
    assert rows[0][:4] == ["Network", "Output path", "Prostate μ ± σ", "Prostate median"]
    assert [row[:2] for row in rows[1:]] == [
        ["Seg", "Segmentation"],
        ["Reg", "Registration"],
        ["Cross-stitch", "Segmentation"],
        ["", "Registration"],
        ["elastix", "Registration"],
        ["elastix, soft tissue", "Registration"],
        ["Hybrid", "Registration"],
        ["JRS-GAN", "Registration"],
        ["Affine", "(affine alone)"],
    ]
    assert rows[3][2:4] == ["**1.00 ± 0.00**", "1.00"]
    assert [row[2] for row in rows[5:9]] == ["not done yet", *["not in this study"] * 3]


def test_a_lost_organ_counts_as_50_mm_and_is_told() -> None:
    cells = table_3(**{SEG: outcome({"segmentation": [1.0, LOST, 3.0]})})
    assert the(cells, "Seg", "segmentation").mean == pytest.approx((1 + 50 + 3) / 3)
    found = {SEG: outcome({"segmentation": [1.0, LOST, 3.0]})}
    text = markdown(study(tables=[3], networks=["seg"], rivals=[]), found, "")
    assert "18.00 ± 27.73" in text and "(1 lost)" in text
    assert "A lost organ counts as 50 mm" in text


def test_an_organ_that_a_pair_lacks_counts_nowhere() -> None:
    found = outcome({"segmentation": [1.0, float("nan"), 3.0]})
    assert (the(table_3(**{SEG: found}), "Seg", "segmentation").pairs) == 2


def test_what_failed_stands_in_its_place() -> None:
    found = {SEG: Outcome(failed="no room"), REG: outcome({"registration": [1.0, 2.0]})}
    rows = rows_of(markdown(TABLE_3, found, ""))
    assert rows[1][2] == "failed"
    assert rows[3][2] == "not done yet"


def test_table_4_is_of_the_test_set() -> None:
    found = {SEG: outcome({"segmentation": [1.0, 2.0]}, ["validation"])}
    settings = study(tables=[3, 4], networks=["seg"], rivals=[])
    text = markdown(settings, found, "")
    third, fourth = text.split("## Table 4")
    assert "1.50 ± 0.71" in third
    assert rows_of(fourth)[1][2] == "no such set"


def test_table_2_has_stars_within_and_daggers_between_networks() -> None:
    """Star: against the same network's homoscedastic line. Dagger: against cross-stitch, equal. Same path each."""
    settings = study(tables=[2], networks=["dense", "cross-stitch"], weightings=["equal", "homoscedastic"])
    base, above, noisy = [1.0, 2.0, 4.0], [2.0, 3.1, 5.05], [1.1, 1.9, 4.05]
    found = {
        DENSE.format("equal"): outcome({"segmentation": above, "registration": noisy}),
        DENSE.format("homoscedastic"): outcome({"segmentation": noisy, "registration": noisy}),
        STITCH: outcome({"segmentation": base, "registration": above}),
    }
    cells = msd_cells(2, settings, found)
    assert the(cells, "Dense", "segmentation", "Equal").mark == "\\*†"
    assert the(cells, "Dense", "segmentation", "Homoscedastic").mark == ""
    assert the(cells, "Dense", "registration", "Equal").mark == "†"
    assert the(cells, "Cross-stitch", "segmentation", "Equal").mark == ""


def test_the_worse_of_two_paths_is_told_in_words() -> None:
    found = {STITCH: outcome({"segmentation": [1.0, 1.0], "registration": [4.0, 1.0]})}
    text = markdown(TABLE_3, found, "")
    assert "by the mean over the organs: Cross-stitch registration." in text


def test_table_5_is_of_the_fields() -> None:
    """Jacobian sd 0.1, 0.2: mean 0.15, sd 0.0707. Seg has no field and no line."""
    elastix = Outcome(outcome({"registration": [1.0]}).scores, (FieldRow("validation", "a", 0.05, 0.2),))
    found = {REG: outcome({"registration": [1.0, 1.0]}), "elastix": elastix}
    settings = study(tables=[5], networks=["seg", "reg"], rivals=["elastix"])
    rows = rows_of(markdown(settings, found, ""))
    assert rows[1] == ["Reg", "0.1500 ± 0.0707", "**0.0015 ± 0.0007**", "**0.1500 ± 0.0707**", "**0.0015 ± 0.0007**"]
    assert rows[2][:3] == ["elastix", "**0.0500 ± 0.0000**", "0.2000 ± 0.0000"]


def test_the_csv_has_every_number() -> None:
    found = {REG: outcome({"registration": [2.0, 3.0, 5.0]})}
    settings = study(tables=[3, 5], networks=["reg"], rivals=[])
    rows = list(csv.DictReader(io.StringIO(csv_of(settings, found))))
    assert len(rows) == 2 * 4 + 4  # Reg and affine by four organs; two measures in two sets
    prostate = next(row for row in rows if (row["network"], row["organ"]) == ("Reg", "prostate"))
    assert (prostate["table"], prostate["mean"], prostate["median"], prostate["best"]) == ("3", "3.3333", "3", "True")


def test_nothing_done_is_a_table_all_the_same() -> None:
    text = markdown(study(), {}, "# Nothing yet")
    assert text.startswith("# Nothing yet\n")
    assert text.count("## Table") == 5
