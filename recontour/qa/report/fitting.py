"""What does not fit is made smaller, and then cut: never without a word, and never over the edge."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from recontour.qa.report.paper import Box, Paper, Type

SEE_PAGE = "see the page"


def figure(value: float | None, digits: int = 1) -> str:
    """The number, or "-" where it is none: a manifest that was read back has None for what was not finite."""
    return "-" if value is None or not isfinite(value) else f"{value:.{digits}f}"


def fitted(
    paper: Paper, paragraphs: Sequence[str], box: Box, sizes_pt: Sequence[float], what: str = "lines"
) -> tuple[Type, list[str]]:
    """The paragraphs in lines that fit into the box, in the largest of the sizes (falling) that does; where none
    does, in the smallest, and the last line counts what was cut."""
    _, _, width, height = box
    style, lines = Type(sizes_pt[-1]), list[str]()
    for size in sizes_pt:
        style = Type(size)
        lines = [line for text in paragraphs for line in paper.wrapped(text, width, style)]
        if len(lines) * style.line_mm <= height:
            return style, lines
    room = max(int(height / style.line_mm), 1)
    return style, [*lines[: room - 1], f"and {len(lines) - room + 1} more {what}: {SEE_PAGE}"]


def draw_fitted(paper: Paper, paragraphs: Sequence[str], box: Box, sizes_pt: Sequence[float]) -> None:
    """Draws them there."""
    style, lines = fitted(paper, paragraphs, box, sizes_pt)
    paper.paragraph(box[0], box[1], lines, style)


def narrowed(paper: Paper, text: str, width_mm: float, style: Type) -> Type:
    """The style, as much smaller as the text needs to fit into one line of `width_mm`."""
    wide = paper.width_mm(text, style)
    return style if wide <= width_mm else Type(style.size_pt * width_mm / wide, style.bold, style.colour)


def shortened(paper: Paper, text: str, width_mm: float, style: Type) -> str:
    """The text with its middle left out, where it is wider than `width_mm`: ends tell names and goals apart."""
    if paper.width_mm(text, style) <= width_mm:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: kept // 2]}...{text[len(text) - (kept + 1) // 2 :]}"
        if paper.width_mm(short, style) <= width_mm:
            return short
    return "..."
