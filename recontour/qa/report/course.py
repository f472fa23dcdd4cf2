"""Several fractions of one patient on one page: how volumes, shifts, verdicts and goals went, and what stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from math import hypot, isfinite
from typing import Any, cast

from recontour.errors import PatientMismatch, SettingsError, UsageError
from recontour.qa.checks import LIGHTS
from recontour.qa.fraction import GoalResult
from recontour.qa.manifest import Manifest, RoiRecord
from recontour.qa.report.charts import HEIGHT, LEFT, RIGHT, WIDTH, Chart, Reading, chart
from recontour.qa.report.unusual import FEWEST, TIMES, unusual
from recontour.qa.review import ReviewRecord, latest
from recontour.qa.words import in_words
from recontour.settings import QaSettings, settings_from

SIGNS = {"pass": "✓", "review": "!", "reject": "✗"}
_AXES = (("left / right", "left", "right"), ("ant / post", "post", "ant"), ("sup / inf", "sup", "inf"))
_LEAST_SHIFT_MM = 0.5  # spreads below these are rounding, not how a patient varies
_LEAST_VOLUME = 0.02  # of the median
_LEAST_GOAL = 0.02


@dataclass(frozen=True)
class CourseEntry:
    """One fraction.

    treated_on: "2026-11-20", or "". goals: as in its report, () where it had no dose. page: relative link to the
    fraction's page, "" where there is none. review: what was recorded of it; what speaks of another RTSTRUCT is left
    out.
    """

    treated_on: str
    pseudonym: str
    manifest: Manifest
    goals: tuple[GoalResult, ...] = ()
    page: str = ""
    review: tuple[ReviewRecord, ...] = ()


@dataclass(frozen=True)
class _Fraction:
    """An entry with its place in the course, and what is unusual about it, in words."""

    number: int
    entry: CourseEntry
    marks: list[str]

    @property
    def name(self) -> str:
        return f"fraction {self.number}" + (f", {self.entry.treated_on}" if self.entry.treated_on else "")

    def roi(self, name: str) -> RoiRecord | None:
        return next((roi for roi in self.entry.manifest.rois if roi.name == name), None)

    def mark(self, what: str) -> None:
        if what not in self.marks:
            self.marks.append(what)


def course_page(entries: Sequence[CourseEntry]) -> str:
    """One self-contained HTML page without scripts, the fractions in the order of their dates, then of when their
    results were written.

    Raises UsageError where there is no entry, PatientMismatch where the pseudonyms differ.
    """
    if not entries:
        raise UsageError("no fractions", where="course", allowed="at least one result")
    names = {entry.pseudonym for entry in entries}
    if len(names) > 1:
        raise PatientMismatch(
            "results of several patients, or pseudonyms made with several keys",
            where=", ".join(sorted(names)),
            allowed="the results of one patient, with one key",
        )
    ordered = sorted(entries, key=lambda entry: (entry.treated_on or "9999", entry.manifest.written))
    course = [_Fraction(number, entry, []) for number, entry in enumerate(ordered, start=1)]
    rois = [_roi_charts(course, name) for name in _roi_names(course)]
    goals = [_goal_chart(course, goal) for goal in _goal_names(course)]
    return _template().render(
        pseudonym=ordered[0].pseudonym,
        span=_span(ordered),
        counts=[(light, SIGNS[light], sum(e.manifest.light == light for e in ordered)) for light in reversed(LIGHTS)],
        rois=rois,
        goals=goals,
        rows=[_row(fraction) for fraction in course],
        signs=SIGNS,
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
        rule=_rule(len(course)),
    )


def _rule(count: int) -> str:
    few = f" With fewer than {FEWEST} fractions, as here, only the limits and the goals mark." if count < FEWEST else ""
    return (
        f"A value is marked where it lies more than {TIMES:.0f} spreads from the median of the course (spread: 1.4826 "
        f"times the median absolute deviation; at least {_LEAST_SHIFT_MM} mm for shifts and {100 * _LEAST_VOLUME:.0f} "
        "% of the median for volumes and goals), where it is beyond the limits of its run's checks, or where a goal "
        f"is not met.{few}"
    )


def _roi_names(course: Sequence[_Fraction]) -> list[str]:
    return list(dict.fromkeys(roi.name for fraction in course for roi in fraction.entry.manifest.rois))


def _goal_names(course: Sequence[_Fraction]) -> list[str]:
    return list(dict.fromkeys(goal.goal for fraction in course for goal in fraction.entry.goals))


def _roi_charts(course: Sequence[_Fraction], name: str) -> dict[str, Any]:
    """The ROI's volume and its shift along each axis."""
    records = [fraction.roi(name) for fraction in course]
    volumes = [None if record is None else record.after_ml for record in records]
    planned = next((record.before_ml for record in reversed(records) if record is not None), None)
    middle = sorted(value for value in volumes if value is not None)
    least = _LEAST_VOLUME * middle[len(middle) // 2] if middle else 0.0
    odd = unusual(volumes, least)
    readings = [
        _reading(fraction, name, record, volume, f"{_number(volume)} ml", _volume_marks(fraction, record, stands_out))
        for fraction, record, volume, stands_out in zip(course, records, volumes, odd, strict=True)
    ]
    charts = [chart("Volume, ml", readings, planned, least_extent=max(0.2 * (planned or 0.0), 1.0))]
    reach = max([5.0, *(abs(v) for r in records if r for v in r.shift_mm if _finite(v))])
    for axis in range(3):
        charts.append(_shift_chart(course, name, axis, 2.16 * reach))
    return {"name": name, "charts": charts, "rows": _roi_rows(course, name)}


def _shift_chart(course: Sequence[_Fraction], name: str, axis: int, extent: float) -> Chart:
    title, plus, minus = _AXES[axis]
    records = [fraction.roi(name) for fraction in course]
    values = [None if record is None or record.after_ml <= 0 else record.shift_mm[axis] for record in records]
    odd = unusual(values, _LEAST_SHIFT_MM)
    readings: list[Reading] = []
    for fraction, record, value, stands_out in zip(course, records, values, odd, strict=True):
        marks = _shift_marks(fraction, record, axis, stands_out) if value is not None else []
        readings.append(_reading(fraction, name, record, value, _along(value, axis), marks))
    return chart(f"Shift {title}, mm", readings, least_extent=extent, around_zero=True, ends=(plus, minus))


def _reading(
    fraction: _Fraction, name: str, record: RoiRecord | None, value: float | None, said: str, marks: list[str]
) -> Reading:
    for mark in marks:
        fraction.mark(f"{name} {mark}")
    light = record.light if record else "pass"
    says = "; ".join([f"{fraction.name}: {said}, {light}", *marks])
    return Reading(value, light, says, "; ".join(marks), fraction.entry.page)


def _volume_marks(fraction: _Fraction, record: RoiRecord | None, stands_out: bool) -> list[str]:
    if record is None:
        return []
    out = ["volume unusual for this course"] if stands_out else []
    low, high = _limits(fraction.entry.manifest).limits_for(record.organ).volume_review
    if record.before_ml > 0 and not low <= record.after_ml / record.before_ml <= high:
        out.append(f"volume beyond the limits ({low:g} to {high:g} times the planned one)")
    return out


def _shift_marks(fraction: _Fraction, record: RoiRecord | None, axis: int, stands_out: bool) -> list[str]:
    """The limit is one on the length of the shift; it is marked on the axis that has most of it."""
    if record is None:
        return []
    out = [f"shift {_AXES[axis][0]} unusual for this course"] if stands_out else []
    limit = _limits(fraction.entry.manifest).limits_for(record.organ).shift_review_mm
    if not all(map(_finite, record.shift_mm)):
        return out
    largest = max(range(3), key=lambda k: abs(record.shift_mm[k]))
    if axis == largest and hypot(*record.shift_mm) > limit:
        out.append(f"shift beyond the limit ({limit:g} mm)")
    return out


def _goal_chart(course: Sequence[_Fraction], goal: str) -> dict[str, Any]:
    """Its value in every fraction that had a dose, marked where it is not met."""
    results = [next((one for one in fraction.entry.goals if one.goal == goal), None) for fraction in course]
    first = next(result for result in results if result is not None)
    values = [None if result is None else result.daily for result in results]
    middle = sorted(value for value in values if value is not None)
    odd = unusual(values, _LEAST_GOAL * abs(middle[len(middle) // 2]))
    readings: list[Reading] = []
    for fraction, result, stands_out in zip(course, results, odd, strict=True):
        marks = ["not met"] if result and not result.met_now else []
        marks += ["unusual for this course"] if stands_out else []
        for mark in marks:
            fraction.mark(f"{goal}: {mark}")
        light = "reject" if result and not result.met_now else "pass"
        said = "no dose" if result is None else f"{_number(result.daily)} {first.unit}"
        says = "; ".join([f"{fraction.name}: {said}", *(marks or ["met"])])
        readings.append(Reading(result.daily if result else None, light, says, "; ".join(marks), fraction.entry.page))
    met = sum(bool(result and result.met_now) for result in results)
    count = sum(result is not None for result in results)
    drawn = chart(f"{first.unit}", readings, first.planned, least_extent=max(0.2 * abs(first.planned), 1.0))
    return {"name": goal, "chart": drawn, "met": met, "count": count, "then": first.met_then}


def _roi_rows(course: Sequence[_Fraction], name: str) -> list[dict[str, Any]]:
    """The chart's values as a table."""
    out: list[dict[str, Any]] = []
    for fraction in course:
        record = fraction.roi(name)
        values = ("–", "–", "–") if record is None else (_number(record.after_ml), _shift(record), record.light)
        out.append({"number": fraction.number, "date": fraction.entry.treated_on, "values": values})
    return out


def _row(fraction: _Fraction) -> dict[str, Any]:
    """A fraction in the table."""
    entry = fraction.entry
    rois = entry.manifest.rois
    look = [(light, [roi.name for roi in rois if roi.light == light]) for light in ("reject", "review")]
    return {
        "number": fraction.number,
        "date": entry.treated_on or "no date",
        "light": entry.manifest.light,
        "reasons": entry.manifest.reasons,
        "look": [(light, ", ".join(names)) for light, names in look if names],
        "count": len(rois),
        "marks": fraction.marks,
        "page": entry.page,
        "decided": _decided(entry),
    }


def _decided(entry: CourseEntry) -> list[dict[str, str]]:
    """The decisions that hold, those to edit or reject by name, one line for each reviewer and decision."""
    written = [output.sha256 for output in entry.manifest.outputs]
    records = [r for r in entry.review if not written or r.rtstruct_sha256 in written]
    holds = [record for sha in {r.rtstruct_sha256 for r in records} for record in latest(records, sha).values()]
    groups: dict[tuple[str, str], list[ReviewRecord]] = {}
    for record in sorted(holds, key=lambda r: r.when):
        groups.setdefault((record.who, record.decision), []).append(record)
    return [
        {"who": who, "decision": decision, "when": group[-1].when[:16].replace("T", " "), "what": _what(group)}
        for (who, decision), group in groups.items()
    ]


def _what(group: Sequence[ReviewRecord]) -> str:
    parts = [(r.roi or "the whole fraction") + (f" ({r.comment})" if r.comment.strip() else "") for r in group]
    return ", ".join(parts)


def _span(ordered: Sequence[CourseEntry]) -> str:
    dates = [entry.treated_on for entry in ordered if entry.treated_on]
    count = f"{len(ordered)} fraction{'s' * (len(ordered) != 1)}"
    return f"{count}, {dates[0]} to {dates[-1]}" if dates else count


def _limits(manifest: Manifest) -> QaSettings:
    """The limits of that run; the present ones where its settings cannot be read any more."""
    asked = cast("dict[str, Any]", manifest.settings.get("qa", {}))
    try:
        known = {f.name: asked[f.name] for f in fields(QaSettings) if f.name in asked}  # an older version had others
        return settings_from({"qa": known}).qa
    except (SettingsError, TypeError):
        return QaSettings()


def _along(value: float | None, axis: int) -> str:
    if value is None or not _finite(value):
        return "no shift known"
    shift = [0.0, 0.0, 0.0]
    shift[axis] = value
    return in_words(shift)


def _shift(record: RoiRecord) -> str:
    return in_words(record.shift_mm) if all(map(_finite, record.shift_mm)) else "not known"


def _number(value: float | None) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:.1f}"


def _finite(value: float | None) -> bool:
    return value is not None and isfinite(value)


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = (files("recontour.qa.report") / "templates" / "course.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )
