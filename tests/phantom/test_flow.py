"""Flows against what vector analysis says of them."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field, compose_fields
from recontour.geometry.grid import Grid
from recontour.phantom.flow import flow_for_unit_time, random_flow, rigid_flow, source_flow

GRID = Grid.of((40, 44, 48), (4.0, 4.0, 4.0), (-94.0, -86.0, -78.0))


def test_a_ball_of_sources_drives_what_gauss_says() -> None:
    """Divergence 1 in a ball of radius R: speed r/3 within, R^3 / (3 r^2) outside."""
    radius = 30.0
    distance = np.linalg.norm(GRID.points(), axis=-1)
    source = np.clip((radius - distance) / 4 + 0.5, 0, 1).astype(np.float32)
    flow = source_flow(source, 4.0)
    for at in ((20, 0, 0), (0, -20, 0), (0, 0, 24), (44, 0, 0), (0, 0, -40)):
        r = float(np.linalg.norm(at))
        index = tuple(np.round(GRID.index_at(at)).astype(int))
        expected = (r / 3 if r < radius else radius**3 / (3 * r * r)) * np.array(at) / r
        place = GRID.points_at(index)
        assert np.allclose(place, at, atol=2.1)
        measured = flow[(slice(None), *index)]
        assert np.linalg.norm(measured) == pytest.approx(np.linalg.norm(expected), rel=0.3)
        assert measured @ expected > 0.95 * np.linalg.norm(measured) * np.linalg.norm(expected)


def test_there_and_back_is_nowhere() -> None:
    velocity = random_flow(GRID, np.random.default_rng(3), 1.5)
    there, back = (Field(GRID, flow_for_unit_time(s * velocity, 4.0)) for s in (1, -1))
    left = compose_fields(there, back).array[:, 6:-6, 6:-6, 6:-6]
    assert np.abs(there.array).max() > 3 and np.abs(left).max() < 0.1


def test_a_crop_moves_as_the_whole() -> None:
    whole = random_flow(GRID, np.random.default_rng(9), 2.0)
    part = random_flow(GRID.crop((5, 6, 7), (20, 22, 24)), np.random.default_rng(9), 2.0)
    assert np.allclose(part, whole[:, 5:20, 6:22, 7:24], atol=1e-4)
    assert whole.std() == pytest.approx(2.0, rel=0.35)


def test_a_small_turn_is_the_affine_s() -> None:
    degrees, centre = (2.0, -1.5, 1.0), (3.0, -5.0, 8.0)
    flow = rigid_flow(GRID, centre, (1.0, 0.0, -2.0), degrees)
    points = GRID.points()
    expected = Affine.rotation(degrees, centre).apply(points) - points + np.array([1.0, 0.0, -2.0])
    near = np.linalg.norm(points - centre, axis=-1) < 40
    assert np.abs(np.moveaxis(flow, 0, -1) - expected)[near].max() < 0.1
