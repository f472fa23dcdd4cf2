"""Drawn ahead or not, a step sees the same batch."""

from __future__ import annotations

import pytest
import torch

from recontour.train.ahead import Ahead
from recontour.train.batch import Batch


class Counted:
    """The batch of step k holds k; step 9 fails."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.closed = False

    def batch(self, step: int) -> Batch:
        self.asked.append(step)
        if step == 9:
            raise OSError("the disk is gone")
        return Batch(*(torch.tensor([step]) for _ in range(5)))

    def close(self) -> None:
        self.closed = True


def test_each_step_gets_its_own_batch_whatever_came_before():
    source = Counted()
    ahead = Ahead(source)
    assert [int(ahead.batch(step).fixed) for step in (3, 4, 5, 1, 2)] == [3, 4, 5, 1, 2]
    ahead.close()
    assert source.closed and source.asked[:3] == [3, 4, 5] and source.asked.count(4) == 1


def test_what_goes_wrong_ahead_is_said_at_its_step():
    ahead = Ahead(Counted())
    assert int(ahead.batch(8).fixed) == 8
    with pytest.raises(OSError, match="gone"):
        ahead.batch(9)
    ahead.close()
