"""Noise as a CT makes it: correlated by the reconstruction kernel, stronger in the middle of the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume

Array = NDArray[np.float32]

_SLAB = 16


def draw_noise(grid: Grid, level_hu: float, rng: np.random.Generator, kernel_per_mm: float = 0.25) -> Array:
    """(D, H, W) float32 noise in HU with standard deviation `level_hu` in the middle of the grid.

    kernel_per_mm: the noise power of filtered back-projection rises with the frequency until the kernel's apodisation
    ends it (Riederer et al., Phys Med Biol 1978), here exp(-(f / kernel)^2); 0.25 is a soft-tissue kernel.
    """
    from scipy.fft import irfft2, rfft2

    frequency = np.hypot(
        np.fft.fftfreq(grid.size[1], grid.spacing_mm[1])[:, None], np.fft.rfftfreq(grid.size[2], grid.spacing_mm[2])
    )
    response = np.sqrt(frequency) * np.exp(-0.5 * (frequency / kernel_per_mm) ** 2)
    twice = np.full(response.shape[1], 2.0)  # rfft2 keeps one of two mirrored columns, all but the first and last
    twice[0] = 1.0
    response /= np.sqrt((response**2 * twice).sum() / (grid.size[1] * grid.size[2])) + 1e-12
    response = (response * level_hu).astype(np.float32)
    out = np.empty(grid.size, np.float32)
    for start in range(0, grid.size[0], _SLAB):
        part = rng.standard_normal(out[start : start + _SLAB].shape, np.float32)
        out[start : start + _SLAB] = irfft2(rfft2(part) * response, grid.size[1:])  # pyright: ignore
    out *= _profile(grid.size[1], grid.spacing_mm[1], 130.0)[:, None]
    out *= _profile(grid.size[2], grid.spacing_mm[2], 200.0)[None, :]
    return out


def _profile(count: int, spacing_mm: float, width_mm: float) -> Array:
    """Photons that cross the middle of the body are fewest."""
    distance = (np.arange(count) - (count - 1) / 2) * spacing_mm
    return (0.55 + 0.45 * np.exp(-0.5 * (distance / width_mm) ** 2)).astype(np.float32)


def starved_rows(array: Array, grid: Grid, level_hu: float, rng: np.random.Generator) -> None:
    """Adds, in place, what few photons leave of rays that cross both hips: streaks along x, a degree or two aslant, of
    standard deviation `level_hu` in the rows (z, y) that hold most, and next to none in the others
    (Barrett and Keat, RadioGraphics 2004)."""
    from scipy.ndimage import gaussian_filter1d

    # Water-equivalent path above its median, with bone counted for what it absorbs: exp(0.5 x 0.02 / mm x path).
    coarse = array[:, ::2, ::4]
    path = np.clip(coarse / 1000.0 + 1.0, 0.0, 2.5).sum(axis=2) * (4 * grid.spacing_mm[2])
    inside = path > 100.0
    if not inside.any():
        return
    most = float(np.percentile(path[inside], 98))
    strength = np.exp(np.clip(0.014 * (path - most), -6.0, 0.5)) * inside
    strength = np.repeat(strength, 2, axis=1)[:, : grid.size[1]]
    rows = gaussian_filter1d(rng.standard_normal(grid.size[:2], np.float32), 0.8 / grid.spacing_mm[1], axis=1)
    rows *= (level_hu / max(float(rows.std()), 1e-6) * strength).astype(np.float32)
    slope = rng.normal(0.0, 0.03, grid.size[0])
    across = np.arange(grid.size[2]) - grid.size[2] / 2
    profile = np.exp(-((across * grid.spacing_mm[2] / 170.0) ** 4)).astype(np.float32)
    for plane, row, lean in zip(array, rows, slope, strict=True):
        shift = np.rint(lean * across).astype(int)
        index = np.clip(np.arange(grid.size[1])[:, None] + shift[None, :], 0, grid.size[1] - 1)
        plane += row[index] * profile


def noise_level_hu(volume: Volume) -> float:
    """The standard deviation of the noise in soft tissue, HU: from the median difference of neighbouring pixels'
    residue after a 3 x 3 mean, which edges hardly touch. 0 for a scan without soft tissue."""
    from scipy.ndimage import uniform_filter

    array = np.ascontiguousarray(volume.array[:: max(1, volume.grid.size[0] // 12)])
    smooth = uniform_filter(array, (0, 5, 5))
    soft = (smooth > 0) & (smooth < 80)
    if soft.sum() < 500:
        return 0.0
    return float(1.4826 * np.median(np.abs(array - smooth)[soft]))


def without_noise(volume: Volume, level_hu: float) -> Volume:
    """The scan with its fine detail below about twice the noise level shrunk away, edges kept: so that a moved scan
    does not carry the very noise of the scan it came from, which a registration could lock on to."""
    from scipy.ndimage import gaussian_filter

    if level_hu < 0.5:
        return volume
    smooth = gaussian_filter(volume.array, (0.4, 1.2, 1.2))
    detail = volume.array - smooth
    ratio = detail / np.float32(2.5 * level_hu)
    np.square(ratio, out=ratio)
    ratio /= 1.0 + ratio
    detail *= ratio
    smooth += detail
    return Volume(volume.grid, smooth)
