"""The losses against arithmetic done by hand, on ramps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recontour.network.architectures import Output, output_sizes
from recontour.train.losses import (
    Batch,
    LossWeights,
    at_resolution,
    bending_energy,
    dice_loss,
    joint_loss,
    local_ncc_loss,
    ncc_loss,
    one_hot,
)

Z, Y, X = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), torch.arange(8.0), indexing="ij")
RAMP = (3 * Z + 5 * Y - X)[None, None]


def test_correlation_does_not_care_for_gain_and_offset_but_for_sign():
    assert float(ncc_loss(RAMP, 4 * RAMP - 7)) == pytest.approx(0.0, abs=1e-4)
    assert float(ncc_loss(RAMP, -RAMP)) == pytest.approx(2.0, abs=1e-4)


def test_correlation_of_two_ramps_by_hand():
    # Over a full lattice x and y are uncorrelated: corr(x + y, x) = sd(x) / sqrt(var(x) + var(y)).
    var_x, var_y = np.var(np.arange(8)), np.var(np.arange(7))
    want = 1 - np.sqrt(var_x / (var_x + var_y))
    assert float(ncc_loss((X + Y)[None, None], X[None, None])) == pytest.approx(want, abs=1e-4)


def test_each_patch_of_a_batch_has_its_own_correlation():
    one = torch.cat([RAMP, RAMP])
    two = torch.cat([RAMP + 100, -RAMP])
    assert float(ncc_loss(one, two)) == pytest.approx(1.0, abs=1e-4)


def test_local_correlation_sees_what_changes_sign_from_place_to_place():
    bent = (X - 3.5).abs()[None, None]
    assert float(ncc_loss(X[None, None], bent)) == pytest.approx(1.0, abs=1e-3)  # as a whole: uncorrelated
    # Windows of 3 along x begin at 0 ... 5; in those at 2 and 3 the bend lies (corr^2 = 1/4 by hand: 1.5, .5, .5
    # against 2, 3, 4: cov -1/3, var 2/3 and 2/9, so (1/9) / (4/27) = 3/4); in the other four the slopes agree.
    assert float(local_ncc_loss(X[None, None], bent, 3)) == pytest.approx(1 - (4 + 2 * 0.75) / 6, abs=1e-3)


def test_dice_by_hand():
    truth = one_hot(torch.tensor([0, 0, 1, 1, 1, 2]).reshape(1, 1, 1, 1, 6), 4)
    guess = one_hot(torch.tensor([0, 1, 1, 1, 2, 0]).reshape(1, 1, 1, 1, 6), 4)
    # (2 * shared + 1) / (both + 1): background 1 of 2 + 2, class 1 2 of 3 + 3, class 2 none of 1 + 1, class 3 absent
    want = 1 - np.mean([3 / 5, 5 / 7, 1 / 3, 1 / 1])
    assert float(dice_loss(guess, truth)) == pytest.approx(want, abs=1e-6)
    assert float(dice_loss(truth, truth)) == pytest.approx(0.0, abs=1e-6)


def test_bending_energy_of_polynomials_by_hand():
    assert float(bending_energy(torch.stack([2 * X + Y, Z - X, 3 * Z])[None], 1.0)) == pytest.approx(0.0, abs=1e-8)
    # u_x = x^2: d2/dx2 = 2. u_y = 3 x y: d2/dxdy = 3, counted twice. u_z = z^2 / 2: 1. 4 + 18 + 1.
    field = torch.stack([X * X, 3 * X * Y, Z * Z / 2])[None]
    assert float(bending_energy(field, 1.0)) == pytest.approx(23.0, rel=1e-5)
    # the same numbers on a lattice of 2 mm: second derivatives a quarter, squares a sixteenth
    assert float(bending_energy(field, 2.0)) == pytest.approx(23.0 / 16, rel=1e-5)


def test_ground_truth_is_cropped_and_strided():
    n = 96
    ramp = torch.arange(float(n)).reshape(1, 1, 1, 1, n).expand(1, 1, n, n, n)
    for k, (first, step) in enumerate(((14, 4), (18, 2), (20, 1))):
        size = output_sizes(n)[k]
        got = at_resolution(ramp, k, (size,) * 3)
        assert got.shape == (1, 1, size, size, size)
        assert got[0, 0, 0, 0].tolist() == [first + step * i for i in range(size)]


def shifted_pair(n: int = 64) -> tuple[Batch, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """The daily scan is the planning scan seen 2 mm further along x, 1 mm back along z; and its true field."""
    torch.manual_seed(3)
    moving = torch.nn.functional.avg_pool3d(torch.randn(1, 1, n + 4, n + 4, n + 4), 5, 1, 0)
    moving = torch.nn.functional.pad(moving, (2, 2, 2, 2, 2, 2))[..., 2:-2, 2:-2, 2:-2]
    labels = (moving > 0.05).long()
    fixed, fixed_labels = (t.roll((1, -2), (2, 4)) for t in (moving, labels))
    shift = torch.tensor([2.0, 0.0, -1.0]).reshape(1, 3, 1, 1, 1)
    fields = tuple(shift.expand(1, 3, s, s, s).contiguous() for s in output_sizes(n))
    logits = tuple(40.0 * one_hot(at_resolution(fixed_labels, k, (s,) * 3), 2) for k, s in enumerate(output_sizes(n)))
    return Batch(fixed, moving, fixed_labels, labels), fields, logits


def test_the_true_field_and_labels_lose_nothing_at_any_resolution():
    batch, fields, logits = shifted_pair()
    total, terms = joint_loss(Output(fields, logits), batch, LossWeights(), 2)
    assert terms == pytest.approx(
        {"similarity": 0, "dice_registration": 0, "dice_segmentation": 0, "bending": 0}, abs=0.02
    )
    wrong = tuple(-f for f in fields)
    worse, _ = joint_loss(Output(wrong, logits), batch, LossWeights(), 2)
    assert float(worse) > float(total) + 0.5


def test_weights_multiply_their_terms():
    batch, fields, logits = shifted_pair()
    wrong = tuple(-f for f in fields)
    weights = LossWeights(similarity=2.0, dice_registration=3.0, dice_segmentation=5.0, bending=7.0)
    total, terms = joint_loss(Output(wrong, logits), batch, weights, 2)
    by_hand = sum(getattr(weights, name) * value for name, value in terms.items())
    assert float(total) == pytest.approx(by_hand, rel=1e-5)


def test_a_network_without_a_head_has_no_such_term():
    batch, fields, logits = shifted_pair()
    assert set(joint_loss(Output(None, logits), batch, LossWeights(), 2)[1]) == {"dice_segmentation"}
    only = joint_loss(Output(fields, None), batch, LossWeights(), 2)[1]
    assert set(only) == {"similarity", "dice_registration", "bending"}


def test_swapping_doubles_the_batch():
    batch, _, _ = shifted_pair(44)
    both = batch.both_ways()
    assert torch.equal(both.fixed, torch.cat([batch.fixed, batch.moving]))
    assert torch.equal(both.moving, torch.cat([batch.moving, batch.fixed]))
    assert torch.equal(both.moving_labels, torch.cat([batch.moving_labels, batch.fixed_labels]))
