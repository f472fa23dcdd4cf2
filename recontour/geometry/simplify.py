"""Fewer points on closed polygons, within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def simplify_closed(polygons: Sequence[Points], tolerance_mm: float) -> list[Points]:
    """The same closed polygons, each (N, 2) without the first point repeated, with the points left out whose absence
    moves the outline by at most `tolerance_mm`; at least 3 points stay, and no 3 in a row lie on one line.

    In rounds over all polygons at once: a point goes when it, and all that went before it between its neighbours, lie
    within the tolerance of the line between these, and no neighbour would rather go. The bound adds up what each
    removal moved, so it is never exceeded.
    """
    polygons = [np.asarray(polygon, float) for polygon in polygons if len(polygon) >= 3]
    if not polygons:
        return []
    points = np.concatenate(polygons)
    ring = np.repeat(np.arange(len(polygons)), [len(polygon) for polygon in polygons])
    moved = np.zeros(len(points))  # how far the edge from each point to the next may lie from the original outline
    while True:
        gone, cost = _removable(points, ring, moved, tolerance_mm)
        if not gone.any():
            return np.split(points, np.flatnonzero(np.diff(ring)) + 1)
        before, _ = neighbours(ring)
        moved[before[gone]] = cost[gone]
        points, ring, moved = points[~gone], ring[~gone], moved[~gone]


def _removable(
    points: Points, ring: NDArray[np.intp], moved: Points, tolerance_mm: float
) -> tuple[NDArray[np.bool_], Points]:
    """Which points go this round, no two neighbours among them, and the bound on their new edges."""
    before, after = neighbours(ring)
    cost = _offset(points, points[before], points[after]) + np.maximum(moved[before], moved)
    rank = np.empty(len(points), np.intp)
    rank[np.argsort(cost, kind="stable")] = np.arange(len(points))
    gone = (cost <= tolerance_mm) & (rank < rank[before]) & (rank < rank[after])
    # A ring keeps 4 points before its rounds end: no removal may take a triangle's corner.
    left = np.bincount(ring) - np.bincount(ring, weights=gone).astype(int)
    return gone & (left[ring] >= 3), cost


def neighbours(ring: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the points before and after each, around its own ring.

    ring: (N,) the number of the polygon of each point, ascending.
    """
    index = np.arange(len(ring))
    counts = np.bincount(ring)
    first = np.cumsum(counts) - counts
    last = first + counts - 1
    before = np.where(index == first[ring], last[ring], index - 1)
    after = np.where(index == last[ring], first[ring], index + 1)
    return before, after


def _offset(points: Points, before: Points, after: Points) -> Points:
    """The distance of each point to the segment between its neighbours."""
    chord = after - before
    length2 = np.maximum((chord**2).sum(axis=1), 1e-18)
    share = np.clip(((points - before) * chord).sum(axis=1) / length2, 0, 1)
    return np.linalg.norm(points - before - share[:, None] * chord, axis=1)
