"""Stationary velocity fields on a coarse lattice, and the diffeomorphisms they flow into.

Arrays are (3, D, H, W) float32, components x, y, z in mm, on an LPS-axial `Grid` whose voxels are called knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]


def source_flow(source: Array, spacing_mm: float) -> Array:
    """The curl-free velocity whose divergence is `source` (D, H, W), per unit time, minus its mean.

    v = grad psi with laplace(psi) = source, solved by FFT on a lattice padded by half, so that the periodic images
    of the source stay away. A bladder that fills is such a source: it pushes its neighbours, less with distance.
    """
    from scipy.fft import irfftn, next_fast_len, rfftn

    size = [int(next_fast_len(int(1.5 * n) + 1)) for n in source.shape]
    spectrum = np.asarray(rfftn(source, size))  # pyright: ignore[reportUnknownArgumentType]
    waves = [2 * np.pi * np.fft.fftfreq(n, spacing_mm) for n in size[:2]]
    waves.append(2 * np.pi * np.fft.rfftfreq(size[2], spacing_mm))
    kz, ky, kx = np.meshgrid(*waves, indexing="ij", sparse=True)
    squared = kx**2 + ky**2 + kz**2
    squared[0, 0, 0] = 1.0
    potential = -spectrum / squared
    potential[0, 0, 0] = 0.0
    inside = tuple(slice(0, n) for n in source.shape)
    parts = [np.asarray(irfftn(1j * k * potential, size))[inside] for k in (kx, ky, kz)]  # pyright: ignore
    return np.stack(parts).astype(np.float32)


def random_flow(grid: Grid, rng: np.random.Generator, amplitude_mm: float, waves: int = 32) -> Array:
    """A smooth random velocity with standard deviation `amplitude_mm` in each component: a sum of plane waves of
    50 to 160 mm length. A function of the point alone, so a crop of a scan moves as the whole does."""
    length = rng.uniform(50.0, 160.0, waves)
    direction = rng.normal(size=(waves, 3))
    k = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (2 * np.pi / length)[:, None]
    phase = np.exp(1j * rng.uniform(0, 2 * np.pi, (3, waves)))
    low = np.asarray(grid.origin_mm)[::-1]
    axes = [low[a] + grid.spacing_mm[a] * np.arange(grid.size[a]) for a in range(3)]
    z, y, x = (np.exp(1j * np.outer(axes[a], k[:, 2 - a])) for a in range(3))  # (n, waves)
    plane = (z[:, None, :] * y[None, :, :]).reshape(-1, waves)
    scale = amplitude_mm * np.sqrt(2.0 / waves)
    parts = [((plane * p) @ x.T).real.reshape(grid.size) for p in phase]
    return (scale * np.stack(parts)).astype(np.float32)


def rigid_flow(grid: Grid, centre_mm: ArrayLike, shift_mm: ArrayLike, rotation_deg: ArrayLike) -> Array:
    """The velocity that, after unit time, has shifted and (for small angles) turned everything about `centre_mm`."""
    x, y, z = knot_axes(grid)
    cx, cy, cz = np.asarray(centre_mm, float)
    tx, ty, tz = np.asarray(shift_mm, float)
    ox, oy, oz = np.deg2rad(np.asarray(rotation_deg, float))
    dx, dy, dz = x - cx, y - cy, z - cz
    parts = [tx + oy * dz - oz * dy, ty + oz * dx - ox * dz, tz + ox * dy - oy * dx]
    return np.stack([np.broadcast_to(p, grid.size) for p in parts]).astype(np.float32)


def knot_axes(grid: Grid) -> tuple[Floats, Floats, Floats]:
    """x (1, 1, W), y (1, H, 1), z (D, 1, 1) in mm of a grid that lies along the LPS axes."""
    x0, y0, z0 = grid.origin_mm
    z = z0 + grid.spacing_mm[0] * np.arange(grid.size[0])
    y = y0 + grid.spacing_mm[1] * np.arange(grid.size[1])
    x = x0 + grid.spacing_mm[2] * np.arange(grid.size[2])
    return x[None, None, :], y[None, :, None], z[:, None, None]


def flow_for_unit_time(velocity: Array, spacing_mm: float, squarings: int = 5) -> Array:
    """The displacement (3, D, H, W) in mm of exp(velocity), by scaling and squaring (Arsigny et al., MICCAI 2006).

    exp(-velocity), the flow run backwards, is its inverse.
    """
    step = (velocity / (spacing_mm * 2.0**squarings))[::-1].astype(np.float32)  # knots, components z, y, x
    base = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in step.shape[1:]), indexing="ij"))
    for _ in range(squarings):
        step = step + _at(step, base + step)
    return step[::-1] * np.float32(spacing_mm)


def rise(t: Floats) -> Floats:
    """0 below 0, 1 above 1, with two continuous derivatives."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * t * (t * (6 * t - 15) + 10)


def _at(components: Sequence[Array] | Array, index: Array) -> Array:
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(c, index, np.float32, 1, "nearest", prefilter=False) for c in components])


def displace(grid: Grid, displacement: Array, target: Grid, affine: Affine) -> Array:
    """(3, *target.size): the displacement in mm at `affine(target point)`, zero outside `grid`."""
    from recontour.geometry.resample import resample_volume
    from recontour.geometry.volume import Volume

    parts = [resample_volume(Volume(grid, c), target, affine, fill_hu=0.0).array for c in displacement]
    return np.stack(parts)
