from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recontour.errors import SettingsError
from recontour.qa.dvh import BIN_GY, DoseHistogram
from recontour.qa.goals import Goals, goal_of, judge_goals, read_goals


def stairs(*steps: tuple[float, float]) -> DoseHistogram:
    """A histogram by hand: (ml, Gy) parts, each of one dose."""
    edges = np.arange(int(max(gy for _, gy in steps) / BIN_GY + 0.5) + 2) * BIN_GY
    at_least = np.array([sum(ml for ml, gy in steps if gy >= edge - 1e-9) for edge in edges])
    volume = at_least[0]
    mean = sum(ml * gy for ml, gy in steps) / volume if volume else 0.0
    return DoseHistogram(at_least, mean, min(gy for _, gy in steps), max(gy for _, gy in steps), 1.0)


# 200 ml: 20 at 75 Gy, 40 at 60 Gy, 140 at 30 Gy; today 40 at 75 Gy, 160 at 30 Gy
THEN, NOW = stairs((20, 75), (40, 60), (140, 30)), stairs((40, 75), (160, 30))
PRESCRIBED = 60.0

# aim, value then, value now, met then, met now
TRUTH = [
    ("V70Gy < 15 %", 10.0, 20.0, True, False),
    ("V 70 Gy<15%", 10.0, 20.0, True, False),
    ("v50gy < 50 ml", 60.0, 40.0, False, True),
    ("V50Gy < 50 cc", 60.0, 40.0, False, True),
    ("V50Gy ≥ 50 cm3", 60.0, 40.0, True, False),
    ("V80Gy > 1 %", 0.0, 0.0, False, False),
    ("V100% > 25 %", 30.0, 20.0, True, False),  # 60 Gy
    ("V110% > 30 ml", 20.0, 40.0, False, True),  # 66 Gy
    ("D95 > 45 %", 50.0, 50.0, True, True),  # 30 of 60 Gy
    ("D95% > 31 Gy", 30.0, 30.0, False, False),
    ("D25 < 50 Gy", 60.0, 30.0, False, True),
    ("D30ml <= 60.02 Gy", 60.0, 75.0, True, False),
    ("D0.1cc < 80 Gy", 75.0, 75.0, True, True),
    ("D2% < 107 %", 125.0, 125.0, False, False),
    ("Dmean < 40.2 Gy", 40.5, 39.0, False, True),
    ("Dmean < 66 %", 67.5, 65.0, False, True),
    ("Dmax < 76 Gy", 75.0, 75.0, True, True),
    ("Dmin >= 50 %", 50.0, 50.0, True, True),
    # the limit itself: no with < and >, yes with <= and >=
    ("V70Gy < 10 %", 10.0, 20.0, False, False),
    ("V70Gy <= 10 %", 10.0, 20.0, True, False),
    ("V70Gy > 20 %", 10.0, 20.0, False, False),
    ("V70Gy >= 20 %", 10.0, 20.0, False, True),
]


@pytest.mark.parametrize(("aim", "then", "now", "met_then", "met_now"), TRUTH)
def test_goals_then_and_now(aim: str, then: float, now: float, met_then: bool, met_now: bool) -> None:
    results, remarks = judge_goals([goal_of("Rectum", aim)], {"Rectum": (THEN, NOW)}, {}, PRESCRIBED)
    (result,) = results
    assert (result.planned, result.daily) == (pytest.approx(then, abs=0.02), pytest.approx(now, abs=0.02))
    assert (result.met_then, result.met_now) == (met_then, met_now)
    assert result.goal == f"Rectum {aim}" and result.roi == "Rectum" and not remarks
    assert result.unit == {"y": "Gy", "%": "%"}.get(aim[-1], "ml")


@pytest.mark.parametrize(
    "aim",
    ["", "V70 < 15 %", "V70Gy < 15", "V70Gy 15 %", "V70Gy < 15 Gy", "V5ml < 3 %", "Vmean < 3 %", "D95 > 60 ml",
     "D95 > 95", "D2Gy < 3 %", "D95 = 95 %", "V70cGy < 15 %", "V-5Gy < 3 %", "V70Gy < 15 % now", "Rectum V70Gy < 15 %",
     "V70Gy < 101 %", "D101 > 60 Gy", "D0 < 60 Gy", "D0ml < 60 Gy", "V201% < 5 %", "D95 > 201 %", "V1e3Gy < 1 %"],
)  # fmt: skip
def test_words_that_are_no_goal_are_refused_with_where_they_stand(aim: str) -> None:
    with pytest.raises(SettingsError) as caught:
        goal_of("Rectum", aim, "goals.toml, goal 2 (line 5)")
    assert caught.value.where == "goals.toml, goal 2 (line 5)" and caught.value.allowed


def test_the_roi_is_found_by_name_then_by_organ_and_never_dropped() -> None:
    doses = {"rectum": (THEN, NOW), "Rectum_MBS": (NOW, NOW), "SV": (NOW, THEN), "Empty": (THEN, stairs((0, 1)))}
    organs = {"rectum": "", "Rectum_MBS": "rectum", "SV": "seminal_vesicles", "Empty": "bladder"}
    asked = ["Rectum_MBS", "Rectum", "seminal vesicles", "PTV", "Bladder"]
    results, remarks = judge_goals([goal_of(roi, "V70Gy < 15 %") for roi in asked], doses, organs, None)
    assert [r.roi for r in results] == ["Rectum_MBS", "rectum", "SV"]
    assert len(remarks) == 2
    assert "PTV V70Gy < 15 %" in remarks[0] and "no such ROI" in remarks[0]
    assert "Bladder V70Gy < 15 %" in remarks[1] and "nothing is left of Empty" in remarks[1]


def test_an_roi_that_could_be_two_is_said() -> None:
    doses = {"Rectum_1": (THEN, NOW), "Rectum_2": (NOW, NOW)}
    goals = [goal_of("Rectum", "Dmax < 80 Gy")]
    results, remarks = judge_goals(goals, doses, {"Rectum_1": "rectum", "Rectum_2": "rectum"}, None)
    assert not results and "Rectum_1, Rectum_2 could be meant" in remarks[0]


@pytest.mark.parametrize("aim", ["D95 > 95 %", "V95% > 98 %", "Dmean < 50 %"])
def test_percent_of_a_prescription_needs_one(aim: str) -> None:
    with pytest.raises(SettingsError, match="prescription") as caught:
        judge_goals([goal_of("Rectum", aim)], {"Rectum": (THEN, NOW)}, {}, None)
    assert aim in caught.value.where and "prescription_gy" in caught.value.allowed


def test_goals_in_gray_and_millilitres_need_no_prescription() -> None:
    goals = [goal_of("Rectum", aim) for aim in ("V70Gy < 15 %", "V70Gy < 15 ml", "D95 > 30 Gy", "Dmax < 80 Gy")]
    assert len(judge_goals(goals, {"Rectum": (THEN, NOW)}, {}, None)[0]) == 4


FILE = """\
prescription_gy = 78

[[goal]]
roi = "Rectum"
aim = "V70Gy < 15 %"

[[goal]]
roi = "Prostate"
aim = "D95  >  95 %"
"""


def test_a_file_of_goals(tmp_path: Path) -> None:
    path = tmp_path / "goals.toml"
    path.write_text(FILE, encoding="utf-8")
    goals = read_goals(path)
    assert goals.prescription_gy == 78.0
    assert [str(g) for g in goals.goals] == ["Rectum V70Gy < 15 %", "Prostate D95 > 95 %"]
    first, second = goals.goals
    assert (first.kind, first.at, first.at_unit, first.sign, first.limit, first.limit_unit) == (
        "V", 70.0, "Gy", "<", 15.0, "%",
    )  # fmt: skip
    assert (second.kind, second.at, second.at_unit) == ("D", 95.0, "%")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('aim = "D95  >  95 %"', 'aim = "D95"', "goal 2 (line 7)"),
        ('aim = "D95  >  95 %"', "", "goal 2 (line 7)"),
        ('aim = "D95  >  95 %"', "aim = 95", "goal 2 (line 7)"),
        ('roi = "Rectum"', 'roi = " "', "goal 1 (line 3)"),
        ('roi = "Rectum"', 'roi = "Rectum"\norgan = "rectum"', "goal 1 (line 3)"),
        ("prescription_gy = 78", "prescription_gy = 0", "prescription_gy"),
        ("prescription_gy = 78", "prescription_gy = true", "prescription_gy"),
        ("prescription_gy = 78", 'prescription_gy = "78"', "prescription_gy"),
        ("prescription_gy = 78", "prescription = 78", "goals.toml"),
        ("prescription_gy = 78", "prescription_gy 78", "goals.toml"),
        (FILE, "prescription_gy = 78", "goals.toml"),
        (FILE, 'goal = "V70Gy < 15 %"', "goals.toml"),
        (FILE, 'goal = ["V70Gy < 15 %"]', "goal 1"),
    ],
)
def test_a_malformed_file_is_refused_with_the_goal_and_its_line(tmp_path: Path, old: str, new: str, where: str) -> None:
    path = tmp_path / "goals.toml"
    assert old in FILE
    path.write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_goals(path)
    assert "goals.toml" in caught.value.where and where in caught.value.where


def test_the_example_can_be_read() -> None:
    goals = read_goals(Path(__file__).parents[2] / "examples" / "goals-prostate.toml")
    assert isinstance(goals, Goals) and len(goals.goals) > 5
    assert {g.roi for g in goals.goals} >= {"Rectum", "Bladder"}
