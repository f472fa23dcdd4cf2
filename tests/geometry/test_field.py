"""Displacement fields against closed forms."""

from __future__ import annotations

import numpy as np

from recontour.geometry.field import Field, compose_fields, folding_fraction, invert_field, jacobian_determinant
from recontour.geometry.grid import Grid

GRID = Grid((10, 12, 14), (3.0, 2.0, 1.5), (-13.0, -11.0, -9.0))


def linear(matrix: list[list[float]], grid: Grid = GRID) -> Field:
    return Field(grid, np.moveaxis(grid.points() @ np.array(matrix).T, -1, 0).astype(np.float32))


def test_jacobian_of_a_linear_field_is_the_determinant() -> None:
    m = [[0.2, 0.1, 0.0], [0.0, -0.3, 0.05], [0.1, 0.0, 0.4]]
    want = np.linalg.det(np.eye(3) + np.array(m))
    assert np.allclose(jacobian_determinant(linear(m)), want, atol=1e-4)


def test_jacobian_on_a_turned_grid() -> None:
    turned = Grid(GRID.size, GRID.spacing_mm, GRID.origin_mm, ((0, 0, -1), (0, 1, 0), (-1, 0, 0)))
    m = [[0.2, 0.1, 0.0], [0.0, -0.3, 0.05], [0.1, 0.0, 0.4]]
    want = np.linalg.det(np.eye(3) + np.array(m))
    assert np.allclose(jacobian_determinant(linear(m, turned)), want, atol=1e-4)


def test_folding_is_counted_where_the_field_turns_back() -> None:
    array = np.zeros((3, *GRID.size), np.float32)
    x = GRID.points()[..., 0]
    array[0] = np.where(x > 0, -2.0 * x, 0.0)  # x -> -x on the right half
    field = Field(GRID, array)
    half = x > 2.0
    assert folding_fraction(field, half) == 1.0
    assert folding_fraction(field, x < -2.0) == 0.0


def test_composition_of_shift_and_stretch() -> None:
    shift = Field(GRID, np.broadcast_to(np.float32([1.0, 0, 0])[:, None, None, None], (3, *GRID.size)).copy())
    stretch = linear([[0.1, 0, 0], [0, 0, 0], [0, 0, 0]])
    got = compose_fields(shift, stretch).array[0]
    inside = np.abs(GRID.points()[..., 0]) < 5
    assert np.allclose(got[inside], (1.0 + 0.1 * (GRID.points()[..., 0] + 1.0))[inside], atol=1e-5)


def test_inverse_undoes() -> None:
    wave = np.zeros((3, *GRID.size), np.float32)
    wave[1] = 1.5 * np.sin(GRID.points()[..., 0] / 6.0)
    field = Field(GRID, wave)
    back = compose_fields(invert_field(field), field)
    assert np.abs(back.array[:, 2:-2, 2:-2, 2:-2]).max() < 1e-3
