"""What a pair on disk shows, against the formulas that its scans were made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recontour.dicom.references import PatientHeader
from recontour.errors import AlignmentFailed, RoiAmbiguous, ScanRefused, UsageError
from recontour.network.catalogue import LABELS
from recontour.prepare.pair import missing_organs, organs_named, reason_of
from recontour.prepare.plan import plan_cohort
from recontour.prepare.request import PrepareRequest
from recontour.prepare.work import make_pairs
from recontour.train.dataset import read_pool
from tests.prepare.made_cohort import ORGANS, write_day

SHIFT_MM = np.array([9.0, -6.0, 12.0])  # of the man on the table, from the planning scan to the day
MARGIN_MM = 25.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one pair of a man who lay elsewhere on the day, aligned in earnest."""
    folder = tmp_path_factory.mktemp("man")
    man = PatientHeader("Nobody", "77", "", "M")
    write_day(folder / "in" / "a", man, "20240101", z_mm=(-120, 130))
    write_day(folder / "in" / "b", man, "20240102", shift_mm=SHIFT_MM, z_mm=(-60, 100))
    request = PrepareRequest(folder / "in", folder / "out", margin_mm=MARGIN_MM, shares=(0, 0, 1))
    assert make_pairs(plan_cohort(request)).made == 1
    (pair,) = (folder / "out" / "test").iterdir()
    return pair


def about(pair: Path) -> dict:
    return json.loads((pair / "pair.json").read_text())


def voxel_at(pair: Path, point_mm: np.ndarray) -> np.ndarray:
    """(z, y, x) of an LPS point (x, y, z) in the daily frame, by pair.json: 1 mm voxels along the axes."""
    return (np.asarray(point_mm, float) - about(pair)["origin_mm"])[::-1]


def test_arrays_as_the_trainer_maps_them(made):
    (pair,) = read_pool(made.parent)
    for part, dtype in (("fixed_hu", "i2"), ("moving_hu", "i2"), ("fixed_labels", "u1"), ("moving_labels", "u1")):
        array = getattr(pair, part)
        assert isinstance(array, np.memmap) and array.flags.c_contiguous
        assert array.dtype == dtype and list(array.shape) == about(made)["size"]
    assert pair.organs == ("bladder", "rectum", "prostate")


def test_the_affine_is_the_shift(made):
    affine = np.array(about(made)["affine_daily_to_planning"])
    for centre, _, _ in ORGANS.values():
        np.testing.assert_allclose((affine @ [*np.add(centre, SHIFT_MM), 1])[:3], centre, atol=0.6)


@pytest.mark.parametrize("name", ORGANS)
def test_organs_lie_where_they_were_made(made, name):
    centre, half, _ = ORGANS[name]
    (pair,) = read_pool(made.parent)
    value = LABELS.index(name.lower())
    expected = voxel_at(made, np.add(centre, SHIFT_MM))
    for labels, tolerance in ((pair.fixed_labels, 0.3), (pair.moving_labels, 0.8)):  # the second by the found affine
        inside = np.argwhere(np.asarray(labels) == value)
        np.testing.assert_allclose(inside.mean(axis=0), expected, atol=tolerance)
        assert len(inside) == pytest.approx(4 / 3 * np.pi * np.prod(half), rel=0.05)


@pytest.mark.parametrize("name", ORGANS)
def test_scans_show_the_same_organ_at_the_same_voxel(made, name):
    centre, _, hu = ORGANS[name]
    (pair,) = read_pool(made.parent)
    z, y, x = np.rint(voxel_at(made, np.add(centre, SHIFT_MM))).astype(int)
    for scan in (pair.fixed_hu, pair.moving_hu):
        assert np.mean(scan[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3]) == pytest.approx(hu, abs=8)


def test_the_region_is_the_organs_and_the_margin(made):
    low = np.min([np.subtract(centre, half) for centre, half, _ in ORGANS.values()], axis=0) + SHIFT_MM - MARGIN_MM
    high = np.max([np.add(centre, half) for centre, half, _ in ORGANS.values()], axis=0) + SHIFT_MM + MARGIN_MM
    low[2] = max(low[2], -60 + SHIFT_MM[2])  # as far as the daily scan goes
    high[2] = min(high[2], 100 + SHIFT_MM[2])
    facts = about(made)
    first = np.array(facts["origin_mm"])
    last = first + np.array(facts["size"])[::-1] - 1
    np.testing.assert_allclose(first, low, atol=5.0)  # contours are on slices 5 mm apart
    np.testing.assert_allclose(last, high, atol=6.0)
    assert first[2] >= -60 + SHIFT_MM[2] - 1e-6 and last[2] <= 100 + SHIFT_MM[2] + 1e-6


def test_nobody_is_named(made):
    assert set(about(made)) == {
        "organs", "fixed_organs", "moving_organs", "size", "spacing_mm", "origin_mm", "affine_daily_to_planning",
        "recontour",
    }  # fmt: skip


# organs of the plan, of the day, required -> what is missing
@pytest.mark.parametrize(
    ("planned", "daily", "required", "missing"),
    [
        ({"bladder"}, {"bladder", "rectum"}, (), ""),
        ({"bladder"}, {"rectum"}, (), "no organ that is contoured in both scans"),
        (set(), {"rectum"}, (), "no organ that is contoured in both scans"),
        ({"bladder"}, {"bladder", "rectum"}, ("rectum",), "no rectum contoured in the planning scan"),
        ({"bladder", "rectum"}, {"bladder"}, ("bladder", "rectum"), "no rectum contoured in the daily scan"),
        ({"rectum"}, {"rectum"}, ("seminal_vesicles",), "no seminal vesicles contoured in the planning and the daily "
                                                        "scan"),
    ],
)  # fmt: skip
def test_missing_organs(planned, daily, required, missing):
    assert missing_organs(planned, daily, required) == missing


def test_a_choice_counts_where_there_is_such_an_roi():
    choice = {"bladder": "Vescica_DL"}
    assert organs_named(["Vescica", "Vescica_DL", "Rectum"], choice) == {"bladder": "Vescica_DL", "rectum": "Rectum"}
    assert organs_named(["Blaas", "Rectum"], choice) == {"bladder": "Blaas", "rectum": "Rectum"}
    assert organs_named(["Blaas", "Rectum"], {"bladder": "none"}) == {"rectum": "Rectum"}
    with pytest.raises(RoiAmbiguous):
        organs_named(["Vescica", "Vescica_MBS"], choice)


def test_reasons_name_rois_but_no_files():
    assert reason_of(ScanRefused("a damaged file", where="DOE_JON.dcm")) == "a damaged file"
    assert reason_of(UsageError("off the slices", where="ROI Bladder")) == "off the slices (ROI Bladder)"
    assert reason_of(AlignmentFailed("no match", where="alignment")) == "no match"
    assert reason_of(ValueError("Doe")) == "an error that should not happen (ValueError)"
