"""Rivals: what else brings contours from one scan to another, each on the same region from the same affine.

A rival takes (fixed, moving, affine_daily_to_planning): the region of the daily scan, at the resolution to work at and
along the LPS axes; the whole planning scan; the start. It gives the field u on fixed's grid, with planning point =
affine(x + u(x)). Contours are then propagated in the same way for all.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.align.elastix import register_bspline
from recontour.align.maps import BSPLINE_PAPER, BSPLINE_STRONG, BSPLINE_STRONG_10, ElastixMap
from recontour.errors import AlignmentFailed, UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_volume
from recontour.geometry.volume import Volume

SOFT_TISSUE_HU = (-150.0, 300.0)  # the window in which every rival does best
USUAL = (
    "affine",
    "elastix [-1000, 1000] 10 mm",
    "elastix [-1000, 1000] 16 mm",
    "elastix [-150, 300] 10 mm",
    "elastix [-150, 300] 16 mm",
    "SimpleITK fast symmetric demons",
)  # what a table has unless it is asked for others: in every installation
_PAPER_16 = BSPLINE_PAPER.changed("bspline_paper_16", FinalGridSpacingInPhysicalUnits=(16, 16, 16))
_MARGIN_MM = 20.0  # what may move into the region from outside

Rival = Callable[[Volume, Volume, Affine], Field]


@dataclass(frozen=True, eq=False)
class RivalResult:
    """field: daily -> planning, before the affine. seconds: wall time from the scans to the field."""

    field: Field
    seconds: float


def run_rival(name: str, fixed: Volume, moving: Volume, affine_daily_to_planning: Affine) -> RivalResult:
    """The rival of that name, timed; what it imports is imported before the clock starts.

    Raises UsageError for a rival that does not exist or is not installed, AlignmentFailed where it fails.
    """
    rival = rivals().get(name)
    if rival is None:
        raise UsageError(f"no rival {name!r} here", where="baselines", allowed=", ".join(rivals()))
    _import_for(name)
    start = time.perf_counter()
    field = rival(fixed, moving, affine_daily_to_planning)
    return RivalResult(field, time.perf_counter() - start)


def rivals() -> dict[str, Rival]:
    """Every rival that this installation can run, by name."""
    found: dict[str, Rival] = {
        "affine": _affine,
        "elastix [-1000, 1000] 10 mm": _elastix(BSPLINE_PAPER),
        "elastix [-1000, 1000] 16 mm": _elastix(_PAPER_16),
        "elastix [-150, 300] 10 mm": _elastix(BSPLINE_STRONG_10),
        "elastix [-150, 300] 16 mm": _elastix(BSPLINE_STRONG),
        "SimpleITK fast symmetric demons": _demons("FastSymmetricForcesDemonsRegistrationFilter"),
        "SimpleITK demons": _demons("DemonsRegistrationFilter"),
    }
    if shutil.which("plastimatch"):
        found["plastimatch B-spline"] = _plastimatch
    if util.find_spec("ants"):
        found["ANTs SyN"] = _ants
    return found


def _import_for(name: str) -> None:
    if name.startswith("elastix"):
        from recontour.align.elastix import warm_up

        warm_up().join()
    elif name.startswith("ANTs"):
        import_module("ants")
    else:
        import_module("SimpleITK")


def _affine(fixed: Volume, moving: Volume, affine: Affine) -> Field:
    return Field.zero(fixed.grid)


def _elastix(maps: ElastixMap) -> Rival:
    def run(fixed: Volume, moving: Volume, affine: Affine) -> Field:
        return register_bspline(fixed, moving, affine, maps)

    return run


def _windowed_pair(fixed: Volume, moving: Volume, affine: Affine, margin_mm: float = 0.0) -> tuple[Volume, Volume]:
    """Both in the daily frame, clipped to soft tissue; the moving one reaches `margin_mm` further."""
    steps = np.ceil(margin_mm / np.asarray(fixed.grid.spacing_mm)).astype(int)
    origin = fixed.grid.points_at(-steps)
    wider = Grid.of(np.asarray(fixed.grid.size) + 2 * steps, fixed.grid.spacing_mm, origin, fixed.grid.direction)
    placed = resample_volume(moving, wider, affine)
    still, moved = (Volume(v.grid, np.clip(v.array, *SOFT_TISSUE_HU)) for v in (fixed, placed))
    return still, moved


# SimpleITK

_DEMONS_LEVELS = ((8, 60), (4, 60), (2, 40))  # shrink factor of the 1 mm images, iterations
_DEMONS_SIGMA_VOXELS = 1.5  # Gaussian smoothing of the field after every iteration


def _demons(filter_name: str) -> Rival:
    """Demons on a pyramid (Vercauteren et al., NeuroImage 2009), each level starting from the coarser one's field."""

    def run(fixed: Volume, moving: Volume, affine: Affine) -> Field:
        sitk: Any = import_module("SimpleITK")
        still, moved = (_sitk_image(sitk, v) for v in _windowed_pair(fixed, moving, affine))
        demons: Any = getattr(sitk, filter_name)()
        demons.SetStandardDeviations(_DEMONS_SIGMA_VOXELS)
        field: Any = None
        for factor, iterations in _DEMONS_LEVELS:
            demons.SetNumberOfIterations(iterations)
            small = [_shrunk(sitk, image, factor) for image in (still, moved)]
            if field is None:
                field = demons.Execute(*small)
            else:
                field = demons.Execute(*small, _field_on(sitk, field, small[0]))
        return _field_from_sitk(sitk, _field_on(sitk, field, still), fixed.grid)

    return run


def _shrunk(sitk: Any, image: Any, factor: int) -> Any:
    sigma = [0.5 * factor * s for s in image.GetSpacing()]
    factors = [max(1, min(factor, n // 4)) for n in image.GetSize()]
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigma), factors)


def _field_on(sitk: Any, field: Any, image: Any) -> Any:
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(image)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return resampler.Execute(field)


def _sitk_image(sitk: Any, scan: Volume) -> Any:
    image = sitk.GetImageFromArray(scan.array)
    image.SetSpacing(scan.grid.spacing_mm[::-1])
    image.SetOrigin(scan.grid.origin_mm)
    return image


def _field_from_sitk(sitk: Any, field: Any, grid: Grid) -> Field:
    values: NDArray[np.float64] = sitk.GetArrayFromImage(field)  # (D, H, W, 3), x y z
    return Field(grid, np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32))


# plastimatch, a program of its own (Debian: apt install plastimatch)

_PLASTIMATCH_STAGES: tuple[Mapping[str, str], ...] = (
    {"res": "4 4 4", "grid_spac": "40 40 40", "max_its": "50"},
    {"res": "2 2 2", "grid_spac": "24 24 24", "max_its": "50"},
    {"res": "1 1 1", "grid_spac": "16 16 16", "max_its": "50"},
)
_PLASTIMATCH_ALL = {
    "xform": "bspline", "optim": "lbfgsb", "impl": "plastimatch", "metric": "mse", "regularization_lambda": "0.005"
}  # fmt: skip


def _plastimatch(fixed: Volume, moving: Volume, affine: Affine) -> Field:
    """Through files in a folder that is gone afterwards (Shackleford et al., Phys Med Biol 2010)."""
    sitk: Any = import_module("SimpleITK")
    with tempfile.TemporaryDirectory(prefix="recontour-") as name:
        folder = Path(name)
        for scan, file in zip(_windowed_pair(fixed, moving, affine, _MARGIN_MM), ("fixed", "moving"), strict=True):
            sitk.WriteImage(_sitk_image(sitk, scan), str(folder / f"{file}.mha"))
        (folder / "commands.txt").write_text(_plastimatch_commands(_PLASTIMATCH_STAGES), encoding="ascii")
        call = ["plastimatch", "register", "commands.txt"]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
        written = folder / "field.mha"
        if done.returncode or not written.exists():
            raise AlignmentFailed(
                f"plastimatch ended with {done.returncode}", where="plastimatch", allowed="scans of the same region"
            )
        field = _field_on(sitk, sitk.ReadImage(str(written)), _sitk_image(sitk, fixed))
        return _field_from_sitk(sitk, field, fixed.grid)


def _plastimatch_commands(stages: Sequence[Mapping[str, str]]) -> str:
    lines = ["[GLOBAL]", "fixed=fixed.mha", "moving=moving.mha", "vf_out=field.mha"]
    for stage in stages:
        lines += ["[STAGE]", *(f"{key}={value}" for key, value in {**_PLASTIMATCH_ALL, **stage}.items())]
    return "\n".join(lines) + "\n"


# ANTs, where antspyx is installed; recontour does not depend on it


def _ants(fixed: Volume, moving: Volume, affine: Affine) -> Field:
    """Symmetric normalisation down to half the resolution (Avants et al., Med Image Anal 2008)."""
    ants: Any = import_module("ants")
    pair = _windowed_pair(fixed, moving, affine, _MARGIN_MM)
    still, moved = (_ants_image(ants, scan) for scan in pair)
    with tempfile.TemporaryDirectory(prefix="recontour-") as name:
        found = ants.registration(
            still, moved, "SyNOnly", initial_transform="identity", outprefix=f"{name}/",
            syn_metric="CC", syn_sampling=2, reg_iterations=(40, 40, 20, 0), random_seed=1,
        )  # fmt: skip
        warps = [path for path in found["fwdtransforms"] if path.endswith(".nii.gz")]
        values = ants.image_read(warps[0]).numpy()  # (W, H, D, 3)
    return Field(fixed.grid, np.ascontiguousarray(np.moveaxis(values, -1, 0).transpose(0, 3, 2, 1), np.float32))


def _ants_image(ants: Any, scan: Volume) -> Any:
    """ANTs keeps its arrays in the order x, y, z."""
    array = np.ascontiguousarray(scan.array.T)
    return ants.from_numpy(array, origin=list(scan.grid.origin_mm), spacing=list(scan.grid.spacing_mm[::-1]))
