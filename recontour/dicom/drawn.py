"""An ROI as it is drawn on the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recontour.geometry.contours import Contour


@dataclass(frozen=True, eq=False)
class RoiToWrite:
    """One ROI of the structure set.

    number: its number, unique in the set. name: 1 to 64 characters, unique. colour: red, green, blue, 0 to 255.
    interpreted_type: as in the plan, "ORGAN", "CTV" and so on, or "".
    contours: one list of closed polygons (N, 3) LPS mm per plane of the series, holes as polygons of their own. All
    lists empty: the ROI is named, but not drawn.
    """

    number: int
    name: str
    contours: Sequence[Sequence[Contour]] = field(repr=False)
    colour: tuple[int, int, int] | None = None
    interpreted_type: str = ""
    description: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether no contour is drawn."""
        return not any(self.contours)
