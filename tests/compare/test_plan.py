"""The rows of the paper's tables, counted there by eye."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recontour.compare.plan import Row, figure_rows, plan, rows_of
from recontour.compare.settings import CompareSettings
from recontour.network.architectures import build_network
from recontour.train.settings import TrainSettings

SETTINGS = CompareSettings()


def lines(rows: list[Row]) -> list[tuple[str, str]]:
    """As the paper's table has them: network and output path."""
    return [(row.network, path) for row in rows for path in (row.job.paths if row.job else ("",))]


def training_of(row: Row) -> TrainSettings:
    assert row.job is not None and row.job.training is not None
    return row.job.training


def test_table_1_has_the_paper_s_inputs() -> None:
    rows = rows_of(1, SETTINGS)
    assert [(row.network, row.detail) for row in rows] == [
        ("Seg", "If"),
        ("Seg", "If ⊕ Sm"),
        ("Seg", "If ⊕ Im"),
        ("Seg", "If ⊕ Im ⊕ Sm"),
        ("Reg", "If ⊕ Im"),
        ("Reg", "If ⊕ Im ⊕ Sm"),
        ("JRS-reg", "If ⊕ Im"),
        ("JRS-reg", "If ⊕ Im ⊕ Sm"),
        ("Cross-stitch", "If \\|\\| If ⊕ Im"),
        ("Cross-stitch", "If \\|\\| If ⊕ Im ⊕ Sm"),
        ("Cross-stitch", "If ⊕ Sm \\|\\| If ⊕ Im ⊕ Sm"),
        ("Cross-stitch", "If ⊕ Im ⊕ Sm \\|\\| If ⊕ Im ⊕ Sm"),
    ]
    assert len(lines(rows)) == 16
    assert {training_of(row).loss.weighting for row in rows} == {"equal"}


def test_every_row_is_what_it_says() -> None:
    """The symbols of table 1 against the channels of the network that is built."""
    symbols = {"fixed": "If", "moving": "Im", "moving_labels": "Sm"}
    for row in rows_of(1, SETTINGS):
        chosen = training_of(row).network
        network = build_network(chosen.architecture, chosen.inputs, chosen.segmentation_inputs)
        sides = (
            [network.segmentation_inputs, network.inputs] if "||" in row.detail.replace("\\", "") else [network.inputs]
        )
        shown = [{symbols[name] for name in side} for side in sides]
        assert shown == [set(side.strip().split(" ⊕ ")) for side in row.detail.split("\\|\\|")]


def test_table_2_has_three_weightings_of_four_networks() -> None:
    rows = rows_of(2, SETTINGS)
    assert [row.network for row in rows] == [n for n in ("JRS-reg", "Dense", "SEDD", "Cross-stitch") for _ in range(3)]
    assert [row.detail for row in rows[:3]] == ["Equal", "Homoscedastic", "DWA"]
    assert len(lines(rows)) == 3 + 3 * 6


def test_tables_3_and_4_have_the_paper_s_choice_and_its_rivals() -> None:
    rows = rows_of(3, SETTINGS)
    assert lines(rows) == [
        ("Seg", "segmentation"),
        ("Reg", "registration"),
        ("JRS-reg", "registration"),
        ("Dense", "segmentation"),
        ("Dense", "registration"),
        ("SEDD", "segmentation"),
        ("SEDD", "registration"),
        ("Cross-stitch", "segmentation"),
        ("Cross-stitch", "registration"),
        ("elastix", "registration"),
        ("elastix, soft tissue", "registration"),
        ("Hybrid", "registration"),
        ("JRS-GAN", "registration"),
    ]
    assert rows == rows_of(4, SETTINGS)
    weightings = [training_of(row).loss.weighting for row in rows[:6]]
    assert weightings == ["equal", "equal", "homoscedastic", "homoscedastic", "homoscedastic", "equal"]
    assert [row.network for row in rows_of(5, SETTINGS)][:5] == ["Reg", "JRS-reg", "Dense", "SEDD", "Cross-stitch"]


def test_jrs_gan_is_jrs_reg_with_a_critic_and_keeps_its_place() -> None:
    training = training_of(rows_of(3, SETTINGS)[-1])
    assert (training.network.architecture, training.loss.adversarial) == ("jrs-reg", SETTINGS.adversarial)
    without = replace(SETTINGS, rivals=("elastix",))
    assert [(row.network, row.job is None) for row in rows_of(3, without)[-4:]] == [
        ("elastix", False),
        ("elastix, soft tissue", True),
        ("Hybrid", True),
        ("JRS-GAN", True),
    ]


def test_figure_2_moves_the_bending_weight_alone() -> None:
    rows = figure_rows(replace(SETTINGS, bending_weights=(2.0, 0.5)))
    assert list(rows) == [0.5, 2.0]
    assert [row.network for row in rows[2.0]] == ["Reg", "JRS-reg", "Cross-stitch"]
    for small, large in zip(rows[0.5], rows[2.0], strict=True):
        assert training_of(large).loss.w_bending == 2.0
        assert replace(training_of(large), loss=training_of(small).loss) == training_of(small)


def test_each_configuration_is_trained_once() -> None:
    """Tables 3 to 5: 6 networks, 3 rivals, JRS-GAN. Table 2 adds 12 less 4; table 1 12 less the 4 that are there (Seg,
    Reg, JRS-reg and cross-stitch as chosen, equal weights); figure 2 three at each of three new weights."""
    jobs = plan(SETTINGS)
    assert len({job.key for job in jobs}) == len(jobs) == 10 + 8 + 8 + 9
    assert len({job.training for job in jobs if job.training}) == len(jobs) - 3
    assert [job.method for job in jobs[:6]] == ["seg", "reg", "jrs-reg", "dense", "sedd", "cross-stitch"]


def test_only_what_is_wanted_is_trained() -> None:
    jobs = plan(replace(SETTINGS, tables=(5,), figures=(), networks=("reg",), rivals=("elastix",)))
    assert [job.key for job in jobs] == ["reg_fixed+moving_equal_be0.5", "elastix"]


@pytest.mark.parametrize("network", ["seg", "cross-stitch"])
def test_the_hybrid_method_comes_after_the_network_it_needs(network: str) -> None:
    jobs = plan(CompareSettings(tables=(3,), figures=(), networks=("reg",), rivals=("hybrid",), hybrid_network=network))
    keys = [job.key for job in jobs]
    hybrid = jobs[keys.index("hybrid")]
    assert hybrid.needs.startswith(network)
    assert keys.index(hybrid.needs) < keys.index("hybrid")


def test_keys_can_be_read_and_are_file_names() -> None:
    keys = [job.key for job in plan(SETTINGS)]
    assert "cross-stitch_fixed+moving+moving_labels_equal_be0.5" in keys
    assert "cross-stitch_fixed+moving+moving_labels_equal_be0.5_seg-fixed+moving_labels" in keys
    assert not any(set(key) & set("/\\|: ") for key in keys)
