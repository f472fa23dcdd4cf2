"""How a scanner pictures what is there: kernel, slice thickness, metal streaks, calibration, noise, field of view.

The kernel's one number, the frequency at which its apodisation has fallen to 0.61, rules both the edges (a Gaussian of
1 / (2 pi kernel) mm) and the colour of the noise, as in filtered back-projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.phantom.noise import draw_noise, starved_rows

Array = NDArray[np.float32]

MEDIUM_PER_MM = 0.25
MEDIUM_BLUR_MM = 1.0 / (2.0 * math.pi * MEDIUM_PER_MM)  # what a scan that was not made here is taken to hold
TOP_HU, AIR_HU = 3071.0, -1024.0  # of 12 bits
_CUPPING_MM = 14.0


@dataclass(frozen=True)
class Scanner:
    """kernel_per_mm: 0.18 soft to 0.45 sharp. overshoot: edge enhancement, 0 to 0.5. slice_mm: thickness, 0 for the
    ideal plane. hu_scale: factor on HU + 1000. hu_offset: HU. starvation: standard deviation of the streaks along x
    in the rows with most bone, as a share of the noise. fov_mm: diameter of what is reconstructed; cupping_hu: how
    bright its rim is where it cuts the body."""

    kernel_per_mm: float = MEDIUM_PER_MM
    overshoot: float = 0.0
    slice_mm: float = 0.0
    hu_scale: float = 1.0
    hu_offset: float = 0.0
    starvation: float = 0.0
    fov_mm: float = math.inf
    cupping_hu: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator, slice_mm: float) -> Scanner:
        """Soft to sharp; slices as thick as they are apart, or half of that."""
        kernel = float(rng.uniform(0.18, 0.45))
        sharpness = (kernel - 0.18) / 0.27
        return Scanner(
            kernel_per_mm=kernel,
            overshoot=float(rng.uniform(0.0, 0.5) * sharpness),
            slice_mm=slice_mm * float(rng.choice([0.5, 1.0, 1.0])),
            hu_scale=float(np.clip(rng.normal(1.0, 0.006), 0.98, 1.02)),
            hu_offset=float(np.clip(rng.normal(0.0, 3.0), -8.0, 8.0)),
            starvation=max(0.0, float(rng.uniform(-0.8, 0.8))),
        )

    def cut_to(self, fov_mm: float) -> Scanner:
        """The same with a field of view of this diameter, and the bright rim that truncation leaves."""
        return replace(self, fov_mm=fov_mm, cupping_hu=80.0)


def as_scanned(
    volume: Volume, scanner: Scanner, noise_hu: float, rng: np.random.Generator, held_mm: float = 0.0
) -> Volume:
    """`volume` (D, H, W) HU as `scanner` shows it, with noise of standard deviation `noise_hu` in the middle.

    held_mm: the blur (standard deviation) that the volume already holds. HU are kept within 12 bits.
    """
    array = _kernel(np.minimum(volume.array, TOP_HU), volume.grid, scanner, held_mm)
    array = _thick(array, volume.grid, scanner.slice_mm)
    array = (array + 1000.0) * np.float32(scanner.hu_scale) + np.float32(scanner.hu_offset - 1000.0)
    if noise_hu > 0:
        array += draw_noise(volume.grid, noise_hu, rng, scanner.kernel_per_mm)
        if scanner.starvation > 0:
            starved_rows(array, volume.grid, scanner.starvation * noise_hu, rng)
    if scanner.fov_mm < math.inf:
        _cut(array, volume.grid, scanner)
    return Volume(volume.grid, np.clip(array, AIR_HU, TOP_HU, out=array))


def _kernel(array: Array, grid: Grid, scanner: Scanner, held_mm: float) -> Array:
    """Blur of the kernel in the slice, less what is held already; a sharp kernel's edges overshoot."""
    wanted = 1.0 / (2.0 * math.pi * scanner.kernel_per_mm)
    out = _blurred(array, grid, math.sqrt(max(wanted**2 - held_mm**2, 0.0)))
    if scanner.overshoot <= 0:
        return out
    return np.asarray(out + np.float32(scanner.overshoot) * (out - _blurred(out, grid, 1.5)), np.float32)


def _blurred(array: Array, grid: Grid, sigma_mm: float) -> Array:
    from scipy.ndimage import gaussian_filter1d

    if sigma_mm < 0.15:
        return array
    out = array
    for axis in (1, 2):
        out = gaussian_filter1d(out, sigma_mm / grid.spacing_mm[axis], axis, mode="nearest", truncate=2.5)
    return np.asarray(out, np.float32)


def _thick(array: Array, grid: Grid, slice_mm: float) -> Array:
    """The mean over a slice, from its neighbours: symmetric three-point means of the same second moment as a box of
    `slice_mm`, less that of the 1 mm over which a painted surface blurs."""
    left = (max(slice_mm**2 - 1.0, 0.0) / 12.0) / grid.spacing_mm[0] ** 2  # variance, in slices
    out = array
    while left > 1e-3 and len(array) > 2:
        side = np.float32(min(left / 2.0, 0.25))
        left -= 2.0 * float(side)
        inner = out.copy()
        inner[1:-1] += side * (out[:-2] + out[2:] - 2.0 * out[1:-1])
        out = inner
    return out


def _cut(array: Array, grid: Grid, scanner: Scanner) -> None:
    """In place: nothing outside the field of view; the body that is cut brightens towards its rim, since what was
    not measured is reconstructed into it (truncation; Barrett and Keat, RadioGraphics 2004)."""
    y, x = ((np.arange(grid.size[a]) - (grid.size[a] - 1) / 2) * grid.spacing_mm[a] for a in (1, 2))
    depth = (scanner.fov_mm / 2 - np.hypot(y[:, None], x[None, :])).astype(np.float32)
    rim = np.float32(scanner.cupping_hu) * np.exp(-np.maximum(depth, 0) / np.float32(_CUPPING_MM))
    for plane in array:
        plane += rim * (plane > -300)
        plane[depth < 0] = AIR_HU
