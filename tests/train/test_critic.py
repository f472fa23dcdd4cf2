"""The critic: its penalty by hand, where its slopes go, and that it learns to tell drawn contours from shifted ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recontour.train.critic import Critic, adversarial_loss, critic_loss


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Plane(nn.Module):
    """Judges every voxel: a0 of the first channel + a1 of the second + the daily scan."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes).reshape(1, -1, 1, 1, 1))

    def forward(self, fixed: Tensor, shares: Tensor) -> Tensor:
        return (self.slopes * shares).sum(1, keepdim=True) + fixed


@pytest.mark.parametrize("side", [3, 6])  # the penalty is the same for any size of patch
def test_the_loss_of_a_plane_by_hand(side: int):
    ramp = torch.arange(float(side)).expand(2, 1, side, side, side)
    real, fake = torch.cat([0.1 * ramp, 0 * ramp + 0.5], 1), torch.cat([0.3 * ramp, 0 * ramp + 0.1], 1)
    plane = Plane(3.0, 4.0)
    got = critic_loss(plane, ramp, real, fake, chance())
    middle = (side - 1) / 2
    apart = 3 * (0.3 - 0.1) * middle + 4 * (0.1 - 0.5)  # the daily scan is the same for both
    assert float(got.detach()) == pytest.approx(apart + 10 * (5 - 1) ** 2, rel=1e-5)  # slope: root of 3^2 + 4^2
    got.backward()  # d/da of 10 (|a| - 1)^2 = 20 (|a| - 1) a / |a|: the penalty teaches, too
    assert plane.slopes.grad is not None
    want = [0.2 * middle + 20 * 4 * 3 / 5, -0.4 + 20 * 4 * 4 / 5]
    assert plane.slopes.grad.flatten().tolist() == pytest.approx(want, rel=1e-4)


class Square(nn.Module):
    """Judges the mean square, whose slope is 2 x: the penalty shows where between real and fake it was taken."""

    def forward(self, fixed: Tensor, shares: Tensor) -> Tensor:
        return shares.square()


def test_the_penalty_is_taken_at_a_random_place_of_each_patch_between_both():
    real, fake = torch.full((3, 1, 2, 2, 2), 0.2), torch.full((3, 1, 2, 2, 2), 0.7)
    share = torch.rand(3, 1, 1, 1, 1, generator=chance(5)).flatten()
    slope = 2 * (0.2 * share + 0.7 * (1 - share))
    want = 0.49 - 0.04 + 10 * float(((slope - 1) ** 2).mean())
    assert float(critic_loss(Square(), real, real, fake, chance(5)).detach()) == pytest.approx(want, rel=1e-4)
    assert len({round(float(s), 3) for s in slope}) == 3


def test_all_chance_is_the_generators():
    torch.manual_seed(1)
    critic = Critic()
    fixed, real, fake = (torch.rand(2, c, 8, 8, 8) for c in (1, 5, 5))
    state = torch.get_rng_state()
    first = critic_loss(critic, fixed, real, fake, chance(3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert float(critic_loss(critic, fixed, real, fake, chance(3)).detach()) == float(first.detach())
    assert float(critic_loss(critic, fixed, real, fake, chance(4)).detach()) != float(first.detach())


@pytest.mark.parametrize("size", [(4, 4, 4), (17, 17, 17), (30, 9, 60), (5, 4, 7)])
def test_any_size_of_patch_is_judged_each_by_itself(size: tuple[int, int, int]):
    torch.manual_seed(2)
    critic = Critic()
    fixed, shares = torch.rand(2, 1, *size), torch.rand(2, 5, *size)
    judged = critic(fixed, shares)
    assert judged.shape == (2, 1, *(-(-n // 8) for n in size))
    assert torch.allclose(judged[:1], critic(fixed[:1], shares[:1]), atol=1e-5)
    assert bool(torch.isfinite(critic_loss(critic, fixed, shares, 1 - shares, chance())))


def test_the_critics_slopes_stay_with_the_critic_and_the_networks_with_the_network():
    torch.manual_seed(3)
    critic = Critic()
    fixed, real = torch.rand(1, 1, 8, 8, 8), torch.rand(1, 5, 8, 8, 8)
    fake = torch.rand(1, 5, 8, 8, 8, requires_grad=True)
    critic_loss(critic, fixed, real, fake, chance()).backward()
    assert fake.grad is None
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for name, p in _with_slope(critic))
    critic.zero_grad(set_to_none=True)
    loss = adversarial_loss(critic, fixed, fake)
    assert float(loss.detach()) == pytest.approx(-float(critic(fixed, fake).mean().detach()), abs=1e-6)
    loss.backward()
    assert fake.grad is not None and bool(fake.grad.any())
    assert all(p.grad is None for p in critic.parameters())


def _with_slope(critic: Critic) -> list[tuple[str, nn.Parameter]]:
    """All but the last offset, which is the same for real and fake."""
    return list(critic.named_parameters())[:-1]


def test_reduced_precision_does_not_reach_the_critic():
    torch.manual_seed(4)
    critic = Critic()
    fixed, real, fake = (torch.rand(1, c, 6, 6, 6) for c in (1, 5, 5))
    want = critic_loss(critic, fixed, real, fake, chance()), adversarial_loss(critic, fixed, fake)
    with torch.autocast("cpu", torch.bfloat16):
        got = critic_loss(critic, fixed, real, fake, chance()), adversarial_loss(critic, fixed, fake)
    assert [float(g.detach()) for g in got] == [float(w.detach()) for w in want]


def scene(count: int, shift: int, seed: int) -> tuple[Tensor, Tensor]:
    """Daily scans with a bright ball at a random place, and contours of it that are `shift` voxels off along x."""
    places = torch.randint(5, 9, (count, 3), generator=chance(seed)).float()
    axes = torch.meshgrid(*[torch.arange(14.0)] * 3, indexing="ij")

    def ball(off: int) -> Tensor:
        centre = places + torch.tensor([0.0, 0.0, off])
        squared = sum((axes[i][None] - centre[:, i, None, None, None]) ** 2 for i in range(3))
        return (squared <= 9.5).float()[:, None]

    noise = 0.05 * torch.randn(count, 1, 14, 14, 14, generator=chance(seed + 1))
    return 0.5 * ball(0) + noise, torch.cat([1 - ball(shift), ball(shift)], 1)


def test_it_learns_that_contours_belong_where_the_daily_scan_has_the_organ():
    torch.manual_seed(5)
    critic = Critic(classes=2)
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.5, 0.9))
    generator = chance(7)
    for step in range(60):
        fixed, real = scene(8, 0, 100 + 3 * step)
        _, fake = scene(8, 4 if step % 2 else -4, 100 + 3 * step)
        optimiser.zero_grad()
        critic_loss(critic, fixed, real, fake, generator).backward()
        optimiser.step()
    fixed, drawn = scene(32, 0, 10_001)
    losses = [float(adversarial_loss(critic, fixed, scene(32, shift, 10_001)[1]).detach()) for shift in (0, 2, 4)]
    assert losses[0] < losses[1] < losses[2]
    better = critic(fixed, drawn).mean((1, 2, 3, 4)) > critic(fixed, scene(32, -4, 10_001)[1]).mean((1, 2, 3, 4))
    assert float(better.float().mean()) > 0.95
