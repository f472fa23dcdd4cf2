"""elastix: affine and B-spline against motions that are known, quietly, and the same each time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recontour.align import elastix
from recontour.align.elastix import register_affine, register_bspline, warm_up
from recontour.align.maps import AFFINE, BSPLINE_STRONG
from recontour.align.search import find_translation
from recontour.errors import AlignmentFailed
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import Volume
from tests.align.torso_scene import grid_over, residual_mm, scan

TRUTH = Affine.rotation((-5, 5, 7), (0, 10, 10)).after(Affine.shift((-80, 90, 90)))


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    """150 mm and 10 degrees off, z ranges overlapping by half."""
    return scan(grid_over(-30, 210, (80, -90, -90)), TRUTH, seed=1), scan(grid_over(-150, 90))


def test_search_and_affine_find_home(pair: tuple[Volume, Volume]) -> None:
    daily, planning = pair
    found = register_affine(daily, planning, find_translation(daily, planning))
    assert residual_mm(found, TRUTH) < 2.0


def test_affine_finds_shear_and_scale() -> None:
    truth = Affine(np.array([[1.03, 0.02, 0, 4], [0, 0.97, 0.01, -6], [0.01, 0, 1.02, 5], [0, 0, 0, 1]], float))
    daily, planning = scan(grid_over(-120, 120), truth, seed=1), scan(grid_over(-120, 120))
    found = register_affine(daily, planning)
    assert residual_mm(found, truth) < 1.0
    assert np.allclose(found.matrix[:3, :3], truth.matrix[:3, :3], atol=0.015)


def test_repeats_bit_for_bit_whatever_the_threads(pair: tuple[Volume, Volume]) -> None:
    daily, planning = pair
    start = TRUTH.after(Affine.shift((5, -4, 6)))
    once, again, one_thread = (register_affine(daily, planning, start, threads=n) for n in (2, 2, 1))
    assert np.array_equal(once.matrix, again.matrix)
    assert np.allclose(once.matrix, one_thread.matrix, atol=1e-3)


def test_scans_that_do_not_overlap_are_refused(pair: tuple[Volume, Volume]) -> None:
    with pytest.raises(AlignmentFailed, match="overlap"):
        register_affine(*pair, Affine.shift((0, 0, 2000)))


def test_the_same_man_upside_down_is_refused() -> None:
    planning = scan(grid_over(-200, 80))
    daily = Volume(planning.grid, np.ascontiguousarray(planning.array[::-1]))
    with pytest.raises(AlignmentFailed, match="do not match"):
        register_affine(daily, planning)


def test_another_part_of_the_same_man_is_refused() -> None:
    thighs, belly = scan(grid_over(-250, -100)), scan(grid_over(60, 210))
    with pytest.raises(AlignmentFailed, match="do not match"):
        register_affine(thighs, belly, Affine.shift((0, 0, 310)))


def test_what_ends_worse_than_it_began_is_tried_again_on_soft_tissue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scans lie on each other: over all HU elastix is made to end 24 mm off, over soft tissue where it should."""
    asked: list[tuple[float, float]] = []

    def run(still: Volume, moved: Volume, maps: object, threads: int) -> dict[str, list[str]]:
        asked.append((float(moved.array.min()), float(moved.array.max())))
        shift = ["24", "0", "0"] if len(asked) == 1 else ["0", "0", "0"]
        return {"TransformParameters": [*"100010001", *shift], "CenterOfRotationPoint": ["0", "0", "0"]}

    monkeypatch.setattr(elastix, "_run", run)
    here = scan(grid_over(-150, 90))
    assert np.allclose(register_affine(here, here).matrix, np.eye(4))
    assert len(asked) == 2 and asked[0][0] < -900 and asked[1][0] >= -150 and asked[1][1] <= 300


def test_what_elastix_throws_is_mapped(pair: tuple[Volume, Volume]) -> None:
    broken = AFFINE.changed("broken", Metric="NoSuchMetric")
    with pytest.raises(AlignmentFailed, match="elastix could not") as caught:
        register_affine(*pair, TRUTH, broken)
    assert caught.value.where == "broken"
    assert "0x" not in str(caught.value)


def _bumped(grid: Grid) -> Field:
    """A smooth bump of 6 mm along y and -4 mm along z about (2, 0, 20)."""
    points = grid.points()
    bump = np.exp(-(((points - (2, 0, 20)) / 30.0) ** 2).sum(axis=-1))
    return Field(grid, np.stack([0 * bump, 6 * bump, -4 * bump]).astype(np.float32))


def test_bspline_finds_a_bump_through_an_affine() -> None:
    region = Grid.around((-60, -55, -35), (60, 75, 65), 3.0)
    start = Affine.rotation((3, -2, 4), (0, 0, 0)).after(Affine.shift((10, -20, 30)))
    planning = scan(Grid.around((-130, -130, -110), (140, 130, 150), 3.0), start.inverse())
    truth = _bumped(region)
    still = scan(Grid.around((-130, -110, -110), (130, 130, 130), 3.0), seed=1)
    daily = resample_volume(still, region, field=truth)
    quick = BSPLINE_STRONG.changed(
        "quick",
        NumberOfResolutions=2,
        ImagePyramidSchedule=(2, 2, 2, 1, 1, 1),
        GridSpacingSchedule=(2, 1),
        FinalGridSpacingInPhysicalUnits=(24, 24, 24),
        MaximumNumberOfIterations=150,
    )
    found = register_bspline(daily, planning, start, quick)
    assert found.grid is region
    inside = (np.abs(region.points() - (2, 0, 20)) < (36, 28, 26)).all(axis=-1)
    error = np.linalg.norm(found.array - truth.array, axis=0)[inside].mean()
    assert error < 0.5 * np.linalg.norm(truth.array, axis=0)[inside].mean()


def test_our_bspline_is_transformix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The field computed from the coefficients is the one that transformix computes from them."""
    monkeypatch.chdir(tmp_path)  # transformix leaves a deformationField.raw where it runs
    coefficients = np.random.default_rng(5).normal(0, 2, 3 * 8 * 7 * 6)
    found = {
        "Transform": ["BSplineTransform"], "NumberOfParameters": [str(coefficients.size)],
        "TransformParameters": [repr(float(c)) for c in coefficients],
        "GridSize": ["8", "7", "6"], "GridIndex": ["0", "0", "0"], "GridSpacing": ["11", "12", "13"],
        "GridOrigin": ["-9", "-14", "6"], "GridDirection": ["1", "0", "0", "0", "1", "0", "0", "0", "1"],
        "BSplineTransformSplineOrder": ["3"], "UseCyclicTransform": ["false"], "HowToCombineTransforms": ["Compose"],
        "InitialTransformParameterFileName": ["NoInitialTransform"], "UseDirectionCosines": ["true"],
        "FixedImageDimension": ["3"], "MovingImageDimension": ["3"], "Size": ["12", "11", "10"],
        "Index": ["0", "0", "0"], "Spacing": ["3", "3.5", "4"], "Origin": ["4", "1", "20"],
        "Direction": ["1", "0", "0", "0", "1", "0", "0", "0", "1"], "FixedInternalImagePixelType": ["float"],
        "MovingInternalImagePixelType": ["float"], "ResampleInterpolator": ["FinalLinearInterpolator"],
        "Resampler": ["DefaultResampler"], "DefaultPixelValue": ["0"], "ResultImagePixelType": ["float"],
        "ResultImageFormat": ["mha"], "CompressResultImage": ["false"],
    }  # fmt: skip
    grid = Grid.of((10, 11, 12), (4.0, 3.5, 3.0), (4, 1, 20))
    ours = elastix._field_of(found, grid)
    assert np.abs(ours.array).max() > 1.0
    theirs = _transformix(found, grid, tmp_path)
    assert np.allclose(np.moveaxis(ours.array, 0, -1), theirs, atol=1e-4)


def _transformix(found: dict[str, list[str]], grid: Grid, folder: Path) -> np.ndarray:
    from itk.itkTransformixFilterPython import itkTransformixFilterIF3

    itk = elastix._itk()
    image, array = elastix._image(itk, Volume(grid, np.zeros(grid.size, np.float32)))
    parameters = itk.parameters.New()
    parameters.AddParameterMap(found)
    transformix = itkTransformixFilterIF3.New()
    transformix.SetMovingImage(image)
    transformix.SetTransformParameterObject(parameters)
    transformix.SetComputeDeformationField(True)
    transformix.SetOutputDirectory(str(folder))
    transformix.UpdateLargestPossibleRegion()
    import itk as whole

    field = whole.array_from_image(transformix.GetOutputDeformationField())
    assert array.size
    return np.asarray(field)


QUIET = """
import numpy as np
from recontour.align.elastix import register_affine, warm_up
from torso_scene import grid_over, scan
warm_up().join()
a = scan(grid_over(-60, 60))
register_affine(a, a)
"""


def test_it_says_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    root, here = Path(__file__).parents[2], Path(__file__).parent
    call, env = [sys.executable, "-c", QUIET], {"PYTHONPATH": f"{root}{os.pathsep}{here}"}
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_warm_up_can_be_called_often() -> None:
    for thread in [warm_up() for _ in range(3)]:
        thread.join()
    assert elastix._itk() is elastix._itk()
