"""Both ways: what is daily in one half is planning in the other."""

from __future__ import annotations

import torch

from recontour.train.batch import Batch


def test_swapping_fixed_and_moving_doubles_the_batch():
    scans = torch.arange(2 * 2 * 8.0).reshape(2, 2, 1, 2, 2, 2)  # fixed and moving of two patches, all different
    labels = (scans % 5).long()
    known = torch.tensor([[True, False, True, True, True], [False, True, True, False, False]])
    both = Batch(scans[0], scans[1], labels[0], labels[1], known).both_ways()
    assert both.fixed.shape == both.moving_labels.shape == (4, 1, 2, 2, 2)
    for patch in (0, 1):
        assert torch.equal(both.fixed[patch], scans[0, patch]) and torch.equal(both.moving[patch], scans[1, patch])
        assert torch.equal(both.fixed[2 + patch], scans[1, patch])
        assert torch.equal(both.moving[2 + patch], scans[0, patch])
        assert torch.equal(both.fixed_labels[2 + patch], labels[1, patch])
        assert torch.equal(both.moving_labels[2 + patch], labels[0, patch])
        assert both.known[patch].tolist() == both.known[2 + patch].tolist() == known[patch].tolist()


def test_to_another_device_goes_every_part():
    images = [torch.zeros(1, 1, 2, 2, 2) for _ in range(4)]
    motion = torch.zeros(1, 6, 2, 2, 2)
    elsewhere = Batch(*images, torch.ones(1, 5, dtype=torch.bool), motion, 2.0).to(torch.device("meta"))
    parts = [getattr(elsewhere, name) for name in Batch.__dataclass_fields__ if name != "spacing_mm"]
    assert {part.device.type for part in parts} == {"meta"} and elsewhere.spacing_mm == 2.0


def test_swapped_the_true_motion_is_the_way_back():
    images = [torch.zeros(1, 1, 2, 2, 2) for _ in range(4)]
    motion = torch.arange(6.0)[None, :, None, None, None].expand(1, 6, 2, 2, 2)  # there: 0 1 2, back: 3 4 5
    both = Batch(*images, torch.ones(1, 5, dtype=torch.bool), motion).both_ways().motion
    assert both is not None and both.shape == (2, 6, 2, 2, 2)
    assert both[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2]]
