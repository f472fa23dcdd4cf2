"""The Hybrid method: a network finds the daily bladder, and an iterative registration is shown it beside the scans.

After Elmahdy et al., "Robust contour propagation using deep learning and image registration for online adaptive proton
therapy of prostate cancer", Medical Physics 46(8):3329-3343, 2019. The idea is theirs: the bladder's mask, air pockets
filled in and contrast clipped before elastix sees the scans. How each is done here is ours:

- the mask takes part by its place in the scan itself: where a bladder is, its scan is painted bright, with a ramp at
  its wall, so that one metric sees tissue and bladder at once (there: two images, two metrics);
- gas is filled with the soft tissue around it (there: inpainted);
- the registration is the B-spline that does best on soft tissue (align.maps.BSPLINE_STRONG), in one pass (there
  a second one looked at the seminal vesicles and the rectum again).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recontour.align.elastix import register_bspline
from recontour.align.maps import BSPLINE_STRONG, ElastixMap
from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.boxes import bounding_box
from recontour.geometry.field import Field
from recontour.geometry.grid import Box
from recontour.geometry.volume import Mask, Volume

GAS_HU = -200.0  # below: gas; fat ends at -150
BODY_HU = -300.0  # above: body
SOFT_TISSUE_HU = (-150.0, 300.0)
BLADDER_HU = 300.0  # the brightest there is: no tissue is mistaken for it
WALL_MM = 4.0  # the ramp from tissue to bladder, half of it outside
RIM_MM = 2.0  # gas and tissue share the voxels between them
REACH_MM = 25.0  # how far from the planned rectum gas is taken for its gas
_SHELL_MM = 4.0  # what is around gas

Inside = NDArray[np.bool_]
Array = NDArray[np.float32]


def register_hybrid(
    fixed: Volume,
    moving: Volume,
    bladders: tuple[Mask, Mask],
    rectum: Mask,
    maps: ElastixMap = BSPLINE_STRONG,
) -> Field:
    """The field u on the grid of `fixed` with planning point = x + u(x), mm.

    fixed, moving: the daily and the affinely aligned planning scan on one axial grid, HU. bladders: the daily one, as
    a network found it, and the planned one. rectum: the planned one. All on that grid. A bladder that is empty in one
    scan is painted in neither: the scans alone then decide. Raises UsageError where the grids differ, AlignmentFailed
    as elastix does.
    """
    for part in (moving, *bladders, rectum):
        if not part.grid.same_as(fixed.grid):
            raise UsageError("scans or masks on different grids", where="hybrid", allowed="one grid for all of them")
    scans = [prepared(scan, rectum) for scan in (fixed, moving)]
    if all(bool(bladder.array.any()) for bladder in bladders):
        scans = [painted(scan, bladder) for scan, bladder in zip(scans, bladders, strict=True)]
    return register_bspline(scans[0], scans[1], Affine.identity(), maps)


def prepared(scan: Volume, rectum: Mask) -> Volume:
    """The scan with gas near the rectum filled with the soft tissue around it, clipped to soft tissue."""
    gas = gas_near(scan, rectum)
    out = np.clip(scan.array, *SOFT_TISSUE_HU).astype(np.float32)
    box = bounding_box(gas, int(np.ceil((RIM_MM + _SHELL_MM) / min(scan.grid.spacing_mm))))
    if box is not None:
        out[box] = _filled(out[box], gas[box], scan.grid.spacing_mm)
    return Volume(scan.grid, out)


def gas_near(scan: Volume, rectum: Mask) -> Inside:
    """(D, H, W): voxels of gas inside the body, within REACH_MM of the rectum; none where there is no rectum."""
    gas = np.zeros(scan.grid.size, bool)
    reach = [int(np.ceil(REACH_MM / mm)) for mm in scan.grid.spacing_mm]
    box = bounding_box(rectum.array, reach)
    if box is None:
        return gas
    near = _distance_mm(~rectum.array[box], scan.grid.spacing_mm) <= REACH_MM
    gas[box] = near & (scan.array[box] < GAS_HU) & inside_body(scan)[box]
    return gas


def inside_body(scan: Volume) -> Inside:
    """(D, H, W): the body with all that it encloses: the largest part that is no air, filled slice by slice."""
    from scipy import ndimage

    morphology = cast("Any", ndimage)
    labels = np.asarray(morphology.label(scan.array > BODY_HU)[0], np.int32)
    sizes = np.bincount(labels.ravel())
    if len(sizes) < 2:
        return np.zeros(scan.grid.size, bool)
    body = labels == 1 + int(sizes[1:].argmax())
    return np.stack([morphology.binary_fill_holes(part) for part in body])


def painted(scan: Volume, bladder: Mask) -> Volume:
    """The scan with its bladder at BLADDER_HU, and a ramp of WALL_MM from there to the tissue around it."""
    spacing_mm = scan.grid.spacing_mm
    box = bounding_box(bladder.array, int(np.ceil(WALL_MM / min(spacing_mm))) + 1)
    out = scan.array.astype(np.float32)
    if box is None:
        return Volume(scan.grid, out)
    inside = bladder.array[box]
    # Distance to the surface, which runs half a voxel beside the nearest voxel of the other kind.
    depth_mm = np.where(inside, _distance_mm(inside, spacing_mm), -_distance_mm(~inside, spacing_mm))
    depth_mm -= np.sign(depth_mm) * 0.5 * min(spacing_mm)
    share = np.clip(0.5 + depth_mm / WALL_MM, 0.0, 1.0).astype(np.float32)
    out[box] = (1 - share) * out[box] + share * np.float32(BLADDER_HU)
    return Volume(scan.grid, out)


def _filled(hu: Array, gas: Inside, spacing_mm: tuple[float, float, float]) -> Array:
    """Gas and its rim take the median of the tissue in the shell around them, each pocket its own."""
    from scipy import ndimage

    morphology = cast("Any", ndimage)
    near_gas = _distance_mm(~gas, spacing_mm) <= RIM_MM
    pockets = morphology.label(near_gas)[0]
    out = hu.copy()
    for number, box in enumerate(morphology.find_objects(pockets), start=1):
        wide = _grown(box, int(np.ceil(_SHELL_MM / min(spacing_mm))), hu.shape)
        pocket = pockets[wide] == number
        shell = (_distance_mm(~pocket, spacing_mm) <= _SHELL_MM) & ~near_gas[wide]
        tissue = hu[wide][shell]
        tissue = tissue[tissue > SOFT_TISSUE_HU[0]]
        out[wide][pocket] = float(np.median(tissue)) if tissue.size else 0.0
    return out


def _grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    z, y, x = (slice(max(0, p.start - margin), min(n, p.stop + margin)) for p, n in zip(box, shape, strict=True))
    return z, y, x


def _distance_mm(inside: Inside, spacing_mm: tuple[float, float, float]) -> Array:
    """(D, H, W): from each voxel inside to the nearest voxel that is not; 0 there."""
    from scipy import ndimage

    found = cast("Any", ndimage).distance_transform_edt(inside, spacing_mm)
    return np.asarray(found, np.float32)
