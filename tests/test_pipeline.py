"""The pipeline in memory, each method, on a drawn pair whose motion is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.errors import AlignmentFailed
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.pipeline import PlannedRoi, propagate_from, region_of
from recontour.qa.metrics import surface_distances
from recontour.settings import Settings

PLANNING = Grid((40, 60, 64), (2.5, 1.6, 1.6), (-51.0, -47.0, -49.0))
AFFINE = Affine.shift([3.0, -4.0, 2.0]).after(Affine.rotation([0, 0, 3], [0, 0, 0]))  # daily -> planning
BUMP_MM, WIDTH_MM = 4.0, 22.0


def to_planning(points: np.ndarray) -> np.ndarray:
    """The true motion, daily -> planning: a smooth push along y near the middle, then the affine."""
    push = BUMP_MM * np.exp(-(np.asarray(points) ** 2).sum(-1) / (2 * WIDTH_MM**2))
    return AFFINE.apply(points + push[..., None] * np.array([0.0, 1.0, 0.0]))


def body(points: np.ndarray) -> np.ndarray:
    """HU: an organ of 14 mm radius in textured soft tissue, a bone bar."""
    x, y, z = np.moveaxis(points, -1, 0)
    texture = 25 * np.sin(x / 4.0) * np.cos(y / 5.0) + 20 * np.sin(z / 6.0 + x / 7.0)
    organ = 60.0 / (1 + np.exp(-(14.0 - np.linalg.norm(points - [4.0, 2.0, 1.0], axis=-1)) / 0.8))
    bone = 500.0 / (1 + np.exp(-(6.0 - np.hypot(x + 32, z)) / 0.8))
    return -20 + texture + organ + bone


def ball(points: np.ndarray) -> np.ndarray:
    return 14.0 - np.linalg.norm(points - [4.0, 2.0, 1.0], axis=-1)


def pair() -> tuple[Volume, Volume, list[PlannedRoi], LevelSet]:
    daily_grid = Grid((44, 58, 60), (2.2, 1.7, 1.7), (-51.0, -49.0, -48.0))
    planning = Volume(PLANNING, body(PLANNING.points()).astype(np.float32))
    daily = Volume(daily_grid, body(to_planning(daily_grid.points())).astype(np.float32))
    fine = Grid.around([-30, -30, -30], [34, 34, 34], 1.0)
    planned = LevelSet(fine, ball(fine.points()).clip(-10, 10).astype(np.float32))
    truth = LevelSet(fine, ball(to_planning(fine.points())).clip(-10, 10).astype(np.float32))
    return planning, daily, [PlannedRoi("ball", planned)], truth


@pytest.mark.parametrize(("method", "at_most_mm"), [("affine", 3.0), ("elastix", 0.6), ("refine", 0.35)])
def test_each_method_brings_the_organ_over(method: str, at_most_mm: float) -> None:
    planning, daily, rois, truth = pair()
    found = propagate_from(AFFINE, planning, daily, rois, Settings(method=method))  # type: ignore[arg-type]
    error = surface_distances(found.level_sets["ball"], truth).msd_mm
    assert error < at_most_mm
    if method == "affine":
        assert error > 0.8, "the pair should need more than the affine"


def test_a_network_is_not_asked_about_organs_it_was_never_shown() -> None:
    planning, daily, rois, truth = pair()
    found = propagate_from(AFFINE, planning, daily, rois, Settings(method="network+refine"))
    assert found.model is None and found.segmented == {} and "network" not in found.seconds
    assert surface_distances(found.level_sets["ball"], truth).msd_mm < 0.35


def test_region_is_the_organ_and_its_margin_as_far_as_the_scan_reaches() -> None:
    _, daily, rois, _ = pair()
    region = region_of(rois, Affine.identity(), daily.grid, Settings())
    low, high = region.bounds_mm()
    scan_low, scan_high = daily.grid.bounds_mm()
    assert np.allclose(low, np.maximum(np.array([4, 2, 1]) - 14 - 30, scan_low), atol=1.01)
    assert (high <= scan_high + 1.0).all() and (high >= np.minimum(np.array([4, 2, 1]) + 44, scan_high) - 1.01).all()


def test_rois_beyond_the_scan_are_refused() -> None:
    _, daily, rois, _ = pair()
    with pytest.raises(AlignmentFailed, match="outside"):
        region_of(rois, Affine.shift([500, 0, 0]), daily.grid, Settings())
