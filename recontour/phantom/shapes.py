"""Implicit shapes: functions of a point that give about the distance to a surface in mm, positive inside.

Points come as three arrays x, y, z (LPS mm) that broadcast against each other; shapes are smooth unions, cuts and
shells of tubes and ellipsoids, so that an organ has one surface at every resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

_MARGIN_MM = 14.0  # around a baked shape: gaps and fillets of shapes cut by it reach no further
Points = tuple[Array, Array, Array]
Shape = Callable[[Points], Array]


def ellipsoid(centre: ArrayLike, semi_axes: ArrayLike, turn: ArrayLike | None = None) -> Shape:
    """`turn`: 3 x 3, takes LPS directions to those of the semi-axes. Distance as by Quilez (f / |grad f|)."""
    c = np.asarray(centre, np.float32)
    r = np.asarray(semi_axes, np.float32)
    m = (np.eye(3) if turn is None else np.asarray(turn, float)).astype(np.float32)

    def distance(points: Points) -> Array:
        offset = [p - q for p, q in zip(points, c, strict=True)]
        local = [m[i, 0] * offset[0] + m[i, 1] * offset[1] + m[i, 2] * offset[2] for i in range(3)]
        k0 = np.sqrt(sum((q / s) ** 2 for q, s in zip(local, r, strict=True)))
        k1 = np.sqrt(sum((q / s**2) ** 2 for q, s in zip(local, r, strict=True))) + 1e-6
        return np.asarray(np.where(k0 < 0.3, (1 - k0) * r.min(), k0 * (1 - k0) / k1), np.float32)

    return distance


def tube(points: ArrayLike, radii: ArrayLike, flatten: float = 1.0) -> Shape:
    """Round tube through (N, 3) points with a radius at each, linear between; `flatten` > 1 squeezes it along y."""
    p, r = np.asarray(points, np.float32), np.asarray(radii, np.float32)

    def distance(at: Points) -> Array:
        x, y, z = at
        best: Array | None = None
        for a, b, ra, rb in zip(p[:-1], p[1:], r[:-1], r[1:], strict=True):
            d = b - a
            d_scaled = d * np.array([1, flatten, 1], np.float32)
            dx, dy, dz = x - a[0], (y - a[1]) * np.float32(flatten), z - a[2]
            along = dx * d_scaled[0] + dy * d_scaled[1] + dz * d_scaled[2]
            t = np.clip(along / float(d_scaled @ d_scaled), 0, 1)
            away = np.sqrt((dx - t * d_scaled[0]) ** 2 + (dy - t * d_scaled[1]) ** 2 + (dz - t * d_scaled[2]) ** 2)
            here = ra + t * (rb - ra) - away
            best = here if best is None else np.maximum(best, here)
        assert best is not None
        return best.astype(np.float32)

    return distance


def smooth_path(points: ArrayLike, count: int) -> NDArray[np.float64]:
    """(count, K): a Catmull-Rom-like cubic through (N, K) points, evenly spaced in their index."""
    from scipy.interpolate import CubicSpline

    p = np.asarray(points, float)
    spline = CubicSpline(np.arange(len(p)), p, axis=0)
    return np.asarray(spline(np.linspace(0, len(p) - 1, count)), float)


@dataclass(frozen=True)
class Section:
    """One axial cut through a loft: a polyline of (x, y, half thickness) knots at height z, all in mm."""

    z: float
    knots: tuple[tuple[float, float, float], ...]


def loft(sections: Sequence[Section], mirror: bool = False) -> Shape:
    """A plate or column whose axial cut is a thick polyline that changes with z, smoothly between `sections`."""
    from scipy.interpolate import PchipInterpolator

    order = sorted(sections, key=lambda s: s.z)
    heights = np.array([s.z for s in order])
    table = np.array([s.knots for s in order], float)  # (S, N, 3)
    if mirror:
        table[..., 0] *= -1
    spline = PchipInterpolator(heights, table, axis=0)

    def distance(at: Points) -> Array:
        x, y, z = at
        column = np.clip(z[:, 0, 0], heights[0], heights[-1])
        cut = np.asarray(spline(column), np.float32)[:, None, None]  # (D, 1, 1, N, 3)
        best: Array | None = None
        for j in range(max(table.shape[1] - 1, 1)):
            a, b = cut[..., j, :], cut[..., min(j + 1, table.shape[1] - 1), :]
            dx, dy = b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]
            px, py = x - a[..., 0], y - a[..., 1]
            t = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-3), 0, 1)
            thick = a[..., 2] + t * (b[..., 2] - a[..., 2])
            here = np.asarray(thick - np.hypot(px - t * dx, py - t * dy), np.float32)
            best = here if best is None else np.maximum(best, here)
        assert best is not None
        over = np.maximum(heights[0] - z, z - heights[-1]).astype(np.float32)
        return np.where(over > 0, np.minimum(best, -over), best).astype(np.float32)

    return distance


def union(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """All of them, with fillets of about `blend_mm`."""

    def distance(at: Points) -> Array:
        out = shapes[0](at)
        for shape in shapes[1:]:
            out = smooth_max(out, shape(at), blend_mm)
        return out

    return distance


def cut(shape: Shape, *others: Shape, gap_mm: float = 0.0, blend_mm: float = 0.0) -> Shape:
    """`shape` without the others and `gap_mm` around them."""

    def distance(at: Points) -> Array:
        out = shape(at)
        for other in others:
            out = -smooth_max(-out, other(at) + np.float32(gap_mm), blend_mm)
        return out

    return distance


def both(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """What lies in all of them."""

    def distance(at: Points) -> Array:
        out = shapes[0](at)
        for shape in shapes[1:]:
            out = -smooth_max(-out, -shape(at), blend_mm)
        return out

    return distance


def grown(shape: Shape, by_mm: float) -> Shape:
    """Its surface moved outwards."""
    return lambda at: shape(at) + np.float32(by_mm)


def above(z_mm: float) -> Shape:
    """The half space over a height."""
    return lambda at: (at[2] - np.float32(z_mm)) + 0 * at[0] + 0 * at[1]


def wobbled(shape: Shape, waves: NDArray[np.float64], amplitude_mm: float) -> Shape:
    """Seen through a smooth random displacement along x and y: `waves` (K, 6) holds wave vector (1/mm), the share of
    each direction, phase. Heights stay, since lofts are tabulated by height."""
    k, d, phase = waves[:, :3], waves[:, 3:5].astype(np.float32), waves[:, 5]
    scale = np.float32(amplitude_mm / np.sqrt(len(waves)))

    def distance(at: Points) -> Array:
        x, y, z = at
        shift_x, shift_y = np.float32(0) * x, np.float32(0) * y
        for vector, (along_x, along_y), start in zip(k, d, phase, strict=True):
            # sin(a + b) from sines and cosines of single axes, which are far fewer than the points
            across = vector[0] * x + np.float32(start)
            rest = vector[1] * y + vector[2] * z
            wave = (np.sin(across) * np.cos(rest) + np.cos(across) * np.sin(rest)).astype(np.float32) * scale
            shift_x = shift_x + along_x * wave
            shift_y = shift_y + along_y * wave
        return shape(((x + shift_x).astype(np.float32), (y + shift_y).astype(np.float32), z))

    return distance


def draw_waves(rng: np.random.Generator, count: int, shortest_mm: float, longest_mm: float) -> NDArray[np.float64]:
    """(count, 6) for `wobbled`."""
    direction = rng.normal(size=(count, 3))
    length = rng.uniform(shortest_mm, longest_mm, (count, 1))
    k = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (2 * np.pi / length)
    return np.concatenate([k, rng.normal(size=(count, 2)), rng.uniform(0, 2 * np.pi, (count, 1))], axis=1)


def smooth_max(a: Array, b: Array, blend_mm: float) -> Array:
    """The larger, rounded where both are within `blend_mm` (Quilez, polynomial smooth minimum)."""
    if blend_mm <= 0:
        return np.maximum(a, b)
    h = np.maximum(blend_mm - np.abs(a - b), 0.0) / blend_mm
    return (np.maximum(a, b) + h * h * (blend_mm * 0.25)).astype(np.float32)


def baked(shape: Shape, spacing_mm: float, z_mm: tuple[float, float], band_mm: float = 40.0) -> Baked:
    """`shape` evaluated once on its own lattice and from then on read off it, linearly: what several other shapes and
    pictures are made from is worked out once, and all of them see the very same surface."""
    low, high = box_of(shape, *z_mm)
    low, high = low - _MARGIN_MM, high + _MARGIN_MM
    axes = [np.arange(low[a], high[a] + spacing_mm, spacing_mm) for a in range(3)]
    array = np.broadcast_to(shape(open_points(*axes)), [len(a) for a in axes[::-1]])
    return Baked(np.clip(array, -band_mm, band_mm).astype(np.float32), low, spacing_mm, -band_mm)


@dataclass(frozen=True, eq=False)
class Baked:
    """A shape read off an array (D, H, W) of distances; beyond it, `outside_mm` holds."""

    array: Array
    low_mm: NDArray[np.float64]
    spacing_mm: float
    outside_mm: float

    def __call__(self, at: Points) -> Array:
        """Only for points that broadcast from single axes."""
        out = self.array
        for axis, positions in ((0, at[2][:, 0, 0]), (1, at[1][0, :, 0]), (2, at[0][0, 0, :])):
            index = (positions - self.low_mm[2 - axis]) / self.spacing_mm
            low = np.clip(np.floor(index).astype(int), 0, out.shape[axis] - 2)
            shape = [1, 1, 1]
            shape[axis] = -1
            share = np.clip(index - low, 0, 1).astype(np.float32).reshape(shape)
            below = np.take(out, low, axis)
            out = below + share * (np.take(out, low + 1, axis) - below)
            away = (index < 0) | (index > self.array.shape[axis] - 1)
            np.moveaxis(out, axis, 0)[away] = self.outside_mm
        return out


def open_points(x: Floats, y: Floats, z: Floats) -> Points:
    """Coordinates along each axis to points that broadcast to (z, y, x)."""
    return (
        x.astype(np.float32)[None, None, :], y.astype(np.float32)[None, :, None], z.astype(np.float32)[:, None, None]
    )  # fmt: skip


def box_of(shape: Shape, z_low: float, z_high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest x, y, z of what lies inside `shape` between two heights, found in steps of 8 mm."""
    step, reach = 8.0, 272.0
    across = np.arange(-reach, reach + 1, step)
    z = np.arange(z_low, z_high + step, step)
    distance = shape(open_points(across, across, z))
    index = np.argwhere(np.broadcast_to(distance, (len(z), len(across), len(across))) > -step)
    if not len(index):
        return np.zeros(3), np.ones(3)
    first, last = index.min(axis=0), index.max(axis=0)
    return (np.array([across[first[2]], across[first[1]], z[first[0]]]) - 4.0,
            np.array([across[last[2]], across[last[1]], z[last[0]]]) + 4.0)  # fmt: skip
