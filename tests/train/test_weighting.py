"""The three weightings on worked examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recontour.network.catalogue import LOSSES
from recontour.train.settings import LossSettings
from recontour.train.weighting import DynamicWeights, Weighting, boundary_share, make_weighting


def terms(similarity: float, registration: float, segmentation: float, bending: float = 0.1) -> dict[str, Tensor]:
    values = (similarity, registration, segmentation, bending)
    return dict(zip(LOSSES, (torch.tensor(v, requires_grad=True) for v in values), strict=True))


def weights_of(weighting: Weighting, step: int, given: dict[str, Tensor]) -> list[float]:
    _, weights = weighting(given, step)
    return [weights[name] for name in LOSSES]


def test_equal_weights_are_equation_6():
    settings = LossSettings(w_similarity=2.0, w_dice_registration=3.0, w_dice_segmentation=5.0, w_bending=0.5)
    total, weights = make_weighting(settings, LOSSES)(terms(0.7, 0.4, 0.3, 0.1), 9)
    assert float(total) == pytest.approx(2 * 0.7 + 3 * 0.4 + 5 * 0.3 + 0.5 * 0.1)
    assert weights == {"similarity": 2.0, "dice_registration": 3.0, "dice_segmentation": 5.0, "bending": 0.5}


def test_homoscedastic_weights_are_equation_7():
    weighting = make_weighting(LossSettings(weighting="homoscedastic"), LOSSES)
    given = terms(0.5, 0.8, 0.2, 0.1)
    start, weights = weighting(given, 0)
    assert float(start) == pytest.approx(0.5 + 0.8 + 0.2 + 0.05) and set(weights.values()) == {1.0, 0.5}
    (log_sigma,) = weighting.parameters()
    with torch.no_grad():
        log_sigma.copy_(torch.tensor([1.0, 2.0, 0.5]).log())
    total, weights = weighting(given, 1)
    # 0.5 / 1 + 0.8 / 4 + 0.2 / 0.25, logarithms 0 + ln 2 - ln 2, bending at its own weight
    assert float(total) == pytest.approx(0.5 + 0.2 + 0.8 + 0.05)
    assert [weights[name] for name in LOSSES] == pytest.approx([1.0, 0.25, 4.0, 0.5])
    total.backward()
    # d/d(log sigma) of L / sigma^2 + log sigma = 1 - 2 L / sigma^2
    assert log_sigma.grad is not None
    assert log_sigma.grad.tolist() == pytest.approx([1 - 1.0, 1 - 0.4, 1 - 1.6], abs=1e-6)
    assert given["dice_segmentation"].grad == pytest.approx(4.0)


def test_sigma_settles_where_equation_7_has_its_minimum_and_stays_positive():
    weighting = make_weighting(LossSettings(weighting="homoscedastic"), ("similarity", "bending"))
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.2)
    for step in range(60):
        optimiser.zero_grad()
        weighting({"similarity": torch.tensor(0.02), "bending": torch.tensor(1.0)}, step)[0].backward()
        optimiser.step()
    (log_sigma,) = weighting.parameters()
    assert float(log_sigma.exp().square()) == pytest.approx(2 * 0.02, rel=1e-2)  # sigma^2 = 2 L


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_dynamic_weights_are_equation_8(temperature: float):
    weighting = make_weighting(LossSettings(weighting="dwa", temperature=temperature), LOSSES)
    assert weights_of(weighting, 0, terms(1.0, 0.8, 0.6)) == pytest.approx([1, 1, 1, 0.5])
    assert weights_of(weighting, 1, terms(0.5, 0.8, 0.9)) == pytest.approx([1, 1, 1, 0.5])
    powers = [math.exp(r / temperature) for r in (0.5 / 1.0, 0.8 / 0.8, 0.9 / 0.6)]
    want = [3 * p / sum(powers) for p in powers]
    if temperature == 1.0:
        assert want == pytest.approx([0.5590, 0.9216, 1.5194], abs=1e-4)  # 1.6487, 2.7183, 4.4817 of 8.8487
    given = terms(0.4, 0.4, 0.4)
    total, weights = weighting(given, 2)
    assert [weights[name] for name in LOSSES] == pytest.approx([*want, 0.5], abs=1e-5)
    assert float(total) == pytest.approx(3 * 0.4 + 0.05, abs=1e-5)
    total.backward()
    assert float(given["similarity"].grad) == pytest.approx(want[0], abs=1e-5)  # no slope through the weights


def test_dynamic_weights_taken_up_again_are_the_same():
    settings = LossSettings(weighting="dwa")
    straight, broken = make_weighting(settings, LOSSES), make_weighting(settings, LOSSES)
    steps = [terms(1.0, 0.8, 0.6), terms(0.5, 0.8, 0.9), terms(0.6, 0.7, 0.3), terms(0.1, 0.2, 0.3)]
    seen = [weights_of(straight, step, given) for step, given in enumerate(steps)]
    for done in (1, 3):
        broken = make_weighting(settings, LOSSES)
        for step in range(done):
            weights_of(broken, step, steps[step])
        again = make_weighting(settings, LOSSES)
        again.load_state_dict({name: tensor.clone() for name, tensor in broken.state_dict().items()})
        assert [weights_of(again, step, steps[step]) for step in range(done, 4)] == seen[done:]


def test_dynamic_weights_remember_in_training_alone():
    weighting = make_weighting(LossSettings(weighting="dwa"), LOSSES)
    weights_of(weighting, 0, terms(1.0, 0.8, 0.6))
    before = {name: tensor.clone() for name, tensor in weighting.state_dict().items()}
    weights_of(weighting.eval(), 1, terms(9.0, 9.0, 9.0))
    assert all(torch.equal(before[name], tensor) for name, tensor in weighting.state_dict().items())


def test_two_processes_that_average_what_they_remember_weigh_alike():
    settings = LossSettings(weighting="dwa")
    pair = [make_weighting(settings, LOSSES) for _ in range(2)]
    losses = [(terms(1.0, 0.8, 0.6), terms(0.6, 1.2, 0.2)), (terms(0.5, 0.8, 0.9), terms(0.7, 0.2, 0.1))]
    for step, given in enumerate(losses):
        for weighting, own in zip(pair, given, strict=True):
            weighting(own, step)
        remembered = [weighting.remembered() for weighting in pair]
        assert remembered[0] is not None and remembered[1] is not None
        mean = (remembered[0] + remembered[1]) / 2
        for tensor in remembered:
            tensor.copy_(mean)
    powers = [math.exp(r) for r in (0.6 / 0.8, 0.5 / 1.0, 0.5 / 0.4)]
    want = [3 * p / sum(powers) for p in powers]
    for weighting in pair:
        assert weights_of(weighting, 2, terms(1.0, 1.0, 1.0))[:3] == pytest.approx(want, abs=1e-5)


def test_a_loss_of_nothing_has_no_rate_of_change():
    weighting = make_weighting(LossSettings(weighting="dwa"), LOSSES)
    for step, given in enumerate([terms(0.5, 0.0, 0.4), terms(0.5, 0.7, 0.4)]):
        weights_of(weighting, step, given)
    assert weights_of(weighting, 2, terms(0.5, 0.7, 0.4))[:3] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("kind", ["equal", "homoscedastic", "dwa"])
def test_what_a_network_lacks_or_is_weighed_with_0_is_not_adapted(kind: str):
    settings = LossSettings(weighting=kind, w_dice_registration=0.0)
    weighting = make_weighting(settings, ("similarity", "dice_registration", "bending"))
    for step, overlap in enumerate((0.8, 0.4, 0.7, 0.1)):  # its rate of change is nobody's business
        given = {name: t for name, t in terms(0.5, overlap, 0.0).items() if name != "dice_segmentation"}
        total, weights = weighting(given, step)
        assert float(total) == pytest.approx(0.5 + 0.05)
        assert weights == pytest.approx({"similarity": 1.0, "dice_registration": 0.0, "bending": 0.5})
    assert [p.numel() for p in weighting.parameters()] == ([1] if kind == "homoscedastic" else [])


def test_the_boundary_comes_in_as_the_segmentations_dice_gives_way():
    settings = LossSettings(boundary=0.6, boundary_full_at=100)
    assert [boundary_share(settings, step) for step in (0, 50, 100, 900)] == pytest.approx([0.0, 0.3, 0.6, 0.6])
    given = {**terms(0.7, 0.4, 0.2), "boundary": torch.tensor(3.0), "adversarial": torch.tensor(-2.0)}
    for kind in ("equal", "homoscedastic", "dwa"):
        loss = LossSettings(weighting=kind, boundary=0.6, boundary_full_at=100, adversarial=0.01)
        total, weights = make_weighting(loss, (*LOSSES, "boundary"))(given, 50)
        assert float(total) == pytest.approx(0.7 + 0.4 + 0.7 * 0.2 + 0.05 + 0.3 * 3.0 - 0.01 * 2.0)
        assert weights["dice_segmentation"] == pytest.approx(0.7) and weights["boundary"] == pytest.approx(0.3)
        assert weights["adversarial"] == pytest.approx(0.01)
    assert make_weighting(settings, LOSSES)(terms(0.7, 0.4, 0.2), 50)[1]["dice_segmentation"] == 1.0  # no such term


def test_the_state_of_each_weighting_holds_what_it_needs():
    shapes = {
        kind: {k: tuple(v.shape) for k, v in make_weighting(LossSettings(weighting=kind), LOSSES).state_dict().items()}
        for kind in ("equal", "homoscedastic", "dwa")
    }
    assert shapes == {"equal": {}, "homoscedastic": {"log_sigma": (3,)}, "dwa": {"before": (3,), "last": (3,)}}
    assert make_weighting(LossSettings(), LOSSES).remembered() is None
    assert isinstance(make_weighting(LossSettings(weighting="dwa"), LOSSES), DynamicWeights)
