"""Rivals recover a known bump in a small drawn scene, each within what its kind can do."""

import numpy as np
import pytest

from recontour.align.maps import BSPLINE_STRONG
from recontour.baselines import _elastix, rivals, run_rival
from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from tests.align.torso_scene import scan

START = Affine.rotation((3, -2, 4), (0, 0, 0)).after(Affine.shift((10, -20, 30)))
REGION = Grid.around((-60, -55, -35), (60, 75, 65), 3.0)


@pytest.fixture(scope="module")
def bump() -> tuple[Volume, Volume, Field]:
    """The region of a daily scan, a planning scan in another frame, and the true field between them."""
    weight = np.exp(-(((REGION.points() - (2, 0, 20)) / 30.0) ** 2).sum(axis=-1))
    truth = Field(REGION, np.stack([0 * weight, 6 * weight, -4 * weight]).astype(np.float32))
    still = scan(Grid.around((-130, -110, -110), (130, 130, 130), 3.0), seed=1)
    planning = scan(Grid.around((-130, -130, -110), (140, 130, 150), 3.0), START.inverse())
    return resample_volume(still, REGION, field=truth), planning, truth


def _share_left(found: Field, truth: Field) -> float:
    """How much of the mismatch of bladder and rectum, drawn in the planning frame, is left: 1 is that of the affine."""
    left, before = 0.0, 0.0
    for organ in (_ellipsoid((2, -10, 25), (38, 30, 28)), _ellipsoid((0, 48, 0), (13, 12, 60))):
        ours, true, none = (resample_level_set(organ, REGION, START, f).array > 0 for f in (found, truth, None))
        left += (ours != true).sum()
        before += (none != true).sum()
    return left / before


def _ellipsoid(centre: tuple[float, ...], half: tuple[float, ...]) -> LevelSet:
    grid = Grid.around((-100, -90, -80), (130, 100, 120), 3.0)
    points = START.inverse().apply(grid.points())
    radius = np.sqrt((((points - centre) / half) ** 2).sum(axis=-1))
    return LevelSet(grid, ((1 - radius) * min(half)).astype(np.float32))


def test_affine_is_the_zero_field(bump: tuple[Volume, Volume, Field]) -> None:
    fixed, moving, truth = bump
    found = run_rival("affine", fixed, moving, START)
    assert found.field.grid.same_as(REGION)
    assert not found.field.array.any()
    assert _share_left(found.field, truth) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["SimpleITK fast symmetric demons", "SimpleITK demons", "plastimatch B-spline"])
def test_rivals_find_most_of_the_bump(name: str, bump: tuple[Volume, Volume, Field]) -> None:
    if name not in rivals():
        pytest.skip(f"{name} is not installed")
    fixed, moving, truth = bump
    found = run_rival(name, fixed, moving, START)
    assert found.seconds > 0
    assert found.field.array.shape == (3, *REGION.size)
    assert _share_left(found.field, truth) < 0.5


def test_elastix_gets_the_whole_planning_scan_and_the_affine(bump: tuple[Volume, Volume, Field]) -> None:
    quick = BSPLINE_STRONG.changed(
        "quick",
        NumberOfResolutions=2,
        ImagePyramidSchedule=(2, 2, 2, 1, 1, 1),
        GridSpacingSchedule=(2, 1),
        FinalGridSpacingInPhysicalUnits=(24, 24, 24),
        MaximumNumberOfIterations=150,
    )
    fixed, moving, truth = bump
    assert _share_left(_elastix(quick)(fixed, moving, START), truth) < 0.5


def test_an_unknown_rival_is_refused_with_those_there_are(bump: tuple[Volume, Volume, Field]) -> None:
    with pytest.raises(UsageError, match="fast symmetric demons"):
        run_rival("magic", bump[0], bump[1], START)
