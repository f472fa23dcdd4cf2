"""A sheet of A4 to draw a report on: millimetres from the top left corner, text as text, lines as lines.

Bitstream Vera, which comes with reportlab and may be embedded, is part of every file, so that the layout is the same
wherever it is opened. It has the letters of Western Europe and some more; `Paper.lacking` tells what else there was.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
Box = tuple[float, float, float, float]  # left, top, width, height, mm

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
MM = 72.0 / 25.4  # points
LEADING = 1.25
INK: Colour = (20, 20, 20)
GREY: Colour = (95, 95, 95)
PALE: Colour = (205, 205, 205)
LIGHT_COLOURS: dict[str, Colour] = {"pass": (0, 104, 74), "review": (138, 88, 0), "reject": (168, 0, 31)}

_FONTS = {False: ("RecontourSans", "Vera.ttf"), True: ("RecontourSans-Bold", "VeraBd.ttf")}
_NO_GLYPH = "?"


@dataclass(frozen=True)
class Type:
    """How text looks: size in points, weight, colour."""

    size_pt: float = 7.5
    bold: bool = False
    colour: Colour = INK

    @property
    def line_mm(self) -> float:
        """From one line of text to the next."""
        return self.size_pt * LEADING / MM


class Paper:
    """Sheets of A4 in memory; `bytes()` ends them. The same strokes give the same bytes.

    lacking: the characters that the font does not have, and that were drawn as a question mark.
    """

    def __init__(self, title: str, subject: str) -> None:
        from reportlab.pdfgen.canvas import Canvas

        self._fonts = _registered_fonts()
        self._file = io.BytesIO()
        size = WIDTH_MM * MM, HEIGHT_MM * MM
        how = {"pageCompression": 1, "invariant": 1, "lang": "en", "initialFontName": self._fonts[False].name}
        self._canvas: Any = cast("Any", Canvas)(self._file, pagesize=size, **how)
        self._canvas.setTitle(title)
        self._canvas.setSubject(subject)
        self._canvas.setAuthor("recontour")
        self._canvas.setCreator("recontour")
        self.lacking: set[str] = set()

    def new_page(self) -> None:
        """Ends this sheet and begins the next."""
        self._canvas.showPage()

    def bytes(self) -> bytes:
        """The whole file; nothing can be drawn afterwards."""
        self._canvas.showPage()
        self._canvas.save()
        return self._file.getvalue()

    def width_mm(self, text: str, style: Type) -> float:
        """How wide the text is."""
        return float(self._fonts[style.bold].face_width(self._shown(text, style.bold), style.size_pt)) / MM

    def text(self, left_mm: float, baseline_mm: float, text: str, style: Type = Type()) -> None:
        """One line, from its left end."""
        self._canvas.setFillColorRGB(*_unit(style.colour))
        self._canvas.setFont(self._fonts[style.bold].name, style.size_pt)
        self._canvas.drawString(left_mm * MM, self._y(baseline_mm), self._shown(text, style.bold))

    def text_right(self, right_mm: float, baseline_mm: float, text: str, style: Type = Type()) -> None:
        """One line, up to its right end."""
        self.text(right_mm - self.width_mm(text, style), baseline_mm, text, style)

    def wrapped(self, text: str, width_mm: float, style: Type) -> list[str]:
        """The text in lines of at most `width_mm`; a word that is longer is broken."""
        out: list[str] = []
        line = ""
        for word in text.split():
            for piece in self._pieces(word, width_mm, style):
                longer = f"{line} {piece}" if line else piece
                if line and self.width_mm(longer, style) > width_mm:
                    out.append(line)
                    longer = piece
                line = longer
        return [*out, line] if line else out

    def paragraph(self, left_mm: float, top_mm: float, lines: Sequence[str], style: Type) -> float:
        """Draws lines below each other; where they end, mm."""
        for number, line in enumerate(lines):
            self.text(left_mm, top_mm + style.line_mm * (number + 0.8), line, style)
        return top_mm + style.line_mm * len(lines)

    def line(self, points_mm: Sequence[tuple[float, float]], colour: Colour, width_pt: float, dashed: bool = False,
             closed: bool = False) -> None:  # fmt: skip
        """A line through points."""
        self._canvas.setStrokeColorRGB(*_unit(colour))
        self._canvas.setLineWidth(width_pt)
        self._canvas.setLineJoin(1)
        self._canvas.setDash(*((3.0, 2.2) if dashed else ()))
        self._canvas.drawPath(self._path(points_mm, closed), stroke=1, fill=0)

    def area(self, points_mm: Sequence[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        self._canvas.setFillColorRGB(*_unit(colour))
        self._canvas.drawPath(self._path(points_mm, True), stroke=0, fill=1)

    def box(self, box: Box, colour: Colour, filled: bool = False, width_pt: float = 0.5) -> None:
        """A rectangle, filled or as a frame."""
        left, top, width, height = box
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        if filled:
            self.area(corners, colour)
        else:
            self.line(corners, colour, width_pt, closed=True)

    def circle(self, x_mm: float, y_mm: float, radius_mm: float, colour: Colour, width_pt: float = 0.0) -> None:
        """A disc, or with a width a ring."""
        self._canvas.setFillColorRGB(*_unit(colour))
        self._canvas.setStrokeColorRGB(*_unit(colour))
        self._canvas.setLineWidth(width_pt)
        self._canvas.setDash()
        ring = bool(width_pt)
        self._canvas.circle(x_mm * MM, self._y(y_mm), radius_mm * MM, stroke=int(ring), fill=int(not ring))

    def picture(self, pixels: NDArray[np.uint8], box: Box) -> None:
        """(rows, columns) grey or (rows, columns, 3) colours over the whole box, kept without loss."""
        from PIL import Image
        from reportlab.lib.utils import ImageReader

        left, top, width, height = box
        image = cast("Any", ImageReader)(Image.fromarray(pixels))
        self._canvas.drawImage(image, left * MM, self._y(top + height), width * MM, height * MM)

    @contextmanager
    def within(self, box: Box) -> Generator[None]:
        """What is drawn meanwhile shows inside the box only."""
        left, top, width, height = box
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        self._canvas.saveState()
        self._canvas.clipPath(self._path(corners, True), stroke=0, fill=0)
        yield
        self._canvas.restoreState()

    def sign(self, light: str, x_mm: float, y_mm: float, size_mm: float) -> None:
        """A light as a shape around (x, y): a disc with a tick, a triangle with a bar, a square with a cross."""
        colour, r, width_pt = LIGHT_COLOURS[light], size_mm / 2, size_mm * 0.4
        white: Colour = (255, 255, 255)

        def at(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
            return [(x_mm + r * x, y_mm + r * y) for x, y in pairs]

        if light == "pass":
            self.circle(x_mm, y_mm, r, colour)
            self.line(at((-0.5, 0.0), (-0.12, 0.42), (0.5, -0.4)), white, width_pt)
        elif light == "review":
            self.area(at((0.0, -1.0), (1.1, 0.95), (-1.1, 0.95)), colour)
            self.line(at((0.0, -0.4), (0.0, 0.3)), white, width_pt)
            self.line(at((0.0, 0.52), (0.0, 0.76)), white, width_pt)
        else:
            self.box((x_mm - r, y_mm - r, size_mm, size_mm), colour, filled=True)
            self.line(at((-0.5, -0.5), (0.5, 0.5)), white, width_pt)
            self.line(at((-0.5, 0.5), (0.5, -0.5)), white, width_pt)

    def _pieces(self, word: str, width_mm: float, style: Type) -> list[str]:
        """The word, cut where it is wider than a line."""
        out: list[str] = []
        while len(word) > 1 and self.width_mm(word, style) > width_mm:
            end = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or self.width_mm(word[:n], style) <= width_mm)
            out.append(word[:end])
            word = word[end:]
        return [*out, word]

    def _shown(self, text: str, bold: bool) -> str:
        """The text in letters that the font has: without the accent, or a question mark, where it has none."""
        has = self._fonts[bold].has
        out: list[str] = []
        for letter in unicodedata.normalize("NFC", text):
            bare = unicodedata.normalize("NFKD", letter)[:1]
            chosen = letter if has(letter) else bare if bare.isalpha() and has(bare) else _NO_GLYPH
            if chosen != letter:
                self.lacking.add(letter)
            out.append(" " if letter.isspace() else chosen)
        return "".join(out)

    def _path(self, points_mm: Sequence[tuple[float, float]], closed: bool) -> Any:
        path = self._canvas.beginPath()
        path.moveTo(points_mm[0][0] * MM, self._y(points_mm[0][1]))
        for x, y in points_mm[1:]:
            path.lineTo(x * MM, self._y(y))
        if closed:
            path.close()
        return path

    def _y(self, y_mm: float) -> float:
        return (HEIGHT_MM - y_mm) * MM


@dataclass(frozen=True)
class _Font:
    name: str
    face: Any

    def has(self, letter: str) -> bool:
        return ord(letter) in self.face.charToGlyph

    def face_width(self, text: str, size_pt: float) -> float:
        widths, default = self.face.charWidths, self.face.defaultWidth
        return 0.001 * size_pt * sum(widths.get(ord(letter), default) for letter in text)


def _registered_fonts() -> dict[bool, _Font]:
    """The two weights; reportlab keeps the subset that a document needs by the document."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    metrics, out = cast("Any", pdfmetrics), dict[bool, _Font]()
    for bold, (name, file) in _FONTS.items():
        if name not in metrics.getRegisteredFontNames():
            metrics.registerFont(cast("Any", TTFont)(name, file))
        out[bold] = _Font(name, metrics.getFont(name).face)
    return out


def _unit(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = (round(value / 255.0, 4) for value in colour)
    return red, green, blue
