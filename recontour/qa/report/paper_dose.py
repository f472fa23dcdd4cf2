"""Dose on paper: the DVH of planned and daily contours over each other, and the goals then and now."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recontour.qa.fraction import DoseReport, Dvh, GoalResult
from recontour.qa.report.fitting import SEE_PAGE, draw_fitted, figure, narrowed, shortened
from recontour.qa.report.paper import GREY, INK, LIGHT_COLOURS, PALE, Box, Colour, Paper, Type

_SIZES_PT = (7.5, 7.0, 6.5, 6.0, 5.5)
_MOST_CURVES = 12  # more than that nobody tells apart; those with goals come first


def draw_dose(paper: Paper, dose: DoseReport | None, colours: Mapping[str, Colour], box: Box) -> None:
    """DVH at the left, goals at the right, remarks below; without dose a line that says so."""
    left, top, width, height = box
    paper.text(left, top + 3.0, "Dose: share of the volume that gets at least so many Gy", Type(8.0, True))
    if dose is None:
        paper.text(left, top + 8.0, "No dose was given: no DVH, no goals.", Type(7.5, False, GREY))
        return
    below = 9.0 if dose.remarks else 0.0
    plot = (left + 10, top + 6, width * 0.34, height - 16 - below)
    shown = _chosen(dose)
    _draw_curves(paper, shown, colours, dose.prescription_gy, plot)
    _draw_legend(paper, shown, colours, (plot[0] + plot[2] + 2, top + 6, width * 0.56 - plot[2] - 12, plot[3]))
    cut = len(dose.dvhs) - len(shown)
    more = f"; {cut} more ROIs: {SEE_PAGE}" if cut else ""
    prescribed = f"; grey: {dose.prescription_gy:g} Gy, prescribed" if dose.prescription_gy else ""
    caption = f"planned dashed, daily solid; planning dose placed by the alignment{prescribed}{more}"
    paper.text(left, top + height - below - 1, caption, Type(6.5, False, GREY))
    _draw_goals(paper, dose.goals, (left + width * 0.58, top + 2, width * 0.42, height - below - 6))
    draw_fitted(paper, dose.remarks, (left, top + height - below, width, below), (7.0, 6.5, 6.0, 5.5))


def on_white(colour: Colour) -> Colour:
    """The colour, as much darker as it takes to stand out from white paper: at least 3 to 1 (WCAG 2.2, 1.4.11)."""
    red, green, blue = colour
    while (1.05) / (_luminance((red, green, blue)) + 0.05) < 3.0:
        red, green, blue = int(red * 0.92), int(green * 0.92), int(blue * 0.92)
    return red, green, blue


def _luminance(colour: Colour) -> float:
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _chosen(dose: DoseReport) -> list[Dvh]:
    wanted = {goal.roi for goal in dose.goals}
    return sorted(dose.dvhs, key=lambda dvh: dvh.roi not in wanted)[:_MOST_CURVES]


def _last_gy(dvh: Dvh) -> float:
    """The highest dose that either curve reaches."""
    reached = dvh.dose_gy[(dvh.planned > 0.001) | (dvh.daily > 0.001)]
    return float(reached[-1]) if len(reached) else 0.0


def _draw_curves(
    paper: Paper, dvhs: list[Dvh], colours: Mapping[str, Colour], prescription_gy: float | None, box: Box
) -> None:
    left, top, width, height = box
    most = max([1.0, prescription_gy or 0.0, *(_last_gy(dvh) for dvh in dvhs)]) * 1.04
    _draw_axes(paper, box, most)
    if prescription_gy:
        x = left + width * prescription_gy / most
        paper.line([(x, top), (x, top + height)], GREY, 0.6, dashed=True)
    for dvh in dvhs:
        colour = on_white(colours.get(dvh.roi, INK))
        for share, dashed in ((dvh.planned, True), (dvh.daily, False)):
            at = left + width * dvh.dose_gy / most, top + height * (1 - share)
            with paper.within((left, top - 0.3, width, height + 0.6)):
                paper.line(list(zip(at[0].tolist(), at[1].tolist(), strict=True)), colour, 1.0, dashed)


def _draw_axes(paper: Paper, box: Box, most: float) -> None:
    left, top, width, height = box
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if most / s <= 10 or s == 100)
    for dose in np.arange(0, most, step):
        x = left + width * float(dose) / most
        paper.line([(x, top), (x, top + height)], PALE, 0.3)
        paper.text(x - 1.5, top + height + 3, f"{dose:.0f}", Type(6.0))
    for percent in range(0, 101, 20):
        y = top + height * (1 - percent / 100)
        paper.line([(left, y), (left + width, y)], PALE, 0.3)
        paper.text_right(left - 0.8, y + 0.8, f"{percent} %", Type(6.0))
    paper.box(box, INK, width_pt=0.5)
    paper.text_right(left + width, top + height + 5.6, "Gy", Type(6.5))


def _draw_legend(paper: Paper, dvhs: list[Dvh], colours: Mapping[str, Colour], box: Box) -> None:
    left, down, width, _ = box
    style = Type(6.5)
    for dvh in dvhs:
        down += 3.0
        paper.line([(left, down - 0.8), (left + 4, down - 0.8)], on_white(colours.get(dvh.roi, INK)), 1.6)
        paper.text(left + 5, down, shortened(paper, dvh.roi, width - 5, style), style)
        if dvh.covered < 0.999:
            down += 2.6
            share = f"{dvh.covered:.0%} of it in the dose grid".replace("%", " %")
            paper.text(left + 5, down, share, Type(5.5, False, GREY))


def _draw_goals(paper: Paper, goals: tuple[GoalResult, ...], box: Box) -> None:
    left, top, width, height = box
    columns = left, left + width * 0.42, left + width * 0.71
    for x, heading in zip(columns, ("Goal", "planned", "daily"), strict=True):
        paper.text(x, top + 1.5, heading, Type(6.5, True))
    paper.line([(left, top + 2.6), (left + width, top + 2.6)], INK, 0.6)
    if not goals:
        paper.text(left, top + 6.5, "No goals were given.", Type(7.0, False, GREY))
        return
    urgent = sorted(goals, key=lambda goal: (goal.met_now, goal.met_then))
    size = next((s for s in _SIZES_PT if len(goals) * _goal_mm(s) <= height - 4), _SIZES_PT[-1])
    room = int((height - 4) / _goal_mm(size))
    shown = urgent if len(urgent) <= room else urgent[: room - 1]
    for number, goal in enumerate(shown):
        _draw_goal(paper, goal, columns, top + 3.0 + _goal_mm(size) * (number + 0.8), size)
    if len(shown) < len(goals):
        cut = urgent[len(shown) :]
        missed = sum(not goal.met_now for goal in cut)
        paper.text(left, top + height - 0.5, f"and {len(cut)} more, {missed} not met: {SEE_PAGE}", Type(6.5, True))


def _goal_mm(size_pt: float) -> float:
    return Type(size_pt).line_mm * 1.2


def _draw_goal(paper: Paper, goal: GoalResult, columns: tuple[float, float, float], y: float, size: float) -> None:
    paper.text(columns[0], y, shortened(paper, goal.goal, columns[1] - columns[0] - 1.0, Type(size)), Type(size))
    for x, value, met in ((columns[1], goal.planned, goal.met_then), (columns[2], goal.daily, goal.met_now)):
        light = "pass" if met else "reject"
        paper.sign(light, x + 1.2, y - size * 0.13, size * 0.33)
        said = f"{figure(value)} {goal.unit} {'met' if met else 'NOT MET'}"
        room = columns[2] - columns[1] - 4.0
        paper.text(x + 3, y, said, narrowed(paper, said, room, Type(size, not met, LIGHT_COLOURS[light])))
