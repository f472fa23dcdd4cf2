"""The page of one fraction: a single HTML file that loads nothing, for a file share, a screen and a printer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Any

from recontour.qa.checks import LIGHTS
from recontour.qa.fraction import DoseReport, Fraction, GoalResult, RoiPicture
from recontour.qa.manifest import AlignmentRecord, Manifest, ScanRecord
from recontour.qa.report.dvh_plot import dvh_plot
from recontour.qa.report.viewer import pack_viewer

if TYPE_CHECKING:
    from recontour.qa.review import ReviewRecord

_SIGNS = {"pass": "✓", "review": "!", "reject": "✗"}
_WORDS = {"pass": "Pass", "review": "Review", "reject": "Reject"}
_MEANINGS = {
    "pass": "No check of the contours found anything unusual.",
    "review": "Something is unusual: look at what is named here before the contours are used.",
    "reject": "Do not use these contours as they are.",
}
_SCRIPTS = ("data.js", "slices.js", "colours.js", "view.js", "review.js", "controls.js")
_ROI_REASONS = 5  # in the head of the page; the table has all
_FLAT = 1.4  # an axial slice this much wider than high stands above the other two, not beside them
_SIDES = (("L", "R", "left", "right"), ("P", "A", "posterior", "anterior"), ("S", "I", "superior", "inferior"))
_HELP = (
    ("Scroll slices", "wheel; ↑ ↓ one slice, Page Up/Down ten, Home/End; the slider under each view"),
    ("Crosshair", "click or drag in a view; X shows or hides it"),
    ("Zoom", "+ and −, Ctrl with the wheel; 0 fits; Shift and drag, or the middle button, moves the picture"),
    ("Window", "1 soft tissue, 2 bone, 3 lung and gas, 4 custom; drag with the right button"),
    ("Picture", "D daily, S planning, B blend, [ and ] its share, K checkerboard, W warped or aligned"),
    ("Contours", "C new, P planned, F differences in mm"),
    ("Maps", "M displacement, J Jacobian, G dose, I isodoses, N none"),
    ("From ROI to ROI", ", and . or ← → in a view; a click on a row of the table"),
    ("This help", "? or H; Esc closes it"),
)


def fraction_page(fraction: Fraction, records: Sequence[ReviewRecord] = ()) -> str:
    """The HTML. records: the decisions on file, in their order. Every text of the fraction is shown as text.

    The page asks for nothing beyond itself, which its Content-Security-Policy makes the browser hold to. Raises
    UsageError where a shape does not lie on the region's voxels.
    """
    packed = pack_viewer(fraction)
    script = _script()
    return _template().render(
        **_head(fraction),
        **_table(fraction),
        **_review(fraction.manifest, records),
        dose=_dose(fraction.dose, fraction.rois) if fraction.dose else None,
        details=_details(fraction.manifest),
        help=_HELP,
        views=_views(fraction),
        flat=fraction.region.size[2] > _FLAT * fraction.region.size[1],
        has_field=fraction.field_daily_to_planning is not None,
        has_dose=fraction.dose is not None,
        facts=_markup(_json(packed.facts)),
        texts={name: _markup(text) for name, text in packed.texts.items()},  # base64, made here
        style=_markup(_text("page.css")),
        script=_markup(script),
        script_hash=_markup(f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"),
    )


def _head(fraction: Fraction) -> dict[str, Any]:
    manifest = fraction.manifest
    worst = [p.record for p in _gravest_first(fraction.rois) if p.record.light == manifest.light]
    missed = " A clinical goal is not met today." if any(not goal.met_now for goal in _goals(fraction)) else ""
    of_rois = [{"what": record.name, "text": reason} for record in worst for reason in record.reasons]
    return {
        "verdict": {**_light(manifest.light), "meaning": _MEANINGS[manifest.light] + missed},
        "reasons": [
            *({"what": "", "text": reason} for reason in manifest.reasons),
            *of_rois[:_ROI_REASONS],
            *({"what": goal.goal, "text": _missed(goal)} for goal in _goals(fraction) if not goal.met_now),
        ],
        "more_reasons": max(len(of_rois) - _ROI_REASONS, 0),
        "pseudonym": fraction.pseudonym,
        "identity": fraction.identity,
        "treated_on": fraction.treated_on,
        "planned_on": fraction.planned_on,
        "daily": _scan(manifest.daily),
        "planning": _scan(manifest.planning),
        "alignment": _alignment(manifest.alignment),
        "remarks": fraction.remarks,
        "notes": manifest.notes,
        "version": manifest.versions.get("recontour", ""),
        "written": _time(manifest.written),
    }


def _goals(fraction: Fraction) -> Sequence[GoalResult]:
    return fraction.dose.goals if fraction.dose else ()


def _missed(goal: GoalResult) -> str:
    then = "met" if goal.met_then else "not met either"
    return f"not met today, {goal.daily:.1f} {goal.unit}; in the plan {goal.planned:.1f} {goal.unit}, {then}."


def _table(fraction: Fraction) -> dict[str, Any]:
    numbers = {id(picture): number for number, picture in enumerate(fraction.rois)}
    rows = [_row(picture, numbers[id(picture)]) for picture in _gravest_first(fraction.rois)]
    return {
        "rois": rows,
        "rois_planned": sorted(rows, key=lambda row: row["number"]),
        "any_paths": any(p.record.disagreement_mm is not None for p in fraction.rois),
        "left_out": [{"name": name, "why": why} for name, why in fraction.manifest.left_out.items()],
    }


def _row(picture: RoiPicture, number: int) -> dict[str, Any]:
    record, change = picture.record, picture.change
    there = record.after_ml > 0
    return {
        "number": number,
        "name": record.name,
        "colour": "#{:02x}{:02x}{:02x}".format(*picture.colour),
        "light": _light(record.light),
        "reasons": record.reasons,
        "before": _number(record.before_ml),
        "after": _number(record.after_ml),
        "percent": _percent(record.before_ml, record.after_ml),
        "shift": [_side(mm if there else None, axis) for axis, mm in enumerate(record.shift_mm)],
        "mean": _number(change.mean_mm if change else None),
        "p95": _number(change.p95_mm if change else None),
        "largest": _number(change.largest_mm if change else None),
        "paths": _number(record.disagreement_mm),
        "match": _number(record.image_match, 2),
    }


def _review(manifest: Manifest, records: Sequence[ReviewRecord]) -> dict[str, Any]:
    """What is on record, and what can be decided: of the RTSTRUCT, the first file that the run wrote."""
    written = manifest.outputs[0] if manifest.outputs else None
    rows = [{"roi": "", "label": "Whole fraction", "light": manifest.light, "id": "all"}]
    rows += [
        {"roi": roi.name, "label": roi.name, "light": roi.light, "id": str(number)}
        for number, roi in enumerate(manifest.rois)
    ]
    shown = [_record(record, written.sha256 if written else "") for record in records]
    whole = [record for record in shown if not record["roi"] and not record["other"]]
    return {
        "records": shown,
        "decided": whole[-1] if whole else None,
        "decide": rows,
        "rtstruct": _rtstruct(written.file, written.sha256) if written else None,
    }


def _record(record: ReviewRecord, sha256: str) -> dict[str, Any]:
    return {
        "when": _time(record.when),
        "who": record.who,
        "roi": record.roi,
        "decision": record.decision,
        "comment": record.comment,
        "other": bool(sha256) and record.rtstruct_sha256 != sha256,
    }


def _rtstruct(file: str, sha256: str) -> dict[str, str]:
    import shlex

    decisions = f"{file.removesuffix('.dcm')}.decisions.json"
    command = f"recontour review {shlex.quote(file)} --who INITIALS --from {shlex.quote(decisions)}"
    return {"sha256": sha256, "decisions": decisions, "command": command}


def _dose(dose: DoseReport, rois: Sequence[RoiPicture]) -> dict[str, Any]:
    colours = {picture.record.name: picture.colour for picture in rois}
    return {
        "remarks": dose.remarks,
        "prescription": f"{dose.prescription_gy:g}" if dose.prescription_gy else "",
        "goals": [_goal(goal) for goal in sorted(dose.goals, key=lambda goal: goal.met_now)],
        "plot": _markup(dvh_plot(dose.dvhs, colours, dose.prescription_gy)) if dose.dvhs else "",
    }


def _goal(goal: GoalResult) -> dict[str, Any]:
    met = {
        True: {"light": "pass", "sign": "✓", "word": "met"},
        False: {"light": "reject", "sign": "✗", "word": "not met"},
    }
    return {
        "goal": goal.goal,
        "planned": f"{goal.planned:.1f} {goal.unit}",
        "daily": f"{goal.daily:.1f} {goal.unit}",
        "then": met[goal.met_then],
        "now": met[goal.met_now],
        "met_now": goal.met_now,
    }


def _details(manifest: Manifest) -> list[dict[str, Any]]:
    """Tables that are folded away: title and rows of (name, value)."""
    uids = [
        ("Planning study", manifest.planning.study_uid),
        ("Planning series", manifest.planning.series_uid),
        ("Planning structure set", manifest.structures_uid),
        ("Daily study", manifest.daily.study_uid),
        ("Daily series", manifest.daily.series_uid),
        ("Daily frame of reference", manifest.daily.frame_of_reference_uid),
    ]
    model = manifest.model
    made = [("Model", f"{model.name}, weights {model.sha256}" if model else "none: no network took part")]
    made += [(f"File {output.file}", f"sha256 {output.sha256}") for output in manifest.outputs]
    seconds = [(name, f"{value:.1f} s") for name, value in manifest.seconds.items()]
    seconds.append(("all", f"{sum(manifest.seconds.values()):.1f} s"))
    return [
        {"title": "Which scans: all UIDs", "rows": uids},
        {"title": "Model and files", "rows": made},
        {"title": "Versions", "rows": list(manifest.versions.items())},
        {"title": "Seconds", "rows": seconds},
        {"title": "Settings", "rows": _flat(manifest.settings)},
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def _views(fraction: Fraction) -> list[dict[str, Any]]:
    """As radiologists see it: the patient's right on the left of axial and coronal pictures, his front on the left of
    sagittal ones."""
    depth, rows, columns = fraction.region.size
    across = {"left": "R", "right": "L"}
    return [
        {"name": "axial", "title": "Axial", "sides": {**across, "top": "A", "bottom": "P"}, "last": depth - 1},
        {"name": "coronal", "title": "Coronal", "sides": {**across, "top": "S", "bottom": "I"}, "last": rows - 1},
        {
            "name": "sagittal",
            "title": "Sagittal",
            "sides": {"left": "A", "right": "P", "top": "S", "bottom": "I"},
            "last": columns - 1,
        },
    ]


def _gravest_first(rois: Sequence[RoiPicture]) -> list[RoiPicture]:
    order: Mapping[str, int] = {light: -k for k, light in enumerate(LIGHTS)}
    return sorted(rois, key=lambda picture: order[picture.record.light])


def _light(light: str) -> dict[str, str]:
    return {"light": light, "sign": _SIGNS[light], "word": _WORDS[light]}


def _scan(scan: ScanRecord) -> dict[str, Any]:
    return {"short": scan.series_uid[-8:], "images": scan.images}


def _alignment(alignment: AlignmentRecord) -> str:
    shift = f"daily to planning {alignment.shift}"
    parts = [shift, f"turned {alignment.rotation_degrees:.1f}°", f"stretched {100 * (alignment.scale - 1):+.1f} %"]
    if alignment.quality is not None:
        parts.append(f"then the scans correlate {alignment.quality:.2f}")
    return "; ".join(parts)


def _side(mm: float | None, axis: int) -> dict[str, str]:
    if mm is None or not isfinite(mm):
        return {"short": "–", "words": "not known"}
    if abs(mm) < 0.05:
        return {"short": "0.0", "words": "0"}
    positive, negative, toward, away = _SIDES[axis]
    short, word = (positive, toward) if mm > 0 else (negative, away)
    return {"short": f"{abs(mm):.1f} {short}", "words": f"{abs(mm):.1f} {word}"}


def _time(iso: str) -> str:
    """ISO 8601 to the minute, in the place's own time."""
    return iso[:16].replace("T", " ")


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:.{digits}f}"


def _percent(before: float, after: float) -> str:
    if before <= 0:
        return "–"
    return f"{100 * (after / before - 1):+.0f} %".replace("-", "−")


def _json(value: Any) -> str:
    """For a script element, where only "<" could end it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _text(name: str) -> str:
    return (files("recontour.qa.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = "\n".join(_text(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_text("fraction.html"))


def _markup(text: str) -> Any:
    """Text of our own that goes into the page as it is."""
    from markupsafe import Markup

    return Markup(text)
