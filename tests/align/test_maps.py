"""elastix parameter maps: data that cannot be changed by accident."""

import pytest

from recontour.align.maps import AFFINE, BSPLINE_PAPER, BSPLINE_STRONG, BSPLINE_STRONG_10


def test_the_papers_bspline_is_what_the_paper_says() -> None:
    p = BSPLINE_PAPER.parameters
    assert BSPLINE_PAPER.window_hu == (-1000.0, 1000.0)
    assert p["Metric"] == ("AdvancedNormalizedCorrelation",)
    assert p["NumberOfResolutions"] == ("4",)
    assert p["MaximumNumberOfIterations"] == ("500",)
    assert p["FinalGridSpacingInPhysicalUnits"] == ("10", "10", "10")
    assert p["ImagePyramidSchedule"] == tuple("888444222111")


def test_the_strong_ones_differ_in_window_and_grid_only() -> None:
    for strong, grid_mm in ((BSPLINE_STRONG, "16"), (BSPLINE_STRONG_10, "10")):
        assert strong.window_hu == (-150.0, 300.0)
        assert strong.parameters["FinalGridSpacingInPhysicalUnits"] == (grid_mm,) * 3
        rest = {k: v for k, v in strong.parameters.items() if k != "FinalGridSpacingInPhysicalUnits"}
        assert rest == {k: v for k, v in BSPLINE_PAPER.parameters.items() if k != "FinalGridSpacingInPhysicalUnits"}


def test_changed_leaves_the_original_and_writes_texts() -> None:
    other = AFFINE.changed("other", (0.0, 1.0), NumberOfHistogramBins=16, NewSamplesEveryIteration=False)
    assert AFFINE.parameters["NumberOfHistogramBins"] == ("32",)
    assert other.parameters["NumberOfHistogramBins"] == ("16",)
    assert other.parameters["NewSamplesEveryIteration"] == ("false",)
    assert (other.name, other.window_hu) == ("other", (0.0, 1.0))
    with pytest.raises(TypeError):
        AFFINE.parameters["Metric"] = ("none",)  # type: ignore[index]


def test_no_map_writes_a_result_image() -> None:
    for maps in (AFFINE, BSPLINE_PAPER, BSPLINE_STRONG, BSPLINE_STRONG_10):
        assert maps.parameters["WriteResultImage"] == ("false",)
