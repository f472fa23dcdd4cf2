"""Grids: indices to points and back, against hand arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid


def test_axial_index_to_point() -> None:
    grid = Grid((4, 5, 6), (3.0, 2.0, 1.0), (-10.0, 20.0, 30.0))
    assert grid.points_at([1, 2, 3]).tolist() == [-10 + 3 * 1.0, 20 + 2 * 2.0, 30 + 1 * 3.0]


def test_feet_first_prone_axes() -> None:
    # Rows run to the left, columns to the back, slices to the feet: x and z turn, as for a man lying feet first.
    grid = Grid((2, 3, 4), (3.0, 2.0, 1.0), (5.0, 6.0, 7.0), ((0, 0, -1), (0, 1, 0), (-1, 0, 0)))
    assert grid.points_at([1, 1, 1]).tolist() == [5 - 1.0, 6 + 2.0, 7 - 3.0]
    assert np.allclose(grid.index_at([4.0, 8.0, 4.0]), [1, 1, 1])


def test_around_covers_the_box() -> None:
    grid = Grid.around([0.0, 10.0, -5.0], [9.5, 12.0, 0.0], 1.0)
    assert grid.size == (6, 3, 11)
    assert grid.bounds_mm()[1].tolist() == [10.0, 12.0, 0.0]


def test_crop_keeps_points() -> None:
    grid = Grid((6, 7, 8), (3.0, 2.0, 1.0), (1.0, 2.0, 3.0))
    assert np.allclose(grid.crop((1, 2, 3), (4, 4, 4)).points_at([0, 0, 0]), grid.points_at([1, 2, 3]))


def test_part_is_the_grid_of_an_arrays_part() -> None:
    grid = Grid((6, 7, 8), (3.0, 2.0, 1.0), (1.0, 2.0, 3.0))
    box = slice(1, 4), slice(2, 4), slice(3, 8)
    part = grid.part(box)
    assert part.size == (3, 2, 5) and np.allclose(part.points(), grid.points()[box])
    assert grid.box_of(part) == box


@pytest.mark.parametrize(
    ("size", "spacing", "direction"),
    [
        ((0, 2, 2), (1, 1, 1), np.eye(3)),
        ((2, 2, 2), (1, -1, 1), np.eye(3)),
        ((2, 2, 2), (1, 1, 1), [[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
    ],
)
def test_refuses_what_is_no_grid(size: object, spacing: object, direction: object) -> None:
    with pytest.raises(UsageError):
        Grid.of(size, spacing, (0, 0, 0), direction)  # type: ignore[arg-type]


def test_rotation_turns_x_to_y_about_z() -> None:
    turned = Affine.rotation([0, 0, 90], [10, 0, 0]).apply([11.0, 0.0, 5.0])
    assert np.allclose(turned, [10, 1, 5])


def test_rotation_about_y_turns_z_to_x() -> None:
    assert np.allclose(Affine.rotation([0, 90, 0], [0, 0, 0]).apply([0.0, 0.0, 1.0]), [1, 0, 0])


def test_after_applies_first_first() -> None:
    shift, turn = Affine.shift([1, 0, 0]), Affine.rotation([0, 0, 90], [0, 0, 0])
    assert np.allclose(turn.after(shift).apply([0.0, 0.0, 0.0]), [0, 1, 0])
    assert np.allclose(shift.inverse().apply([1.0, 2.0, 3.0]), [0, 2, 3])
