"""Signed distance to polygons in the plane, for all planes of an organ at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_PIECE_MM = 2.0  # edges are cut into pieces this short, so that one small window of pixels holds all that is near
_CHUNK_PIXELS = 2_000_000  # pixels of windows in flight: bounds the memory to some tens of MB


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of all polygons: `start`, `end` (S, 2) float64 mm as (u, v), `plane` (S,) index of their plane."""

    start: Points
    end: Points
    plane: NDArray[np.intp]

    @staticmethod
    def of(polygons: Sequence[Points], planes: Sequence[int]) -> Edges:
        """Edges of closed polygons, each (N, 2) without the first point repeated. Those that are there twice are gone.

        A keyhole goes to its hole and back along the same edge, and two polygons may share one: by the even-odd rule
        both sides of it are alike, so it is no boundary, and would only dent the distance.
        """
        start = np.concatenate(polygons)
        end = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
        plane = np.repeat(np.asarray(planes, np.intp), [len(polygon) for polygon in polygons])
        keep = _uncancelled(start, end, plane)
        return Edges(start[keep], end[keep], plane[keep])


def signed_distance(edges: Edges, u_mm: Points, v_mm: Points, plane_count: int, band_mm: float) -> NDArray[np.float32]:
    """(P, H, W) float32 mm: the distance to the nearest edge of the same plane, positive inside, clipped at `band_mm`.

    `u_mm` (W,) and `v_mm` (H,): evenly spaced coordinates of the pixel columns and rows. Inside is even-odd: a ray
    from the pixel crosses an odd number of edges, so a polygon within a polygon is a hole.
    """
    shape = (plane_count, len(v_mm), len(u_mm))
    distance = _distance(edges, u_mm, v_mm, shape, band_mm)
    return np.where(_inside(edges, u_mm, v_mm, shape), distance, -distance)


def _uncancelled(start: Points, end: Points, plane: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices of the edges that are there an odd number of times, in either sense, to 0.01 mm; none of length 0."""
    a, b = np.rint(start * 100).astype(np.int64), np.rint(end * 100).astype(np.int64)
    swap = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
    low, high = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    keys = np.column_stack([plane, low, high])
    order = np.lexsort(keys.T)
    fresh = np.any(keys[order][1:] != keys[order][:-1], axis=1)
    group = np.concatenate([[0], np.cumsum(fresh)])
    first = np.concatenate([[0], np.flatnonzero(fresh) + 1])
    odd = np.bincount(group) % 2 == 1
    kept = order[first[odd]]
    return np.sort(kept[np.any(start[kept] != end[kept], axis=1)])


def _inside(edges: Edges, u_mm: Points, v_mm: Points, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """(P, H, W): even-odd, by toggling a row from each crossing on. An edge owns its lower end and not its upper, so
    that a row through a vertex counts it once."""
    low = np.where((edges.start[:, 1] <= edges.end[:, 1])[:, None], edges.start, edges.end)
    high = np.where((edges.start[:, 1] <= edges.end[:, 1])[:, None], edges.end, edges.start)
    first, stop = np.searchsorted(v_mm, low[:, 1]), np.searchsorted(v_mm, high[:, 1])
    edge = np.repeat(np.arange(len(low)), stop - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first) + first[edge]
    slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    crossing = low[edge, 0] + slope * (v_mm[row] - low[edge, 1])
    column = np.searchsorted(u_mm, np.asarray(crossing, np.float64))
    toggles = np.zeros((shape[0], shape[1], shape[2] + 1), np.uint8)
    np.bitwise_xor.at(toggles, (edges.plane[edge], row, column), np.uint8(1))
    return np.bitwise_xor.accumulate(toggles, axis=2)[:, :, :-1].astype(bool)


def _distance(
    edges: Edges, u_mm: Points, v_mm: Points, shape: tuple[int, int, int], band_mm: float
) -> NDArray[np.float32]:
    """(P, H, W): exact distance to the edges of each plane up to `band_mm`, which is what lies beyond."""
    start, along, plane = _pieces(edges)
    spacing = np.array([_step(u_mm), _step(v_mm)])
    reach = np.ceil((band_mm + _PIECE_MM / 2) / spacing).astype(int) + 1
    u_offsets, v_offsets = np.arange(-int(reach[0]), int(reach[0]) + 1), np.arange(-int(reach[1]), int(reach[1]) + 1)
    # The windows may hang over the border: a rim of their width takes what falls outside.
    rimmed = np.full((shape[0], shape[1] + 2 * reach[1], shape[2] + 2 * reach[0]), band_mm**2, np.float32)
    origin = np.array([u_mm[0], v_mm[0]])
    nearest = np.rint((start + along / 2 - origin) / spacing).astype(np.intp)
    held = np.all((nearest >= -reach // 2) & (nearest < np.array([shape[2], shape[1]]) + reach // 2), axis=1)
    start, along, plane, nearest = start[held], along[held], plane[held], nearest[held]
    flat = rimmed.reshape(-1)
    window = (v_offsets[:, None] * rimmed.shape[2] + u_offsets).reshape(-1)
    chunk = max(1, _CHUNK_PIXELS // len(window))
    for k in range(0, len(start), chunk):
        part = slice(k, k + chunk)
        corner = origin + nearest[part] * spacing - start[part]
        squared = _squared(corner, along[part], u_offsets * spacing[0], v_offsets * spacing[1])
        centre = (plane[part] * rimmed.shape[1] + nearest[part, 1] + reach[1]) * rimmed.shape[2]
        target = (centre + nearest[part, 0] + reach[0])[:, None] + window
        np.minimum.at(flat, target.reshape(-1), squared.reshape(-1))
    return np.sqrt(rimmed[:, reach[1] : reach[1] + shape[1], reach[0] : reach[0] + shape[2]])


def _squared(corner: Points, along: Points, du: Points, dv: Points) -> NDArray[np.float32]:
    """(n, K, L) squared distances of the points corner + (du, dv) to the pieces from (0, 0) to `along`."""
    u = (corner[:, 0, None] + du).astype(np.float32)[:, None, :]
    v = (corner[:, 1, None] + dv).astype(np.float32)[:, :, None]
    a, b = along.astype(np.float32).T[:, :, None, None]
    length2 = a * a + b * b
    t = u * (a / length2) + v * (b / length2)
    np.clip(t, 0, 1, out=t)
    du2 = u - t * a
    du2 *= du2
    t *= -b
    t += v
    t *= t
    t += du2
    return t


def _pieces(edges: Edges) -> tuple[Points, Points, NDArray[np.intp]]:
    """Start, vector and plane of the edges, cut evenly into pieces of at most `_PIECE_MM`."""
    vector = edges.end - edges.start
    count = np.maximum(1, np.ceil(np.hypot(*vector.T) / _PIECE_MM)).astype(int)
    edge = np.repeat(np.arange(len(vector)), count)
    nth = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    along = (vector / count[:, None])[edge]
    return edges.start[edge] + nth[:, None] * along, along, edges.plane[edge]


def _step(values: Points) -> float:
    return float(values[1] - values[0]) if len(values) > 1 else 1.0
