"""Which ROI of a result is which ROI of its reference, and what both are called in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recontour.dicom.names import ABSENT, match_organs
from recontour.dicom.selection import select_rois
from recontour.dicom.structures import Roi
from recontour.errors import StructuresRefused


@dataclass(frozen=True, eq=False)
class RoiPair:
    """label: the organ, or else the ROI's name in the reference. result: None where the result has no contours of
    it."""

    label: str
    reference: Roi
    result: Roi | None


@dataclass(frozen=True, eq=False)
class Matched:
    """pairs: one for each ROI of the reference that can be scored. left_out: why each other ROI, of either, is not."""

    pairs: tuple[RoiPair, ...]
    left_out: tuple[str, ...]


def match_rois(reference: Sequence[Roi], result: Sequence[Roi], chosen: Mapping[str, str]) -> Matched:
    """By the exact name first, else by the organ that both names mean (dicom.names).

    Outlines of the patient, couches and what has no closed contours are not scored: no result has them
    (dicom.selection). chosen: organ -> ROI name, for the structure sets that have such an ROI, or "none".

    Raises RoiAmbiguous where several ROIs of one structure set could be an organ, StructuresRefused where the reference
    has nothing to score.
    """
    wanted = select_rois(reference)
    drawn = {roi.name: roi for roi in result if roi.kind == "closed_planar"}
    organs = {name: str(organ) for organ, name in _organs(wanted.taken, chosen).items()}
    by_organ = {str(organ): name for organ, name in _organs(list(drawn.values()), chosen).items()}
    exact = {roi.name for roi in wanted.taken} & set(drawn)
    pairs: list[RoiPair] = []
    for roi in wanted.taken:
        other = roi.name if roi.name in exact else by_organ.get(organs.get(roi.name, ""))
        taken = other in exact and other != roi.name  # it is another ROI of the reference by name
        found = None if other is None or taken else drawn[other]
        pairs.append(RoiPair(organs.get(roi.name, roi.name), roi, found))
    used = {pair.result.name for pair in pairs if pair.result}
    extra = [name for name in _worth_a_word(list(drawn.values())) if name not in used]
    said = [f"{name}, of the reference, is not scored: {why}" for name, why in wanted.left_out.items()]
    said += [f"{name} is only in the result: not scored" for name in extra]
    said += [f"{pair.label} is only in the reference: lost" for pair in pairs if pair.result is None]
    return Matched(tuple(pairs), tuple(said))


def _organs(rois: Sequence[Roi], chosen: Mapping[str, str]) -> Mapping[str, str]:
    """Organ -> ROI name; of `chosen`, what speaks of these ROIs."""
    names = [roi.name for roi in rois]
    folded = {name.casefold() for name in names} | {ABSENT}
    here = {organ: name for organ, name in chosen.items() if name.casefold() in folded}
    return {str(organ): name for organ, name in match_organs(names, here).items()}


def _worth_a_word(rois: Sequence[Roi]) -> list[str]:
    """The names of those that could be scored, were they in the reference."""
    try:
        return [roi.name for roi in select_rois(rois).taken]
    except StructuresRefused:
        return []
