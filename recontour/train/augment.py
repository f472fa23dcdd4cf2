"""What other scanners, other men and other slice thicknesses would have shown: patches changed on the training device.

Each change has its reason; none touches the truth, but for the mirror, which turns scans and labels alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

MIRRORED = 0.5  # share of patches
_BLURRED = 0.5  # share of scans
_TAPS = 4  # voxels each side of a blurring kernel


@dataclass(frozen=True)
class Look:
    """How one scan of a pair is shown.

    gain: factor on (HU + 1000), offset_hu: added; scanners, tube voltages and their calibration differ, and air stays
    near -1000. noise_hu: standard deviation of noise added; dose differs. blur_mm: standard deviation of a Gaussian
    along (z, y, x); slices may be thicker than the phantoms' and kernels softer. seed: of the noise.
    """

    gain: float = 1.0
    offset_hu: float = 0.0
    noise_hu: float = 0.0
    blur_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0

    @staticmethod
    def draw(rng: np.random.Generator) -> Look:
        """One scan's; the two of a pair are drawn apart, as they come from two devices."""
        blurred = float(rng.random() < _BLURRED)
        z, plane = blurred * float(rng.uniform(0.0, 1.5)), blurred * float(rng.uniform(0.0, 1.2))
        return Look(
            gain=float(rng.normal(1.0, 0.01)),
            offset_hu=float(rng.normal(0.0, 6.0)),
            noise_hu=float(rng.uniform(0.0, 12.0)),
            blur_mm=(z, plane, plane),
            seed=int(rng.integers(2**62)),
        )


def shown(hu: Tensor, look: Look) -> Tensor:
    """(n, n, n) float32 HU as another scanner shows it; the noise is added last, no blur takes it away."""
    out = hu
    for axis, sigma in enumerate(look.blur_mm):
        out = _blurred(out, axis, sigma) if sigma > 0.1 else out  # a tenth of a voxel does not show
    out = (out + 1000.0) * look.gain - 1000.0 + look.offset_hu
    if look.noise_hu > 0:
        generator = torch.Generator(hu.device).manual_seed(look.seed)
        out = out + look.noise_hu * torch.randn(hu.shape, generator=generator, device=hu.device)
    return out


def mirrored(patches: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Left and right changed in all of them: (..., n), x last. All four organs are single and lie near the middle, so
    that none takes another's name; but the made men's sigmoids all leave to the left, and a patient's may not."""
    return tuple(patch.flip(-1) for patch in patches)


def mirrored_motion(motion: Tensor) -> Tensor:
    """The displacements (6, n, n, n) of a mirrored patch: what went to the left goes to the right."""
    signs = torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0, 1.0], device=motion.device)
    return motion.flip(-1) * signs[:, None, None, None]


def _blurred(hu: Tensor, axis: int, sigma: float) -> Tensor:
    """Along one axis, voxels of 1 mm; at the patch's rim its border repeats."""
    at = torch.arange(-_TAPS, _TAPS + 1, dtype=torch.float32, device=hu.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    shape = [1, 1, 1, 1, 1]
    shape[2 + axis] = -1
    ends = [0] * 6
    ends[2 * (2 - axis)] = ends[2 * (2 - axis) + 1] = _TAPS
    return conv3d(pad(hu[None, None], ends, "replicate"), (kernel / kernel.sum()).view(shape))[0, 0]
