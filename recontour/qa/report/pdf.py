"""The report of a fraction on two sheets of A4: what to know on the first, what to look at on the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recontour.qa.checks import LIGHTS
from recontour.qa.fraction import Fraction, RoiPicture
from recontour.qa.manifest import Manifest, ScanRecord
from recontour.qa.report.fitting import draw_fitted, figure, shortened
from recontour.qa.report.paper import GREY, INK, LIGHT_COLOURS, PALE, WIDTH_MM, Colour, Paper, Type
from recontour.qa.report.paper_dose import draw_dose, on_white
from recontour.qa.report.paper_pictures import WINDOW_HU, draw_motion, draw_views, panels, place_of, worst_roi
from recontour.qa.report.paper_rois import draw_rois

UNAPPROVED = "UNAPPROVED: check every contour before use"
EDGE_MM = 12.0
INNER_MM = WIDTH_MM - 2 * EDGE_MM
_SMALL = (8.0, 7.5, 7.0, 6.5, 6.0, 5.5)
_NOTES = (7.0, 6.5, 6.0, 5.5)
_VERDICTS = {
    "pass": "Every check passed. Look at every contour all the same.",
    "review": "Look at what is marked before these contours are used.",
    "reject": "Do not use what is rejected.",
}


def fraction_pdf(fraction: Fraction) -> bytes:
    """Two pages of A4 as PDF: words and contours as vectors, scans as pictures of about 200 dots per inch.

    Nothing in it says who the patient is unless `fraction.identity` does. The same fraction gives the same bytes.
    """
    paper = Paper(f"recontour QA report {fraction.pseudonym}", "Contours of one fraction, UNAPPROVED")
    _first_page(paper, fraction)
    _frame(paper, fraction, 1)
    paper.new_page()
    _second_page(paper, fraction)
    _frame(paper, fraction, 2)
    return paper.bytes()


def _frame(paper: Paper, fraction: Fraction, page: int) -> None:
    """What both pages say: title, UNAPPROVED, whose, when, page n of 2, and whether letters are missing."""
    paper.text(EDGE_MM, 14.5, "recontour: QA report of one fraction", Type(11.0, True))
    warning = Type(8.5, True, LIGHT_COLOURS["reject"])
    wide = paper.width_mm(UNAPPROVED, warning)
    right = WIDTH_MM - EDGE_MM
    paper.box((right - wide - 4, 9.5, wide + 4, 7.0), LIGHT_COLOURS["reject"], width_pt=1.0)
    paper.text(right - wide - 2, 14.2, UNAPPROVED, warning)
    paper.line([(EDGE_MM, 18.5), (right, 18.5)], INK, 0.8)
    small = Type(7.0, False, GREY)
    paper.line([(EDGE_MM, 283.5), (right, 283.5)], PALE, 0.5)
    paper.text(EDGE_MM, 287.5, f"{fraction.pseudonym}   written {fraction.manifest.written}", small)
    paper.text_right(right, 287.5, f"page {page} of 2", small)
    if paper.lacking:
        text = "A ? or a letter without its accent stands for one that this paper's font lacks: see the page."
        paper.text(EDGE_MM, 291.0, text, small)


def _first_page(paper: Paper, fraction: Fraction) -> None:
    manifest = fraction.manifest
    _verdict(paper, manifest)
    draw_fitted(paper, [" ".join(manifest.reasons)], (EDGE_MM, 39.0, INNER_MM, 15.5), _SMALL)
    for number, (what, said) in enumerate(_facts(fraction)):
        left, top = EDGE_MM + (number % 2) * INNER_MM * 0.36, 56.0 + (number // 2) * 8.0
        paper.text(left, top + 3.0, what, Type(7.0, True, GREY))
        wide = INNER_MM * (0.36, 0.64)[number % 2] - 24
        draw_fitted(paper, [said], (left + 22, top + 0.4, wide, 7.0), _SMALL)
    draw_rois(paper, fraction.rois, (EDGE_MM, 81.0, INNER_MM, 178.0))
    _sign_here(paper)
    legend = (
        "Shift: how far the centre of the daily contour lies from the planned one, placed by the alignment. Paths: "
        "mean distance of the contour carried over from the plan and the one found anew on the daily scan; - where "
        "there is one alone. Surface: how far the daily surface lies from the planned one."
    )
    paper.line([(EDGE_MM, 273.5), (WIDTH_MM - EDGE_MM, 273.5)], PALE, 0.5)
    paper.paragraph(EDGE_MM, 274.5, paper.wrapped(legend, INNER_MM, Type(6.0, False, GREY)), Type(6.0, False, GREY))


def _sign_here(paper: Paper) -> None:
    """Room for a pen: who looked, when, and what was decided."""
    style, down = Type(8.0), 268.0
    paper.line([(EDGE_MM, 261.0), (WIDTH_MM - EDGE_MM, 261.0)], INK, 0.5)
    for left, what, room in ((0.0, "Looked at by", 50.0), (76.0, "on", 38.0)):
        start = EDGE_MM + left + paper.width_mm(what, style) + 2
        paper.text(EDGE_MM + left, down, what, style)
        paper.line([(start, down + 0.6), (start + room, down + 0.6)], GREY, 0.5)
    for left, what in ((126.0, "accept"), (147.0, "edit"), (163.0, "reject")):
        paper.box((EDGE_MM + left, down - 2.8, 3.2, 3.2), INK, width_pt=0.6)
        paper.text(EDGE_MM + left + 4.6, down, what, style)


def _verdict(paper: Paper, manifest: Manifest) -> None:
    """The line that is read first."""
    light = manifest.light
    colour = LIGHT_COLOURS[light]
    paper.box((EDGE_MM, 21.5, INNER_MM, 15.5), colour, width_pt=1.6)
    paper.sign(light, EDGE_MM + 8.0, 29.2, 9.0)
    word = Type(20.0, True, colour)
    paper.text(EDGE_MM + 16.0, 31.7, light.upper(), word)
    left = EDGE_MM + 20.0 + paper.width_mm(light.upper(), word)
    lines = [_VERDICTS[light], *_named(manifest)]
    draw_fitted(paper, lines, (left, 23.3, EDGE_MM + INNER_MM - left - 2, 13.0), (9.5, 9.0, 8.5, 8.0, 7.5, 7.0))


def _named(manifest: Manifest) -> list[str]:
    """How many are rejected, to be reviewed, and passed; and which."""
    names = {light: [roi.name for roi in manifest.rois if roi.light == light] for light in LIGHTS}
    words = {"reject": "rejected", "review": "to be reviewed", "pass": "passed"}
    counts = ", ".join(f"{len(names[light])} {word}" for light, word in words.items())
    which = [
        f"{words[light].capitalize()}: {', '.join(names[light])}." for light in ("reject", "review") if names[light]
    ]
    return [f"Of {len(manifest.rois)} ROIs: {counts}.", *([" ".join(which)] if which else [])]


def _facts(fraction: Fraction) -> list[tuple[str, str]]:
    alignment, manifest = fraction.manifest.alignment, fraction.manifest
    alike = "" if alignment.quality is None else f"; alike by {figure(alignment.quality, 2)} (correlation)"
    identity = f" ({fraction.identity})" if fraction.identity else ""
    network = f", model {manifest.model.name}" if manifest.model else ""
    return [
        ("Patient", f"{fraction.pseudonym}{identity}"),
        (
            "Alignment",
            f"daily to planning {alignment.shift}; turned by {figure(alignment.rotation_degrees)} degrees; "
            f"scale {figure(alignment.scale, 3)}{alike}",
        ),
        ("Daily scan", f"{fraction.treated_on or 'no date'}, {manifest.daily.images} images"),
        ("Method", f"{manifest.settings.get('method', 'not recorded')}{network}"),
        ("Planning scan", f"{fraction.planned_on or 'no date'}, {manifest.planning.images} images"),
        ("Left out", ", ".join(manifest.left_out) or "nothing"),
    ]


def _second_page(paper: Paper, fraction: Fraction) -> None:
    worst = worst_roi(fraction.rois)
    place = place_of(worst, fraction)
    paper.text(EDGE_MM, 23.5, _heading(worst), Type(9.0, True))
    wide, high = (INNER_MM - 4.0) / 2, 60.0
    right = EDGE_MM + wide + 4.0
    boxes = [(EDGE_MM, 25.5, wide, high), (right, 25.5, wide, high), (EDGE_MM, 90.5, wide, high)]
    drawn = panels(place, boxes)
    seen = draw_views(paper, fraction, place, drawn)
    draw_motion(paper, fraction, replace(drawn[0], box=(right, 90.5, wide, high)))
    _legend(paper, seen)
    colours: Mapping[str, Colour] = {roi.record.name: roi.colour for roi in fraction.rois}
    draw_dose(paper, fraction.dose, colours, (EDGE_MM, 166.0, INNER_MM, 66.0))
    _small_print(paper, fraction)


def _heading(worst: RoiPicture | None) -> str:
    if worst is None:
        return "No ROI was brought over: the middle of the region"
    if worst.change is None:
        return f"{worst.record.name} ({worst.record.light}): nothing is left of it, or nothing was planned"
    change = worst.change
    return f"{worst.record.name} ({worst.record.light}) where its surface changed most: {figure(change.largest_mm)} mm"


def _legend(paper: Paper, seen: Sequence[RoiPicture]) -> None:
    """How to read the lines, and whose they are."""
    low, high = WINDOW_HU
    shown = f"{low:.0f} to {high:.0f} HU; ring: the place"
    how = f"Planned contours (placed by the alignment) dashed, daily ones solid; {shown}."
    paper.text(EDGE_MM, 158.0, how, Type(7.0))
    left, style = EDGE_MM, Type(7.0)
    for number, roi in enumerate(seen):
        name = shortened(paper, roi.record.name, 36.0, style)
        more = f"and {len(seen) - number} more"
        if left + paper.width_mm(name, style) + 5 + paper.width_mm(more, style) > WIDTH_MM - EDGE_MM:
            paper.text(left, 162.0, more, style)
            return
        paper.line([(left, 161.2), (left + 4, 161.2)], on_white(roi.colour), 1.6)
        paper.text(left + 5, 162.0, name, style)
        left += paper.width_mm(name, style) + 9


def _small_print(paper: Paper, fraction: Fraction) -> None:
    manifest = fraction.manifest
    paper.line([(EDGE_MM, 234.0), (WIDTH_MM - EDGE_MM, 234.0)], PALE, 0.5)
    half = (INNER_MM - 4.0) / 2
    paper.text(EDGE_MM, 238.0, "Left out, and what to know", Type(8.0, True))
    said = [f"Not brought over: {name} ({reason})" for name, reason in manifest.left_out.items()]
    said += [*fraction.remarks, *manifest.notes]
    draw_fitted(paper, said or ["Nothing."], (EDGE_MM, 239.5, half, 42.5), _NOTES)
    right = EDGE_MM + half + 4.0
    paper.text(right, 238.0, "What this was made with, and of what", Type(8.0, True))
    draw_fitted(paper, _origin(manifest), (right, 239.5, half, 42.5), _NOTES)


def _origin(manifest: Manifest) -> list[str]:
    out = [", ".join(f"{name} {version}" for name, version in manifest.versions.items())]
    if manifest.model:
        out.append(f"model {manifest.model.name}, sha256 {manifest.model.sha256}")
    out += _uids("Planning scan", manifest.planning) + _uids("Daily scan", manifest.daily)
    out.append(f"Planning structure set: {manifest.structures_uid}")
    return [*out, *(f"{output.file}: sha256 {output.sha256}" for output in manifest.outputs)]


def _uids(what: str, scan: ScanRecord) -> list[str]:
    return [f"{what}: study {scan.study_uid}, series {scan.series_uid}, frame {scan.frame_of_reference_uid}"]
