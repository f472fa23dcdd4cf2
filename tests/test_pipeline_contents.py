"""Contrast medium in the bladder on one of two days: the motion is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.pipeline import PlannedRoi, Propagation, propagate_from
from recontour.qa.metrics import surface_distances
from recontour.settings import Settings

PLANNING = Grid((40, 60, 64), (2.5, 1.6, 1.6), (-51.0, -47.0, -49.0))
DAILY = Grid((44, 58, 60), (2.2, 1.7, 1.7), (-51.0, -49.0, -48.0))
MEDIUM_HU = 350.0


def to_planning(points: np.ndarray) -> np.ndarray:
    """The true motion, daily -> planning: the bladder is fuller on the day."""
    squared = (points**2).sum(-1)[..., None]
    return points * (1.0 - 0.25 * np.exp(-squared / (2 * 20.0**2)))


def inside(points: np.ndarray) -> np.ndarray:
    return 16.0 - np.linalg.norm(points, axis=-1)


def body(points: np.ndarray, held_hu: float) -> np.ndarray:
    """HU: a bladder of 16 mm radius with a wall of 3 mm in textured fat, and muscle at its back."""
    x, y, z = np.moveaxis(points, -1, 0)
    ground = -80 + 20 * np.sin(x / 4.0) * np.cos(y / 5.0) + 15 * np.sin(z / 6.0 + x / 7.0)
    ground = ground + 120.0 / (1 + np.exp(-(y - 17.0) / 0.8))
    wall, lumen = (1 / (1 + np.exp(-(inside(points) - rim) / 0.6)) for rim in (0.0, 3.0))
    hu = ground + wall * (40.0 - ground)
    return (hu + lumen * (held_hu - hu)).astype(np.float32)


def propagated(planning_hu: float, daily_hu: float, organ: str) -> tuple[Propagation, float]:
    """With what the bladder holds on either day; and the mean distance of the shape found from the truth, mm."""
    planning = Volume(PLANNING, body(PLANNING.points(), planning_hu))
    daily = Volume(DAILY, body(to_planning(DAILY.points()), daily_hu))
    fine = Grid.around([-30, -30, -30], [30, 30, 30], 1.0)
    planned = LevelSet(fine, inside(fine.points()).clip(-10, 10).astype(np.float32))
    truth = LevelSet(fine, inside(to_planning(fine.points())).clip(-10, 10).astype(np.float32))
    rois = [PlannedRoi("Blase", planned, organ)]
    found = propagate_from(Affine.identity(), planning, daily, rois, Settings(method="refine"))
    return found, surface_distances(found.level_sets["Blase"], truth).msd_mm


@pytest.mark.parametrize(("planning_hu", "daily_hu"), [(MEDIUM_HU, 8.0), (8.0, MEDIUM_HU)])
def test_medium_of_one_day_does_not_lead_the_bladder_astray(planning_hu: float, daily_hu: float) -> None:
    found, error_mm = propagated(planning_hu, daily_hu, "bladder")
    assert error_mm < 0.3
    # What is shown and judged is what was scanned.
    shown = found.warped if planning_hu > daily_hu else found.fixed
    assert shown.array.max() > MEDIUM_HU - 10.0


def test_medium_left_in_would_have_led_it_astray() -> None:
    assert propagated(MEDIUM_HU, 8.0, "")[1] > 0.5
