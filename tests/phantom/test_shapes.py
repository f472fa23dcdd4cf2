"""Implicit shapes against volumes and distances known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.phantom.shapes import (
    Section,
    Shape,
    baked,
    both,
    box_of,
    cut,
    ellipsoid,
    grown,
    loft,
    open_points,
    tube,
    union,
)

AXIS = np.arange(-40.0, 40.1, 1.0)
AT = open_points(AXIS, AXIS + 0.25, AXIS - 0.5)


def volume(shape: Shape) -> float:
    return float(np.clip(np.broadcast_to(shape(AT), (81, 81, 81)) + 0.5, 0, 1).sum())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (ellipsoid((2, -3, 4), (20, 14, 9)), 4 / 3 * np.pi * 20 * 14 * 9),
        (tube([(-10, 0, 0), (14, 0, 0)], [8, 8]), np.pi * 64 * 24 + 4 / 3 * np.pi * 512),
        (loft([Section(-20, ((0, 0, 10),)), Section(20, ((5, 5, 10),))]), np.pi * 100 * 40),
        (union(ellipsoid((-20, 0, 0), (9, 9, 9)), ellipsoid((20, 0, 0), (9, 9, 9))), 8 / 3 * np.pi * 729),
        (cut(ellipsoid((0, 0, 0), (20, 20, 20)), ellipsoid((0, 0, 0), (12, 12, 12))), 4 / 3 * np.pi * (8000 - 1728)),
        (both(ellipsoid((0, 0, 0), (20, 20, 20)), ellipsoid((0, 0, 0), (12, 12, 12))), 4 / 3 * np.pi * 1728),
        (grown(ellipsoid((0, 0, 0), (10, 10, 10)), 3.0), 4 / 3 * np.pi * 2197),
    ],
)
def test_volume(shape: Shape, expected: float) -> None:
    assert volume(shape) == pytest.approx(expected, rel=0.02)


def test_baked_is_the_shape_it_was_baked_from_and_its_box_holds_it() -> None:
    shape = ellipsoid((7, -5, 3), (18, 11, 15))
    copy = baked(shape, 1.25, (-40.0, 40.0))
    assert np.abs(np.clip(copy(AT), -5, 5) - np.clip(shape(AT), -5, 5)).max() < 0.25
    assert volume(copy) == pytest.approx(volume(shape), rel=0.005)
    low, high = box_of(shape, -40.0, 40.0)
    assert (low <= (-11, -16, -12)).all() and (high >= (25, 6, 18)).all()
