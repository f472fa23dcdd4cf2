"""An ROI of a structure set as a shape."""

from __future__ import annotations

import numpy as np

from recontour.dicom.series import CtSeries
from recontour.dicom.structures import Roi, check_inside
from recontour.geometry.contours import level_set_from_contours, organ_grid
from recontour.geometry.volume import LevelSet


def level_set_of(roi: Roi, series: CtSeries) -> LevelSet:
    """The closed contours of an ROI as a level set on its own tight grid along the slices they were drawn on.

    Raises StructuresRefused, naming the ROI, where contours lie off the slices, outside the scan, or enclose nothing.
    """
    check_inside(roi, series)
    apart_mm = float(np.median(np.diff([plane.position_mm for plane in series.planes])))
    return level_set_from_contours(roi.contours, organ_grid(roi.contours, series.planes), apart_mm, where=roi.name)
