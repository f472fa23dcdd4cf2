"""Parts of what lies on a grid, on a part of that grid. Nothing is copied."""

from __future__ import annotations

from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume


def crop_volume(whole: Volume, part: Grid) -> Volume:
    """The part of a scan on a part of its grid."""
    return Volume(part, whole.array[whole.grid.box_of(part)])


def crop_field(whole: Field, part: Grid) -> Field:
    """The part of a field on a part of its grid."""
    return Field(part, whole.array[(slice(None), *whole.grid.box_of(part))])
