"""The planes of a scan's images, and the polygons that lie in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.errors import UsageError
from recontour.geometry.grid import Triple

Contour = NDArray[np.float64]  # (N, 3) LPS mm, one closed polygon in a plane, the first point not repeated


@dataclass(frozen=True)
class SlicePlane:
    """The plane of one image.

    origin_mm: LPS point of the centre of pixel (0, 0), ImagePositionPatient.
    row_direction: LPS unit vector along increasing column index, ImageOrientationPatient[:3] (PS3.3 C.7.6.2.1.1).
    column_direction: LPS unit vector along increasing row index, ImageOrientationPatient[3:].
    row_spacing_mm: distance between rows, PixelSpacing[0]; column_spacing_mm: between columns, PixelSpacing[1].
    rows, columns: pixels.
    """

    origin_mm: Triple
    row_direction: Triple
    column_direction: Triple
    row_spacing_mm: float
    column_spacing_mm: float
    rows: int
    columns: int

    def __post_init__(self) -> None:
        axes = np.array([self.row_direction, self.column_direction], float)
        if axes.shape != (2, 3) or not np.allclose(axes @ axes.T, np.eye(2), atol=1e-4):
            raise UsageError("directions not orthonormal", where="SlicePlane", allowed="two orthogonal unit vectors")
        if not (self.row_spacing_mm > 0 and self.column_spacing_mm > 0 and self.rows > 0 and self.columns > 0):
            raise UsageError("spacing or size not positive", where="SlicePlane", allowed="above 0")

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) LPS unit vector: row_direction x column_direction."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def position_mm(self) -> float:
        """Where the plane lies along its normal."""
        return float(np.dot(self.origin_mm, self.normal))

    def points_at(self, row_mm: NDArray[np.float64], column_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) LPS points `row_mm` along row_direction and `column_mm` along column_direction from the origin."""
        out = np.asarray(row_mm)[..., None] * np.asarray(self.row_direction)
        out = out + np.asarray(column_mm)[..., None] * np.asarray(self.column_direction)
        return out + np.asarray(self.origin_mm)
