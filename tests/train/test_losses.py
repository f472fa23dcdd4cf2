"""The losses against arithmetic done by hand on ramps, against MONAI and numpy, and on a ball that is known to move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.losses.deform import BendingEnergyLoss
from monai.losses.dice import DiceLoss
from monai.losses.image_dissimilarity import LocalNormalizedCrossCorrelationLoss

from recontour.errors import UsageError
from recontour.network.architectures import STARTS, STRIDES, Output, output_sizes
from recontour.network.catalogue import ARCHITECTURES, LABELS, LOSSES
from recontour.train.batch import Batch
from recontour.train.losses import (
    at_resolution,
    bending_energy,
    cross_entropy_loss,
    dice_loss,
    field_loss,
    local_ncc_loss,
    loss_terms,
    ncc_loss,
    one_hot,
    true_shares,
    warped_shares,
)
from recontour.train.settings import LossSettings

Z, Y, X = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), torch.arange(8.0), indexing="ij")
RAMP = (3 * Z + 5 * Y - X)[None, None]
ALL_OF_4 = torch.ones(1, 4, dtype=torch.bool)
N = 64
SHIFT_MM = (4.0, -3.0, 2.0)  # x, y, z; from the daily to the planning scan
ALL_TERMS = (*LOSSES, "boundary", "cross_entropy")


def noise(*size: int, seed: int = 1, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*size, generator=torch.Generator().manual_seed(seed))


# --- correlation ---


def test_correlation_does_not_care_for_gain_and_offset_but_for_sign():
    assert float(ncc_loss(RAMP, 4 * RAMP - 7)) == pytest.approx(0.0, abs=1e-4)
    assert float(ncc_loss(RAMP, -RAMP)) == pytest.approx(2.0, abs=1e-4)


def test_correlation_of_two_ramps_by_hand():
    # Over a full lattice x and y are uncorrelated: corr(x + y, x) = sd(x) / sqrt(var(x) + var(y)).
    var_x, var_y = np.var(np.arange(8)), np.var(np.arange(7))
    want = 1 - np.sqrt(var_x / (var_x + var_y))
    assert float(ncc_loss((X + Y)[None, None], X[None, None])) == pytest.approx(want, abs=1e-4)


def test_correlation_as_numpy_has_it_each_patch_by_itself():
    a = noise(3, 1, 5, 6, 7, scale=10.0)
    b = 0.4 * a + noise(3, 1, 5, 6, 7, seed=2, scale=8.0) + torch.tensor([0.0, 40.0, -70.0]).reshape(3, 1, 1, 1, 1)
    want = np.mean([1 - np.corrcoef(a[i].flatten().numpy(), b[i].flatten().numpy())[0, 1] for i in range(3)])
    assert float(ncc_loss(a, b)) == pytest.approx(want, abs=1e-5)


def test_local_correlation_sees_what_changes_sign_from_place_to_place():
    bent = (X - 3.5).abs()[None, None]
    assert float(ncc_loss(X[None, None], bent)) == pytest.approx(1.0, abs=1e-3)  # as a whole: uncorrelated
    # Windows of 3 along x begin at 0 ... 5; in those at 2 and 3 the bend lies (corr^2 = 1/4 by hand: 1.5, .5, .5
    # against 2, 3, 4: cov -1/3, var 2/3 and 2/9, so (1/9) / (4/27) = 3/4); in the other four the slopes agree.
    assert float(local_ncc_loss(X[None, None], bent, 3)) == pytest.approx(1 - (4 + 2 * 0.75) / 6, abs=1e-3)


@pytest.mark.parametrize("window", [3, 5])
def test_local_correlation_is_monais_where_no_window_leaves_the_patch(window: int):
    # MONAI pads with zeros and has the value less 1; inside the patch both are the same squared correlations.
    a = noise(2, 1, 9, 10, 11, scale=10.0)
    b = 0.5 * a + noise(2, 1, 9, 10, 11, seed=2, scale=5.0)
    theirs = LocalNormalizedCrossCorrelationLoss(kernel_size=window, reduction="none")(a, b)
    inside = slice(window // 2, -(window // 2))
    want = 1.0 + float(theirs[..., inside, inside, inside].mean())
    assert float(local_ncc_loss(a, b, window)) == pytest.approx(want, abs=1e-4)


# --- overlap ---


def test_dice_by_hand():
    truth = one_hot(torch.tensor([0, 0, 1, 1, 1, 2]).reshape(1, 1, 1, 1, 6), 4)
    guess = one_hot(torch.tensor([0, 1, 1, 1, 2, 0]).reshape(1, 1, 1, 1, 6), 4)
    # (2 * shared + 1) / (both + 1): background 1 of 2 + 2, class 1 2 of 3 + 3, class 2 none of 1 + 1, class 3 absent
    want = 1 - np.mean([3 / 5, 5 / 7, 1 / 3, 1 / 1])
    assert float(dice_loss(guess, truth, ALL_OF_4)) == pytest.approx(want, abs=1e-6)
    assert float(dice_loss(truth, truth, ALL_OF_4)) == pytest.approx(0.0, abs=1e-6)


def test_dice_is_monais_over_the_whole_batch():
    probabilities = noise(3, 5, 4, 5, 6).softmax(dim=1)
    truth = one_hot(torch.randint(0, 5, (3, 1, 4, 5, 6), generator=torch.Generator().manual_seed(4)), 5)
    want = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)(probabilities, truth)
    got = dice_loss(probabilities, truth, torch.ones(3, 5, dtype=torch.bool))
    assert float(got) == pytest.approx(float(want), abs=1e-6)


def test_dice_without_what_was_not_contoured():
    probabilities = noise(2, 3, 4, 5, 6).softmax(dim=1).requires_grad_()
    truth = one_hot(torch.randint(0, 3, (2, 1, 4, 5, 6), generator=torch.Generator().manual_seed(4)), 3)
    known = torch.tensor([[True, True, False], [True, False, False]])

    def alone(patches: slice, channel: int) -> float:
        theirs = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)
        return float(theirs(probabilities[patches, [channel]], truth[patches, [channel]]).detach())

    got = dice_loss(probabilities, truth, known)
    want = (alone(slice(0, 2), 0) + alone(slice(0, 1), 1)) / 2  # class 1 from the first patch, class 2 not at all
    assert float(got.detach()) == pytest.approx(want, abs=1e-6)
    got.backward()
    taught = probabilities.grad.abs().sum((2, 3, 4)) > 0
    assert taught.tolist() == known.tolist()
    assert float(dice_loss(probabilities, truth, torch.zeros_like(known)).detach()) == 0.0


# --- bending ---


def test_bending_energy_of_polynomials_by_hand():
    assert float(bending_energy(torch.stack([2 * X + Y, Z - X, 3 * Z])[None], 1.0)) == pytest.approx(0.0, abs=1e-8)
    # u_x = x^2: d2/dx2 = 2. u_y = 3 x y: d2/dxdy = 3, counted twice. u_z = z^2 / 2: 1. 4 + 18 + 1.
    field = torch.stack([X * X, 3 * X * Y, Z * Z / 2])[None]
    assert float(bending_energy(field, 1.0)) == pytest.approx(23.0, rel=1e-5)


def test_bending_energy_is_of_mm_at_any_spacing():
    # u_x = 0.3 x^2 + 0.1 y z with x, y, z in mm: (2 * 0.3)^2 + 2 * 0.1^2, sampled every 2 mm
    field = torch.stack([0.3 * (2 * X) ** 2 + 0.1 * (2 * Y) * (2 * Z), 0 * X, 5 + 2 * Y])[None]
    assert float(bending_energy(field, 2.0)) == pytest.approx(0.36 + 0.02, rel=1e-4)


def test_bending_energy_is_monais_summed_over_the_components():
    field = noise(2, 3, 5, 6, 7)
    want = 3.0 * float(BendingEnergyLoss()(field))  # theirs is the mean of the three
    assert float(bending_energy(field, 1.0)) == pytest.approx(want, rel=1e-5)


# --- three resolutions, direction and units ---


def test_ground_truth_is_cropped_and_strided():
    n = 96
    ramp = torch.arange(float(n)).reshape(1, 1, 1, 1, n).expand(1, 1, n, n, n)
    for k, (first, step) in enumerate(((14, 4), (18, 2), (20, 1))):
        size = output_sizes(n)[k]
        got = at_resolution(ramp, k, (size,) * 3)
        assert got.shape == (1, 1, size, size, size)
        assert got[0, 0, 0, 0].tolist() == [first + step * i for i in range(size)]


def balls(centre_xyz: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """A soft bright ball of 6 mm radius on a ramp that moves with it, and its labels (4, with a 1 around its core)."""
    z, y, x = torch.meshgrid(*[torch.arange(float(N))] * 3, indexing="ij")
    dx, dy, dz = (a - c for a, c in zip((x, y, z), centre_xyz, strict=True))
    r = (dx * dx + dy * dy + dz * dz).sqrt()
    scan = 0.5 * torch.sigmoid(6.0 - r) + 0.004 * dx + 0.002 * dy - 0.003 * dz
    labels = 4 * (r <= 9).long() - 3 * (r <= 6).long()
    return scan[None, None], labels[None, None]


def moved_ball() -> Batch:
    """Planning: the ball at (33, 31, 32). Daily: at that less SHIFT_MM, so it shows planning content at x + u."""
    centre = (33.0, 31.0, 32.0)
    moving, moving_labels = balls(centre)
    fixed, fixed_labels = balls(tuple(c - s for c, s in zip(centre, SHIFT_MM, strict=True)))
    return Batch(fixed, moving, fixed_labels, moving_labels, torch.ones(1, 5, dtype=torch.bool))


def fields_of(shift_xyz: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shift = torch.tensor(shift_xyz).reshape(1, 3, 1, 1, 1)
    coarse, mid, fine = (shift.expand(1, 3, s, s, s).contiguous() for s in output_sizes(N))
    return coarse, mid, fine


def logits_of(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sizes = output_sizes(N)
    coarse, mid, fine = (40.0 * one_hot(at_resolution(labels, k, (s,) * 3), 5) for k, s in enumerate(sizes))
    return coarse, mid, fine


@pytest.mark.parametrize("k", range(3))
def test_a_field_in_mm_from_daily_to_planning_brings_the_ball_where_the_daily_scan_has_it(k: int):
    batch = moved_ball()
    shares = warped_shares(Output(fields_of(SHIFT_MM), None), batch, k)
    ball = shares[0, 1] + shares[0, 4]  # (d, h, w), of one output voxel START + STRIDE * index mm from the corner
    mm = STARTS[k] + STRIDES[k] * torch.arange(float(ball.shape[0]))
    mass = ball.sum()
    where = [float((ball.sum(o) * mm).sum() / mass) for o in ((0, 1), (0, 2), (1, 2))]  # x, y, z
    assert where == pytest.approx([33.0 - 4.0, 31.0 + 3.0, 32.0 - 2.0], abs=STRIDES[k] / 4)


def test_the_true_field_and_labels_lose_nothing_and_the_opposite_field_much():
    batch = moved_ball()
    settings = LossSettings()
    true = loss_terms(Output(fields_of(SHIFT_MM), logits_of(batch.fixed_labels)), batch, settings, ALL_TERMS)
    assert {k: float(v) for k, v in true.items()} == pytest.approx(dict.fromkeys(ALL_TERMS, 0.0), abs=0.02)
    back = (-4.0, 3.0, -2.0)
    worse = loss_terms(Output(fields_of(back), logits_of(batch.moving_labels)), batch, settings, ALL_TERMS)
    assert all(float(worse[name]) > 0.15 for name in ALL_TERMS if name != "bending"), worse


@pytest.mark.parametrize("similarity", ["ncc", "local-ncc", "mind"])
def test_every_registration_loss_pulls_the_field_from_daily_to_planning(similarity: str):
    batch = moved_ball()
    for name in ("similarity", "dice_registration"):
        start = tuple(f.requires_grad_() for f in fields_of((0.1, 0.1, 0.1)))
        settings = LossSettings(similarity=similarity)
        loss_terms(Output(start, None), batch, settings, (name,))[name].backward()
        voxels_too_large = name == "dice_registration"  # 4 mm, for the slope of a shell of 3 mm
        for field in start[voxels_too_large:]:  # a step down the slope has the signs of SHIFT_MM
            pulled = -field.grad.sum((0, 2, 3, 4))
            assert torch.equal(pulled.sign(), torch.tensor(SHIFT_MM).sign()), (name, pulled)


def test_a_term_is_the_mean_of_its_values_at_the_three_resolutions():
    batch, names = moved_ball(), ("dice_registration", "bending")
    mm = [STARTS[k] + STRIDES[k] * torch.arange(float(s)) for k, s in enumerate(output_sizes(N))]
    curved = [0.01 * (x - 32) ** 2 for x in mm]  # u_x = 0.01 x^2: (2 * 0.01)^2 at each of the three
    coarse, mid, fine = (
        torch.stack([c.expand(len(c), len(c), -1), *torch.zeros(2, len(c), len(c), len(c))])[None] for c in curved
    )
    got = loss_terms(Output((coarse, mid, fine), None), batch, LossSettings(), names)
    assert float(got["bending"]) == pytest.approx(4e-4, rel=1e-3)
    one = loss_terms(Output((2 * coarse, mid, fine), None), batch, LossSettings(), names)
    assert float(one["bending"]) == pytest.approx(4e-4 * (4 + 1 + 1) / 3, rel=1e-3)
    theirs = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)
    output = Output((coarse, mid, fine), None)
    each = [theirs(warped_shares(output, batch, k), true_shares(batch, k, (s,) * 3)) for k, s in enumerate((9, 14, 24))]
    assert float(got["dice_registration"]) == pytest.approx(float(sum(each)) / 3, abs=1e-6)


# --- what is asked for ---


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_network_has_the_terms_of_its_row_and_no_others(architecture: str):
    row, batch = ARCHITECTURES[architecture], moved_ball()
    output = Output(
        fields_of(SHIFT_MM) if "field" in row.heads else None,
        logits_of(batch.fixed_labels) if "segmentation" in row.heads else None,
    )
    terms = loss_terms(output, batch, LossSettings(), row.losses)
    assert set(terms) == set(row.losses)
    assert ("dice_registration" in terms) == (architecture not in ("seg", "reg"))


def test_a_loss_of_a_head_that_is_not_there_is_refused():
    batch = moved_ball()
    with pytest.raises(UsageError, match="registers"):
        loss_terms(Output(None, logits_of(batch.fixed_labels)), batch, LossSettings(), ("bending",))
    with pytest.raises(UsageError, match="segments"):
        loss_terms(Output(fields_of(SHIFT_MM), None), batch, LossSettings(), ("boundary",))


def test_the_settings_choose_the_similarity():
    batch, wrong = moved_ball(), fields_of((0.0, 0.0, 0.0))
    values = {
        (similarity, window): float(
            loss_terms(
                Output(wrong, None), batch, LossSettings(similarity=similarity, local_window=window), ("similarity",)
            )["similarity"]
        )
        for similarity in ("ncc", "local-ncc", "mind")
        for window in (3, 7)
    }
    assert len({round(v, 6) for v in values.values()}) == 4  # the window matters to one of them
    assert values["ncc", 3] == values["ncc", 7] and values["mind", 3] == values["mind", 7]


def test_what_is_not_known_is_in_neither_share():
    batch = moved_ball()
    batch.known[0, [0, 4]] = False
    output = Output(fields_of(SHIFT_MM), None)
    for shares in (warped_shares(output, batch, 2), true_shares(batch, 2, (24, 24, 24))):
        assert (shares.sum((2, 3, 4)) > 0).tolist() == [[False, True, False, False, False]]
        assert shares.shape == (1, len(LABELS), 24, 24, 24)


@pytest.mark.parametrize("similarity", ["ncc", "local-ncc", "mind"])
def test_flat_patches_without_organs_have_finite_slopes(similarity: str):
    flat, none = torch.full((1, 1, N, N, N), -1.0), torch.zeros(1, 1, N, N, N, dtype=torch.int64)
    batch = Batch(flat, flat.clone(), none, none, torch.ones(1, 5, dtype=torch.bool))
    start = tuple(f.requires_grad_() for f in fields_of((0.0, 0.0, 0.0)))
    logits = tuple(torch.zeros(1, 5, s, s, s, requires_grad=True) for s in output_sizes(N))
    terms = loss_terms(Output(start, logits), batch, LossSettings(similarity=similarity), ALL_TERMS)
    sum(terms.values()).backward()
    assert all(bool(torch.isfinite(t)) for t in terms.values())
    assert all(bool(torch.isfinite(t.grad).all()) for t in (*start, *logits))


def test_reduced_precision_of_the_network_does_not_reach_the_losses():
    batch, logits = moved_ball(), logits_of(moved_ball().moving_labels)
    given = Output(tuple(f.bfloat16() for f in fields_of((1.0, 0.0, 0.0))), tuple(t.bfloat16() for t in logits))
    settings = LossSettings(similarity="mind")
    want = loss_terms(Output(fields_of((1.0, 0.0, 0.0)), logits), batch, settings, ALL_TERMS)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss_terms(given, batch, settings, ALL_TERMS)
    assert all(got[name].dtype == torch.float32 and float(got[name]) == float(want[name]) for name in ALL_TERMS)


def test_cross_entropy_by_hand_and_what_is_not_known_counts_nowhere():
    """Three voxels of two labels with odds of 3 to 1, 1 to 1 and 1 to 7 for the true one: p = 3/4, 1/2, 1/8."""
    truth = torch.tensor([0, 1, 1]).reshape(1, 1, 1, 1, 3)
    odds = torch.tensor([[3.0, 1.0, 7.0], [1.0, 1.0, 1.0]]).reshape(1, 2, 1, 1, 3)
    both, second = torch.tensor([[True, True]]), torch.tensor([[False, True]])
    assert float(cross_entropy_loss(odds.log(), truth, both)) == pytest.approx(np.log([4 / 3, 2, 8]).mean(), rel=1e-5)
    assert float(cross_entropy_loss(odds.log(), truth, second)) == pytest.approx(np.log([2, 8]).mean(), rel=1e-5)
    assert float(cross_entropy_loss(odds.log(), truth, torch.tensor([[False, False]]))) == 0.0


def test_cross_entropy_pulls_at_a_small_organ_that_dice_has_given_up():
    """One voxel in 4,096, of which the network is sure that it is background: Dice has hardly a slope left there."""
    truth = torch.zeros(1, 1, 16, 16, 16, dtype=torch.int64)
    truth[0, 0, 8, 8, 8] = 1
    known = torch.ones(1, 2, dtype=torch.bool)
    slopes = []
    for loss in (
        lambda logits: dice_loss(logits.softmax(1), one_hot(truth, 2), known),
        lambda logits: truth.numel() * cross_entropy_loss(logits, truth, known),
    ):
        logits = torch.zeros(1, 2, 16, 16, 16)
        logits[:, 0] = 10.0
        loss(logits.requires_grad_()).backward()
        slopes.append(-float(logits.grad[0, 1, 8, 8, 8]))
    assert slopes[0] < 1e-3 and slopes[1] == pytest.approx(1.0, abs=1e-3)


def test_the_field_s_loss_by_hand():
    """A field 3 mm off in x and 0.5 mm off in z, in tissue everywhere; organs weigh nothing more where all is equal."""
    batch = moved_ball()
    truth = torch.tensor([4.0, -3.0, 2.0, 9.0, 9.0, 9.0]).reshape(1, 6, 1, 1, 1).expand(1, 6, N, N, N)
    known = replace(batch, motion=truth)
    field = torch.tensor([7.0, -3.0, 2.5]).reshape(1, 3, 1, 1, 1)
    for k, size in enumerate(output_sizes(N)):
        off = field_loss(field.expand(1, 3, size, size, size), known, k)
        assert float(off) == pytest.approx((3.0 - 0.5) + 0.5 * 0.5**2, abs=1e-5)
        assert float(field_loss(field.expand(1, 3, size, size, size), batch, k)) == 0.0


def test_the_field_s_loss_weighs_organs_and_leaves_out_air():
    size = output_sizes(N)[2]
    fixed, labels = torch.zeros(1, 1, N, N, N), torch.zeros(1, 1, N, N, N, dtype=torch.int64)
    fixed[..., : N // 2] = -1.0  # air
    labels[..., 20:21, :, -24:] = 1  # one plane of the fine output, in tissue
    motion = torch.zeros(1, 6, N, N, N)
    batch = Batch(fixed, fixed, labels, labels, torch.ones(1, 5, dtype=torch.bool), motion)
    field = torch.zeros(1, 3, size, size, size)
    field[..., : N // 2 - 20] = 50.0  # in air: nobody asks
    assert float(field_loss(field, batch, 2)) == 0.0
    field = torch.zeros(1, 3, size, size, size)
    field[:, 0][labels[:, 0, 20 : 20 + size, 20 : 20 + size, 20 : 20 + size] == 1] = 2.0
    organ = int((labels[0, 0, 20 : 20 + size, 20 : 20 + size, 20 : 20 + size] == 1).sum())
    tissue = size * size * (size - (N // 2 - 20))
    assert float(field_loss(field, batch, 2)) == pytest.approx(4 * organ * 1.5 / (tissue + 3 * organ), rel=1e-4)
