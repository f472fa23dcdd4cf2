"""Where organs lie to each other in every man: what breaks that order may bear another organ's name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# The first organ's centre lies on that side of the second's: axis of LPS x, y, z, the side, and its opposite.
_ORDER = (
    ("bladder", "prostate", 2, "above", "below"),
    ("seminal_vesicles", "prostate", 2, "above", "below"),
    ("rectum", "prostate", 1, "behind", "in front of"),
    ("rectum", "bladder", 1, "behind", "in front of"),
)
_MIDDLE = (("prostate", "bladder"), ("prostate", "rectum"), ("prostate", "seminal_vesicles"))
ASIDE_MM = 40.0  # organs of the middle lie no further apart to the side


def out_of_order(centres_mm: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """For every organ that breaks the order to another one: how, such as "not above the prostate", or "97 mm to the
    side of the bladder". centres_mm: organ -> its centre (3,), LPS mm.

    Of two that break it both are named: which of them is wrong the order cannot tell.
    """
    found: dict[str, list[str]] = {}
    for first, second, axis, side, opposite in _ORDER:
        if first not in centres_mm or second not in centres_mm:
            continue
        if centres_mm[first][axis] <= centres_mm[second][axis]:
            found.setdefault(first, []).append(f"not {side} the {_spoken(second)}")
            found.setdefault(second, []).append(f"not {opposite} the {_spoken(first)}")
    for first, second in _MIDDLE:
        if first in centres_mm and second in centres_mm:
            aside = abs(float(centres_mm[first][0] - centres_mm[second][0]))
            if aside > ASIDE_MM:
                for one, other in ((first, second), (second, first)):
                    found.setdefault(one, []).append(f"{aside:.0f} mm to the side of the {_spoken(other)}")
    return {organ: ", ".join(parts) for organ, parts in found.items()}


def _spoken(organ: str) -> str:
    return organ.replace("_", " ")
