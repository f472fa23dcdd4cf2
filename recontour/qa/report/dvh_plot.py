"""Dose-volume histograms as an SVG that a page can hold: planned dashed, daily solid, in the plan's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from recontour.qa.fraction import Dvh

_WIDE, _HIGH = 860, 380
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 12, 210, 44  # margins; the legend stands on the right
_POINTS = 240  # of a curve, at most
_PLAIN = (128, 128, 128)


def dvh_plot(
    dvhs: Sequence[Dvh], colours: Mapping[str, tuple[int, int, int]], prescription_gy: float | None = None
) -> str:
    """The <svg> element. colours: ROI name -> RGB. A line marks the prescribed dose."""
    last = max([float(_reached(dvh)) for dvh in dvhs] + [prescription_gy or 0.0, 1.0]) * 1.04
    parts = [_axes(last)]
    if prescription_gy:
        x = _x(prescription_gy, last)
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HIGH - _BOTTOM}"/>')
        parts.append(f'<text x="{x - 4:.1f}" y="{_TOP + 12}" text-anchor="end">{prescription_gy:g} Gy</text>')
    for number, dvh in enumerate(dvhs):
        colour = "#{:02x}{:02x}{:02x}".format(*colours.get(dvh.roi, _PLAIN))
        parts += _curves(dvh, colour, last)
        parts.append(_named(dvh, colour, _TOP + 16 + 20 * number))
    y = _TOP + 22 + 20 * len(dvhs)
    parts.append(_sample(y, "plan", "planned") + _sample(y + 20, "today", "daily"))
    high = max(_HIGH, y + 40)
    names = escape(", ".join(dvh.roi for dvh in dvhs))
    title = f"Dose-volume histograms of {names}: planned dashed, today solid"
    return f'<svg class="dvh" viewBox="0 0 {_WIDE} {high}" role="img" aria-label="{title}">' + "".join(parts) + "</svg>"


def _reached(dvh: Dvh) -> float:
    """The dose beyond which both curves are empty."""
    filled = np.flatnonzero((dvh.planned > 0) | (dvh.daily > 0))
    return float(dvh.dose_gy[filled[-1]]) if len(filled) else 0.0


def _x(gy: float, last: float) -> float:
    return _LEFT + gy / last * (_WIDE - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HIGH - _TOP - _BOTTOM)


def _axes(last: float) -> str:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 1e9) if last / step <= 10)
    out = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDE - _LEFT - _RIGHT}" height="{_y(0) - _TOP}"/>']
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        out.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for gy in np.arange(0.0, last, step):
        out.append(f'<text x="{_x(gy, last):.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle">{gy:g}</text>')
    middle = (_LEFT + _WIDE - _RIGHT) / 2
    out.append(f'<text x="{middle}" y="{_HIGH - 8}" text-anchor="middle">dose, Gy</text>')
    out.append(f'<text transform="translate(13 {_y(0.5):.0f}) rotate(-90)" text-anchor="middle">volume, %</text>')
    return "".join(out)


def _curves(dvh: Dvh, colour: str, last: float) -> list[str]:
    out: list[str] = []
    for kind, share in (("planned", dvh.planned), ("daily", dvh.daily)):
        path = _path(dvh.dose_gy, share, last)
        out.append(f'<path class="halo {kind}" d="{path}"/><path class="curve {kind}" stroke="{colour}" d="{path}"/>')
    return out


def _path(gy: NDArray[np.float64], share: NDArray[np.float64], last: float) -> str:
    """A curve of at most _POINTS points, linear between the histogram's own."""
    at = np.linspace(0.0, min(last, float(gy[-1])), _POINTS) if len(gy) > _POINTS else gy
    values = np.interp(at, gy, share)
    return "M" + "L".join(f"{_x(g, last):.1f} {_y(s):.1f}" for g, s in zip(at, values, strict=True))


def _named(dvh: Dvh, colour: str, y: int) -> str:
    covered = f" ({dvh.covered:.0%} in the dose)" if dvh.covered < 0.995 else ""
    x = _WIDE - _RIGHT + 12
    swatch = f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{colour}" stroke="#0008"/>'
    return f'{swatch}<text x="{x + 18}" y="{y}">{escape(dvh.roi + covered)}</text>'


def _sample(y: int, word: str, kind: str) -> str:
    x = _WIDE - _RIGHT + 12
    line = f'<path class="curve {kind}" stroke="currentColor" d="M{x} {y - 4}L{x + 34} {y - 4}"/>'
    return f'{line}<text x="{x + 42}" y="{y}">{word}</text>'
