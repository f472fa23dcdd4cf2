"""Which ROIs are brought over."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.dicom.selection import select_rois
from recontour.dicom.structures import Roi
from recontour.errors import StructuresRefused, UsageError


def roi(name, interpreted_type="ORGAN", kind="closed_planar"):
    contours = () if kind == "empty" else (np.zeros((3, 3)),)
    return Roi(1, name, None, interpreted_type, kind, contours)


PLAN = [
    roi("External", "EXTERNAL"), roi("Bladder"), roi("CTV 60", "CTV"), roi("CTV_nodes", "CTV"), roi("Couch", "SUPPORT"),
    roi("ISO", "ISOCENTER", "point"), roi("Wire", "", "open"), roi("GTV", "GTV", "empty"), roi("BODY", ""),
    roi("Bolus", ""), roi("CouchSurface", ""), roi("Node [1]", ""),
]  # fmt: skip


def names(selection):
    return [r.name for r in selection.taken]


def test_everything_closed_but_outline_and_couch():
    selection = select_rois(PLAN)
    assert names(selection) == ["Bladder", "CTV 60", "CTV_nodes", "Node [1]"]
    assert selection.left_out == {
        "External": "its type is EXTERNAL",
        "Couch": "its type is SUPPORT",
        "ISO": "points only",
        "Wire": "open contours only",
        "GTV": "no contours",
        "BODY": "it has no type, and the name of an outline or a couch",
        "Bolus": "it has no type, and the name of an outline or a couch",
        "CouchSurface": "it has no type, and the name of an outline or a couch",
    }


def test_only_and_skip_take_patterns_and_skip_wins():
    selection = select_rois(PLAN, only=["ctv*", "bladder"], skip=["*NODES"])
    assert names(selection) == ["Bladder", "CTV 60"]
    assert selection.left_out["CTV_nodes"] == "skipped as asked"
    assert selection.left_out["Node [1]"] == "not asked for"
    assert len(selection.taken) + len(selection.left_out) == len(PLAN)


def test_what_is_asked_for_by_name_and_cannot_be_brought_over():
    found = select_rois(PLAN, only=["bladder", "gtv", "C*", "External", "Couch", "ISO"], skip=["couch*"])
    assert found.missed == ("External", "ISO", "GTV")
    assert select_rois(PLAN, only=["*"]).missed == select_rois(PLAN).missed == ()


def test_brackets_in_a_name_and_an_outline_that_is_asked_for():
    assert names(select_rois(PLAN, only=["node [1]"])) == ["Node [1]"]
    assert names(select_rois(PLAN, only=["body"])) == ["BODY"]


def test_a_name_that_does_not_exist():
    with pytest.raises(UsageError, match=r"no ROI Blader .*Bladder"):
        select_rois(PLAN, only=["Blader"])


def test_nothing_left():
    with pytest.raises(StructuresRefused, match="no ROI to bring over"):
        select_rois(PLAN, skip=["*"])
    with pytest.raises(StructuresRefused, match="no ROI to bring over"):
        select_rois([])
