"""A round field of view that cuts a ball, and a ball with gas in it."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.view import share_out_of_view
from tests.qa.made_fraction import REGION, ball

CENTRE = (0.0, 5.0, 128.0)


def part(shape: LevelSet) -> LevelSet:
    """On a part of the region, as shapes of a fraction are."""
    return LevelSet(REGION.crop((5, 10, 10), (55, 65, 75)), shape.array[5:55, 10:65, 10:75])


def test_what_the_round_view_leaves_out_is_counted() -> None:
    x = REGION.points()[..., 0]
    fixed = Volume(REGION, np.where(x > 0.0, -1000.0, 40.0).astype(np.float32))  # the left half was not scanned
    shape = part(ball(CENTRE, 12.0))
    expected = float((x[5:55, 10:65, 10:75][shape.array > 0] > 0).mean())
    assert 0.4 < expected < 0.6
    assert share_out_of_view(shape, fixed) == pytest.approx(expected)


def test_gas_inside_the_body_is_in_view() -> None:
    gas = ball(CENTRE, 8.0).array > 0
    fixed = Volume(REGION, np.where(gas, -1000.0, 40.0).astype(np.float32))
    assert share_out_of_view(part(ball(CENTRE, 12.0)), fixed) == 0.0


def test_nothing_is_in_view_whole_and_a_stranger_is_refused() -> None:
    fixed = Volume(REGION, np.full(REGION.size, -1000.0, np.float32))
    assert share_out_of_view(part(ball(CENTRE, 12.0)), fixed) == 1.0
    assert share_out_of_view(part(ball((500.0, 0.0, 0.0), 12.0)), fixed) == 0.0
    with pytest.raises(UsageError):
        share_out_of_view(ball(CENTRE, 12.0, Grid.of((20, 20, 20), (2.0, 2.0, 2.0), (0.0, 0.0, 120.0))), fixed)
