"""Slices in space: their order, what is wrong with it, and the regular grid they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import acos, atan, degrees

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.pixels import AIR_HU, hounsfield
from recontour.dicom.slices import Slice
from recontour.errors import ScanRefused
from recontour.geometry.contours import SlicePlane
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

FEWEST_SLICES = 3
LARGEST_OBLIQUITY_DEGREES = 5.0  # a rotated patient, not another kind of cut
LARGEST_GAP = 1.5  # times the median spacing
SAME_PLACE_MM = 0.01  # what decimal rounding does to positions, and far below what shifts a contour visibly
_SAME_DIRECTION = 1e-4  # 0.05 mm over half a metre


@dataclass(frozen=True)
class Stack:
    """Slices in the order of increasing position along their normal, which is row direction x column direction.

    normal: LPS unit vector. positions_mm: (N,) along it. drift_mm: (N, 2), how far each slice's first pixel lies
    along the rows and along the columns from that of the first slice.
    """

    slices: tuple[Slice, ...]
    normal: NDArray[np.float64]
    positions_mm: NDArray[np.float64]
    drift_mm: NDArray[np.float64]


def stack_of(slices: Sequence[Slice]) -> tuple[Stack, tuple[str, ...]]:
    """The stack of slices in any order, and notes on what was left out.

    The direction of the stack is the normal's, whatever way the patient lies, so that the grid's axes are always
    right-handed: head first, the volume starts at the feet; feet first, at the head.

    Raises ScanRefused where the slices do not make one scan: other matrices, orientations, frames of reference or
    patients among them, not axial, tilted, two images at one place, a gap, or fewer than three.
    """
    _check_alike(slices)
    ordered, notes = _without_duplicates(_ordered(slices))
    if len(ordered.slices) < FEWEST_SLICES:
        raise ScanRefused(f"a series of {len(ordered.slices)} slices", allowed=f"at least {FEWEST_SLICES}")
    _check_tilt(ordered)
    _check_axial(ordered)
    _check_gaps(ordered)
    return ordered, notes


def volume_of(stack: Stack) -> tuple[Volume, tuple[str, ...]]:
    """The scan on a regular grid, and notes on what was resampled for it.

    Slices that lie regularly are taken as they are. Otherwise slices shifted in their plane are interpolated
    linearly in the plane, and irregular spacings linearly between neighbouring slices.
    """
    array = hounsfield(stack.slices)
    notes: list[str] = []
    low_mm = np.zeros(2)
    if np.ptp(stack.drift_mm, axis=0).max() > SAME_PLACE_MM:
        array, low_mm = _straightened(array, stack)
        largest = float(np.ptp(stack.drift_mm, axis=0).max())
        notes.append(f"slices are shifted in their plane by up to {largest:.2f} mm: resampled")
    spacing, count = _regular_spacing(stack)
    if count:
        array = _evened(array, stack.positions_mm, spacing, count)
        notes.append(f"irregular slice spacing: resampled to {spacing:.3f} mm")
    plane = stack.slices[0].plane
    row, column = np.array(plane.row_direction), np.array(plane.column_direction)
    grid = Grid.of(
        array.shape,
        (spacing, plane.row_spacing_mm, plane.column_spacing_mm),
        np.array(plane.origin_mm) + low_mm[0] * row + low_mm[1] * column,
        np.stack([stack.normal, column, row], axis=1),
    )
    return Volume(grid, array), tuple(notes)


def _ordered(slices: Sequence[Slice]) -> Stack:
    axes = slices[0].plane
    row, column = np.array(axes.row_direction), np.array(axes.column_direction)
    normal = np.cross(row, column)
    origins = np.array([s.plane.origin_mm for s in slices])
    order = np.argsort(origins @ normal, kind="stable")
    shared = [_with_axes(slices[int(i)], axes) for i in order]
    drift = (origins[order] - origins[order[0]]) @ np.stack([row, column], axis=1)
    return Stack(tuple(shared), normal, (origins @ normal)[order], drift)


def _with_axes(image: Slice, axes: SlicePlane) -> Slice:
    plane = replace(image.plane, row_direction=axes.row_direction, column_direction=axes.column_direction)
    return replace(image, plane=plane)


def _check_alike(slices: Sequence[Slice]) -> None:
    """Every slice against the first: what must be one in a scan."""
    first = slices[0]
    for other in slices[1:]:
        a, b = first.plane, other.plane
        axes = [(*p.row_direction, *p.column_direction) for p in (a, b)]
        spacings = [(p.row_spacing_mm, p.column_spacing_mm) for p in (a, b)]
        differs = {
            "matrices": (a.rows, a.columns) != (b.rows, b.columns),
            "orientations": not np.allclose(*axes, atol=_SAME_DIRECTION),
            "pixel spacings": not np.allclose(*spacings, rtol=1e-4),
            "frames of reference": first.frame_of_reference_uid != other.frame_of_reference_uid,
            "patients": first.patient.identifier != other.patient.identifier,
        }
        for what in (what for what, yes in differs.items() if yes):
            raise ScanRefused(
                f"slices with different {what} in one series",
                where=f"{other.path.name} against {first.path.name}",
                allowed="one scan; take the file out if it does not belong to it",
            )


def _without_duplicates(stack: Stack) -> tuple[Stack, tuple[str, ...]]:
    """Of two slices at one place with the same pixels one is kept; with other pixels, nobody can say which is true."""
    keep = [0]
    for i in range(1, len(stack.slices)):
        before = keep[-1]
        if stack.positions_mm[i] - stack.positions_mm[before] >= SAME_PLACE_MM:
            keep.append(i)
            continue
        pair = (stack.slices[before], stack.slices[i])
        pixels = hounsfield(pair)
        if np.abs(stack.drift_mm[i] - stack.drift_mm[before]).max() > SAME_PLACE_MM or (pixels[0] != pixels[1]).any():
            raise ScanRefused(
                f"two different images at one position, {_place(stack, i)}",
                where=f"{_named(pair[0])} and {_named(pair[1])}",
                allowed="one image for each slice position",
            )
    left_out = len(stack.slices) - len(keep)
    if not left_out:
        return stack, ()
    kept = Stack(tuple(stack.slices[i] for i in keep), stack.normal, stack.positions_mm[keep], stack.drift_mm[keep])
    return kept, (f"{left_out} slice{'s' if left_out > 1 else ''} twice in the series with the same pixels: one kept",)


def _check_tilt(stack: Stack) -> None:
    """The tilt is the angle between the way the slices are stacked and their normal."""
    rise = stack.positions_mm - stack.positions_mm[0]
    measured = degrees(atan(float(np.linalg.norm(stack.drift_mm[-1])) / float(rise[-1])))
    said = max((abs(s.tilt_degrees) for s in stack.slices), default=0.0)
    allowed = f"no tilt, or one of up to {LARGEST_OBLIQUITY_DEGREES:g} degrees that positions and orientation agree on"
    if measured > LARGEST_OBLIQUITY_DEGREES:
        raise ScanRefused(f"gantry tilt of {measured:.1f} degrees", where="ImagePositionPatient", allowed=allowed)
    if abs(said - measured) > 0.5 and said > 0.5:
        found = f"the header says a gantry tilt of {said:.1f} degrees, the slice positions {measured:.1f}"
        raise ScanRefused(found, where="GantryDetectorTilt", allowed=allowed)


def _check_axial(stack: Stack) -> None:
    away = np.abs(stack.normal)
    angle = degrees(acos(min(1.0, float(away[2]))))
    if angle <= LARGEST_OBLIQUITY_DEGREES:
        return
    names = ("sagittal", "coronal", "axial")
    nearest = int(away.argmax())
    exact = degrees(acos(min(1.0, float(away[nearest])))) <= LARGEST_OBLIQUITY_DEGREES
    kind = names[nearest] if exact else "oblique"
    raise ScanRefused(
        f"{kind} slices, {angle:.1f} degrees from axial",
        where=_named(stack.slices[0]),
        allowed=f"axial slices, up to {LARGEST_OBLIQUITY_DEGREES:g} degrees off",
    )


def _check_gaps(stack: Stack) -> None:
    steps = np.diff(stack.positions_mm)
    median = float(np.median(steps))
    wide = np.flatnonzero(steps > LARGEST_GAP * median)
    if len(wide):
        gaps = "; ".join(
            f"{steps[i]:.2f} mm between {_place(stack, int(i))} and {_place(stack, int(i) + 1)}" for i in wide[:3]
        )
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
        raise ScanRefused(
            f"slices are missing: {gaps}{more}",
            where=f"median spacing {median:.2f} mm",
            allowed=f"gaps of up to {LARGEST_GAP:g} x the median spacing",
        )


def _regular_spacing(stack: Stack) -> tuple[float, int]:
    """The spacing of the grid in mm, and the number of its planes where it is not that of the slices, otherwise 0."""
    s = stack.positions_mm
    extent, steps = float(s[-1] - s[0]), len(s) - 1
    even: NDArray[np.float64] = s[0] + extent / steps * np.arange(steps + 1)
    if np.abs(s - even).max() <= SAME_PLACE_MM:
        return round(extent / steps, 9), 0
    count = max(1, round(extent / float(np.median(np.diff(s)))))
    return extent / count, count + 1


def _evened(
    array: NDArray[np.float32], positions_mm: NDArray[np.float64], spacing_mm: float, count: int
) -> NDArray[np.float32]:
    """(N, H, W) at irregular positions to (count, H, W) at regular ones from the same first to the same last."""
    targets = positions_mm[0] + spacing_mm * np.arange(count)
    out = np.empty((count, *array.shape[1:]), np.float32)
    for k, target in enumerate(targets):
        i = min(max(int((positions_mm <= target).sum()) - 1, 0), len(positions_mm) - 2)
        share = np.float32((target - positions_mm[i]) / (positions_mm[i + 1] - positions_mm[i]))
        out[k] = (1 - share) * array[i] + share * array[i + 1]
    return out


def _straightened(array: NDArray[np.float32], stack: Stack) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Every slice moved to one in-plane frame that holds all of them, air around, by linear interpolation.

    Returns the array and where its first pixel lies, along rows and columns in mm, from that of the first slice.
    """
    from scipy.ndimage import shift

    plane = stack.slices[0].plane
    pixel = np.array([plane.column_spacing_mm, plane.row_spacing_mm])
    low = stack.drift_mm.min(axis=0)
    offsets = (stack.drift_mm - low) / pixel  # (N, 2) pixels along rows, columns
    more = np.ceil(offsets.max(axis=0) - 1e-6).astype(int)
    out = np.full((len(array), plane.rows + more[1], plane.columns + more[0]), AIR_HU, np.float32)
    for k, (along_row, along_column) in enumerate(offsets):
        out[k, : plane.rows, : plane.columns] = array[k]
        shift(out[k].copy(), (along_column, along_row), output=out[k], order=1, mode="constant", cval=AIR_HU)
    return out, low


def _place(stack: Stack, index: int) -> str:
    return f"z = {stack.slices[index].plane.origin_mm[2]:.2f} mm"


def _named(image: Slice) -> str:
    return f"{image.path.name}, frame {image.frame}" if image.frame else image.path.name
