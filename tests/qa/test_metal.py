"""Metal counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.qa.metal import metal_ml

SCAN = Grid.of((20, 30, 40), (3.0, 2.0, 1.0), (-20.0, -30.0, 100.0))  # voxels of 6 mm3, z from 100 to 157


def scan(*voxels: tuple[int, int, int], hu: float = 3000.0) -> Volume:
    array = np.full(SCAN.size, 40.0, np.float32)
    for voxel in voxels:
        array[voxel] = hu
    return Volume(SCAN, array)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (scan(), 0.0),
        (scan((10, 0, 0), (10, 29, 39)), 2 * 0.006),  # at the edges of the slice, far beyond the region
        (scan((10, 5, 5), hu=1900.0), 0.0),  # dense bone
        (scan((2, 5, 5), (17, 5, 5)), 0.0),  # on slices that the region does not reach
    ],
)
def test_on_the_slices_of_the_region(volume: Volume, expected: float) -> None:
    region = Grid.of((10, 5, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 125.0))  # z from 125 to 134: slices 8 to 12
    assert metal_ml(volume, region) == pytest.approx(expected)


def test_in_another_frame_the_slices_are_those_that_the_region_comes_to() -> None:
    region = Grid.of((10, 5, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 1125.0))
    volume = scan((10, 0, 0))
    assert metal_ml(volume, region, Affine.shift((0.0, 0.0, -1000.0))) == pytest.approx(0.006)
    assert metal_ml(volume, region) == 0.0
