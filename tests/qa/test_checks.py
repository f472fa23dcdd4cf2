"""The truth table of the checks: one fact changed at a time, and the light that must follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recontour.errors import SettingsError
from recontour.qa.checks import RoiFacts, StudyFacts, Verdict, judge, judge_study
from recontour.qa.words import in_words
from recontour.settings import OrganLimits, QaSettings, settings_from

QUIET = RoiFacts("Prostata", "prostate", before_ml=40.0, after_ml=42.0, shift_mm=(1.0, -2.0, 2.0), image_match=0.9)
SETTINGS = QaSettings()

TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({}, "pass", ""),
    ({"disagreement_mm": 4.0}, "pass", ""),
    ({"after_ml": 49.0}, "review", "from 40.0 to 49.0 ml, 1.23 times; 0.80 to 1.20"),
    ({"after_ml": 31.0}, "review", "0.78 times; 0.80 to 1.20"),
    ({"after_ml": 31.95}, "review", "0.799 times; 0.800 to 1.200"),
    ({"after_ml": 70.0}, "reject", "1.75 times; 0.60 to 1.60"),
    ({"after_ml": 20.0}, "reject", "0.50 times; 0.60 to 1.60"),
    ({"organ": "bladder", "before_ml": 120.0, "after_ml": 240.0}, "pass", ""),
    ({"organ": "bladder", "before_ml": 120.0, "after_ml": 480.0}, "review", "4.00 times; 0.33 to 3.00"),
    ({"organ": "rectum", "after_ml": 70.0}, "pass", ""),
    ({"organ": "seminal_vesicles", "after_ml": 60.0}, "pass", ""),
    ({"organ": "femoral_head_left", "after_ml": 46.0}, "review", "1.15 times; 0.90 to 1.10"),
    ({"organ": "", "after_ml": 60.0}, "pass", ""),
    ({"after_ml": 0.0}, "reject", "Nothing is left on the daily scan of 40.0 ml"),
    ({"before_ml": 0.0}, "reject", "enclose no volume"),
    ({"shift_mm": (0.0, 12.5, 0.0)}, "review", "12.5 mm (12.5 mm posterior); 12 mm"),
    ({"shift_mm": (0.0, 0.0, -26.0)}, "reject", "26.0 mm (26.0 mm inferior); 25 mm"),
    ({"jacobian_p01": 0.1}, "review", "factors of 0.10 to 1.00; 0.125 to 8"),
    ({"jacobian_p99": 9.0}, "review", "factors of 1.00 to 9.00; 0.125 to 8"),
    ({"jacobian_p99": 8.002}, "review", "factors of 1.000 to 8.002; 0.125 to 8"),
    ({"shift_mm": (0.0, 12.02, 0.0)}, "review", "12.02 mm (12.0 mm posterior); 12 mm"),
    ({"jacobian_min": -0.1, "folding": 0.0005}, "pass", ""),
    ({"folding": 0.002}, "review", "in 0.20% of it; 0.10%"),
    ({"folding": 0.02}, "reject", "in 2.00% of it; 1.00%"),
    ({"disagreement_mm": 4.1}, "review", "4.1 mm apart on average; 4.0 mm"),
    ({"disagreement_mm": 9.0}, "reject", "9.0 mm apart on average; 8.0 mm"),
    ({"disagreement_mm": float("inf")}, "reject", "inf mm apart"),
    ({"edge_p95_mm": 4.5}, "pass", ""),
    ({"edge_p95_mm": 5.25}, "review", "edge lies 5.2 mm off this contour at its worst twentieth; 4.5 mm is allowed"),
    ({"edge_p95_mm": 4.53}, "review", "edge lies 4.53 mm off this contour at its worst twentieth; 4.50 mm is allowed"),
    ({"edge_p95_mm": 8.0}, "reject", "edge lies 8.0 mm off this contour at its worst twentieth; 7.5 mm is allowed"),
    ({"edge_p95_mm": float("nan")}, "reject", "edge lies nan mm off"),
    ({"image_match": 0.3}, "review", "by 0.30 (correlation); 0.40"),
    ({"image_match": 0.39996}, "review", "by 0.39996 (correlation); 0.40000"),
    ({"image_match": 0.1}, "reject", "by 0.10 (correlation); 0.20"),
    ({"image_match": float("nan")}, "reject", "by nan"),
    ({"image_match": None}, "pass", ""),
    ({"touches_border": True}, "review", "edge of the daily scan"),
    ({"parts_after": 2}, "review", "in 2 parts on the daily scan; the plan had 1."),
    ({"parts_before": 3}, "review", "in 1 part on the daily scan; the plan had 3."),
    ({"parts_before": 2, "parts_after": 2}, "pass", ""),
    ({"out_of_view": 0.01}, "pass", ""),
    ({"out_of_view": 0.25}, "review", "Of it 25% lie outside the field of view"),
    ({"order": "not below the bladder"}, "review", "It lies not below the bladder, unlike in other men"),
]


@pytest.mark.parametrize(("change", "light", "reason"), TABLE)
def test_one_fact_one_light(change: dict[str, Any], light: str, reason: str) -> None:
    verdict = judge(replace(QUIET, **change), SETTINGS)
    assert verdict.light == light
    assert len(verdict.reasons) == (light != "pass")
    assert reason in "".join(verdict.reasons)
    assert all(sentence[0].isupper() and sentence.endswith((".", "?")) for sentence in verdict.reasons)


def test_the_gravest_comes_first_and_none_is_lost() -> None:
    verdict = judge(replace(QUIET, after_ml=49.0, image_match=0.1, touches_border=True), SETTINGS)
    assert verdict.light == "reject"
    assert ["correlation" in r for r in verdict.reasons] == [True, False, False]


def test_every_rule_of_the_table_can_be_moved_by_a_setting() -> None:
    loose = replace(SETTINGS, prostate=OrganLimits((0.5, 2.0), (0.5, 2.0), 30.0, 30.0))
    assert judge(replace(QUIET, after_ml=70.0, shift_mm=(0.0, 26.0, 0.0)), loose).light == "pass"


FINE, LOOK, BAD = Verdict("pass"), Verdict("review", ("Why.",)), Verdict("reject", ("Why.",))


@pytest.mark.parametrize(
    ("facts", "rois", "light", "reason"),
    [
        (StudyFacts(alignment_match=0.95), [FINE, FINE], "pass", ""),
        (StudyFacts(), [FINE, LOOK], "review", "1 of 2 ROIs is to be reviewed."),
        (StudyFacts(), [BAD, LOOK, BAD], "reject", "2 of 3 ROIs are rejected."),
        (StudyFacts(), [], "reject", "No ROI was brought over"),
        (StudyFacts(alignment_match=0.7), [FINE], "review", "by 0.70 (correlation); 0.80"),
        (StudyFacts(alignment_match=0.3), [FINE], "reject", "by 0.30 (correlation); 0.50"),
        (StudyFacts(alignment_match=0.7982), [FINE], "review", "by 0.798 (correlation); 0.800"),
        (StudyFacts(scale=1.052), [FINE], "review", "by 5.2% in one direction; 5%"),
        (StudyFacts(rotation_degrees=7.0), [FINE], "review", "lies 7.0 degrees turned; 5"),
        (StudyFacts(rotation_degrees=20.0), [FINE], "reject", "lies 20.0 degrees turned; 15"),
        (StudyFacts(scale=1.07), [FINE], "review", "by 7% in one direction; 5%"),
        (StudyFacts(scale=0.8), [FINE], "reject", "by 20% in one direction; 15%"),
        (StudyFacts(same_patient=False), [FINE], "reject", "same patient"),
        (StudyFacts(metal_then_ml=0.9, metal_now_ml=0.9), [FINE], "pass", ""),
        (
            StudyFacts(metal_now_ml=12.3),
            [FINE],
            "review",
            "12 ml of metal, such as a hip prosthesis, in the daily scan",
        ),
        (StudyFacts(metal_then_ml=12.3), [FINE], "review", "in the planning scan, not today's"),
        (StudyFacts(metal_then_ml=60.0, metal_now_ml=55.0), [FINE], "review", "60 ml of metal, such as a hip"),
        (StudyFacts(metal_then_ml=60.0, metal_now_ml=55.0), [FINE], "review", "in both scans"),
        (StudyFacts(left_out=("CTV_N",)), [FINE], "review", "CTV_N"),
        (StudyFacts(unlike=("bladder: 9", "rectum: 3")), [FINE], "review", "was trained on: bladder: 9; rectum: 3."),
    ],
)
def test_the_fraction(facts: StudyFacts, rois: list[Verdict], light: str, reason: str) -> None:
    verdict = judge_study(facts, rois, SETTINGS)
    assert verdict.light == light
    assert reason in " ".join(verdict.reasons)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"bladder": {"volume_review": [0.05, 3.0]}}, "volume"),
        ({"bladder": {"volume_review": [0.5]}}, "volume"),
        ({"rectum": {"shift_review_mm": 40}}, "shift"),
        ({"folding_review": 0.5}, "folding"),
        ({"match_review": 0.1}, "match"),
        ({"edges_review_mm": 9.0}, "edges"),
        ({"jacobian_review": [1.5, 5.0]}, "jacobian"),
    ],
)
def test_limits_in_the_wrong_order_are_refused(raw: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError, match=where):
        settings_from({"qa": raw})


def test_limits_come_from_toml() -> None:
    settings = settings_from({"qa": {"bladder": {"volume_review": [0.5, 2.0]}, "metal_review_ml": 2}})
    assert settings.qa.limits_for("bladder").volume_review == (0.5, 2.0)
    assert settings.qa.limits_for("bladder").shift_reject_mm == 50.0
    assert settings.qa.metal_review_ml == 2.0


@pytest.mark.parametrize(
    ("shift_mm", "words"),
    [
        ((1.24, -3.0, -0.4), "1.2 mm left, 3.0 mm anterior, 0.4 mm inferior"),
        ((-2.0, 5.0, 7.0), "2.0 mm right, 5.0 mm posterior, 7.0 mm superior"),
        ((0.01, 0.0, -0.04), "no shift"),
    ],
)
def test_words_are_the_patients_own_sides(shift_mm: tuple[float, float, float], words: str) -> None:
    assert in_words(shift_mm) == words
