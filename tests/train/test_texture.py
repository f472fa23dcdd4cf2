"""Structures that move with the tissue: a known shift, and what has none."""

from __future__ import annotations

import numpy as np
import torch

from recontour.network.catalogue import LABELS
from recontour.train.texture import textured

N = 44


def scans(hu: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    flat, none = torch.full((N, N, N), hu), torch.zeros((N, N, N), dtype=torch.uint8)
    return flat, flat.clone(), none, none.clone()


def shifted(x: float, y: float, z: float) -> torch.Tensor:
    """(6, N, N, N): there, and back."""
    there = torch.tensor((x, y, z, -x, -y, -z))
    return there.view(6, 1, 1, 1).expand(6, N, N, N)


def test_the_day_shows_each_structure_where_the_truth_has_taken_it():
    fixed, moving = textured(*scans(40.0), shifted(3.0, -2.0, 1.0), 20.0, np.random.default_rng(1))
    assert moving.std() > 2.0
    inner = slice(8, -8)
    there = moving[9 : N - 7, 6 : N - 10, 11 : N - 5]  # z + 1, y - 2, x + 3
    assert torch.allclose(fixed[inner, inner, inner], there, atol=1e-3)
    assert not torch.allclose(fixed, moving, atol=1.0)


def test_gas_bone_and_what_bladder_and_rectum_hold_keep_their_look():
    for hu in (-900.0, 700.0):
        assert torch.equal(textured(*scans(hu), shifted(1, 0, 0), 20.0, np.random.default_rng(2))[1], scans(hu)[1])
    fixed, moving, fixed_labels, moving_labels = scans(10.0)
    fixed_labels[:, :20] = LABELS.index("bladder")
    moving_labels[:, 30:] = LABELS.index("rectum")
    both = textured(fixed, moving, fixed_labels, moving_labels, shifted(0, 0, 0), 20.0, np.random.default_rng(2))
    assert torch.equal(both[0][:, :20], fixed[:, :20]) and both[0][:, 20:].std() > 2.0
    assert torch.equal(both[1][:, 30:], moving[:, 30:]) and both[1][:, :30].std() > 2.0
