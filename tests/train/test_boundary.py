"""The boundary loss on slabs and balls whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recontour.train.boundary import boundary_loss, signed_distance_mm
from recontour.train.losses import one_hot

ALL = torch.ones(1, 3, dtype=torch.bool)


def slab(first: int, last: int, label: int = 1) -> torch.Tensor:
    """(1, 1, 3, 4, 10): `label` at x = first ... last, both in it."""
    x = torch.arange(10).expand(1, 1, 3, 4, 10)
    return label * ((x >= first) & (x <= last)).long()


@pytest.mark.parametrize(
    ("first", "last", "wrong_mm"),
    [  # truth: 0 ... 4 at 2 mm, so the boundary is 9 mm from the first voxel's centre; voxels at 1, 3, 5 mm from it
        (0, 4, 0),
        (0, 5, 1),  # one voxel too many, 1 mm outside
        (0, 7, 1 + 3 + 5),
        (0, 3, 1),  # one too few, 1 mm inside: -1 * -1
        (0, 1, 1 + 3 + 5),
        (1, 4, 9),  # the edge of the patch is no boundary
    ],
)
def test_wrong_voxels_cost_their_mm_from_the_boundary(first: int, last: int, wrong_mm: float):
    guess = one_hot(slab(first, last), 2)
    got = boundary_loss(guess, slab(0, 4), ALL[:, :2], 2.0)
    assert float(got) == pytest.approx(wrong_mm / 10, abs=1e-6)  # a mean over ten voxels along x


def test_shares_count_as_shares_and_organs_alike():
    truth = slab(0, 2, 1) + slab(6, 9, 2)
    guess = one_hot(truth, 3)
    guess[:, 1, ..., 4] = 0.25  # 1.5 mm outside the first organ
    guess[:, 2, ..., 6] = 0.5  # half missing, 0.5 mm inside the second
    want = (0.25 * 1.5 + 0.5 * 0.5) / 10 / 2
    assert float(boundary_loss(guess, truth, ALL, 1.0)) == pytest.approx(want, abs=1e-6)


def test_the_slope_is_the_signed_distance():
    truth = slab(3, 5)
    guess = torch.full((1, 2, 3, 4, 10), 0.5, requires_grad=True)
    boundary_loss(guess, truth, ALL[:, :2], 1.0).backward()
    want = [2.5, 1.5, 0.5, -0.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
    assert guess.grad is not None and not guess.grad[:, 0].any()
    assert (120 * guess.grad[0, 1, 2, 1]).tolist() == pytest.approx(want, abs=1e-4)


def test_a_ball_that_is_too_large_by_hand():
    z, y, x = np.meshgrid(*[np.arange(-15.0, 16.0)] * 3, indexing="ij")
    r = np.sqrt(z**2 + y**2 + x**2)
    distance = signed_distance_mm(r <= 8.5, 1.0)
    off = np.abs(distance - (r - 8.5))
    assert off.mean() < 0.3 and off.max() < 3**0.5 / 2  # half a voxel, across its corner
    assert (np.sign(distance) == np.where(r <= 8.5, -1, 1)).all()
    truth, guess = (torch.as_tensor(r <= radius).long()[None, None] for radius in (8.5, 11.5))
    # the integral of (r - 8.5) 4 pi r^2 from 8.5 to 11.5, in a patch of 31^3 mm
    by_hand = 4 * np.pi * ((11.5**4 - 8.5**4) / 4 - 8.5 * (11.5**3 - 8.5**3) / 3) / 31**3
    got = float(boundary_loss(one_hot(guess, 2), truth, ALL[:, :2], 1.0))
    assert got == pytest.approx(by_hand, rel=0.05)


def test_distances_by_trying_all_pairs():
    inside = np.random.default_rng(2).random((5, 6, 7)) < 0.3
    at = np.argwhere(np.ones_like(inside)).astype(float)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2) * 3.0
    flat = inside.reshape(-1)
    want = np.where(flat, 1.5 - apart[:, ~flat].min(axis=1), apart[:, flat].min(axis=1) - 1.5)
    np.testing.assert_allclose(signed_distance_mm(inside, 3.0).reshape(-1), want, atol=1e-5)


def test_organs_without_a_boundary_or_not_contoured_drop_out():
    truth = torch.cat([slab(0, 4, 1), slab(0, 9, 1), slab(6, 9, 2)])  # in the second patch organ 1 is everywhere
    guess = one_hot(torch.cat([slab(0, 7, 1), slab(0, 1, 1), slab(0, 9, 1)]), 3)
    known = torch.tensor([[True, True, True], [True, True, True], [True, True, False]])
    # left: organ 1 of the first patch. 0.5 + 1.5 + 2.5 mm in ten voxels
    assert float(boundary_loss(guess, truth, known, 1.0)) == pytest.approx(0.45, abs=1e-6)
    known[2, 2] = True  # and organ 2 of the third: none of it found, 0.5 + 1.5 + 2.5 + 3.5 mm
    assert float(boundary_loss(guess, truth, known, 1.0)) == pytest.approx((0.45 + 0.8) / 2, abs=1e-6)
    assert float(boundary_loss(guess, truth, torch.zeros_like(known), 1.0)) == 0.0
