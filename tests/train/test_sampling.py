"""Patches come from where they should, as often as they should."""

from __future__ import annotations

from collections import Counter

import numpy as np

from recontour.network.catalogue import LABELS
from recontour.train.sampling import cut_patch, draw_centre


def scene() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((6, 7, 9), np.uint8)
    labels[1, 1, 1:9] = LABELS.index("bladder")  # 8 voxels
    labels[2, 2, 2] = LABELS.index("rectum")  # 1 voxel
    labels[3, 3, 3] = LABELS.index("prostate")
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:4] = 0
    return labels, hu


def test_groups_and_organs_are_drawn_equally_whatever_their_size():
    labels, hu = scene()
    rng = np.random.default_rng(2)
    drawn = Counter(int(labels[draw_centre(labels, hu, rng)]) for _ in range(3000))
    # a third each for targets, organs at risk, torso; the torso's own organs are 10 of its 252 voxels
    share = {LABELS[k]: n / 3000 for k, n in drawn.items()}
    assert abs(share["prostate"] - 1 / 3) < 0.05
    assert abs(share["bladder"] - 1 / 6) < 0.05 and abs(share["rectum"] - 1 / 6) < 0.05
    assert abs(share["background"] - 1 / 3) < 0.05 and "seminal_vesicles" not in share


def test_the_torso_is_not_air():
    labels, hu = scene()
    rng = np.random.default_rng(3)
    assert all(hu[draw_centre(labels, hu, rng)] == 0 for _ in range(200))


def test_nothing_there_still_draws_a_voxel():
    empty = np.zeros((3, 4, 5), np.uint8)
    z, y, x = draw_centre(empty, np.full(empty.shape, -1000, np.int16), np.random.default_rng(0))
    assert z < 3 and y < 4 and x < 5


def test_a_patch_is_centred_and_repeats_the_border():
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    assert np.array_equal(cut_patch(array, (2, 3, 4), 4), array[0:4, 1:5, 2:6])
    corner = cut_patch(array, (0, 0, 6), 4)
    assert corner[:3, :3, 1:].min() >= 0
    assert np.array_equal(corner[2:, 2:, :3], array[:2, :2, 4:])
    assert (corner[:, :, 3] == corner[:, :, 2]).all() and (corner[0] == corner[2]).all()
