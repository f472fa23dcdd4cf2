"""Where one scan lies in the other: a translation, found by looking everywhere."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.align.shrink import shrink
from recontour.errors import AlignmentFailed
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import Volume

SPACING_MM = 8.0  # as sure as 6 mm in less than half the time; elastix needs a start within some 30 mm
WINDOW_HU = (-200.0, 200.0)  # air to muscle and bone: the outline of the body, fat against muscle, bone against both
LEAST_OVERLAP = 0.2  # of the smaller scan's box; two scans whose z ranges overlap by half reach about 0.5
# The same man turned by 10 degrees reaches 0.87 and more, seen through a small field of view 0.84; a pelvis against a
# head 0.4, against noise 0.02. Other parts of the same man reach as much as he himself: align.elastix tells them apart.
LEAST_CORRELATION = 0.6

Array = NDArray[np.float64]


def find_translation(fixed: Volume, moving: Volume) -> Affine:
    """The shift that takes points of `fixed` (daily) to points of `moving` (planning), to within about 10 mm.

    Both scans may lie on any grid: they are compared along the LPS axes. The shift is the one with the highest
    normalised cross-correlation, over what both fields of view share, among all whole multiples of 8 mm.
    Raises AlignmentFailed where none correlates, as with scans of different parts of the body.
    """
    still, moved = _prepared(fixed), _prepared(moving)
    correlation = _correlation(still, moved)
    peak = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    best = float(correlation[peak])
    if not best >= LEAST_CORRELATION:
        raise AlignmentFailed(
            f"the two scans do not show the same region (best correlation {max(best, 0.0):.2f})",
            where="translation search",
            allowed=f"a correlation of at least {LEAST_CORRELATION}",
        )
    lag = np.asarray(peak) - np.asarray(moved.values.shape) + 1
    return Affine.shift(moved.origin_mm - still.origin_mm - SPACING_MM * lag[::-1])


@dataclass(frozen=True, eq=False)
class _Prepared:
    """values: (D, H, W) about zero, and zero outside the field of view. seen: 1 inside it, 0 outside."""

    values: Array
    seen: Array
    origin_mm: Array


def _prepared(scan: Volume) -> _Prepared:
    """The scan at 8 mm along the LPS axes. Half a voxel is cut off a side, so that nothing is interpolated with
    what lies outside."""
    small = shrink(scan, SPACING_MM)
    low, high = small.grid.bounds_mm()
    grid = Grid.around(low, np.maximum(low, high - SPACING_MM + 1e-3), SPACING_MM)
    outside = WINDOW_HU[0] * 1e3
    on_axes = resample_volume(small, grid, fill_hu=outside).array
    seen = on_axes > -1001.0
    values = np.clip(on_axes, *WINDOW_HU).astype(np.float64)
    values -= values[seen].mean() if seen.any() else 0.0
    return _Prepared(values * seen / (WINDOW_HU[1] - WINDOW_HU[0]), seen.astype(np.float64), np.asarray(grid.origin_mm))


def _correlation(fixed: _Prepared, moving: _Prepared) -> Array:
    """(D, H, W): the normalised correlation at every lag, index 0 being the lowest, 1 - the moving size.

    Padfield, "Masked object registration in the Fourier domain", IEEE TIP 2012, eq. 29-37. In float64: the variances
    are differences of large sums.
    """
    from scipy import fft

    full = [a + b - 1 for a, b in zip(fixed.values.shape, moving.values.shape, strict=True)]
    size = [fft.next_fast_len(n, real=True) for n in full]
    workers = min(2, os.cpu_count() or 1)

    def ahead(values: Array) -> NDArray[np.complex128]:
        return fft.rfftn(values, size, workers=workers)

    def back(spectrum: NDArray[np.complex128]) -> Array:
        return fft.irfftn(spectrum, size, workers=workers)[: full[0], : full[1], : full[2]]

    turned = moving.values[::-1, ::-1, ::-1], moving.seen[::-1, ::-1, ::-1]  # correlation as a convolution
    f, ff, f_seen = ahead(fixed.values), ahead(fixed.values**2), ahead(fixed.seen)
    m, mm, m_seen = ahead(turned[0]), ahead(turned[0] ** 2), ahead(turned[1])
    shared = np.maximum(np.rint(back(f_seen * m_seen)), 1.0)
    f_sum, m_sum = back(f * m_seen), back(f_seen * m)
    covariance = back(f * m) - f_sum * m_sum / shared
    f_variance = np.maximum(back(ff * m_seen) - f_sum**2 / shared, 0.0)
    m_variance = np.maximum(back(f_seen * mm) - m_sum**2 / shared, 0.0)
    scale = np.sqrt(f_variance * m_variance)
    enough = shared >= LEAST_OVERLAP * min(fixed.seen.sum(), moving.seen.sum())
    # Where either scan is nearly constant over the overlap, the quotient is rounding noise.
    certain = enough & (scale > 1e-3 * scale.max())
    return np.where(certain, covariance / np.maximum(scale, 1e-12), -1.0)
