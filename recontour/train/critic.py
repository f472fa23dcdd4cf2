"""JRS-GAN: a critic that judges warped contours together with the daily scan.

After Elmahdy et al. 2019 (arXiv 1906.12223): the generator gives the displacement field, the discriminator says how
well an image and the contours warped to it belong together. Trained as a Wasserstein critic with gradient penalty
(Gulrajani et al. 2017, eq. 3). The rest is ours: the layers, that labels are given as shares of one channel each, and
that the penalty measures contours by their root mean square over the voxels. The term is then the same for any size
of patch, and of the order of a Dice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recontour.network.catalogue import LABELS

PENALTY = 10.0  # lambda of Gulrajani et al.
WIDTHS = (16, 32, 64)
SLOPE = 0.2


class Critic(nn.Module):
    """Three strided convolutions and a judgement in each place: higher where contours look drawn.

    No batch norm: the penalty is on the gradient of each patch by itself. Works from one voxel on.
    """

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1 + classes, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv3d(WIDTHS[-1], 1, 1))

    def forward(self, fixed: Tensor, shares: Tensor) -> Tensor:
        """The daily scan (B, 1, d, h, w), HU / 1000, and contours (B, K, d, h, w), 0 to 1 -> (B, 1, d/8, h/8, w/8),
        rounded up."""
        return self.layers(torch.cat([fixed, shares], dim=1))


def critic_loss(critic: nn.Module, fixed: Tensor, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """What the critic learns from: its mean for warped contours less that for drawn ones, and the penalty. float32.

    fixed: (B, 1, d, h, w), the daily scan on the contours' voxels. real, fake: (B, K, d, h, w), daily contours as drawn
    and planning contours as warped. No gradient reaches them. All chance comes from `generator`.
    """
    with torch.autocast(fixed.device.type, enabled=False):
        fixed, real, fake = fixed.float(), real.detach().float(), fake.detach().float()
        apart = critic(fixed, fake).mean() - critic(fixed, real).mean()
        return apart + PENALTY * _gradient_penalty(critic, fixed, real, fake, generator)


def adversarial_loss(critic: nn.Module, fixed: Tensor, fake: Tensor) -> Tensor:
    """What the registration learns from the critic: less the mean judgement of its warped contours. float32.

    The gradient reaches `fake` and not the critic's parameters. Only differences of it mean anything.
    """
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    with torch.autocast(fixed.device.type, enabled=False):
        return -functional_call(critic, frozen, (fixed.float(), fake.float())).mean()


def _gradient_penalty(
    critic: nn.Module, fixed: Tensor, real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """The mean of (slope - 1)^2 between drawn and warped contours; slope: of a patch's judgement, against the root
    mean square over its voxels of a change of the contours."""
    share = torch.rand(len(real), 1, 1, 1, 1, generator=generator, device=generator.device).to(real.device)
    between = (share * real + (1.0 - share) * fake).requires_grad_()
    judgement = critic(fixed, between).mean((1, 2, 3, 4)).sum()
    (gradient,) = torch.autograd.grad(judgement, between, create_graph=True)
    squares = gradient.square().sum((1, 2, 3, 4)) * gradient[0, 0].numel()
    return ((squares + 1e-12).sqrt() - 1.0).square().mean()  # the root has no slope at 0
