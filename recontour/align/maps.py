"""elastix parameter maps as data.

Klein et al., "elastix: a toolbox for intensity-based medical image registration", IEEE TMI 2010; the meaning of each
parameter is in the manual of elastix 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Parameters = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class ElastixMap:
    """What elastix is asked to do.

    window_hu: both images are clipped to it before elastix sees them, so that what lies beyond (bowel gas below,
    metal and dense bone above) has no more weight than the window's edge.
    parameters: elastix's own parameter map; every value is a tuple of texts.
    """

    name: str
    window_hu: tuple[float, float]
    parameters: Parameters

    def changed(self, name: str, window_hu: tuple[float, float] | None = None, **parameters: object) -> ElastixMap:
        """The same map with some parameters replaced; a tuple or list gives several values."""
        merged = {**self.parameters, **{key: _texts(value) for key, value in parameters.items()}}
        return ElastixMap(name, window_hu or self.window_hu, MappingProxyType(merged))


def _texts(value: object) -> tuple[str, ...]:
    many: tuple[object, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in many)


def _pyramid(levels: int) -> tuple[int, ...]:
    """Isotropic shrink factors, coarse to fine: 8 8 8 4 4 4 2 2 2 1 1 1 for four levels."""
    return tuple(2**level for level in reversed(range(levels)) for _ in range(3))


_COMMON = ElastixMap("common", (-1000.0, 1000.0), MappingProxyType({})).changed(
    "common",
    Registration="MultiResolutionRegistration",
    FixedImagePyramid="FixedSmoothingImagePyramid",
    MovingImagePyramid="MovingSmoothingImagePyramid",
    # Cubic interpolation, elastix's default, is several times slower and no more accurate here.
    Interpolator="LinearInterpolator",
    ResampleInterpolator="FinalLinearInterpolator",
    Resampler="DefaultResampler",
    Optimizer="AdaptiveStochasticGradientDescent",
    ImageSampler="RandomCoordinate",
    NewSamplesEveryIteration=True,
    RandomSeed=121212,
    RequiredRatioOfValidSamples=0.05,
    FixedInternalImagePixelType="float",
    MovingInternalImagePixelType="float",
    UseDirectionCosines=True,
    HowToCombineTransforms="Compose",
    ErodeMask=False,
    WriteResultImage=False,
    AutomaticTransformInitialization=False,
    AutomaticParameterEstimation=True,
)

# Images at 3 mm, shrunk by 4, 2 and 1. Mutual information survives another scanner's HU, and gets home from 10 degrees
# in fewer steps than correlation. Few samples for the step size: estimating it would take most of the time.
AFFINE = _COMMON.changed(
    "affine",
    Transform="AffineTransform",
    Metric="AdvancedMattesMutualInformation",
    NumberOfHistogramBins=32,
    FixedImagePyramid="FixedRecursiveImagePyramid",
    MovingImagePyramid="MovingRecursiveImagePyramid",
    NumberOfResolutions=3,
    ImagePyramidSchedule=_pyramid(3),
    NumberOfSpatialSamples=2048,
    NumberOfSamplesForExactGradient=4096,
    MaximumNumberOfIterations=200,
    AutomaticScalesEstimation=True,
)

# The registration that the networks of the paper were compared with.
BSPLINE_PAPER = _COMMON.changed(
    "bspline_paper",
    Transform="RecursiveBSplineTransform",
    Metric="AdvancedNormalizedCorrelation",
    NumberOfResolutions=4,
    ImagePyramidSchedule=_pyramid(4),
    FinalGridSpacingInPhysicalUnits=(10, 10, 10),
    GridSpacingSchedule=(8, 4, 2, 1),
    NumberOfSpatialSamples=2000,
    MaximumNumberOfIterations=500,
)

# The same on soft tissue alone: the strongest elastix that we know for pelvic CT.
BSPLINE_STRONG = BSPLINE_PAPER.changed(
    "bspline_strong", window_hu=(-150.0, 300.0), FinalGridSpacingInPhysicalUnits=(16, 16, 16)
)
BSPLINE_STRONG_10 = BSPLINE_PAPER.changed("bspline_strong_10", window_hu=(-150.0, 300.0))
