"""Contours as others would have drawn them: how far off, and that both days are drawn alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet
from recontour.network.catalogue import LABELS
from recontour.phantom.motion import Motion
from recontour.train.days import dense_day
from recontour.train.drawn import drawn_anew
from recontour.train.moved import coarse_day
from tests.train.balls import ball_man

GRID = Grid.of((41, 41, 41), (1, 1, 1), (-20.0, -20.0, -20.0))


def ball(radius_mm: float = 12.0) -> LevelSet:
    return LevelSet(GRID, (radius_mm - np.linalg.norm(GRID.points(), axis=-1)).astype(np.float32))


def test_surfaces_move_by_so_much_and_never_by_more_than_twice_it():
    shapes = {"prostate": ball(), "seminal_vesicles": ball()}
    means: list[float] = []
    for seed in range(60):
        found = drawn_anew(shapes, 1.5, np.random.default_rng(seed))
        moved = {organ: found[organ].array - shapes[organ].array for organ in shapes}
        assert np.abs(moved["prostate"]).max() <= 3.0 + 1e-5
        assert np.abs(moved["seminal_vesicles"]).max() <= 1.5 + 1e-5
        means.append(float(moved["prostate"].mean()))
    assert abs(np.mean(means)) < 0.4  # neither larger nor smaller in the mean
    assert 0.8 < np.std(means) < 1.4  # 0.7 of 1.5 is 1.05, and a little of what varies along the surface


def test_what_moves_varies_along_the_surface_but_smoothly():
    shape = ball()
    moved = drawn_anew({"bladder": shape}, 1.5, np.random.default_rng(3))["bladder"].array - shape.array
    near = np.abs(shape.array) < 1.0
    assert moved[near].std() > 0.2
    assert max(np.abs(np.diff(moved, axis=axis)).max() for axis in range(3)) < 0.5  # mm over 1 mm: no spikes


def test_both_days_are_drawn_alike_and_the_scans_are_as_they_were():
    coarse = coarse_day(ball_man(), Motion(bladder_factor=1.5))
    drawn = replace(coarse, shapes=drawn_anew(coarse.shapes, 2.0, np.random.default_rng(1)))
    before, after = dense_day(coarse, torch.device("cpu")), dense_day(drawn, torch.device("cpu"))
    assert torch.equal(before.fixed_hu, after.fixed_hu) and torch.equal(before.moving_hu, after.moving_hu)
    label = LABELS.index("prostate")  # hardly moves, and so changes its volume by as much on both days
    grown = [
        float((now == label).sum()) / float((then == label).sum())
        for then, now in ((before.fixed_labels, after.fixed_labels), (before.moving_labels, after.moving_labels))
    ]
    assert abs(grown[0] - 1.0) > 0.1
    assert abs(grown[0] - grown[1]) < 0.05
