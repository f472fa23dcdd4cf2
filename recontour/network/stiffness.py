"""What keeps the refined field smooth, and the step that this and the data agree on.

Legend: (d, h, w) knots. A symmetric 3 x 3 matrix is six numbers: zz, yy, xx, zy, zx, yx.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recontour.network.lattice import Lattice, Separable, adjoint, apply, cosines
from recontour.settings import RefineSettings


class Stiffness:
    """bending * |laplacian u|^2 + stretching * |grad u|^2 of the knots, per voxel of the level."""

    def __init__(self, lattice: Lattice, settings: RefineSettings, spacing_mm: float, device: torch.device) -> None:
        waves = [cosines(axis) for axis in lattice]
        z, y, x = (matrix.to(device) for matrix, _ in waves)
        self.forward: Separable = (z, y, x)
        self.back = adjoint(self.forward)
        z, y, x = (s.to(device) for _, s in waves)
        laplacian = z[:, None, None] + y[None, :, None] + x[None, None, :]
        voxels_per_knot = (lattice[0].step_mm / spacing_mm) ** 3
        self.waves = (settings.bending * laplacian**2 + settings.stretching * laplacian) * voxels_per_knot
        self.steps = settings.solver_steps

    def force(self, knots: Tensor) -> Tensor:
        """Half the gradient of the energy, (3, d, h, w)."""
        return apply(self.back, self.waves * apply(self.forward, knots))

    def solve(self, curvature: Tensor, gradient: Tensor) -> Tensor:
        """The step s with (curvature + stiffness) s = -gradient, by conjugate gradients among the waves."""
        level = float(curvature[:3].mean()) + 1e-6
        inverse = 1.0 / (self.waves + level)
        tiny = 1e-3 * level
        residual = -apply(self.forward, gradient)
        step = torch.zeros_like(residual)
        ready = inverse * residual
        direction, power = ready, float((residual * ready).sum())
        first = power
        for _ in range(self.steps):
            along = apply(self.forward, _times(curvature, apply(self.back, direction)))
            along += (self.waves + tiny) * direction
            length = power / max(float((direction * along).sum()), 1e-30)
            step = step + length * direction
            residual = residual - length * along
            ready = inverse * residual
            last, power = power, float((residual * ready).sum())
            if power < 1e-4 * first:
                break
            direction = ready + (power / last) * direction
        return apply(self.back, step)


def outer(v: Tensor) -> Tensor:
    """(3, D, H, W) to the six distinct entries of v v^T: zz, yy, xx, zy, zx, yx."""
    z, y, x = v
    return torch.stack((z * z, y * y, x * x, z * y, z * x, y * x))


def _times(six: Tensor, v: Tensor) -> Tensor:
    zz, yy, xx, zy, zx, yx = six
    z, y, x = v
    return torch.stack((zz * z + zy * y + zx * x, zy * z + yy * y + yx * x, zx * z + yx * y + xx * x))
