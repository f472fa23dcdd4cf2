"""Paints implicit shapes into a CT: shares of voxels, textures, bone with a cortex."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recontour.geometry.grid import Grid
from recontour.phantom.body import Tissue
from recontour.phantom.contents import Urine, smooth_noise, stool_texture
from recontour.phantom.shapes import Array, Floats, Points, Shape, box_of, open_points, tube

Hu = float | Array
Layer = tuple[float, Hu]
Part = tuple[tuple[slice, ...], tuple[slice, ...]]  # of the scan, and of its every second pixel


class Painter:
    """`hu` (D, H, W) on `grid`, which lies along the LPS axes. Shapes are evaluated on every second pixel of a slice
    and interpolated: they are smooth, the textures painted into them are not."""

    def __init__(self, grid: Grid, rng: np.random.Generator, tissue: Tissue) -> None:
        self.grid = grid
        self.rng = rng
        self.tissue = tissue
        self.hu: Array = np.full(grid.size, -1000.0, np.float32)
        axes = [grid.origin_mm[2 - a] + grid.spacing_mm[a] * np.arange(grid.size[a]) for a in range(3)]
        self._z, self._y, self._x = axes
        coarse = Grid.of((max(grid.size[0], 2), (grid.size[1] + 1) // 2, (grid.size[2] + 1) // 2),
                         (grid.spacing_mm[0], 2 * grid.spacing_mm[1], 2 * grid.spacing_mm[2]), (0, 0, 0))  # fmt: skip
        self._rough = smooth_noise(coarse, 2.0, rng)
        self._smooth = smooth_noise(coarse, 6.0, rng)
        self._septa = smooth_noise(coarse, 7.0, rng)
        self._stool = stool_texture(coarse, rng)
        self._lamellae = _lamellae(self._septa)

    def fill(self, shape: Shape, *layers: Layer, soft_mm: float = 1.0) -> None:
        """Paints the shape, then, inwards, further layers of it: (depth in mm, HU or texture). `soft_mm`: how wide a
        surface blurs."""
        part, rough = self._rough_distance(shape)
        if rough is not None:
            distance = self._fine(rough, part[0])
            for depth, hu in layers:
                self._lay(part, distance - np.float32(depth), hu, soft_mm)

    def pack(self, shapes: Iterable[tuple[Shape, Sequence[Layer]]], gap_mm: float, soft_mm: float = 1.0) -> None:
        """Paints shapes side by side: each is cut where one before it lies, with `gap_mm` of fat between."""
        taken = np.full(self._septa.shape, -50.0, np.float32)
        for shape, layers in shapes:
            part, rough = self._rough_distance(shape)
            if rough is None:
                continue
            there = taken[part[1]]
            own = np.minimum(rough, -there - np.float32(gap_mm))
            np.maximum(there, own, out=there)
            distance = self._fine(own, part[0])
            for depth, hu in layers:
                self._lay(part, distance - np.float32(depth), hu, soft_mm)

    def _lay(self, part: Part, distance: Array, hu: Hu, soft_mm: float) -> None:
        share = np.clip(distance / np.float32(soft_mm) + np.float32(0.5), 0, 1)
        value = self._fine(hu[part[1]], part[0]) if isinstance(hu, np.ndarray) else np.float32(hu)
        region = self.hu[part[0]]
        region += share * (value - region)

    def bone(
        self, shape: Shape, spongy: float, cortex: float, thickness: Callable[[Array], Array], shaft_z: float = -1e4
    ) -> None:
        """Bone with a cortex of `thickness` (of z, mm); below `shaft_z` its marrow is fat."""
        part, rough = self._rough_distance(shape)
        if rough is None:
            return
        depth = self._fine(rough, part[0])
        z = self._z[part[0][0]].astype(np.float32)[:, None, None]
        trabeculae = np.float32(spongy) * (1 + np.float32(0.22) * self._rough + np.float32(0.15) * self._smooth)
        inner = self._fine(np.asarray(trabeculae[part[1]], np.float32), part[0])
        inner = np.asarray(np.where(z < shaft_z, np.float32(10.0), inner), np.float32)
        dense = np.clip((thickness(z) - depth) / np.float32(0.9) + np.float32(0.5), 0, 1)
        value = inner + dense * (np.float32(cortex) - inner)
        region = self.hu[part[0]]
        region += np.clip(depth + np.float32(0.5), 0, 1) * (value - region)

    def couch(self, top_mm: float) -> None:
        """A table top: two thin shells of carbon fibre around foam, slightly hollow."""

        def slab(at: Points) -> Array:
            x, y, z = at
            sag = top_mm - 0.00018 * x * x
            return np.minimum(np.minimum(y - sag, sag + 24.0 - y), 205.0 - np.abs(x)) + 0 * z

        self.fill(slab, (0.0, -60.0), (2.0, -930.0))

    def rod(self, start: Floats, end: Floats, radius_mm: float, hu: float) -> None:
        """A thin straight piece from `start` to `end` (x, y, z), with its whole mass: points 0.25 mm apart are shared
        out to the voxels they lie in. For what is smaller than a voxel."""
        low, high = np.minimum(start, end) - radius_mm, np.maximum(start, end) + radius_mm
        axes = [np.arange(a, b + 0.25, 0.25) for a, b in zip(low, high, strict=True)]
        at = open_points(*axes)
        inside = np.argwhere(tube(np.array([start, end]), [radius_mm] * 2)(at) > 0)
        if not len(inside):
            return
        point = low + inside[:, ::-1] * 0.25
        first = (self._x[0], self._y[0], self._z[0])
        index = np.rint((point - first) / np.array(self.grid.spacing_mm)[::-1]).astype(int)[:, ::-1]
        index = index[((index >= 0) & (index < self.grid.size)).all(axis=1)]
        voxels, counts = np.unique(index, axis=0, return_counts=True)
        share = np.minimum(counts * (0.25**3 / np.prod(self.grid.spacing_mm)), 1.0).astype(np.float32)
        where = tuple(voxels.T)
        self.hu[where] += share * (np.float32(hu) - self.hu[where])

    def fat(self) -> Array:
        """Fat with septa: thin sheets where a smooth noise passes zero, here and there."""
        sheets = np.exp(-((self._septa / 0.055) ** 2)) * np.clip(self._smooth + 0.4, 0, 1)
        return (self.tissue.fat + 4.0 * self._rough + 3.0 * self._smooth + 55.0 * sheets).astype(np.float32)

    def haze(self, soft: float) -> Array:
        """Fat between the organs: veins, nerves and strands, more or less of it."""
        share = np.clip(0.55 * self._rough + 0.5 * self._smooth + 1.7 * self.tissue.haze - 0.75, 0.0, 0.9)
        return (self.tissue.fat + share * np.float32(soft - self.tissue.fat)).astype(np.float32)

    def strands(self, soft: float) -> Array:
        """Fat of the pelvis: as `fat`, with more sheets, and small vessels cut across."""
        haze = np.float32(self.tissue.haze)
        dots = np.clip(self._rough - 1.7 + 0.5 * haze, 0, 0.9)
        sheets = np.exp(-((self._septa / 0.08) ** 2)) * (0.15 + 0.5 * haze)
        return (self.fat() + np.clip(dots + sheets, 0, 0.9) * np.float32(soft - self.tissue.fat)).astype(np.float32)

    def muscle(self) -> Array:
        """Muscle with fat between its bundles and, where it is marbled, in sheets along them."""
        marbling = np.float32(self.tissue.marbling)
        sheets = np.exp(-((self._lamellae / 0.16) ** 2)) * np.clip(self._smooth + 0.2 + marbling, 0, 1)
        dots = np.clip(np.abs(self._rough) - 1.6 + 0.5 * marbling, 0, 1.2) * np.clip(self._septa + 0.6, 0, 1)
        fat = np.clip(0.75 * marbling * sheets + 0.4 * dots, 0, 0.9)
        lean = self.tissue.muscle + 4.0 * self._smooth
        return (lean + fat * (np.float32(self.tissue.fat) - lean)).astype(np.float32)

    def mottled(self, mean: float) -> Array:
        """Gland tissue."""
        uneven = np.float32(self.tissue.mottle_hu)
        return (mean + uneven * (0.5 * self._rough + 0.7 * self._smooth)).astype(np.float32)

    def urine(self, shape: Shape, urine: Urine) -> Array:
        """What the bladder holds, by height: what is heavier lies at the back."""
        low, high = box_of(shape, float(self._z[0]), float(self._z[-1]))
        hu = urine.at(self._y[::2], float(low[1]) + 8.0, float(high[1]) - 8.0)
        return np.broadcast_to(hu[:, None], self._septa.shape)

    def stool(self) -> Array:
        """What a bowel holds."""
        return self._stool

    def centre_in_plane(self, shape: Shape, z_mm: float) -> tuple[float, float] | None:
        """x, y of the middle of `shape` at one height; None where it is not there."""
        across = np.arange(-100.0, 101.0, 2.0)
        inside = np.argwhere(shape(open_points(across, across, np.array([z_mm])))[0] > 0)
        if not len(inside):
            return None
        row, column = (float(np.mean(inside[:, axis])) for axis in (0, 1))
        return -100.0 + 2.0 * column, -100.0 + 2.0 * row

    def _rough_distance(self, shape: Shape) -> tuple[Part, Array | None]:
        """Where on the fine and on the coarse lattice the shape lies, and its distance on the coarse one."""
        low, high = box_of(shape, float(self._z[0]) - 8.0, float(self._z[-1]) + 8.0)
        spans: list[slice] = []
        for axis, values in enumerate((self._z, self._y, self._x)):
            step = 1 if axis == 0 else 2
            first = bisect_left(values.tolist(), float(low[2 - axis])) // step * step
            spans.append(slice(first, bisect_right(values.tolist(), float(high[2 - axis]))))
        fine = (spans[0], spans[1], spans[2])
        coarse = (spans[0], *(slice(s.start // 2, (s.stop + 1) // 2) for s in spans[1:]))
        if any(s.stop - s.start < 1 for s in fine):
            return (fine, coarse), None
        z, y, x = self._z[fine[0]], self._y[::2][coarse[1]], self._x[::2][coarse[2]]
        rough = np.broadcast_to(shape(open_points(x, y, z)), (len(z), len(y), len(x)))
        return (fine, coarse), np.asarray(rough, np.float32)

    @staticmethod
    def _fine(rough: Array, fine: tuple[slice, ...]) -> Array:
        """Every second pixel to every pixel, linearly; the last one repeated."""
        height, width = (s.stop - s.start for s in fine[1:])
        return _doubled(_doubled(rough, 1, height), 2, width)


def _lamellae(noise: Array) -> Array:
    """The same noise squeezed to a half along y and sheared by x, as the bundles of the buttocks run."""
    height, width = int(noise.shape[1]), int(noise.shape[2])
    lean = np.abs(np.arange(width) - width // 2)
    row = (2 * np.arange(height)[:, None] - lean[None, :]) % height
    return np.asarray(noise[:, row, np.arange(width)[None, :]], np.float32)


def _doubled(array: Array, axis: int, size: int) -> Array:
    moved = np.moveaxis(array, axis, 0)
    out = np.empty((size, *moved.shape[1:]), np.float32)
    out[::2] = moved[: (size + 1) // 2]
    if size > 1:
        after = moved[1 : size // 2 + 1]
        odd = out[1::2]
        odd[: len(after)] = 0.5 * (moved[: len(after)] + after)
        odd[len(after) :] = moved[-1]
    return np.moveaxis(out, 0, axis)
