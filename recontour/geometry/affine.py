"""Affine transforms of points, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Affine:
    """`matrix`: 4 x 4 float64, takes LPS points (x, y, z, 1) in mm of one frame to another. The name of the
    variable that holds it says which: `affine_daily_to_planning`."""

    matrix: NDArray[np.float64]

    @staticmethod
    def identity() -> Affine:
        """Leaves every point where it is."""
        return Affine(np.eye(4))

    @staticmethod
    def shift(offset_mm: ArrayLike) -> Affine:
        """Adds `offset_mm` (x, y, z) to every point."""
        out = np.eye(4)
        out[:3, 3] = np.asarray(offset_mm, float)
        return Affine(out)

    @staticmethod
    def rotation(degrees_xyz: ArrayLike, centre_mm: ArrayLike) -> Affine:
        """Rotates about the x, then the y, then the z axis through `centre_mm`; angles in degrees."""
        out = np.eye(4)
        for axis, angle in enumerate(np.deg2rad(np.asarray(degrees_xyz, float))):
            a, b = [k for k in range(3) if k != axis]
            sign = -1.0 if axis == 1 else 1.0
            turn = np.eye(4)
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[a, b], turn[b, a] = -sign * np.sin(angle), sign * np.sin(angle)
            out = turn @ out
        centre = np.asarray(centre_mm, float)
        out[:3, 3] = centre - out[:3, :3] @ centre
        return Affine(out)

    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) points to (..., 3) points, mm."""
        return np.asarray(points_mm, float) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> Affine:
        """The way back."""
        return Affine(np.asarray(np.linalg.inv(self.matrix), np.float64))

    def after(self, first: Affine) -> Affine:
        """The transform that applies `first`, then this one."""
        return Affine(self.matrix @ first.matrix)
