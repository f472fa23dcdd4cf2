"""Whether scans and contours are like those that a network was trained on: a few measures of each organ, and ranges.

volume_ml: of the organ in the plan. inside_hu, around_hu: the median in it, and in the 5 mm around it, of what is not
gas, which comes and goes: contrast medium, a scanner whose HU are none, or another organ's name shift them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.shape import volume_ml

Measures = Mapping[str, Mapping[str, float]]  # organ -> measure -> value

_AROUND_MM = 5.0
_GAS_HU = -200.0  # below: gas, or what lies outside the scan
_FEWEST_VOXELS = 20
_WORDS = {"volume_ml": ("volume", "ml"), "inside_hu": ("median inside", "HU"), "around_hu": ("median around", "HU")}


@dataclass(frozen=True)
class Seen:
    """The lowest and highest value of a measure of an organ in so many scans that a network was trained on."""

    organ: str
    measure: str
    low: float
    high: float
    scans: int


def measures_of(scan: Volume, organ: LevelSet) -> dict[str, float]:
    """The measures of an organ by its contour in a scan (HU); those of HU only where there is enough to see."""
    hu = resample_volume(scan, organ.grid).array
    known = hu >= _GAS_HU
    inside = organ.array > 0
    places = {"inside_hu": inside & known, "around_hu": ~inside & (organ.array > -_AROUND_MM) & known}
    medians = {name: float(np.median(hu[at])) for name, at in places.items() if at.sum() >= _FEWEST_VOXELS}
    return {"volume_ml": volume_ml(organ), **medians}


def seen_in(scans: Iterable[Measures]) -> tuple[Seen, ...]:
    """The ranges over all scans of a training, by organ and measure; rounded to a tenth."""
    values: dict[tuple[str, str], list[float]] = {}
    for scan in scans:
        for organ, measures in scan.items():
            for measure, value in measures.items():
                values.setdefault((organ, measure), []).append(value)
    return tuple(Seen(*key, round(min(of), 1), round(max(of), 1), len(of)) for key, of in values.items())


def unlike(found: Measures, scan: str, rows: Iterable[Mapping[str, Any]], slack: float) -> tuple[str, ...]:
    """A phrase for every measure that lies beyond its range by more than `slack` times the range's width.

    scan: what it is called, "planning". rows: the fields of Seen, as on a model's card.
    """
    out: list[str] = []
    for seen in (Seen(**row) for row in rows):
        value = found.get(seen.organ, {}).get(seen.measure)
        room = slack * (seen.high - seen.low)
        if value is not None and not seen.low - room <= value <= seen.high + room:
            what, unit = _WORDS[seen.measure]
            ranges = f"{seen.low:g} to {seen.high:g} in the {seen.scans} scans of its training"
            out.append(f"{seen.organ.replace('_', ' ')} of the {scan} scan, {what}: {value:.1f} {unit} ({ranges})")
    return tuple(out)
