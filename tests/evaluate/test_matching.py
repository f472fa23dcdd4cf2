"""ROIs by name, by organ, by choice; nothing goes missing without a word."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.dicom.structures import Roi
from recontour.errors import RoiAmbiguous, StructuresRefused
from recontour.evaluate.matching import match_rois

SQUARE = np.array([(0.0, 0, 0), (9, 0, 0), (9, 9, 0), (0, 9, 0)])


def rois(*names: str, kind: str = "ORGAN") -> list[Roi]:
    return [Roi(number, name, None, kind, "closed_planar", (SQUARE,)) for number, name in enumerate(names, 1)]


def matched(reference: list[Roi], result: list[Roi], chosen: dict[str, str] | None = None) -> dict[str, tuple]:
    found = match_rois(reference, result, chosen or {})
    return {pair.label: (pair.reference.name, pair.result and pair.result.name) for pair in found.pairs}


@pytest.mark.parametrize(
    ("reference", "result", "expected"),
    [
        (("Bladder", "GTV"), ("GTV", "Bladder"), {"bladder": ("Bladder", "Bladder"), "GTV": ("GTV", "GTV")}),
        (("Vescica",), ("Harnblase",), {"bladder": ("Vescica", "Harnblase")}),
        (("Vescica", "Retto"), ("Bladder",), {"bladder": ("Vescica", "Bladder"), "rectum": ("Retto", None)}),
        (("PTV_7800",), ("PTV_6000",), {"PTV_7800": ("PTV_7800", None)}),  # no organ, another name: another ROI
    ],
)
def test_by_name_and_by_organ(reference: tuple, result: tuple, expected: dict) -> None:
    assert matched(rois(*reference), rois(*result)) == expected


def test_several_bladders_ask_which() -> None:
    both = rois("Vescica", "Vescica_DL")
    with pytest.raises(RoiAmbiguous, match="bladder=Vescica"):
        match_rois(both, both, {})
    expected = {"bladder": ("Vescica", "Vescica"), "Vescica_DL": ("Vescica_DL", "Vescica_DL")}
    assert matched(both, both, {"bladder": "Vescica"}) == expected
    assert matched(both, rois("Bladder"), {"bladder": "Vescica_DL"})["bladder"] == ("Vescica_DL", "Bladder")
    assert set(matched(both, both, {"bladder": "none"})) == {"Vescica", "Vescica_DL"}


def test_one_result_is_not_scored_twice() -> None:
    """The reference's Vescica is the chosen bladder; the result's Bladder is by name another ROI of the reference."""
    found = matched(rois("Vescica", "Bladder"), rois("Bladder"), {"bladder": "Vescica"})
    assert found == {"bladder": ("Vescica", None), "Bladder": ("Bladder", "Bladder")}


def test_what_is_left_out_is_said() -> None:
    reference = [*rois("Rectum", "Bladder"), *rois("EXTERNAL", kind="EXTERNAL")]
    found = match_rois(reference, [*rois("Rectum", "Extra"), *rois("Couch", kind="SUPPORT")], {})
    assert set(found.left_out) == {
        "EXTERNAL, of the reference, is not scored: its type is EXTERNAL",
        "Extra is only in the result: not scored",
        "bladder is only in the reference: lost",
    }
    empty = [Roi(1, "Rectum", None, "ORGAN", "empty", ())]
    assert match_rois(rois("Rectum"), empty, {}).pairs[0].result is None
    with pytest.raises(StructuresRefused):
        match_rois(empty, rois("Rectum"), {})
