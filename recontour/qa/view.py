"""What of an organ lies where the daily scan shows nothing: beyond its round field of view, or outside the body."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from recontour.geometry.volume import LevelSet, Volume

NOTHING_HU = -999.0  # padding is read as air or below it
_SHARE = 0.01  # of the organ: what is less is not looked into


def share_out_of_view(organ: LevelSet, fixed: Volume) -> float:
    """The share, 0 to 1, of the organ's voxels that are empty in the daily scan and joined, on their slice, to the
    edge of the region: gas inside the body is not. 0 where it is less than a hundredth.

    fixed: the daily scan, HU, on the whole region; the organ lies on a part of it. Raises UsageError where it does not.
    """
    z, y, x = fixed.grid.box_of(organ.grid)
    inside = organ.array > 0
    total = int(np.count_nonzero(inside))
    empty = inside & (fixed.array[z, y, x] <= NOTHING_HU)
    if not total or np.count_nonzero(empty) < _SHARE * total:
        return 0.0
    count = 0
    for k in np.flatnonzero(empty.any(axis=(1, 2))):
        beyond = _joined_to_edge(fixed.array[z.start + int(k)] <= NOTHING_HU)
        count += int(np.count_nonzero(empty[k] & beyond[y, x]))
    return count / total if count >= _SHARE * total else 0.0


def _joined_to_edge(empty: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    from scipy import ndimage

    labels = np.asarray(cast("Any", ndimage).label(empty)[0], np.int32)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, edge[edge > 0])
