"""Clinical goals such as "Rectum V70Gy < 15 %": read from a TOML file, judged then and now. The file: docs/dose.md."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from recontour.errors import SettingsError
from recontour.qa.dvh import DoseHistogram
from recontour.qa.fraction import GoalResult
from recontour.settings import read_toml

Kind = Literal["V", "D", "mean", "max", "min"]
Unit = Literal["Gy", "%", "ml"]
Pair = tuple[DoseHistogram, DoseHistogram]  # the dose in the planned and in the daily shape

EXAMPLES = '"V70Gy < 15 %", "V57Gy < 30 ml", "V95% > 98 %", "D95 > 95 %", "D0.1ml < 80 Gy", "Dmean < 50 Gy"'
_SAME = 1e-6  # relative: closer to the limit than this is the limit
_HIGHEST_GY = 1000.0

_NUMBER = r"(?P<{0}>\d+(?:\.\d+)?)"
_UNIT = r"(?P<{0}>%|Gy|ml|cc|cm3|cm³)"
_AIM = re.compile(
    r"(?P<letter>[VD])\s*(?:(?P<word>mean|max|min)|"
    + _NUMBER.format("at")
    + r"\s*"
    + _UNIT.format("at_unit")
    + r"?)\s*(?P<sign><=|>=|≤|≥|<|>)\s*"
    + _NUMBER.format("limit")
    + r"\s*"
    + _UNIT.format("limit_unit"),
    re.IGNORECASE,
)
_SIGNS: dict[str, tuple[Callable[[float, float], bool], bool]] = {  # and whether the limit itself meets the goal
    "<": (operator.lt, False),
    ">": (operator.gt, False),
    "<=": (operator.lt, True),
    "≤": (operator.lt, True),
    ">=": (operator.gt, True),
    "≥": (operator.gt, True),
}
_ML = ("ml", "cc", "cm3", "cm³")


@dataclass(frozen=True)
class Goal:
    """One goal as it was asked, and what it means.

    roi: the name that was asked for. kind, at, at_unit: what is measured: V70Gy is ("V", 70, "Gy"), D95 is ("D", 95,
    "%"), Dmean is ("mean", 0, "%"). sign, limit, limit_unit: what it must be; for D, percent are of the prescription.
    """

    roi: str
    aim: str
    kind: Kind
    at: float
    at_unit: Unit
    sign: str
    limit: float
    limit_unit: Unit

    def __str__(self) -> str:
        return f"{self.roi} {self.aim}"

    @property
    def needs_prescription(self) -> bool:
        """Whether a dose in it is given in percent."""
        return self.at_unit == "%" if self.kind == "V" else self.limit_unit == "%"

    def met(self, value: float) -> bool:
        """Whether `value`, in `limit_unit`, meets it. The limit itself does with <= and >=, not with < and >."""
        compare, equal_meets = _SIGNS[self.sign]
        if abs(value - self.limit) <= _SAME * max(1.0, abs(self.limit)):
            return equal_meets
        return compare(value, self.limit)


@dataclass(frozen=True)
class Goals:
    """The goals of a file, in its order, and the prescribed dose where it names one."""

    goals: tuple[Goal, ...] = ()
    prescription_gy: float | None = None


def read_goals(path: Path) -> Goals:
    """Goals from a TOML file. Raises SettingsError, naming the file, the goal and its line, for what is malformed."""
    raw = read_toml(path)
    unknown = sorted(set(raw) - {"goal", "prescription_gy"})
    if unknown:
        raise SettingsError(
            f"unknown name {unknown[0]}", where=path.name, allowed="prescription_gy, and tables [[goal]]"
        )
    lines = _lines_of_goals(path)
    tables: object = raw.get("goal", [])
    if not isinstance(tables, list) or not tables:
        raise SettingsError("no goals", where=path.name, allowed="tables [[goal]] with roi and aim")
    goals: list[Goal] = []
    for number, table in enumerate(cast("list[object]", tables), 1):
        line = f" (line {lines[number - 1]})" if number <= len(lines) else ""
        goals.append(_goal(table, f"{path.name}, goal {number}{line}"))
    return Goals(tuple(goals), _prescription(raw, path))


def goal_of(roi: str, aim: str, where: str = "goal") -> Goal:
    """The goal in words. Raises SettingsError, with `where` it stands, for words that are no goal."""
    found = _AIM.fullmatch(aim.strip())
    if found is None:
        raise SettingsError(f"{aim!r} is no goal", where=where, allowed=f"such as {EXAMPLES}")
    volume, word = found["letter"].upper() == "V", (found["word"] or "").lower()
    at_unit, limit_unit = _unit(found["at_unit"] or ("" if volume else "%")), _unit(found["limit_unit"])
    if volume and (word or at_unit not in ("Gy", "%") or limit_unit not in ("%", "ml")):
        raise SettingsError(
            f"{aim!r} is no goal for a volume",
            where=where,
            allowed='a volume at a dose in Gy or %, in % or ml: "V70Gy < 15 %", "V95% > 98 %", "V57Gy < 30 ml"',
        )
    if not volume and (at_unit not in ("%", "ml") or limit_unit not in ("Gy", "%")):
        raise SettingsError(
            f"{aim!r} is no goal for a dose",
            where=where,
            allowed='a dose to a volume in % or ml, in Gy or %: "D95 > 95 %", "D0.1ml < 80 Gy", "Dmean < 50 Gy"',
        )
    kind = cast(Kind, word or ("V" if volume else "D"))
    goal = Goal(
        roi,
        " ".join(aim.split()),
        kind,
        float(found["at"] or 0),
        cast(Unit, at_unit),
        found["sign"],
        float(found["limit"]),
        cast(Unit, limit_unit),
    )
    _check_range(goal, where)
    return goal


def judge_goals(
    goals: Sequence[Goal], doses: Mapping[str, Pair], organs: Mapping[str, str], prescription_gy: float | None
) -> tuple[tuple[GoalResult, ...], tuple[str, ...]]:
    """The goals then and now, and what is to be said of those that cannot be judged.

    doses: by ROI name. organs: ROI name to organ: a goal for "rectum" is for the ROI of that name, upper or lower
    case, or else for the one whose organ it is. Raises SettingsError where a goal is in percent of a prescription that
    is not known.
    """
    results: list[GoalResult] = []
    remarks: list[str] = []
    for goal in goals:
        if goal.needs_prescription and not prescription_gy:
            raise SettingsError(
                "percent of an unknown prescription",
                where=str(goal),
                allowed="--plan with an RTPLAN that names it, or prescription_gy in the file of goals",
            )
        names = _names_of(goal.roi, doses, organs)
        if len(names) != 1:
            why = f"{', '.join(names)} could be meant" if names else "there is no such ROI in this fraction"
            remarks.append(f"Goal {goal} not judged: {why}.")
            continue
        planned, daily = doses[names[0]]
        if not planned.volume_ml or not daily.volume_ml:
            remarks.append(f"Goal {goal} not judged: nothing is left of {names[0]}.")
            continue
        then, now = (_value(goal, dose, prescription_gy or 0.0) for dose in (planned, daily))
        results.append(GoalResult(str(goal), names[0], goal.limit_unit, then, now, goal.met(then), goal.met(now)))
    return tuple(results), tuple(remarks)


def _value(goal: Goal, dose: DoseHistogram, prescription_gy: float) -> float:
    """What the goal is about, in its `limit_unit`."""
    if goal.kind == "V":
        at_gy = goal.at if goal.at_unit == "Gy" else goal.at / 100 * prescription_gy
        held = dose.ml_at_least(at_gy) if goal.limit_unit == "ml" else 100 * dose.share_at_least(at_gy)
        return float(held)
    if goal.kind == "D":
        gray = dose.dose_to(goal.at if goal.at_unit == "ml" else goal.at / 100 * dose.volume_ml)
    else:
        gray = {"mean": dose.mean_gy, "max": dose.max_gy, "min": dose.min_gy}[goal.kind]
    return gray if goal.limit_unit == "Gy" else 100 * gray / prescription_gy


def _names_of(roi: str, doses: Mapping[str, Pair], organs: Mapping[str, str]) -> list[str]:
    """The ROIs that are meant: by the exact name, else in any case, else by organ."""
    plain = roi.strip().casefold()
    organ = re.sub(r"[\s-]+", "_", plain)
    rules: list[Callable[[str], bool]] = [
        lambda name: name == roi,
        lambda name: name.strip().casefold() == plain,
        lambda name: organs.get(name, "") == organ,
    ]
    for rule in rules:
        found = [name for name in doses if rule(name)]
        if found:
            return found
    return []


def _goal(table: object, where: str) -> Goal:
    if not isinstance(table, dict):
        raise SettingsError("no table", where=where, allowed='[[goal]] with roi = "Rectum" and aim = "V70Gy < 15 %"')
    raw = cast("dict[str, object]", table)
    unknown = sorted(set(raw) - {"roi", "aim"})
    if unknown:
        raise SettingsError(f"unknown name {unknown[0]}", where=where, allowed="roi, aim")
    words: list[str] = []
    for name in ("roi", "aim"):
        value = raw.get(name)
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"{name} is missing or no text", where=where, allowed=f'{name} = "..."')
        words.append(value)
    return goal_of(words[0], words[1], where)


def _check_range(goal: Goal, where: str) -> None:
    """A dose may be above its prescription, a volume never above all."""
    dose_highest, volume_highest = {"Gy": _HIGHEST_GY, "%": 200.0}, {"%": 100.0, "ml": 1e6}
    at, limit = (dose_highest, volume_highest) if goal.kind == "V" else (volume_highest, dose_highest)
    for value, unit, highest in ((goal.at, goal.at_unit, at), (goal.limit, goal.limit_unit, limit)):
        if value > highest[unit]:
            raise SettingsError(
                f"{value:g} {unit} in {goal.aim!r}", where=where, allowed=f"up to {highest[unit]:g} {unit}"
            )
    if goal.kind == "D" and goal.at == 0:
        raise SettingsError(f"dose to no volume in {goal.aim!r}", where=where, allowed="a volume above 0, or Dmax")


def _unit(said: str) -> str:
    if said.lower() in _ML:
        return "ml"
    return "Gy" if said.lower() == "gy" else said


def _prescription(raw: dict[str, Any], path: Path) -> float | None:
    value: object = raw.get("prescription_gy")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _HIGHEST_GY:
        raise SettingsError(
            f"{value!r} Gy", where=f"{path.name}, prescription_gy", allowed=f"above 0, up to {_HIGHEST_GY:g}"
        )
    return float(value)


def _lines_of_goals(path: Path) -> list[int]:
    """The lines on which the tables begin."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*goal\s*\]\]", line)]
