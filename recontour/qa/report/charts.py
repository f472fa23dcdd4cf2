"""A small chart of one value over the fractions of a course, laid out; the template draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 300.0, 150.0  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 40.0, 8.0, 12.0, 22.0


@dataclass(frozen=True)
class Reading:
    """One fraction's value: None where there is none. light: how the ROI was judged then. says: all of it in words.
    marks: why it stands out, "" where it does not. link: to the fraction's page, or ""."""

    value: float | None
    light: str
    says: str
    marks: str = ""
    link: str = ""


@dataclass(frozen=True)
class Dot:
    """A reading where it is drawn."""

    x: float
    y: float
    reading: Reading


@dataclass(frozen=True)
class Tick:
    """A place along an axis with its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """title: what and in which unit. lines: pieces of points ("x,y x,y"), broken where a value is missing.
    planned_y: where the planned value lies, None where there is none. ends: what up and down mean, or ""."""

    title: str
    dots: tuple[Dot, ...]
    lines: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    planned_y: float | None
    planned_text: str
    ends: tuple[str, str] = ("", "")

    @property
    def says(self) -> str:
        """What a reader who cannot see it is told."""
        marked = [dot.reading.says for dot in self.dots if dot.reading.marks]
        known = [dot.reading.value for dot in self.dots if dot.reading.value is not None]
        extent = f"from {min(known):.1f} to {max(known):.1f}" if known else "no values"
        return f"{self.title}: {len(known)} fractions, {extent}. " + (
            f"Standing out: {'; '.join(marked)}." if marked else "None stands out."
        )


def chart(
    title: str,
    readings: Sequence[Reading],
    planned: float | None = None,
    least_extent: float = 1.0,
    around_zero: bool = False,
    ends: tuple[str, str] = ("", ""),
) -> Chart:
    """Lays the readings out from left to right, one step for each fraction.

    planned: drawn as a line across. least_extent: what the vertical axis spans at least. around_zero: zero in the
    middle of it, for shifts.
    """
    known = [reading.value for reading in readings if reading.value is not None and isfinite(reading.value)]
    known += [planned] if planned is not None else []
    low, high = _extent(known, least_extent, around_zero)
    dots = tuple(
        Dot(_x(number, len(readings)), _y(reading.value, low, high), reading)
        for number, reading in enumerate(readings)
        if reading.value is not None and isfinite(reading.value)
    )
    return Chart(
        title=title,
        dots=dots,
        lines=tuple(_lines(readings, low, high)),
        x_ticks=tuple(_x_ticks(len(readings))),
        y_ticks=tuple(Tick(_y(value, low, high), _text(value)) for value in _steps(low, high)),
        planned_y=None if planned is None else _y(planned, low, high),
        planned_text="" if planned is None else f"planned {_text(planned)}",
        ends=ends,
    )


def _extent(values: Sequence[float], least: float, around_zero: bool) -> tuple[float, float]:
    if around_zero:
        reach = max([least / 2, *(abs(value) * 1.08 for value in values)])
        return -reach, reach
    if not values:
        return 0.0, least
    low, high = min(values), max(values)
    room = max((least - (high - low)) / 2, 0.08 * (high - low))
    return max(low - room, 0.0) if low >= 0 else low - room, high + room


def _lines(readings: Sequence[Reading], low: float, high: float) -> list[str]:
    pieces: list[list[str]] = [[]]
    for number, reading in enumerate(readings):
        if reading.value is None or not isfinite(reading.value):
            pieces.append([])
        else:
            pieces[-1].append(f"{_x(number, len(readings)):.1f},{_y(reading.value, low, high):.1f}")
    return [" ".join(piece) for piece in pieces if len(piece) > 1]


def _x(number: int, count: int) -> float:
    return round(LEFT + 10 + (WIDTH - LEFT - RIGHT - 20) * (number / (count - 1) if count > 1 else 0.5), 1)


def _y(value: float, low: float, high: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)


def _x_ticks(count: int) -> list[Tick]:
    every = max(1, ceil(count / 10))
    return [Tick(_x(number, count), str(number + 1)) for number in range(0, count, every)]


def _steps(low: float, high: float) -> list[float]:
    """About four round values between both."""
    rough = (high - low) / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
    return [step * k for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _text(value: float) -> str:
    return f"{round(value, 2):g}".replace("-", "−")
