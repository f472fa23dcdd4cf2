"""A displacement field of few numbers: a cubic B-spline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.network.lattice import Axis, Lattice, apply, cells, cubic, knots, windows


@dataclass(frozen=True)
class Spline:
    """A displacement field: `knots` (3, d, h, w) mm, components z, y, x, on `lattice`."""

    lattice: Lattice
    knots: Tensor

    def on(self, points: Lattice) -> Tensor:
        """(3, D, H, W) mm at the points of a lattice."""
        return apply([cubic(k, p).to(self.knots) for k, p in zip(self.lattice, points, strict=True)], self.knots)

    def least_jacobian(self, extent_mm: tuple[float, float, float]) -> float:
        """The smallest determinant of x -> x + u inside the box, on points half a knot apart."""
        step_mm = self.lattice[0].step_mm / 2
        z, y, x = (cells(extent, step_mm) for extent in extent_mm)
        grid = Grid.of((z.count, y.count, x.count), (step_mm, step_mm, step_mm), (0.0, 0.0, 0.0))
        displacement = self.on((z, y, x)).cpu().numpy()
        return float(jacobian_determinant(Field(grid, displacement[::-1])).min())

    def renewed(self, lattice: Lattice, extent_mm: tuple[float, float, float]) -> Spline:
        """The same displacements on other knots, exact at the new ones; what lies outside the box takes its border."""
        inside = [cubic(k, p, e) for k, p, e in zip(self.lattice, lattice, extent_mm, strict=True)]
        return Spline(lattice, apply([m.to(self.knots) for m in _through(lattice, inside)], self.knots))

    @staticmethod
    def through(values: Tensor, points: Lattice, lattice: Lattice) -> Spline:
        """The spline that takes the smoothed (3, D, H, W) values at `points` in its knots."""
        means = [windows(p, k, 0.4 * k.step_mm, p.extent_mm) for p, k in zip(points, lattice, strict=True)]
        return Spline(lattice, apply([m.to(values) for m in _through(lattice, means)], values))


def knot_lattice(extent_mm: tuple[float, float, float], spacing_mm: float) -> Lattice:
    """Knots `spacing_mm` apart that reach all of a box, z, y, x."""
    z, y, x = (knots(e, spacing_mm) for e in extent_mm)
    return z, y, x


def _through(lattice: Lattice, values_at_knots: Sequence[Tensor]) -> list[Tensor]:
    """Along each axis, from what gives values in the knots to what gives the coefficients that pass through them."""
    return [torch.inverse(_reflecting(k)) @ m for k, m in zip(lattice, values_at_knots, strict=True)]


def _reflecting(axis: Axis) -> Tensor:
    """The spline's values in its own knots, as if the last knots were repeated beyond: that is how stiffness sees them,
    and a uniform motion has uniform coefficients."""
    matrix = cubic(axis, axis)
    return matrix + torch.diag(1.0 - matrix.sum(1))
