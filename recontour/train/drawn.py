"""Organs as another doctor would have drawn them: no two draw alike, and a contour need not follow what is seen.

The planned contour is carried as it was drawn. A network that saw only contours at the visible border would learn to
move them there, and so would be off by what a doctor draws more or less, in every fraction alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet
from recontour.train.days import spread

_LATTICE_MM = 15.0  # how far along a border a doctor keeps to what he did
_ALL_AROUND = 0.7  # of the deviation: as much larger or smaller everywhere
_LARGEST = 2.0  # deviations
_THIN = {"seminal_vesicles": 0.5}  # a few mm thick: as much as the others would be all of them


def drawn_anew(shapes: Mapping[str, LevelSet], sd_mm: float, rng: np.random.Generator) -> dict[str, LevelSet]:
    """The shapes with their surfaces moved outwards or inwards by a smooth random distance.

    sd_mm: its standard deviation, of what is drawn for all of an organ; what varies along the surface comes to it.
    """
    return {organ: _moved(shape, _THIN.get(organ, 1.0) * sd_mm, rng) for organ, shape in shapes.items()}


def _moved(shape: LevelSet, sd_mm: float, rng: np.random.Generator) -> LevelSet:
    low, high = shape.grid.bounds_mm()
    lattice = Grid.around(low - _LATTICE_MM, high + _LATTICE_MM, _LATTICE_MM)
    noise = _ALL_AROUND * rng.standard_normal() + rng.standard_normal(lattice.size)
    out_mm = np.clip(sd_mm * noise, -_LARGEST * sd_mm, _LARGEST * sd_mm).astype(np.float32)
    return LevelSet(shape.grid, shape.array + spread(torch.as_tensor(out_mm), lattice, shape.grid).numpy())
