"""Which ROIs of a plan are brought over to the daily scan, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from recontour.dicom.names import close_to
from recontour.dicom.structures import Roi
from recontour.errors import StructuresRefused, UsageError

# What is not the inside of the patient (RTROIInterpretedType, PS3.3 C.8.8.8.1): a registration of the organs says
# nothing about it.
LEFT_OUT_TYPES = ("EXTERNAL", "SUPPORT", "FIXATION", "BOLUS")
# Writers that give no type call them so.
LEFT_OUT_NAMES = ("external", "body", "patient outline", "outer contour", "couch*", "table", "tabletop", "bolus*")


@dataclass(frozen=True, eq=False)
class Selection:
    """`taken`: the ROIs to bring over, in the plan's order. `left_out`: the name of each other one to the reason.
    `missed`: those of them that `only` names, not by a pattern."""

    taken: tuple[Roi, ...]
    left_out: dict[str, str]
    missed: tuple[str, ...] = ()


def select_rois(rois: Sequence[Roi], only: Sequence[str] = (), skip: Sequence[str] = ()) -> Selection:
    """Every ROI with closed planar contours that is not the couch or the outline of the patient.

    only, skip: names or patterns with * and ?, case ignored; `skip` wins. A name in `only` that no ROI has raises
    UsageError; StructuresRefused where nothing is left.
    """
    for pattern in only:
        if not set("*?[") & set(pattern) and not any(_matches(roi.name, (pattern,)) for roi in rois):
            raise UsageError(f"no ROI {pattern}", where="--only", allowed=close_to(pattern, [r.name for r in rois]))
    reasons = [(roi, _reason(roi, only, skip)) for roi in rois]
    taken = tuple(roi for roi, reason in reasons if not reason)
    left_out = {roi.name: reason for roi, reason in reasons if reason}
    if not taken:
        where = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "RTSTRUCT"
        raise StructuresRefused("no ROI to bring over", where=where, allowed="at least one ROI with closed contours")
    named = {pattern.casefold() for pattern in only}
    missed = tuple(name for name in left_out if name.casefold() in named and not _matches(name, skip))
    return Selection(taken, left_out, missed)


def _reason(roi: Roi, only: Sequence[str], skip: Sequence[str]) -> str:
    """Why an ROI is left out, or ""."""
    if roi.kind != "closed_planar":
        return {"empty": "no contours", "point": "points only", "open": "open contours only"}[roi.kind]
    if roi.interpreted_type in LEFT_OUT_TYPES:
        return f"its type is {roi.interpreted_type}"
    if _matches(roi.name, skip):
        return "skipped as asked"
    if only and not _matches(roi.name, only):
        return "not asked for"
    if not only and not roi.interpreted_type and _matches(roi.name, LEFT_OUT_NAMES):
        return "it has no type, and the name of an outline or a couch"
    return ""


def _matches(name: str, patterns: Sequence[str]) -> bool:
    folded = name.casefold()
    return any(folded == p.casefold() or fnmatchcase(folded, p.casefold()) for p in patterns)
