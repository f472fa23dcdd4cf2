"""Displacement fields in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.grid import Grid


@dataclass(frozen=True, eq=False)
class Field:
    """`array` (3, D, H, W) float32: displacement in mm along LPS x, y, z at every voxel centre of `grid`.

    A point p goes to p + u(p); outside the grid the nearest border value holds.
    """

    grid: Grid
    array: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.array.shape != (3, *self.grid.size):
            raise UsageError(
                f"array of shape {self.array.shape}", where="Field.array", allowed=f"(3, {self.grid.size})"
            )

    @staticmethod
    def zero(grid: Grid) -> Field:
        """Every point stays."""
        return Field(grid, np.zeros((3, *grid.size), np.float32))


def jacobian_determinant(field: Field) -> NDArray[np.float32]:
    """(D, H, W) float32: the local volume change of p -> p + u(p), by central differences.

    1 is no change; 0 and below is a fold.
    """
    inverse = np.linalg.inv(field.grid.matrix[:3, :3])
    gradient = np.stack([np.stack(np.gradient(component), axis=0) for component in field.array])  # (3, 3, D, H, W)
    jacobian = np.einsum("ci...,ij->...cj", gradient, inverse.astype(np.float32))
    jacobian += np.eye(3, dtype=np.float32)
    return _determinant(jacobian)


def folding_fraction(field: Field, inside: NDArray[np.bool_] | None = None) -> float:
    """The share of voxels, of all or of those `inside` (D, H, W), where the Jacobian determinant is not positive."""
    determinant = jacobian_determinant(field)
    chosen = determinant if inside is None else determinant[inside]
    return float((chosen <= 0).mean()) if chosen.size else 0.0


def compose_fields(first: Field, then: Field) -> Field:
    """The field of p -> p + first(p), followed by q -> q + then(q), on the grid of `first`."""
    moved = first.grid.points() + np.moveaxis(first.array, 0, -1)
    return Field(first.grid, first.array + np.moveaxis(_displacement_at(then, moved), -1, 0))


def invert_field(field: Field, iterations: int = 30) -> Field:
    """The field v on the same grid with p + v(p) + u(p + v(p)) = p, by fixed-point iteration.

    Converges where the field does not fold and stretches by less than a factor of two (Chen et al.,
    Med Phys 2008, "A simple fixed-point approach to invert a deformation field").
    """
    points = field.grid.points()
    inverse = -np.moveaxis(field.array, 0, -1)
    for _ in range(iterations):
        inverse = -_displacement_at(field, points + inverse)
    return Field(field.grid, np.moveaxis(inverse, -1, 0).astype(np.float32))


def _displacement_at(field: Field, points_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """(..., 3) mm: the field at (..., 3) points, trilinear, the nearest border value outside."""
    from scipy.ndimage import map_coordinates

    index = np.moveaxis(field.grid.index_at(points_mm), -1, 0)
    parts: list[NDArray[np.float32]] = [map_coordinates(c, index, np.float32, 1, "nearest") for c in field.array]
    return np.stack(parts, axis=-1)


def _determinant(m: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 3, 3) -> (...): written out, since numpy.linalg.det is ten times slower on many small matrices."""
    a = m[..., 0, 0] * (m[..., 1, 1] * m[..., 2, 2] - m[..., 1, 2] * m[..., 2, 1])
    b = m[..., 0, 1] * (m[..., 1, 0] * m[..., 2, 2] - m[..., 1, 2] * m[..., 2, 0])
    c = m[..., 0, 2] * (m[..., 1, 0] * m[..., 2, 1] - m[..., 1, 1] * m[..., 2, 0])
    return np.asarray(a - b + c, np.float32)
