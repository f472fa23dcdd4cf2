"""A network is asked where the organs are, and a little way around them; elsewhere nothing is known and nothing moves.

It was trained there, and a region holds several times as many voxels. Where the answer shows an organ that leaves the
part it was asked for, as a filled bladder may, the network is asked for the whole region.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.boxes import bounding_box
from recontour.geometry.field import Field
from recontour.geometry.grid import Box
from recontour.geometry.volume import Volume
from recontour.network.predict import Precision, Prediction, predict
from recontour.network.released import ReleasedModel

MARGIN_VOXELS = 16  # around the planned organs, 1 mm each: further than most of them go in a day
FADE_MM = 20.0  # beyond the part that was asked for, the field fades to nothing over so many mm
_RIM_VOXELS = 2  # an organ that comes so near to the border may go on beyond it


def predict_around_organs(
    model: ReleasedModel,
    fixed: Volume,
    moving: Volume,
    moving_labels: NDArray[np.uint8],
    device: str = "auto",
    precision: Precision = "auto",
) -> Prediction:
    """As `predict`, on the grid of the scans, which is the region. moving_labels: (D, H, W) as in LABELS.

    Outside the part that was asked for the field is that of its border, faded.
    Raises what `predict` raises.
    """
    grid = fixed.grid
    box = bounding_box(moving_labels > 0, MARGIN_VOXELS)
    if box is None or all(part == slice(0, n) for part, n in zip(box, grid.size, strict=True)):
        return predict(model, fixed, moving, moving_labels, grid, device, precision)
    found = predict(model, fixed, moving, moving_labels, grid.part(box), device, precision)
    if _leaves(found, moving_labels, box):
        return predict(model, fixed, moving, moving_labels, grid, device, precision)
    field = None if found.field is None else Field(grid, _faded(found.field.array, box, grid.size))
    return replace(found, field=field)


def _leaves(found: Prediction, labels: NDArray[np.uint8], box: Box) -> bool:
    """Whether either path shows an organ within _RIM_VOXELS of a side of `box` that is not a side of the region."""
    rim = np.ones([part.stop - part.start for part in box], bool)
    inner = [
        slice(_RIM_VOXELS if part.start > 0 else 0, -_RIM_VOXELS if part.stop < n else None)
        for part, n in zip(box, labels.shape, strict=True)
    ]
    rim[tuple(inner)] = False
    if found.probabilities is not None and bool((found.probabilities[0][rim] < 0.5).any()):
        return True
    return found.field is not None and _shows_organ(found.field.array[:, rim], np.argwhere(rim), labels, box)


def _shows_organ(
    displacement_mm: NDArray[np.float32], voxels: NDArray[np.intp], labels: NDArray[np.uint8], box: Box
) -> bool:
    """Whether voxels (N, 3) of `box`, displaced by (3, N) mm x, y, z, find an organ; 1 mm voxels."""
    places = np.rint(voxels + [part.start for part in box] + displacement_mm[::-1].T).astype(np.intp)
    z, y, x = np.clip(places, 0, np.subtract(labels.shape, 1)).T
    return bool(labels[z, y, x].any())


def _faded(field_mm: NDArray[np.float32], box: Box, size: tuple[int, ...]) -> NDArray[np.float32]:
    """(3, *size): the field (3, ...) of `box`, its border's values beyond, fading."""
    beyond = [(part.start, n - part.stop) for part, n in zip(box, size, strict=True)]
    out = np.pad(field_mm, [(0, 0), *beyond], mode="edge")
    for axis, (before, after) in enumerate(beyond, start=1):
        far = np.zeros(size[axis - 1], np.float32)
        far[:before] = np.arange(before, 0, -1)
        far[size[axis - 1] - after :] = np.arange(1, after + 1)
        shape = [-1 if k == axis else 1 for k in range(4)]
        out *= np.clip(1.0 - far / np.float32(FADE_MM), 0.0, 1.0).reshape(shape)
    return out
