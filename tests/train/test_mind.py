"""The descriptor against loops written from the paper's equations, and what it is for: grey values that differ."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recontour.train.losses import ncc_loss
from recontour.train.mind import mind, mind_loss

SIX = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def slow_mind(image: np.ndarray, step: int, sigma_voxels: float, reach: int, noise: float) -> np.ndarray:
    """(d, h, w) -> (6, d, h, w), voxel by voxel."""
    last = np.array(image.shape) - 1
    offsets = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    out = np.zeros((6, *image.shape))
    for x in itertools.product(*(range(n) for n in image.shape)):
        patch = offsets + x
        inside = ((patch >= 0) & (patch <= last)).all(axis=1)
        patch, weight = patch[inside], np.exp(-(offsets[inside] ** 2).sum(axis=1) / (2 * sigma_voxels**2))
        distances = []
        for r in SIX:
            other = np.clip(patch + step * np.array(r), 0, last)
            squares = (image[tuple(patch.T)] - image[tuple(other.T)]) ** 2
            distances.append((weight * squares).sum() / weight.sum())
        variance = np.mean(distances) + noise
        own = np.exp(-np.array(distances) / variance)
        out[(slice(None), *x)] = own / own.max()
    return out


# at 1 mm: neighbours 2 voxels away, Gaussian of 1 voxel as far as 3; at 2 and 4 mm: 1 voxel, half a voxel, 1
@pytest.mark.parametrize(
    ("spacing_mm", "step", "sigma", "reach"), [(1.0, 2, 1.0, 3), (2.0, 1, 0.5, 1), (4.0, 1, 0.5, 1)]
)
def test_the_descriptor_by_the_papers_equations(spacing_mm: float, step: int, sigma: float, reach: int):
    rng = np.random.default_rng(3)
    image = (0.05 * rng.normal(size=(5, 6, 7)) + 0.02 * np.arange(7)).astype(np.float32)
    got = mind(torch.as_tensor(image)[None, None], spacing_mm)
    assert got.shape == (1, 6, 5, 6, 7)
    np.testing.assert_allclose(got[0].numpy(), slow_mind(image, step, sigma, reach, 1e-4), atol=2e-5)


def test_the_loss_is_the_mean_absolute_difference():
    rng = np.random.default_rng(4)
    images = [(0.05 * rng.normal(size=(4, 5, 6))).astype(np.float32) for _ in range(2)]
    slow = [slow_mind(image, 1, 0.5, 1, 1e-4) for image in images]
    a, b = (torch.as_tensor(image)[None, None] for image in images)
    assert float(mind_loss(a, b, 4.0)) == pytest.approx(np.abs(slow[0] - slow[1]).mean(), abs=1e-5)


def textured(seed: int = 0) -> torch.Tensor:
    noise = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool3d(noise, 5, 1)  # (1, 1, 20, 20, 20)


@pytest.mark.parametrize("spacing_mm", [1.0, 2.0, 4.0])
def test_it_finds_the_place_where_correlation_is_blind(spacing_mm: float):
    whole = textured()
    fixed = whole[..., 2:18]
    other = (whole - 0.05).abs()  # dark and bright are both bright in the other scanner
    at = {shift: other[..., 2 + shift : 18 + shift] for shift in (-2, -1, 0, 1, 2)}
    values = {shift: float(mind_loss(fixed, moved, spacing_mm)) for shift, moved in at.items()}
    assert min(values, key=lambda shift: values[shift]) == 0 and values[0] < 0.85 * min(values[-1], values[1])
    assert float(ncc_loss(fixed, at[0])) > 0.5


def test_gain_offset_and_sign_do_not_matter():
    image = 50 * textured(1)
    assert float(mind_loss(image, 7 - 3 * image, 2.0)) == pytest.approx(0.0, abs=1e-4)


def test_no_texture_is_no_reason_for_a_difference():
    flat = torch.full((1, 1, 6, 6, 6), -1.0, requires_grad=True)
    noise = 0.001 * textured(2)[..., :6, :6, :6]
    loss = mind_loss(noise, flat, 1.0)
    loss.backward()
    assert float(loss.detach()) < 0.01 and bool(torch.isfinite(flat.grad).all())
