"""How large a shape is and where: volume, centre, parts, from sub-voxel coverage."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.volume import LevelSet
from recontour.qa.surface import Shape

Box = tuple[slice, slice, slice]


def coverage(shape: Shape) -> tuple[NDArray[np.float32], Box] | None:
    """The share (0 to 1) of every voxel that lies inside, in the box of voxels that can have any; None where empty.

    For a level set: 0.5 + m / s, with m the mean of phi over the voxel (phi and 1/24 of its second differences) and s
    the root of its summed squared differences between neighbouring voxels. That ramp has the variance of the true
    share of a voxel cut by a plane, so volumes hold at any voxel spacing; and it is blind to the level set's own
    scale: a warped one, no longer quite a distance, is measured right. For a mask: its own zeros and ones.
    """
    box = bounding_box(shape.array, margin=2)
    if box is None:
        return None
    inside = shape.array[box]
    if not isinstance(shape, LevelSet):
        return inside.astype(np.float32), box
    mean, squared_slope = inside.copy(), np.full(inside.shape, 1e-12, np.float32)
    for axis in (k for k in range(3) if inside.shape[k] > 2):
        forward = np.diff(inside, axis=axis)
        inner = tuple(slice(1, -1) if k == axis else slice(None) for k in range(3))
        mean[inner] += np.diff(forward, axis=axis) / np.float32(24)
        squared_slope += np.square(np.gradient(inside, axis=axis))
    return np.clip(0.5 + mean / np.sqrt(squared_slope), 0.0, 1.0).astype(np.float32), box


def volume_ml(shape: Shape) -> float:
    """Volume in millilitres from the sub-voxel coverage of the voxels; 0 where empty."""
    found = coverage(shape)
    return 0.0 if found is None else float(found[0].sum(dtype=np.float64)) * shape.grid.voxel_ml


def centroid_mm(shape: Shape) -> NDArray[np.float64] | None:
    """(3,) LPS mm: the centre of mass of the sub-voxel coverage; None where empty."""
    return volume_and_centre(shape)[1]


def volume_and_centre(shape: Shape) -> tuple[float, NDArray[np.float64] | None]:
    """Millilitres, and (3,) LPS mm, from one coverage; 0 and None where empty."""
    found = coverage(shape)
    if found is None:
        return 0.0, None
    share, box = found
    total = float(share.sum(dtype=np.float64))
    index: list[float] = []
    for axis, part in enumerate(box):
        along = share.sum(axis=tuple(k for k in range(3) if k != axis), dtype=np.float64)
        index.append(part.start + float(along @ np.arange(len(along))) / total)
    return total * shape.grid.voxel_ml, shape.grid.points_at(index)


def part_volumes_ml(shape: Shape, smallest_share: float = 0.01) -> list[float]:
    """Volumes in millilitres of the connected parts (26 neighbours), largest first, voxels counted.

    Parts smaller than `smallest_share` of the whole are specks and left out.
    """
    box = bounding_box(shape.array, margin=0)
    if box is None:
        return []
    sizes = np.bincount(_labelled(shape.array[box] > 0).ravel())[1:]
    chosen = np.sort(sizes[sizes >= smallest_share * sizes.sum()])[::-1]
    return [float(size) * shape.grid.voxel_ml for size in chosen]


def _labelled(inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    from scipy import ndimage

    return np.asarray(cast("Any", ndimage).label(inside, np.ones((3, 3, 3)))[0], np.int32)
