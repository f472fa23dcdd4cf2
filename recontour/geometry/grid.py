"""Where voxels lie: one frozen value instead of loose spacing and origin tuples."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recontour.errors import UsageError

Triple = tuple[float, float, float]
Index = tuple[int, int, int]
Box = tuple[slice, slice, slice]

# Columns are the LPS unit vectors of the array axes (z, y, x) of a scan that lies along the LPS axes.
AXIAL: tuple[Triple, Triple, Triple] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True)
class Grid:
    """A regular lattice of voxels.

    Array axes are (z, y, x); points are LPS (x, y, z) in mm, as DICOM writes them.

    size: voxels along (z, y, x).
    spacing_mm: distance of neighbours along (z, y, x).
    origin_mm: LPS point of the centre of voxel (0, 0, 0).
    direction: rows x, y, z; column k is the LPS unit vector along array axis k.

    point = origin_mm + direction @ (index * spacing_mm).
    Raises UsageError where the axes are not orthonormal or a size or spacing is not positive.
    """

    size: Index
    spacing_mm: Triple
    origin_mm: Triple
    direction: tuple[Triple, Triple, Triple] = AXIAL

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise UsageError(f"grid size {self.size}", where="Grid.size", allowed="three sizes of at least 1 voxel")
        if len(self.spacing_mm) != 3 or not min(self.spacing_mm) > 0:
            raise UsageError(f"spacing {self.spacing_mm} mm", where="Grid.spacing_mm", allowed="above 0 mm")
        axes = np.asarray(self.direction, float)
        if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
            raise UsageError("axes not orthonormal", where="Grid.direction", allowed="three orthogonal unit vectors")

    @staticmethod
    def of(size: ArrayLike, spacing_mm: ArrayLike, origin_mm: ArrayLike, direction: ArrayLike = AXIAL) -> Grid:
        """A grid from any sequences or arrays: same meaning as the fields."""
        z, y, x = (int(n) for n in np.asarray(size))
        rows = [_triple(row) for row in np.asarray(direction, float)]
        return Grid((z, y, x), _triple(spacing_mm), _triple(origin_mm), (rows[0], rows[1], rows[2]))

    @staticmethod
    def around(low_mm: ArrayLike, high_mm: ArrayLike, spacing_mm: float) -> Grid:
        """The isotropic grid along the LPS axes whose voxel centres reach from `low_mm` to at least `high_mm`."""
        low, high = np.asarray(low_mm, float), np.asarray(high_mm, float)
        counts = np.ceil((high - low) / spacing_mm - 1e-6).astype(int) + 1
        return Grid.of(counts[::-1], [spacing_mm] * 3, low)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """4 x 4, from (z, y, x, 1) voxel indices to (x, y, z, 1) LPS mm."""
        out = np.eye(4)
        out[:3, :3] = np.asarray(self.direction, float) * np.asarray(self.spacing_mm, float)
        out[:3, 3] = self.origin_mm
        return out

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def points_at(self, index: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) voxel indices (z, y, x), fractions allowed, to (..., 3) LPS points in mm."""
        m = self.matrix
        return np.asarray(index, float) @ m[:3, :3].T + m[:3, 3]

    def index_at(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) LPS points in mm to (..., 3) fractional voxel indices (z, y, x)."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray(points_mm, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def points(self) -> NDArray[np.float64]:
        """(D, H, W, 3) LPS points in mm of all voxel centres."""
        return self.points_at(np.stack(np.meshgrid(*(np.arange(n) for n in self.size), indexing="ij"), axis=-1))

    def corners_mm(self) -> NDArray[np.float64]:
        """(8, 3) LPS points of the centres of the corner voxels."""
        return self.points_at(list(itertools.product(*((0, n - 1) for n in self.size))))

    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lowest and highest LPS coordinates of voxel centres, two (3,) arrays."""
        corners = self.corners_mm()
        return corners.min(axis=0), corners.max(axis=0)

    def is_axial(self) -> bool:
        """Whether the array axes run along the positive LPS axes."""
        return bool(np.allclose(self.direction, AXIAL, atol=1e-6))

    def crop(self, low: Index, high: Index) -> Grid:
        """The part from voxel `low` up to, not including, voxel `high`, as (z, y, x)."""
        return Grid.of(np.subtract(high, low), self.spacing_mm, self.points_at(low), self.direction)

    def part(self, box: Box) -> Grid:
        """The part that `box`, slices along (z, y, x) with both ends, takes of an array on this grid."""
        z, y, x = box
        return self.crop((z.start, y.start, x.start), (z.stop, y.stop, x.stop))

    def box_of(self, part: Grid) -> Box:
        """Where `part`, cut out of this grid by `crop`, lies in it, as slices along (z, y, x); beyond it too.

        Raises UsageError where the two do not share their voxels.
        """
        at = self.index_at(part.origin_mm)
        low = np.round(at).astype(int)
        shared = np.abs(at - low).max() < 1e-3 and np.allclose(self.spacing_mm, part.spacing_mm, atol=1e-6)
        if not shared or not np.allclose(self.direction, part.direction, atol=1e-6):
            raise UsageError("grids that share no voxels", where="Grid.box_of", allowed="a part of the same grid")
        z, y, x = (slice(int(first), int(first) + n) for first, n in zip(low, part.size, strict=True))
        return z, y, x

    def with_spacing(self, spacing_mm: float) -> Grid:
        """The same box of voxel centres (to within one voxel) at another, isotropic, spacing."""
        extent = (np.asarray(self.size) - 1) * np.asarray(self.spacing_mm)
        size = np.floor(extent / spacing_mm + 1e-6).astype(int) + 1
        return Grid.of(size, [spacing_mm] * 3, self.origin_mm, self.direction)

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids put every voxel centre at the same point, to within `tolerance_mm`."""
        return self.size == other.size and bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)


def _triple(values: ArrayLike) -> Triple:
    a, b, c = (float(v) for v in np.asarray(values, float))
    return a, b, c
