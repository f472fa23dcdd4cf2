"""Prisms as results and references: what is measured on them can be worked out by hand.

The reference of an organ is a square of 40 mm on the slices z = 0, 3, ... 27: 1600 mm² x 10 slices x 3 mm = 48 ml. A
result is the same, moved along x. In a slice, moved by 3 mm:

    reference   +-----+----------+ - - +    left side: 3 mm away, 40 mm to draw. Top and bottom: the first 2 mm are
                |     |          |     |    more than 1 mm from the result's left side: 4 mm. Right side: 3 mm from the
    x           0     3          40    43   result's, but its ends are 1 mm from its top and bottom: 38 mm. In all 82.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from tests.dicom.made_ct import FRAME, SERIES, ct_image, rtstruct, save

SLICES_MM = tuple(3.0 * k for k in range(10))
OFF_MM = (0.3, 0.4)  # x, y of the corner: between voxels, as contours are


def prism(
    name: str, x_mm: float = 0.0, number: int = 1, width_mm: float = 40.0, slices: Any = SLICES_MM, kind: str = "ORGAN"
) -> dict[str, Any]:
    corners = [(0.0, 0.0), (width_mm, 0.0), (width_mm, width_mm), (0.0, width_mm)]
    contours = [("CLOSED_PLANAR", [(x_mm + x + OFF_MM[0], y + OFF_MM[1], z) for x, y in corners]) for z in slices]
    return {"number": number, "name": name, "type": kind, "contours": contours}


def write_structures(path: Path, rois: list[dict[str, Any]], uid: str, **tags: Any) -> Path:
    """tags: also `series` and `frame`; PatientID is the same unless it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [roi | {"number": number} for number, roi in enumerate(rois, 1)]
    pydicom.dcmwrite(path, rtstruct(numbered, uid=uid, **tags), enforce_file_format=True)
    return path


def write_ct(folder: Path, series: str = SERIES, frame: str = FRAME) -> Path:
    """A scan whose slices are 3 mm apart, from z = -6 to 33."""
    tags = {"SeriesInstanceUID": series, "FrameOfReferenceUID": frame}
    return save(folder, [ct_image(np.zeros((6, 4)), (-5.0, 7.0, 3.0 * k), **tags) for k in range(-2, 12)])
