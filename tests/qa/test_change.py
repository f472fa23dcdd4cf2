"""How far a surface moved: balls whose distance is known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.grid import Triple
from recontour.qa.change import surface_change
from tests.qa.made_fraction import ball

CENTRE = np.array((0.0, 5.0, 128.0))


def shifted(x: float = 0.0, z: float = 0.0) -> Triple:
    return x, 5.0, 128.0 + z


def test_a_ball_that_grows_moves_everywhere_by_the_same() -> None:
    change = surface_change(ball(shifted(), 12.0), ball(shifted(), 15.0))
    assert change is not None
    assert (change.mean_mm, change.p95_mm, change.largest_mm) == pytest.approx((3.0, 3.0, 3.0), abs=0.06)


def test_a_ball_that_shifts_moves_most_along_its_way() -> None:
    """Of |x + s| - r over the sphere: at most s; its mean, for a small s, is half of s, for a point at angle t to the
    shift lies s cos t off; 95 % of the area lies below s x 0.95, as cos t is even over a sphere."""
    change = surface_change(ball(shifted(), 14.0), ball(shifted(z=2.0), 14.0))
    assert change is not None
    assert change.largest_mm == pytest.approx(2.0, abs=0.05)
    assert change.mean_mm == pytest.approx(1.0, abs=0.03)
    assert change.p95_mm == pytest.approx(1.9, abs=0.05)
    along = (np.array(change.worst_mm) - CENTRE) / np.linalg.norm(np.array(change.worst_mm) - CENTRE)
    assert abs(along[2]) > 0.97


def test_it_is_measured_from_the_daily_surface() -> None:
    """A daily ball inside the planned one, off its middle: its own farthest point is 12 - (6 - 3) = 9 mm away."""
    change = surface_change(ball(shifted(), 12.0), ball(shifted(x=3.0), 6.0))
    assert change is not None
    assert change.largest_mm == pytest.approx(9.0, abs=0.06)
    assert change.worst_mm[0] == pytest.approx(-3.0, abs=0.3)


def test_without_a_surface_there_is_no_change() -> None:
    nothing = ball((500.0, 0.0, 0.0), 5.0)
    assert surface_change(nothing, ball(shifted(), 5.0)) is None
    assert surface_change(ball(shifted(), 5.0), nothing) is None
