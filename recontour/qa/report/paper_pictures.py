"""The place to look at, on paper: three planes through it with contours as lines, and how far tissue moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.contours import contours_from_level_set
from recontour.geometry.grid import Triple
from recontour.geometry.planes import SlicePlane
from recontour.geometry.resample import sample
from recontour.geometry.volume import LevelSet
from recontour.qa.checks import LIGHTS
from recontour.qa.fraction import Fraction, RoiPicture
from recontour.qa.report.paper import GREY, INK, Box, Colour, Paper, Type

WINDOW_HU = (-160.0, 240.0)  # level 40, width 400: soft tissue
DOTS_PER_MM = 200 / 25.4
MARGIN_MM = 20.0  # of the patient, shown around the ROI
SMALLEST_MM = 60.0  # of the patient, across a picture
SCALE_BAR_MM = 20.0
ARROW_EVERY_MM = 6.0  # on paper
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
# Corners of matplotlib's viridis (CC0), even in lightness and readable for the colour-blind
_SCALE = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)


@dataclass(frozen=True)
class View:
    """A plane: what runs to the right and what downwards (LPS), and the letters at left, right, top and bottom."""

    name: str
    across: Triple
    down: Triple
    letters: tuple[str, str, str, str]


AXIAL = View("Axial", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("R", "L", "A", "P"))
SAGITTAL = View("Sagittal", (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), ("A", "P", "S", "I"))
CORONAL = View("Coronal", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), ("R", "L", "S", "I"))
VIEWS = (AXIAL, SAGITTAL, CORONAL)


@dataclass(frozen=True)
class Place:
    """Where to look. at_mm: LPS. low_mm, high_mm: the ROI's planned and daily shape lie within, LPS."""

    at_mm: Triple
    low_mm: Triple
    high_mm: Triple


@dataclass(frozen=True)
class Panel:
    """A view as it stands on paper: its plane has one row and column for each dot; mm_per_mm: patient over paper."""

    view: View
    box: Box
    plane: SlicePlane
    mm_per_mm: float

    def on_paper(self, points_mm: NDArray[np.float64]) -> list[tuple[float, float]]:
        """(N, 3) LPS points, laid on the plane, in mm of the sheet."""
        away = (points_mm - np.asarray(self.plane.origin_mm)) / self.mm_per_mm
        x = self.box[0] + away @ np.asarray(self.view.across)
        y = self.box[1] + away @ np.asarray(self.view.down)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def worst_roi(rois: Sequence[RoiPicture]) -> RoiPicture | None:
    """The gravest light, and of these the one whose surface changed most; one that was lost is before all others."""
    return max(
        rois,
        key=lambda roi: (LIGHTS.index(roi.record.light), roi.change.largest_mm if roi.change else np.inf),
        default=None,
    )


def place_of(roi: RoiPicture | None, fraction: Fraction) -> Place:
    """Where the ROI's surface changed most, or the middle of what there is of it, or of the region."""
    shapes = [] if roi is None else [_bounds(shape) for shape in (roi.planned, roi.daily)]
    found = [bounds for bounds in shapes if bounds is not None]
    if not found:
        low, high = (np.asarray(end) for end in fraction.region.bounds_mm())
    else:
        low, high = np.min([b[0] for b in found], axis=0), np.max([b[1] for b in found], axis=0)
    at = roi.change.worst_mm if roi and roi.change else (low + high) / 2
    return Place(_triple(at), _triple(low), _triple(high))


def panels(place: Place, boxes: Sequence[Box]) -> list[Panel]:
    """One panel for each of VIEWS in its box, all through the place and of one scale, and the ROI within each."""
    size = np.subtract(place.high_mm, place.low_mm)
    scale = 0.0
    for view, (_, _, width, height) in zip(VIEWS, boxes, strict=True):
        wide, high = (float(np.abs(np.dot(size, axis))) + 2 * MARGIN_MM for axis in (view.across, view.down))
        scale = max(scale, wide / width, high / height, SMALLEST_MM / height)
    return [_panel(view, place, box, scale) for view, box in zip(VIEWS, boxes, strict=True)]


def draw_views(paper: Paper, fraction: Fraction, place: Place, drawn: Sequence[Panel]) -> list[RoiPicture]:
    """The daily scan, planned contours dashed and daily ones solid; the ROIs that are in the pictures."""
    for panel in drawn:
        paper.picture(_grey(fraction, panel), panel.box)
    seen: list[RoiPicture] = []
    for roi in fraction.rois:
        planned = _draw_shape(paper, roi.planned, roi.colour, drawn, dashed=True)
        daily = _draw_shape(paper, roi.daily, roi.colour, drawn)
        seen += [roi] if planned or daily else []
    for panel in drawn:
        _mark_place(paper, panel, place)
        _furnish(paper, panel, f"{panel.view.name}, {_where(panel, place)}")
    return seen


def draw_motion(paper: Paper, fraction: Fraction, panel: Panel) -> None:
    """How far tissue moved from the plan, once aligned: the length as colour, the part in the plane as arrows.

    The field leads from the daily scan back to the plan; tissue came the other way.
    """
    field = fraction.field_daily_to_planning
    if field is None:
        left, top, _, height = panel.box
        paper.box(panel.box, GREY)
        paper.text(left + 4, top + height / 2, "No displacement field was at hand.", Type(8.0, False, GREY))
        return
    points = _points(panel)
    moved = np.stack([-sample(part, field.grid, points, np.nan) for part in field.array], axis=-1)  # (rows, columns, 3)
    length = np.linalg.norm(moved, axis=-1)
    known = np.isfinite(length)
    most = max(5.0, float(np.ceil(length.max(where=known, initial=0.0))))
    grey = _grey(fraction, panel).astype(float)[..., None]
    mixed = 0.45 * grey + 0.55 * _coloured(np.where(known, length, 0.0) / most)
    paper.picture(np.where(known[..., None], mixed, 0.0).astype(np.uint8), panel.box)
    for roi in fraction.rois:
        _draw_shape(paper, roi.daily, roi.colour, [panel])
    with paper.within(panel.box):
        _draw_arrows(paper, panel, points, moved)
    _furnish(paper, panel, "Displacement planned -> daily, after alignment")
    _draw_scale(paper, panel, most)


def _panel(view: View, place: Place, box: Box, scale: float) -> Panel:
    _, _, width, height = box
    middle = (np.asarray(place.low_mm) + np.asarray(place.high_mm)) / 2
    across, down = np.asarray(view.across), np.asarray(view.down)
    through = np.cross(across, down)
    middle = middle + through * np.dot(np.subtract(place.at_mm, middle), through)
    dot = scale / DOTS_PER_MM
    corner = middle - across * (width * scale - dot) / 2 - down * (height * scale - dot) / 2
    size = round(height * DOTS_PER_MM), round(width * DOTS_PER_MM)
    spacing = height * scale / size[0], width * scale / size[1]
    return Panel(view, box, SlicePlane(_triple(corner), view.across, view.down, *spacing, *size), scale)


def _points(panel: Panel) -> NDArray[np.float64]:
    """(rows, columns, 3) LPS of the plane's dots."""
    plane = panel.plane
    columns, rows = np.arange(plane.columns) * plane.column_spacing_mm, np.arange(plane.rows) * plane.row_spacing_mm
    across, down = np.meshgrid(columns, rows)
    return plane.points_at(across.astype(np.float64), down.astype(np.float64))


def _grey(fraction: Fraction, panel: Panel) -> NDArray[np.uint8]:
    low, high = WINDOW_HU
    hu = sample(fraction.fixed.array, fraction.fixed.grid, _points(panel), -1000.0)
    return (np.clip((hu - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8)


def _draw_shape(paper: Paper, shape: LevelSet, colour: Colour, drawn: Sequence[Panel], dashed: bool = False) -> bool:
    """Its contours in every panel, dark below, so that any colour shows on any grey. Whether any shows."""
    shows = False
    found = contours_from_level_set(shape, [panel.plane for panel in drawn])
    for panel, contours in zip(drawn, found, strict=True):
        with paper.within(panel.box):
            for contour in contours:
                points = panel.on_paper(contour)
                paper.line(points, BLACK, 1.6, closed=True)
                paper.line(points, colour, 0.9, dashed, closed=True)
                shows = shows or any(_inside(point, panel.box) for point in points)
    return shows


def _inside(point_mm: tuple[float, float], box: Box) -> bool:
    return 0 <= point_mm[0] - box[0] <= box[2] and 0 <= point_mm[1] - box[1] <= box[3]


def _mark_place(paper: Paper, panel: Panel, place: Place) -> None:
    ((x, y),) = panel.on_paper(np.array([place.at_mm]))
    with paper.within(panel.box):
        paper.circle(x, y, 2.0, BLACK, 1.6)
        paper.circle(x, y, 2.0, WHITE, 0.8)


def _furnish(paper: Paper, panel: Panel, caption: str) -> None:
    """Sides of the patient, a scale bar, a caption below."""
    left, top, width, height = panel.box
    a, b, c, d = panel.view.letters
    places = (
        (left + 1.2, top + height / 2, a),
        (left + width - 3.4, top + height / 2, b),
        (left + width / 2 - 1, top + 3.8, c),
        (left + width / 2 - 1, top + height - 1.4, d),
    )
    for x, y, letter in places:
        paper.box((x - 0.5, y - 3.0, 3.4, 3.9), BLACK, filled=True)
        paper.text(x, y, letter, Type(9.0, True, WHITE))
    bar, down = SCALE_BAR_MM / panel.mm_per_mm, top + height - 2.5
    paper.box((left + 1.4, down - 4.2, max(bar, 9.0) + 1.4, 5.2), BLACK, filled=True)
    paper.line([(left + 2, down), (left + 2 + bar, down)], WHITE, 1.5)
    paper.text(left + 2, down - 1.2, f"{SCALE_BAR_MM:.0f} mm", Type(6.5, True, WHITE))
    paper.text(left, top + height + 3.0, caption, Type(7.0, False, INK))


def _draw_arrows(paper: Paper, panel: Panel, points: NDArray[np.float64], moved: NDArray[np.float32]) -> None:
    """From where tissue was to where it is, to the picture's scale; too short ones are left out."""
    every = round(ARROW_EVERY_MM * DOTS_PER_MM)
    half = every // 2
    ends = points[half::every, half::every].reshape(-1, 3)
    ways = moved[half::every, half::every].reshape(-1, 3)
    starts = panel.on_paper(ends - ways)
    for start, end in zip(starts, panel.on_paper(ends), strict=True):
        step = np.subtract(end, start)
        long = float(np.hypot(*step))
        if not long >= 0.4:  # also where the field is not known
            continue
        along, side = step / long, np.array([-step[1], step[0]]) / long
        head = min(1.3, 0.6 * long)
        back = np.asarray(end) - head * along
        paper.line([start, (float(back[0]), float(back[1]))], WHITE, 0.7)
        corners = np.array([end, back + 0.45 * head * side, back - 0.45 * head * side])
        paper.area([(float(x), float(y)) for x, y in corners], WHITE)


def _draw_scale(paper: Paper, panel: Panel, most: float) -> None:
    """The colours with their lengths, in the upper right corner."""
    left, top, width, _ = panel.box
    box = left + width - 30, top + 1.5, 18.0, 2.6
    paper.box((box[0] - 4, top + 0.6, 33.2, 4.4), BLACK, filled=True)
    paper.picture(_coloured(np.linspace(0, 1, 128)[None].repeat(4, axis=0)).astype(np.uint8), box)
    paper.text_right(box[0] - 0.6, top + 3.8, "0", Type(6.5, True, WHITE))
    paper.text(box[0] + box[2] + 0.6, top + 3.8, f"{most:.0f} mm", Type(6.5, True, WHITE))


def _coloured(share: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...) shares 0 to 1 to (..., 3) colours 0 to 255."""
    at = np.clip(share, 0.0, 1.0) * (len(_SCALE) - 1)
    knots = np.arange(len(_SCALE))
    return np.stack([np.interp(at, knots, _SCALE[:, k]) for k in range(3)], axis=-1)


def _where(panel: Panel, place: Place) -> str:
    through = int(np.argmax(np.abs(np.cross(panel.view.across, panel.view.down))))
    return f"{'xyz'[through]} = {place.at_mm[through]:.1f} mm"


def _bounds(shape: LevelSet) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    box = bounding_box(shape.array, margin=0)
    if box is None:
        return None
    ends = shape.grid.points_at([[part.start for part in box], [part.stop - 1 for part in box]])
    return ends.min(axis=0), ends.max(axis=0)


def _triple(values: Sequence[float] | NDArray[np.float64]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
