"""By how much a contour misses the edges that the daily scan shows: a direct estimate of its error, in mm.

At points all over the contour the daily scan is read along the normal, and so is the warped planning scan, in which
the contour is where it belongs. The shift that brings both profiles together is how far the organ's edge lies from the
contour. Where the scan shows no edge there is nothing to find, and the estimate is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.resample import sample
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.metrics import weighted_percentile

Array = NDArray[np.float32]
Points = NDArray[np.float64]  # (N, 3) LPS mm

REACH_MM = 8.0  # edges are looked for as far as this from the contour, inwards and outwards,
_HALF_PROFILE_MM = 6.0  # by this much of the profile on both sides of the edge,
_SIGMA_MM = 5.0  # which counts the less the farther from it
FARTHEST_MM = REACH_MM + _HALF_PROFILE_MM  # from the contour, inwards and outwards: nothing beyond is read
_STEP_MM = 0.5
_POINT_MM2 = 6.0  # of surface that one point stands for
_MOST_POINTS = 3000
_FEWEST_POINTS = 20
_PATCH_MM, _PATCH_POINTS = 6.0, 24  # profiles this near are moved together, which noise needs
_WINDOW_HU = (-150.0, 300.0)
_GAS_HU, _FILLED_HU = -200.0, 30.0  # gas comes and goes: it is shown as what is not gas
_CLIP_HU = 120.0  # a larger difference is worth no more: contents change, and a bone's edge drowns all others
_COST_PER_MM = 0.3  # HU: of two shifts that fit alike the smaller one
_GAIN_HU, _GAIN_SHARE = 4.0, 0.2  # a shift must better the mean difference by this, and by this share of it


@dataclass(frozen=True)
class EdgeGaps:
    """Distances, mm, from the contour to the edges seen in the daily scan, by area: mean and 95th percentile. Both are
    at most REACH_MM."""

    mean_mm: float
    p95_mm: float


def edge_gaps(fixed: Volume, warped: Volume, daily: LevelSet, registered: LevelSet | None = None) -> EdgeGaps | None:
    """How far the contour `daily` is from the edges of `fixed` that its place in `warped` promises.

    fixed, warped: the daily scan, and the planning scan warped onto it, HU. registered: where the organ is in
    `warped`; by default where `daily` is. All on grids of one frame, that of `registered` may be another. None where
    the contour has hardly any surface there.
    """
    points, outwards, area = _points(daily)
    if len(points) < _FEWEST_POINTS:
        return None
    away = np.zeros(len(points), np.float32) if registered is None else _distance(registered, points)
    steps = np.arange(-_HALF_PROFILE_MM, _HALF_PROFILE_MM + 1e-6, _STEP_MM)
    farther = np.arange(-_HALF_PROFILE_MM - REACH_MM, _HALF_PROFILE_MM + REACH_MM + 1e-6, _STEP_MM)
    then = _profiles(warped, points, outwards, steps[None] + away[:, None])
    now = _profiles(fixed, points, outwards, np.broadcast_to(farther, (len(points), len(farther))))
    shift = np.abs(_shifts(_over_patches(_differences(now, then), points)))
    mean, p95 = np.average(shift, weights=area), weighted_percentile(shift, area, 0.95)
    return EdgeGaps(float(mean), float(p95))


def _points(shape: LevelSet) -> tuple[Points, Points, NDArray[np.float64]]:
    """Points on the surface (N, 3), the directions outwards (N, 3), and the areas (N,) that they stand for, up to a
    factor: some of the voxels next to the surface, brought onto it. Cheap for any organ, unlike a mesh.

    They are drawn by lot, the same each time: every n-th voxel could lie on one side of the organ.
    """
    spacing = min(shape.grid.spacing_mm)
    near = np.flatnonzero(np.abs(shape.array) < 0.5 * spacing)
    share = min(1.0, shape.grid.voxel_ml * 1000 / spacing / _POINT_MM2, _MOST_POINTS / max(len(near), 1))
    chosen = near[np.random.default_rng(0).random(len(near)) < share]
    start = shape.grid.points_at(np.stack(np.unravel_index(chosen, shape.array.shape), axis=-1))
    gradient = _gradient(shape, start)
    steepness = np.linalg.norm(gradient, axis=-1)
    sound = steepness > 0.2  # a ridge of the distance is no surface
    outwards = -gradient[sound] / steepness[sound, None]
    distance = sample(shape.array, shape.grid, start[sound], -1.0) / steepness[sound]
    return start[sound] + distance[:, None] * outwards, outwards, steepness[sound]


def _gradient(shape: LevelSet, points: Points) -> NDArray[np.float64]:
    """(N, 3): of the distance over 3 mm, which smooths what voxels roughen."""
    outside = float(shape.array.min())
    sides = [[sample(shape.array, shape.grid, points + 1.5 * s * axis, outside) for s in (1, -1)] for axis in np.eye(3)]
    return np.stack([(a - b) / 3.0 for a, b in sides], axis=-1).astype(np.float64)


def _distance(shape: LevelSet, points: Points) -> Array:
    """(N,) mm: how far outwards of each point the shape's surface lies, as far as edges are looked for."""
    found = sample(shape.array, shape.grid, points, float(shape.array.min()))
    return np.clip(found, -REACH_MM, REACH_MM)


def _profiles(scan: Volume, points: Points, outwards: Points, steps_mm: NDArray[Any]) -> Array:
    """(N, K): the scan at (N, K) distances along the normals; beyond its grid its border goes on."""
    shown = np.where(scan.array < _GAS_HU, _FILLED_HU, scan.array).clip(*_WINDOW_HU).astype(np.float32)
    at = points[:, None] + steps_mm[..., None] * outwards[:, None]
    return sample(shown, scan.grid, _held_within(scan.grid, at), _FILLED_HU)


def _held_within(grid: Grid, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return grid.points_at(np.clip(grid.index_at(points), 0, np.subtract(grid.size, 1)))


def _differences(now: Array, then: Array) -> Array:
    """(N, T) HU: the mean difference of both profiles once `then` (N, K) is moved along `now` (N, K + T - 1)."""
    count = now.shape[1] - then.shape[1] + 1
    at = _STEP_MM * (np.arange(then.shape[1], dtype=float) - then.shape[1] // 2)
    weights = np.exp(-(at**2) / (2 * _SIGMA_MM**2)).astype(np.float32)
    weights /= weights.sum()
    moved = (now[:, t : t + then.shape[1]] for t in range(count))
    return np.stack([np.minimum(np.abs(part - then), _CLIP_HU) @ weights for part in moved], axis=1)


def _over_patches(cost: Array, points: Points) -> Array:
    """(N, T): the mean over the points around each."""
    from scipy.spatial import KDTree

    tree = cast("Any", KDTree(points))
    found = tree.query(points, k=min(_PATCH_POINTS, len(points)), distance_upper_bound=_PATCH_MM)
    near = np.asarray(found[1], np.intp)
    padded = np.concatenate([cost, np.zeros((1, cost.shape[1]), np.float32)])  # what is missing is numbered N
    counts = (near < len(points)).sum(axis=1).astype(np.float32)
    return np.asarray(padded[near].sum(axis=1) / counts[:, None], np.float32)


def _shifts(cost: Array) -> NDArray[np.float64]:
    """(N,) mm: the shift of least cost; 0 where it betters little."""
    shifts = _STEP_MM * (np.arange(cost.shape[1], dtype=float) - cost.shape[1] // 2)
    best = (cost + _COST_PER_MM * np.abs(shifts)).argmin(axis=1)
    still = cost[:, cost.shape[1] // 2]
    gain = still - np.take_along_axis(cost, best[:, None], axis=1)[:, 0]
    return np.where(gain > np.maximum(_GAIN_HU, _GAIN_SHARE * still), shifts[best], 0.0)
