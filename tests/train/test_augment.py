"""What changes a patch's look: hand arithmetic, and the truth that stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recontour.train.augment import Look, mirrored, shown


def test_a_mirror_turns_scans_and_labels_alike():
    rng = np.random.default_rng(1)
    labels = torch.from_numpy(rng.integers(0, 5, (4, 5, 6)))
    hu = labels * 100.0 + 7.0
    scan, other, truth, planned = mirrored((hu, hu + 1, labels, labels))
    assert torch.equal(scan, truth * 100.0 + 7.0) and torch.equal(other, planned * 100.0 + 8.0)
    for z, y, x in ((0, 0, 0), (3, 1, 4), (2, 4, 5)):
        assert truth[z, y, x] == labels[z, y, 5 - x]  # x, the last axis, and no other


def test_gain_and_offset_leave_air_where_it_is():
    hu = torch.tensor([-1000.0, 0.0, 500.0]).view(1, 1, 3).expand(3, 3, 3)
    out = shown(hu, Look(gain=1.02, offset_hu=5.0))
    assert torch.allclose(out[0, 0], torch.tensor([-995.0, 25.0, 535.0]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_edge_is_blurred_as_a_gaussian_does_it_along_its_axis_alone(axis: int):
    at = torch.arange(20, dtype=torch.float32)
    shape = [1, 1, 1]
    shape[axis] = 20
    edge = torch.where(at < 10, 0.0, 100.0).view(shape).expand(20, 20, 20)
    sigma = 1.2
    blurred = shown(edge, Look(blur_mm=tuple(sigma if a == axis else 0.0 for a in range(3))))  # type: ignore[arg-type]
    line = blurred.movedim(axis, -1)[5, 5]
    expected = [50 * (1 + math.erf((k - 9.5) / (sigma * math.sqrt(2)))) for k in range(20)]
    assert np.allclose(line.numpy(), expected, atol=1.0)
    across = tuple(1.2 if a != axis else 0.0 for a in range(3))
    assert torch.allclose(shown(edge, Look(blur_mm=across)), edge, atol=1e-3)  # type: ignore[arg-type]


def test_noise_is_as_strong_as_said_and_follows_from_its_seed():
    still = torch.zeros(30, 30, 30)
    one, two, other = (shown(still, Look(noise_hu=8.0, seed=seed)) for seed in (3, 3, 4))
    assert float(one.std()) == pytest.approx(8.0, rel=0.02) and abs(float(one.mean())) < 0.2
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_drawn_looks_stay_within_what_scanners_do():
    looks = [Look.draw(np.random.default_rng(seed)) for seed in range(400)]
    assert np.std([look.gain for look in looks]) == pytest.approx(0.01, rel=0.15)
    assert max(abs(look.offset_hu) for look in looks) < 30
    assert 0.4 < np.mean([max(look.blur_mm) > 0 for look in looks]) < 0.6
    assert len({look.seed for look in looks}) == 400
