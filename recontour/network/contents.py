"""What the bladder holds, made alike on both days: contrast medium is no anatomy.

Contrast medium that is there on one day only, or stands at another level, makes the edge of the urine the strongest
one of one scan and nothing of the other, and a registration follows it. As gas is filled in with tissue (refine.py),
contrast medium is filled in with urine, in both scans. Its HU are mapped by a line, the medium's to urine's and the
wall's to the wall's: voxels at its rim, which hold some of both, keep their shares, and noise shrinks with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.grid import Box, Grid
from recontour.geometry.volume import LevelSet, Volume

_MEDIUM_HU = 100.0  # above: contrast medium; enhanced tissue ends there, and calcium is never so large
_BONE_HU = 600.0  # the medium of a bladder is diluted: what is brighter all through is bone or metal
_WALL_HU = 40.0
_URINE_HU = 8.0
_LEAST_ML = 1.0
_DRAWN_MM = 2.0  # so far beside the medium's edge may a contour be drawn
_NECK_MM = 2.0  # half the width of what joins one thing's parts; two things that touch are joined by less
_DEEP_MM = 3.0  # inside the planned shape: no bone that the affine misplaced reaches there
_LEAST_SHARE_INSIDE = 0.25  # of the medium, in the planned shape: a bladder grows fourfold at most; bones reach further
_SMOOTH_MM = 1.5  # so that noise makes neither holes nor bridges
_RIM_MM = 3.0  # of blur around the medium
_REACH_MM = 45.0  # how far a daily bladder reaches beyond the planned one


def without_medium(fixed: Volume, moving: Volume, bladder: LevelSet) -> tuple[Volume, Volume]:
    """Both scans with urine in place of the bladder's contrast medium; the scans themselves where neither holds any.

    fixed, moving: daily scan and affinely placed planning scan, HU, on one grid along the LPS axes.
    bladder: the planned one, placed likewise, on a part of that grid.
    """
    return _filled(fixed, _medium_of_the_day(fixed, bladder)), _filled(moving, _medium_as_planned(moving, bladder))


@dataclass(frozen=True)
class _Medium:
    """Where it is: a part of the scan, and its voxels there, (D, H, W) bool."""

    part: Box
    inside: NDArray[np.bool_]


def _filled(scan: Volume, medium: _Medium | None) -> Volume:
    if medium is None:
        return scan
    array = np.array(scan.array)
    near = bounding_box(medium.inside, _voxels(_RIM_MM, scan.grid))
    assert near is not None, "there is medium"
    whole = array[medium.part]  # a view: what is written to it is written to the scan
    whole[near] = _as_urine(whole[near], medium.inside[near], scan.grid)
    return Volume(scan.grid, array)


def _medium_as_planned(scan: Volume, bladder: LevelSet) -> _Medium | None:
    """All that is bright inside the planned shape, which holds it; None without any."""
    part = scan.grid.box_of(bladder.grid)
    inside = _bright(scan.array[part], scan.grid) & (bladder.array > -_DRAWN_MM)
    enough = (inside & (bladder.array > _DEEP_MM)).sum() * scan.grid.voxel_ml >= _LEAST_ML
    return _Medium(part, inside) if enough else None


def _medium_of_the_day(scan: Volume, bladder: LevelSet) -> _Medium | None:
    """All that is bright and hangs together with something bright inside the planned shape; None without any.

    The daily bladder is larger or smaller, and the medium may fill only its back, where it sinks to. It may touch a
    bone: what hangs together by a thin neck alone does not belong together.
    """
    from scipy.ndimage import distance_transform_edt, label

    near = scan.grid.box_of(bladder.grid)
    reach = zip(near, _voxels(_REACH_MM, scan.grid), strict=True)
    z, y, x = (slice(max(0, at.start - rim), at.stop + rim) for at, rim in reach)
    part = (z, y, x)
    there = tuple(slice(at.start - p.start, at.stop - p.start) for at, p in zip(near, part, strict=True))
    bright = _bright(scan.array[part], scan.grid)
    if (bright[there] & (bladder.array > _DEEP_MM)).sum() * scan.grid.voxel_ml < _LEAST_ML:
        return None
    thick = np.asarray(distance_transform_edt(bright, scan.grid.spacing_mm)) > _NECK_MM
    parts, _ = label(thick)
    core = np.isin(parts, np.setdiff1d(parts[there][bladder.array > _DEEP_MM], [0]))
    if not core.any():
        return None
    share_inside = (core[there] & (bladder.array > 0)).sum() / core.sum()
    medium = bright & (np.asarray(distance_transform_edt(~core, scan.grid.spacing_mm)) <= _NECK_MM + _SMOOTH_MM)
    return _Medium(part, medium) if share_inside > _LEAST_SHARE_INSIDE else None


def _bright(hu: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(hu, [_SMOOTH_MM / s for s in grid.spacing_mm], truncate=2.0)
    return (smooth > _MEDIUM_HU) & (smooth < _BONE_HU)


def _as_urine(hu: NDArray[np.float32], medium: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """HU above the wall's, in and around the medium, on a line that takes the medium's own to urine's."""
    from scipy.ndimage import distance_transform_edt

    around = np.asarray(distance_transform_edt(~medium, grid.spacing_mm)) < _RIM_MM
    level = float(np.median(hu[medium]))
    share = np.clip((hu - _WALL_HU) / (level - _WALL_HU), 0.0, 1.5)
    mapped = _WALL_HU + share * (_URINE_HU - _WALL_HU)
    return np.where(around & (hu > _WALL_HU), mapped, hu).astype(np.float32)


def _voxels(length_mm: float, grid: Grid) -> list[int]:
    return [int(np.ceil(length_mm / s)) for s in grid.spacing_mm]
