"""Measures of an organ in a scan that are known by hand, and the ranges that they are held against."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.likeness import Seen, measures_of, seen_in, unlike

SCAN = Grid.of((20, 60, 64), (3.0, 1.0, 1.0), (-32.0, -30.0, -28.0))
ORGAN = Grid.of((40, 38, 42), (1.0, 1.0, 1.0), (-20.0, -18.0, -20.0))


def ball(grid: Grid, radius_mm: float) -> LevelSet:
    return LevelSet(grid, np.clip(radius_mm - np.linalg.norm(grid.points(), axis=-1), -15, 15).astype(np.float32))


def test_volume_and_medians_of_what_is_no_gas() -> None:
    """A ball of 40 HU in fat of -90 HU; gas fills a third of it, which a mean would show."""
    points = SCAN.points()
    away = np.linalg.norm(points, axis=-1)
    hu = np.where(away < 12, np.where(points[..., 0] > 4, -950.0, 40.0), -90.0)
    found = measures_of(Volume(SCAN, hu.astype(np.float32)), ball(ORGAN, 12))
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=3e-3)
    assert (found["inside_hu"], found["around_hu"]) == pytest.approx((40.0, -90.0), abs=1.0)


def test_what_is_not_shown_has_no_measure() -> None:
    air = Volume(SCAN, np.full(SCAN.size, -1000.0, np.float32))
    assert set(measures_of(air, ball(ORGAN, 12))) == {"volume_ml"}
    assert measures_of(air, LevelSet(ORGAN, np.full(ORGAN.size, -5.0, np.float32))) == {"volume_ml": 0.0}


def test_ranges_over_scans_that_do_not_all_show_everything() -> None:
    scans = [
        {"bladder": {"volume_ml": 80.04, "inside_hu": 5.0}, "rectum": {"volume_ml": 60.0}},
        {"bladder": {"volume_ml": 320.0}},
        {"bladder": {"volume_ml": 150.0, "inside_hu": -3.0}},
    ]
    assert set(seen_in(scans)) == {
        Seen("bladder", "volume_ml", 80.0, 320.0, 3),
        Seen("bladder", "inside_hu", -3.0, 5.0, 2),
        Seen("rectum", "volume_ml", 60.0, 60.0, 1),
    }


@pytest.mark.parametrize(("value", "said"), [(49.9, True), (50.1, False), (80.0, False), (109.9, False), (110.1, True)])
def test_beyond_a_range_by_more_than_a_quarter_of_it(value: float, said: bool) -> None:
    """60 to 100: from 50 to 110 is let pass."""
    rows = [asdict(Seen("seminal_vesicles", "volume_ml", 60.0, 100.0, 12))]
    found = unlike({"seminal_vesicles": {"volume_ml": value}}, "planning", rows, 0.25)
    phrase = f"seminal vesicles of the planning scan, volume: {value} ml (60 to 100 in the 12 scans of its training)"
    assert found == ((phrase,) if said else ())


def test_what_is_not_a_number_is_unlike_and_what_was_not_measured_is_not() -> None:
    rows = [asdict(Seen("bladder", "inside_hu", -5.0, 12.5, 40))]
    (phrase,) = unlike({"bladder": {"inside_hu": float("nan")}}, "daily", rows, 0.25)
    assert "bladder of the daily scan, median inside: nan HU (-5 to 12.5" in phrase
    assert unlike({"bladder": {"volume_ml": 1.0}}, "daily", rows, 0.25) == ()
