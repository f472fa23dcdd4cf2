"""Where in an array something is: regions are large, organs are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Box


def bounding_box(array: NDArray[np.float32] | NDArray[np.bool_], margin: int | Sequence[int]) -> Box | None:
    """The slices along (z, y, x) that hold all positive voxels of (D, H, W) and `margin` voxels more, on every side or
    along each axis, as far as the array goes; None where there are none."""
    rims = [margin] * 3 if isinstance(margin, int) else list(margin)
    parts: list[slice] = []
    view = array
    for axis, rim in enumerate(rims):
        filled = np.flatnonzero(view.max(axis=tuple(k for k in range(3) if k != axis)) > 0)
        if not len(filled):
            return None
        first, last = int(filled[0]), int(filled[-1])
        parts.append(slice(max(0, first - rim), min(array.shape[axis], last + rim + 1)))
        view = view[tuple(slice(first, last + 1) if k == axis else slice(None) for k in range(3))]
    return parts[0], parts[1], parts[2]
