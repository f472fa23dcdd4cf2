"""Streaks around metal: a coarse parallel-beam sinogram of the metal alone, what beam hardening and missing photons
make of it, filtered and projected back (mechanisms: De Man et al., IEEE Trans Nucl Sci 1999). The rest of the body is
taken to be water, and the detector a line: the look of streaks is right, their strength is set by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.volume import Volume

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]

METAL_HU = 2400.0  # no bone is as dense
_WATER_PER_MM = 0.02
_ANGLES = 60
_HARDENING, _SATURATION = 0.035, 0.1
_SAMPLING, _FADE_MM = 0.5, 14.0  # of a marker
_STARVATION = 0.004
_LARGE_MM3 = 2000.0  # more metal than this throws streaks through the whole slice, less of it 40 mm around
_NEAR_MM = 40.0
_COARSE_MM = 2.6


def throws_far(volume: Volume) -> bool:
    """Whether there is metal enough for streaks through the whole slice, a prosthesis and not a marker."""
    return float((volume.array > METAL_HU).sum()) * volume.grid.voxel_ml * 1000 > _LARGE_MM3


def metal_streaks(volume: Volume, rng: np.random.Generator) -> Volume | None:
    """HU to be added for the streaks of all metal, 0 in metal itself; None where there is no metal."""
    planes = np.flatnonzero(volume.array.max(axis=(1, 2)) > METAL_HU)
    if not len(planes):
        return None
    large = throws_far(volume)
    rows, columns = _window(volume.array[planes] > METAL_HU, volume, large)
    step = max(1, round(_COARSE_MM / volume.grid.spacing_mm[2])) if large else 1
    part = volume.array[planes][:, rows, columns]
    streaks = _streaks(_coarser(part, step), volume.grid.spacing_mm[2] * step, large, rng)
    fine = np.repeat(np.repeat(streaks, step, 1), step, 2)[:, : part.shape[1], : part.shape[2]]
    if step > 1:
        fine = _smoothed(fine, step)
    out = np.zeros(volume.grid.size, np.float32)
    for k, there, plane in zip(planes, part, fine, strict=True):
        out[k, rows, columns] = np.where(there > METAL_HU, 0, plane)
    return Volume(volume.grid, out)


def _window(metal: Bools, volume: Volume, large: bool) -> tuple[slice, slice]:
    if large:
        return slice(None), slice(None)
    out: list[slice] = []
    for axis in (1, 2):
        there = np.flatnonzero(metal.any(axis=(0, 3 - axis)))
        reach = int(_NEAR_MM / volume.grid.spacing_mm[axis])
        out.append(slice(max(int(there[0]) - reach, 0), int(there[-1]) + reach + 1))
    return out[0], out[1]


def _coarser(part: Array, step: int) -> Array:
    """Means over step x step pixels; the last ones repeated."""
    height, width = (-(-n // step) for n in part.shape[1:])
    padded = np.pad(part, ((0, 0), (0, height * step - part.shape[1]), (0, width * step - part.shape[2])), "edge")
    return padded.reshape(len(part), height, step, width, step).mean(axis=(2, 4))


def _smoothed(array: Array, step: int) -> Array:
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(array, (0, step, step)), np.float32)


def _streaks(hu: Array, pixel_mm: float, large: bool, rng: np.random.Generator) -> Array:
    """(Z, H, W) HU to be added, from slices whose metal stands out in `hu`."""
    excess = np.where(hu > METAL_HU / 2, np.minimum(hu, 2e4) / 1000.0 * _WATER_PER_MM * pixel_mm, 0.0)
    at = np.argwhere(excess > 0)
    weight = excess[tuple(at.T)]
    z, y, x = at[:, 0], at[:, 1] - hu.shape[1] / 2, at[:, 2] - hu.shape[2] / 2
    bins = int(np.hypot(*hu.shape[1:])) + 4
    rows, columns = (np.asarray(np.arange(n) - n / 2, np.float64) for n in hu.shape[1:])
    out: Array = np.zeros(hu.shape, np.float32)
    for angle in (np.arange(_ANGLES) + rng.random()) * (np.pi / _ANGLES):
        c, s = np.cos(angle), np.sin(angle)
        place = x * c + y * s + bins / 2
        projected = _projected(place, z, weight, (len(hu), bins))
        error = _filtered(_error(projected, rng) if large else _marker_error(projected, rng), pixel_mm)
        index = columns[None, :] * c + rows[:, None] * s + bins / 2
        low = np.clip(index.astype(int), 0, bins - 2)
        share = (index - low).astype(np.float32)
        out += (1 - share) * error[:, low] + share * error[:, low + 1]
    out *= np.float32(np.pi / _ANGLES * 1000.0 / _WATER_PER_MM)
    return out if large else out * _fading(excess > 0, pixel_mm)


def _fading(metal: Bools, pixel_mm: float) -> Array:
    """(Z, H, W): 1 at the metal of a slice, falling with the distance from it."""
    from scipy.ndimage import distance_transform_edt

    away = [np.asarray(distance_transform_edt(~plane, pixel_mm)) for plane in metal]
    return np.exp(-np.stack(away) / _FADE_MM).astype(np.float32)


def _projected(place: NDArray[np.float64], z: NDArray[np.intp], weight: Array, size: tuple[int, int]) -> Array:
    """(Z, bins): line integrals of the metal at one angle, shared between the two nearest rays."""
    low = np.floor(place).astype(int)
    share = place - low
    flat = z * size[1] + low
    out = np.bincount(flat, weight * (1 - share), size[0] * size[1])
    out += np.bincount(flat + 1, weight * share, size[0] * size[1])
    return out.reshape(size).astype(np.float32)


def _error(projected: Array, rng: np.random.Generator) -> Array:
    """Measured less true line integral: hardening grows with the square of it, later linearly, so that a ray through
    two pieces loses more than they do one by one; noise grows with the photons that are missing."""
    hardening = _HARDENING * projected**2 / (1.0 + _SATURATION * projected)
    missing = _STARVATION * (np.exp(np.minimum(projected, 9.0) / 2.0) - 1.0)
    return (missing * rng.standard_normal(projected.shape, np.float32) - hardening).astype(np.float32)


def _marker_error(projected: Array, rng: np.random.Generator) -> Array:
    """A marker is finer than the detector's cells: each ray over- or underestimates it."""
    return (_SAMPLING * projected * rng.standard_normal((len(projected), 1), np.float32)).astype(np.float32)


def _filtered(rays: Array, pixel_mm: float) -> Array:
    """Ramp filter with a Hann window, along the detector."""
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    size = int(next_fast_len(2 * rays.shape[1]))
    frequency = np.asarray(rfftfreq(size, pixel_mm))
    response = frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency * pixel_mm))
    spectrum = np.asarray(rfft(rays, size))  # pyright: ignore[reportUnknownArgumentType]
    return np.asarray(irfft(spectrum * response, size), np.float32)[:, : rays.shape[1]]
