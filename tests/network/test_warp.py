"""The spatial transformer moves along the right axis, the right way, by the right length."""

from __future__ import annotations

import numpy as np
import torch

from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import Volume
from recontour.network.warp import warp

Z, Y, X = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), torch.arange(8.0), indexing="ij")
RAMP = (100 * Z + 10 * Y + X)[None, None]  # (1, 1, 5, 6, 8)


def constant_field(x: float, y: float, z: float, size: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([x, y, z]).reshape(1, 3, 1, 1, 1).expand(1, 3, *size).contiguous()


def test_component_0_moves_along_x_1_along_y_2_along_z():
    moved = warp(RAMP, constant_field(2.0, 1.0, -1.0, (5, 6, 8)))
    # voxel (z, y, x) = (2, 3, 4) looks at (1, 4, 6)
    assert float(moved[0, 0, 2, 3, 4]) == 100 * 1 + 10 * 4 + 6


def test_millimetres_are_divided_by_the_spacing():
    moved = warp(RAMP, constant_field(3.0, 0.0, 0.0, (5, 6, 8)), spacing_mm=2.0)
    assert abs(float(moved[0, 0, 1, 1, 2]) - (100 + 10 + 2 + 1.5)) < 1e-4


def test_strided_output_lies_over_start_plus_stride_times_k():
    moved = warp(RAMP, constant_field(0.5, 0.0, 0.0, (2, 2, 2)), start=1, stride=2)
    want = [[[100 * z + 10 * y + x + 0.5 for x in (1, 3)] for y in (1, 3)] for z in (1, 3)]
    assert torch.allclose(moved[0, 0], torch.tensor(want), atol=1e-4)


def test_outside_the_nearest_border_value_holds():
    moved = warp(RAMP, constant_field(100.0, 0.0, 0.0, (5, 6, 8)))
    assert torch.allclose(moved[0, 0], (100 * Z + 10 * Y + 7), atol=1e-4)


def test_agrees_with_the_resampling_of_geometry():
    rng = np.random.default_rng(5)
    grid = Grid.of((7, 9, 8), (1, 1, 1), (-4.0, 10.0, 3.0))
    image = rng.normal(size=grid.size).astype(np.float32)
    # kept inside: beyond the border the two have their own rules
    room = np.stack(np.meshgrid(*(np.arange(n) for n in grid.size), indexing="ij"))[::-1]
    last = np.array(grid.size)[::-1].reshape(3, 1, 1, 1) - 1
    target = np.clip(room + rng.normal(scale=1.5, size=(3, *grid.size)), 0.01, last - 0.01)
    field = (target - room).astype(np.float32)
    want = resample_volume(Volume(grid, image), grid, field=Field(grid, field)).array
    got = warp(torch.from_numpy(image)[None, None], torch.from_numpy(field)[None])[0, 0].numpy()
    assert np.abs(got - want).max() < 1e-4


def test_labels_are_taken_from_the_nearest_voxel():
    labels = torch.tensor([0.0, 0.0, 4.0, 4.0, 1.0]).view(1, 1, 1, 1, 5)
    found = warp(labels, constant_field(1.4, 0.0, 0.0, (1, 1, 5)), between="nearest")
    assert found.flatten().tolist() == [0.0, 4.0, 4.0, 1.0, 1.0]  # from voxels 1.4, 2.4, 3.4, 4.4 and beyond


def test_the_gradient_in_the_field_is_the_slope_of_the_image():
    field = constant_field(0.3, 0.3, 0.3, (2, 2, 2)).requires_grad_()
    warp(RAMP, field, start=1).sum().backward()
    assert torch.allclose(field.grad[0, :, 0, 0, 0], torch.tensor([1.0, 10.0, 100.0]), atol=1e-3)
