"""What a reader of a PDF finds in it, taken from the file's own objects: words, lines and pictures of each page."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Picture:
    """Where it lies, in points, and its pixels: (rows, columns) grey or (rows, columns, 3)."""

    left: float
    bottom: float
    width: float
    height: float
    pixels: np.ndarray

    def at(self, x: float, y: float) -> np.ndarray:
        rows, columns = self.pixels.shape[:2]
        row = int((self.bottom + self.height - y) / self.height * rows)
        return self.pixels[row, int((x - self.left) / self.width * columns)]


@dataclass
class Page:
    """texts: (x, y, size, words) in points from the lower left; lines: (closed polygons or paths) of (x, y)."""

    texts: list[tuple[float, float, float, str]] = field(default_factory=list)
    paths: list[list[tuple[float, float]]] = field(default_factory=list)
    colours: list[tuple[float, ...]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "\n".join(text for *_, text in self.texts)


def read_pages(pdf: bytes) -> list[Page]:
    objects = {int(m[1]): m[2] for m in re.finditer(rb"(\d+) 0 obj\s(.*?)endobj", pdf, re.S)}
    root = next(body for body in objects.values() if b"/Type /Catalog" in body)
    kids = re.search(rb"/Kids \[(.*?)\]", objects[_reference(root, b"/Pages")], re.S)
    assert kids
    return [_page(objects, objects[int(n)]) for n in re.findall(rb"(\d+) 0 R", kids[1])]


def embedded_fonts(pdf: bytes) -> tuple[int, int]:
    """How many fonts of the file bring their letters along, and how many do not."""
    fonts = re.findall(rb"/Type /Font\b(?!D)", pdf)
    return len(re.findall(rb"/FontFile2", pdf)), len(fonts) - len(re.findall(rb"/FontFile2", pdf))


def _page(objects: dict[int, bytes], body: bytes) -> Page:
    codes = {name: _unicode(objects, number) for name, number in _fonts(objects, body).items()}
    out, font, size = Page(), "", 0.0
    at, path, placed = (0.0, 0.0), list[tuple[float, float]](), list[float]()
    for line in re.split(r"\n| (?=BT)|(?<=Tj) |(?<=Tf) ", _stream(objects[_reference(body, b"/Contents")])):
        if found := re.search(r"1 0 0 1 ([\d.-]+) ([\d.-]+) Tm", line):
            at = float(found[1]), float(found[2])
        if found := re.search(r"/(\S+) ([\d.]+) Tf", line):
            font, size = found[1], float(found[2])
        if found := re.search(r"^\s*\((.*)\) Tj", line, re.S) or re.search(r"\((.*)\) Tj", line, re.S):
            out.texts.append((*at, size, "".join(codes[font].get(c, "�") for c in _unescaped(found[1]))))
        if found := re.search(r"([\d.]+) ([\d.]+) ([\d.]+) RG", line):
            out.colours.append(tuple(float(v) for v in found.groups()))
        for x, y, what in re.findall(r"([\d.-]+) ([\d.-]+) ([ml])\b", line):
            if what == "m":
                path = []
                out.paths.append(path)
            path.append((float(x), float(y)))
        if found := re.search(r"([\d.]+) 0 0 ([\d.]+) ([\d.]+) ([\d.]+) cm", line):
            placed = [float(v) for v in found.groups()]
        if found := re.search(r"/(\S+) Do\b", line):
            pixels = _pixels(objects[_reference(body, b"/" + found[1].encode())])
            out.pictures.append(Picture(placed[2], placed[3], placed[0], placed[1], pixels))
    return out


def _fonts(objects: dict[int, bytes], page: bytes) -> dict[str, int]:
    resources = re.search(rb"/Resources (?:(\d+) 0 R|<<(.*))", page, re.S)
    assert resources
    inner = objects[int(resources[1])] if resources[1] else resources[2]
    where = re.search(rb"/Font (?:(\d+) 0 R|<<(.*?)>>)", inner, re.S)
    assert where
    named = objects[int(where[1])] if where[1] else where[2]
    return {m[1].decode(): int(m[2]) for m in re.finditer(rb"/(\S+) (\d+) 0 R", named)}


def _unicode(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """Codes to letters, by the font's own map; without one the letters are Latin-1."""
    if b"/ToUnicode" not in objects[font]:
        return {code: chr(code) for code in range(256)}
    out: dict[int, str] = {}
    text = _stream(objects[_reference(objects[font], b"/ToUnicode")])
    for part in re.findall(r"beginbfchar(.*?)endbfchar", text, re.S):
        out |= {int(a, 16): chr(int(b, 16)) for a, b in re.findall(r"<(\w+)>\s*<(\w+)>", part)}
    for part in re.findall(r"beginbfrange(.*?)endbfrange", text, re.S):
        for low, _, many in re.findall(r"<(\w+)>\s*<(\w+)>\s*\[(.*?)\]", part, re.S):
            for step, code in enumerate(re.findall(r"<(\w+)>", many)):
                out[int(low, 16) + step] = chr(int(code, 16))
    return out


def _pixels(body: bytes) -> np.ndarray:
    rows, columns = (int(re.search(name + rb" (\d+)", body)[1]) for name in (b"/Height", b"/Width"))
    values = np.frombuffer(_stream(body).encode("latin-1"), np.uint8)
    return values.reshape(rows, columns, *([3] if b"/DeviceRGB" in body else []))


def _stream(body: bytes) -> str:
    found = re.search(rb"stream\r?\n(.*?)\r?\n?endstream", body, re.S)
    assert found
    data = found[1]
    if b"/ASCII85Decode" in body:
        data = base64.a85decode(data.strip().removesuffix(b"~>"))
    if b"/FlateDecode" in body:
        data = zlib.decompress(data)
    return data.decode("latin-1")


def _reference(body: bytes, name: bytes) -> int:
    found = re.search(name + rb" (\d+) 0 R", body)
    assert found
    return int(found[1])


def _unescaped(text: str) -> list[int]:
    out = re.sub(r"\\(\d{3}|.)", lambda m: chr(int(m[1], 8)) if m[1].isdigit() else _ESCAPES.get(m[1], m[1]), text)
    return [ord(c) for c in out]


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
