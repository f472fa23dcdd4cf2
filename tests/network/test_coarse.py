"""Blocks of voxels by hand arithmetic, and against what a grid says of places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recontour.geometry.grid import Grid
from recontour.network.coarse import coarser_grid, coarser_labels, coarser_scan, finer


@pytest.mark.parametrize("factor", [2, 3])
def test_a_ramp_stays_the_same_function_of_place(factor: int):
    grid = Grid.of((12, 18, 24), (1, 1, 1), (5.0, -3.0, 8.0))

    def ramp(points: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(points @ [2.0, -1.0, 0.5])

    coarse = coarser_grid(grid, factor)
    assert coarse.size == tuple(n // factor for n in grid.size)
    assert torch.allclose(coarser_scan(ramp(grid.points()), factor), ramp(coarse.points()).float(), atol=1e-4)
    inner = ramp(grid.points())[3:9, 4:15, 5:20].float()
    back = finer(ramp(coarse.points()).float()[None], factor, (3, 4, 5), (6, 11, 15))
    assert torch.allclose(back[0], inner, atol=1e-4)


def test_what_does_not_fill_a_block_is_filled_with_the_outermost_voxel():
    row = torch.tensor([1.0, 3.0, 5.0]).reshape(1, 1, 3)
    assert coarser_scan(row, 2).flatten().tolist() == [2.0, 5.0]
    assert coarser_grid(Grid.of((1, 1, 3), (1, 1, 1), (0, 0, 0)), 2).size == (1, 1, 2)


def test_beyond_the_outermost_blocks_their_value_holds():
    values = torch.tensor([10.0, 20.0]).reshape(1, 1, 1, 2)
    assert finer(values, 2, (0, 0, -1), (1, 1, 7)).flatten().tolist() == [10.0, 10.0, 12.5, 17.5, 20.0, 20.0, 20.0]


def test_an_organ_gets_a_block_that_it_holds_half_of():
    labels = torch.zeros(2, 2, 6, dtype=torch.uint8)
    labels[:, 0, :2] = 3  # half of the first block
    labels[0, 0, 2:4] = 2  # a quarter of the second
    labels[:, :, 4:] = 1
    labels[0, 0, 4] = 4
    assert coarser_labels(labels, 2).flatten().tolist() == [3, 0, 1]
    assert coarser_labels(labels, 2).dtype == torch.uint8
