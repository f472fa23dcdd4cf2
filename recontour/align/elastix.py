"""Affine and B-spline registration by elastix. The only module that imports itk."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.align.maps import AFFINE, ElastixMap
from recontour.align.shrink import shrink
from recontour.errors import AlignmentFailed
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import Volume

AFFINE_SPACING_MM = 3.0

# The same man, turned by 10 degrees, in noise or a small field of view, comes out at 0.97 and more before any organ
# moves; another part of him at 0.13 to 0.62, and then with one axis squeezed to nothing; he front to back at 0.42; he
# upside down only by mirroring. Left to right he is too much like himself to be told apart.
LEAST_LIKENESS = 0.5
LEAST_STRETCH = 0.75
_BODY_HU = (-200.0, 300.0)
# Mutual information over all HU sometimes ends worse than it began (gas, air and bone fill most of its histogram);
# over soft tissue it then finds the way.
_SOFT_TISSUE_HU = (-150.0, 300.0)
_NO_WORSE = 0.005
_UNSEEN_HU = -1e5
_MARGIN_MM = 20.0  # what may move into the region of a B-spline from outside
_LEAST_SHARED = 0.05  # of the overlap, before the correlation means anything

Array = NDArray[np.float32]


def load() -> None:
    """Imports itk now, which takes about a second. Raises ImportError where it cannot be loaded."""
    _itk()


def warm_up() -> threading.Thread:
    """Starts importing itk beside whatever the caller does next. Need not be joined; what fails fails again in use."""

    def quietly() -> None:
        with suppress(ImportError):
            load()

    thread = threading.Thread(target=quietly, name="import itk", daemon=True)
    thread.start()
    return thread


def register_affine(
    fixed: Volume, moving: Volume, start: Affine | None = None, maps: ElastixMap = AFFINE, threads: int = 0
) -> Affine:
    """The affine that takes points of `fixed` (daily) to points of `moving` (planning).

    start: where to begin, fixed to moving, to within some 30 mm and 15 degrees (align.search gives one).
    threads: 0 lets elastix choose; the result is the same. Two calls with equal input give equal results.
    Raises AlignmentFailed where the scans do not overlap, or elastix fails or ends worse than it began.
    """
    start = start or Affine.identity()
    still, moved = _pair_on_overlap(fixed, moving, start)
    before = _likeness(still, moved, Affine.identity())
    tried: list[tuple[float, Affine]] = []
    for attempt in (maps, replace(maps, window_hu=_SOFT_TISSUE_HU)):
        found = _affine_of(_run(_windowed(still, attempt), _windowed(moved, attempt), attempt, threads))
        tried.append((_likeness(still, moved, found), found))
        if tried[-1][0] > before - _NO_WORSE:
            break
    after, found = max(tried, key=lambda one: one[0])
    _check(found, before, after)
    return start.after(found)


def register_bspline(fixed: Volume, moving: Volume, start: Affine, maps: ElastixMap, threads: int = 0) -> Field:
    """The field u on the grid of `fixed` with planning point = start(x + u(x)), mm.

    fixed: the region of the daily scan to work on, at the resolution to work at, along the LPS axes.
    moving: the planning scan, on any grid. Raises AlignmentFailed.
    """
    moved = resample_volume(moving, _wider(fixed.grid, _MARGIN_MM), start)
    found = _run(_windowed(fixed, maps), _windowed(moved, maps), maps, threads)
    return _field_of(found, fixed.grid)


def _pair_on_overlap(fixed: Volume, moving: Volume, start: Affine) -> tuple[Volume, Volume]:
    """Both scans at 3 mm along the LPS axes of the fixed frame: the fixed one where they overlap, the moving
    one, through `start`, as far as it reaches."""
    low, high = fixed.grid.bounds_mm()
    corners = start.inverse().apply(moving.grid.corners_mm())
    reach_low, reach_high = corners.min(axis=0), corners.max(axis=0)
    shared_low, shared_high = np.maximum(low, reach_low), np.minimum(high, reach_high)
    if (shared_high - shared_low).min() < 10 * AFFINE_SPACING_MM:
        raise AlignmentFailed(
            "the two scans hardly overlap after the translation search",
            where="alignment",
            allowed=f"an overlap of at least {10 * AFFINE_SPACING_MM:.0f} mm",
        )
    still = Grid.around(shared_low, shared_high - AFFINE_SPACING_MM, AFFINE_SPACING_MM)
    moved = Grid.around(reach_low, reach_high - AFFINE_SPACING_MM, AFFINE_SPACING_MM)
    small_fixed, small_moving = shrink(fixed, AFFINE_SPACING_MM), shrink(moving, AFFINE_SPACING_MM)
    return resample_volume(small_fixed, still), resample_volume(small_moving, moved, start)


def _check(found: Affine, before: float, after: float) -> None:
    """Raises AlignmentFailed where `found` stretches a man as no man stretches, or he does not look the same after:
    `before` and `after` are the likeness without and with it."""
    linear = found.matrix[:3, :3]
    stretch = np.linalg.svd(linear, compute_uv=False)
    plausible = stretch.min() > LEAST_STRETCH and stretch.max() < 1 / LEAST_STRETCH and np.linalg.det(linear) > 0
    if plausible and after > max(LEAST_LIKENESS, before - 0.05):
        return
    raise AlignmentFailed(
        f"the two scans do not match: correlation {after:.2f} (before {before:.2f}), "
        f"stretched by {stretch.min():.2f} to {stretch.max():.2f}{', mirrored' if np.linalg.det(linear) < 0 else ''}",
        where="affine registration",
        allowed=f"two CT scans of the same region of one patient: a correlation of at least {LEAST_LIKENESS}, "
        f"a stretch of {LEAST_STRETCH} to {1 / LEAST_STRETCH:.2f}",
    )


def _likeness(still: Volume, moved: Volume, affine: Affine) -> float:
    """The correlation of soft tissue and bone, in what both scans see of the body; -1 where they share nothing."""
    warped = resample_volume(moved, still.grid, affine, fill_hu=_UNSEEN_HU)
    low, high = _BODY_HU
    inside = (warped.array > _UNSEEN_HU / 2) & ((still.array > low) | (warped.array > low))
    if inside.sum() < _LEAST_SHARED * inside.size:
        return -1.0
    pair = np.corrcoef(np.clip(still.array[inside], low, high), np.clip(warped.array[inside], low, high))
    return float(np.nan_to_num(pair[0, 1], nan=-1.0))


def _wider(grid: Grid, margin_mm: float) -> Grid:
    steps = np.ceil(margin_mm / np.asarray(grid.spacing_mm)).astype(int)
    return Grid.of(np.asarray(grid.size) + 2 * steps, grid.spacing_mm, grid.points_at(-steps), grid.direction)


def _windowed(scan: Volume, maps: ElastixMap) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *maps.window_hu))


def _affine_of(found: Mapping[str, Sequence[str]]) -> Affine:
    """elastix's AffineTransform: y = M (x - c) + c + t, with M by rows, then t."""
    values = np.asarray(found["TransformParameters"], float)
    centre = np.asarray(found["CenterOfRotationPoint"], float)
    linear, shift = values[:9].reshape(3, 3), values[9:12]
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + shift - linear @ centre
    return Affine(matrix)


def _field_of(found: Mapping[str, Sequence[str]], grid: Grid) -> Field:
    """elastix's cubic B-spline on `grid`, which lies along the LPS axes: u(x) = sum of coefficient times the product
    of three one-dimensional weights (Rueckert et al., IEEE TMI 1999, eq. 2), so axis by axis."""
    size = np.asarray(found["GridSize"], int)  # (x, y, z), as are spacing and origin
    spacing, origin = np.asarray(found["GridSpacing"], float), np.asarray(found["GridOrigin"], float)
    values = np.asarray(found["TransformParameters"], float).reshape(3, size[2], size[1], size[0])
    for axis in range(3):  # x, y, z, which are array axes 3, 2, 1
        points = grid.origin_mm[axis] + grid.spacing_mm[2 - axis] * np.arange(grid.size[2 - axis])
        weights = _cubic_weights((points - origin[axis]) / spacing[axis], int(size[axis]))
        values = np.moveaxis(np.tensordot(values, weights, axes=(3 - axis, 1)), -1, 3 - axis)
    return Field(grid, values.astype(np.float32))


def _cubic_weights(positions: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    """(N, knots): the cubic B-spline of every knot at every position, in units of the knot spacing."""
    distance = np.abs(positions[:, None] - np.arange(knots))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def _run(fixed: Volume, moving: Volume, maps: ElastixMap, threads: int) -> Mapping[str, Sequence[str]]:
    """elastix in memory: the last transform parameter map. The images outlive the filter, which holds bare pointers."""
    itk = _itk()
    images = [_image(itk, scan) for scan in (fixed, moving)]
    request = itk.parameters.New()
    request.AddParameterMap(dict(maps.parameters))
    method = itk.method.New()
    method.SetFixedImage(images[0][0])
    method.SetMovingImage(images[1][0])
    method.SetParameterObject(request)
    method.SetLogToConsole(False)
    method.SetLogToFile(False)
    if threads:
        method.SetNumberOfThreads(threads)
    try:
        method.UpdateLargestPossibleRegion()
        result = method.GetTransformParameterObject()
        return dict(result.GetParameterMap(result.GetNumberOfParameterMaps() - 1))
    except RuntimeError as error:  # its text is elastix's internals: of use to a programmer, who finds it as the cause
        raise AlignmentFailed(
            "elastix could not register the two scans",
            where=maps.name,
            allowed="two scans that overlap and show the same region",
        ) from error


class _Itk:
    """The three classes of itk that are needed, straight from their modules: `import itk` and its lazy attributes
    would load a thousand more."""

    def __init__(self) -> None:
        self.method: Any = import_module("itk.itkElastixRegistrationMethodPython").itkElastixRegistrationMethodIF3IF3
        self.parameters: Any = import_module("itk.elxParameterObjectPython").elastixParameterObject
        self.buffer: Any = import_module("itk.itkPyBufferPython").itkPyBufferIF3
        self.method.New().SetGlobalWarningDisplay(False)


_loaded: list[_Itk] = []
_lock = threading.Lock()


def _itk() -> _Itk:
    with _lock:
        if not _loaded:
            _loaded.append(_Itk())
        return _loaded[0]


def _image(itk: _Itk, scan: Volume) -> tuple[Any, Array]:
    """An itk image that looks at the array beside it: keep both."""
    array = np.ascontiguousarray(scan.array, np.float32)
    image = itk.buffer.GetImageViewFromArray(array)
    image.SetSpacing([float(s) for s in reversed(scan.grid.spacing_mm)])
    image.SetOrigin([float(o) for o in scan.grid.origin_mm])
    return image, array
