"""Which values of a course stand out: by how the others spread, not by a mean that they themselves have moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 5  # values, below which nobody can say what is usual
TIMES = 3.0
_TO_SD = 1.4826  # of the median absolute deviation, for values spread normally


def unusual(values: Sequence[float | None], least_spread: float) -> list[bool]:
    """For each value whether it lies more than TIMES spreads from the median of all.

    The spread is the median absolute deviation times 1.4826, at least `least_spread` (in the values' unit), so that
    values that hardly differ are none of them unusual. Values that are None or not finite are left out and never
    unusual; with fewer than FEWEST others nothing is.

    Leys et al., J Exp Soc Psychol 2013;49:764-766, doi 10.1016/j.jesp.2013.03.013.
    """
    known = [value for value in values if value is not None and np.isfinite(value)]
    if len(known) < FEWEST:
        return [False] * len(values)
    middle = float(np.median(known))
    spread = max(_TO_SD * float(np.median(np.abs(np.subtract(known, middle)))), least_spread)
    return [value is not None and bool(np.isfinite(value)) and abs(value - middle) > TIMES * spread for value in values]
