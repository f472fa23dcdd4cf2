"""Volumes, centres and parts against analytic shapes."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Mask
from recontour.qa.shape import centroid_mm, part_volumes_ml, volume_ml

OBLIQUE = np.linalg.qr(np.array([[0.2, 0.1, 1.0], [0.1, 1.0, -0.2], [1.0, 0.0, 0.1]]))[0]
COARSE = Grid.of((24, 64, 60), (3.0, 1.0, 1.2), (0.0, 0.0, 0.0), OBLIQUE)
MIDDLE = COARSE.points_at((11.3, 30.4, 29.2))


def ball(radius_mm: float, stretch: float = 1.0) -> LevelSet:
    distance = radius_mm - np.linalg.norm(COARSE.points() - MIDDLE, axis=-1)
    return LevelSet(COARSE, np.clip(stretch * distance, -8, 8).astype(np.float32))


@pytest.mark.parametrize("radius_mm", [6.0, 8.0, 15.0, 28.0])
def test_a_ball_has_its_volume_on_thick_slices(radius_mm: float) -> None:
    assert volume_ml(ball(radius_mm)) == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=3e-3)


def test_the_level_sets_scale_does_not_matter() -> None:
    assert volume_ml(ball(15, stretch=0.4)) == pytest.approx(volume_ml(ball(15)), rel=1e-3)


def test_the_centre_is_found_to_a_hundredth_of_a_millimetre() -> None:
    found = centroid_mm(ball(12))
    assert found is not None
    np.testing.assert_allclose(found, MIDDLE, atol=0.01)


def test_parts_are_counted_and_specks_are_not() -> None:
    array = np.zeros((6, 8, 10), bool)
    array[1:5, 1:4, 1:9] = True  # 96 voxels
    array[1:5, 6:8, 1:5] = True  # 32
    array[5, 5, 9] = True  # a speck: under 1 %
    found = part_volumes_ml(Mask(Grid((6, 8, 10), (1.0, 2.0, 0.5), (0.0, 0.0, 0.0)), array))
    assert found == pytest.approx([0.096, 0.032])


def test_parts_that_touch_at_a_corner_are_one() -> None:
    array = np.zeros((4, 4, 4), bool)
    array[:2, :2, :2] = array[2:, 2:, 2:] = True
    assert len(part_volumes_ml(Mask(Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), array))) == 1


def test_an_empty_shape() -> None:
    nothing = LevelSet(COARSE, np.full(COARSE.size, -5, np.float32))
    assert (volume_ml(nothing), centroid_mm(nothing), part_volumes_ml(nothing)) == (0.0, None, [])
