"""The table of ROIs on paper: the gravest first, reasons beside each, as many as there are on what room there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recontour.qa.checks import LIGHTS
from recontour.qa.fraction import RoiPicture
from recontour.qa.manifest import RoiRecord
from recontour.qa.report.fitting import SEE_PAGE, figure, narrowed
from recontour.qa.report.paper import GREY, INK, LIGHT_COLOURS, PALE, Box, Colour, Paper, Type
from recontour.qa.words import in_words

SIZES_PT = (8.0, 7.5, 7.0, 6.5, 6.0, 5.5)
# heading, second line of it, width in mm: 186 in all
COLUMNS: tuple[tuple[str, str, float], ...] = (
    ("Light", "", 18.0),
    ("ROI", "", 34.0),
    ("Volume, ml", "planned -> daily", 38.0),
    ("Shift, mm", "left/right", 17.0),
    ("", "ant/post", 21.0),
    ("", "sup/inf", 21.0),
    ("Paths", "apart, mm", 13.0),
    ("Surface, mm", "mean / 95 % / most", 24.0),
)
_HEAD_MM = 8.0
_GAP_MM = 1.0
_BACK: dict[str, Colour] = {"pass": (255, 255, 255), "review": (253, 246, 227), "reject": (253, 234, 234)}
_LEFT_OF_REASONS = COLUMNS[0][2] + COLUMNS[1][2]


@dataclass(frozen=True)
class _Row:
    roi: RoiPicture
    name: tuple[str, ...]
    reasons: tuple[str, ...]
    height_mm: float


def gravest_first(rois: Sequence[RoiPicture]) -> list[RoiPicture]:
    """Rejected, to be reviewed, passed; those of one light as they were."""
    return sorted(rois, key=lambda roi: -LIGHTS.index(_light(roi)))


def draw_rois(paper: Paper, rois: Sequence[RoiPicture], box: Box) -> None:
    """The table in the box. Rows shrink first; then those that passed are left out, then reasons are cut, then the
    last rows; what was left out is counted in words."""
    left, top, width, height = box
    style, rows, note = _that_fit(paper, gravest_first(rois), width, height - _HEAD_MM)
    _draw_head(paper, left, top, width)
    down = top + _HEAD_MM
    for row in rows:
        _draw_row(paper, row, (left, down, width, row.height_mm), style)
        down += row.height_mm
    if note:
        paper.text(left + COLUMNS[0][2], down + style.line_mm, note, Type(7.5, True))


def volume_words(record: RoiRecord) -> str:
    """124.0 -> 210.0 (+69 %)"""
    if "-" in (figure(record.before_ml), figure(record.after_ml)):
        return f"{figure(record.before_ml)} -> {figure(record.after_ml)}"
    change = f" ({record.after_ml / record.before_ml - 1:+.0%})".replace("%", " %") if record.before_ml > 0 else ""
    return f"{record.before_ml:.1f} -> {record.after_ml:.1f}{change}"


def shift_words(record: RoiRecord) -> tuple[str, str, str]:
    """For each axis, such as "1.2 left", "3.0 posterior", "0"."""
    words: list[str] = []
    for axis in range(3):
        part = [0.0, 0.0, 0.0]
        part[axis] = record.shift_mm[axis]
        known = figure(part[axis]) != "-"
        said = in_words(part).replace(" mm", "") if known else "-"
        words.append("0" if said == "no shift" else said)
    return words[0], words[1], words[2]


def _that_fit(
    paper: Paper, rois: Sequence[RoiPicture], width: float, height: float
) -> tuple[Type, Sequence[_Row], str]:
    for size in SIZES_PT:
        rows = [_row(paper, roi, width, Type(size)) for roi in rois]
        if _high(rows) <= height:
            return Type(size), rows, ""
    style, kept = Type(SIZES_PT[-1]), list[_Row]()
    height -= 5.0  # for the note
    for most_lines in (99, 3, 2, 1):
        kept = _without_passed([_row(paper, roi, width, style, most_lines) for roi in rois], height)
        if _high(kept) <= height:
            break
    while _high(kept) > height:
        kept = kept[:-1]
    return style, kept, _note(rois[len(kept) :])


def _without_passed(rows: list[_Row], height: float) -> list[_Row]:
    """The rows, as many of those that passed left out from the end as must be."""
    while rows and _high(rows) > height and _light(rows[-1].roi) == "pass":
        rows = rows[:-1]
    return rows


def _note(cut: Sequence[RoiPicture]) -> str:
    passed = sum(_light(roi) == "pass" for roi in cut)
    grave = len(cut) - passed
    if not cut:
        return f"More reasons: {SEE_PAGE}"
    if not grave:
        return f"and {passed} more that passed: {SEE_PAGE}"
    return f"AND {grave} MORE THAT DID NOT PASS, {passed} that passed: {SEE_PAGE}"


def _row(paper: Paper, roi: RoiPicture, width: float, style: Type, most_lines: int = 99) -> _Row:
    name = paper.wrapped(roi.record.name, COLUMNS[1][2] - 4.5, Type(style.size_pt, True)) or ["(no name)"]
    reasons = paper.wrapped(" ".join(roi.record.reasons), width - _LEFT_OF_REASONS - 5.0, style)
    if len(reasons) > most_lines:
        reasons = [*reasons[: most_lines - 1], f"{reasons[most_lines - 1]} ..."]
    high = style.line_mm * max(len(name), 1 + len(reasons)) + _GAP_MM
    return _Row(roi, tuple(name), tuple(reasons), high)


def _draw_head(paper: Paper, left: float, top: float, width: float) -> None:
    for first, second, wide in COLUMNS:
        paper.text(left + 0.5, top + 3.0, first, Type(6.5, True))
        paper.text(left + 0.5, top + 6.0, second, narrowed(paper, second, wide - 0.7, Type(6.0, False, GREY)))
        left += wide
    paper.line([(left - width, top + _HEAD_MM - 0.6), (left, top + _HEAD_MM - 0.6)], INK, 0.8)


def _draw_row(paper: Paper, row: _Row, box: Box, style: Type) -> None:
    left, top, width, height = box
    light = _light(row.roi)
    paper.box(box, _BACK[light], filled=True)
    paper.line([(left, top + height), (left + width, top + height)], PALE, 0.3)
    middle = top + _GAP_MM / 2 + style.line_mm * 0.5
    paper.sign(light, left + 2.0, middle, style.size_pt * 0.36)
    baseline = top + _GAP_MM / 2 + style.line_mm * 0.8
    paper.text(left + 4.4, baseline, light.upper(), Type(style.size_pt, True, LIGHT_COLOURS[light]))
    start = left + COLUMNS[0][2]
    paper.box((start, middle - 1.0, 2.6, 2.0), row.roi.colour, filled=True)
    paper.box((start, middle - 1.0, 2.6, 2.0), INK, width_pt=0.3)
    paper.paragraph(start + 3.6, top + _GAP_MM / 2, row.name, Type(style.size_pt, True))
    _draw_figures(paper, row.roi, left + _LEFT_OF_REASONS, baseline, style)
    paper.paragraph(left + _LEFT_OF_REASONS + 0.5, top + _GAP_MM / 2 + style.line_mm, row.reasons, style)


def _draw_figures(paper: Paper, roi: RoiPicture, left: float, baseline: float, style: Type) -> None:
    record, change = roi.record, roi.change
    surface = " / ".join(map(figure, (change.mean_mm, change.p95_mm, change.largest_mm))) if change else "-"
    cells = volume_words(record), *shift_words(record), figure(record.disagreement_mm), surface
    for (_, _, wide), cell in zip(COLUMNS[2:], cells, strict=True):
        paper.text(left + 0.5, baseline, cell, narrowed(paper, cell, wide - 1.0, style))
        left += wide


def _light(roi: RoiPicture) -> str:
    return roi.record.light


def _high(rows: Sequence[_Row]) -> float:
    return sum(row.height_mm for row in rows)
