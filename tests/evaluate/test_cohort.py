"""Prisms, fields and patients whose scores are worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recontour.dicom.references import SeriesIdentity
from recontour.dicom.registration import write_registration
from recontour.errors import InputRefused, RoiAmbiguous, UsageError
from recontour.evaluate.cohort import CohortRequest, CohortResult, evaluate_cohort
from recontour.evaluate.fraction import BODY, WHOLE_FIELD, Row
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from tests.dicom.made_ct import CT, FRAME, SERIES
from tests.evaluate.made_results import SLICES_MM, prism, write_ct, write_structures

CORNERS = 0.02  # a level set on 1 mm voxels cuts a corner by up to 1 mm: its two sides lose 0.6 mm, of 160 mm 2.4
NEAR = Grid.of((20, 36, 36), (2.0, 2.0, 2.0), (-14.0, -14.0, -6.0))  # x and y to 56, z to 32


def cohort(folder: Path, result: list[dict], reference: list[dict], **tags: Any) -> CohortRequest:
    write_structures(folder / "results" / "rt.dcm", result, "3.1", **tags)
    write_structures(folder / "references" / "rt.dcm", reference, "3.2")
    return CohortRequest(folder / "results", folder / "references")


def rows_of(result: CohortResult) -> dict[str, Row]:
    return {row.score.organ: row for row in result.rows}


def write_field(path: Path, field: Field) -> None:
    """As recontour would, with the daily scan's UIDs of the made structure sets."""
    daily = SeriesIdentity("2.1", SERIES, FRAME, CT, ("2.2",))
    planning = SeriesIdentity("2.3", "2.4", "2.5", CT, ("2.6",))
    affine = Affine(np.diag([0.9, 1.0, 1.0, 1.0]))  # no part of the Jacobian that is reported
    write_registration(path, SimpleNamespace(identity=daily), SimpleNamespace(identity=planning), affine, field)


@pytest.mark.parametrize("scan", ["no scan", "a scan"])
def test_a_prism_that_moved(scan: str, tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Harnblase", 3.0)], [prism("Bladder")])
    if scan == "a scan":
        write_ct(tmp_path / "references" / "ct")
    found = evaluate_cohort(request)
    score = rows_of(found)["bladder"].score
    assert found.fractions == 1
    assert score.reference_volume_ml == pytest.approx(48.0, rel=0.01)
    assert score.volume_ratio == pytest.approx(1.0, abs=0.005)
    assert score.dice == pytest.approx(37 / 40, abs=0.01)
    assert score.hd_mm == pytest.approx(3.0, abs=0.1)
    # More than 2 mm away: the left side; of walls and caps the first millimetre; of the right side, within the result,
    # what is not within 2 mm of the result's walls (40 mm apart) and caps (30 mm apart). The same of the result.
    far = 40 * 30 + 2 * 1 * 30 + 2 * 1 * 40 + 36 * 26
    assert score.surface_dice_2mm == pytest.approx(1 - far / (160 * 30 + 2 * 1600), abs=0.01)
    assert score.added_path_length_mm == pytest.approx(10 * 82, rel=CORNERS)
    assert rows_of(found)["bladder"].smoothness.jacobian_sd is None
    assert {remark.text for remark in found.remarks} == {"no registration among the results: no Jacobian"}


def test_a_reference_on_every_second_slice_is_redrawn_there_only(tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Bladder", 3.0)], [prism("Bladder", slices=SLICES_MM[::2])])
    assert rows_of(evaluate_cohort(request))["bladder"].score.added_path_length_mm == pytest.approx(5 * 82, rel=CORNERS)


def test_an_organ_that_the_result_lacks_is_lost(tmp_path: Path) -> None:
    found = evaluate_cohort(cohort(tmp_path, [prism("Rectum")], [prism("Bladder"), prism("Rectum")]))
    bladder = rows_of(found)["bladder"].score
    assert (bladder.msd_mm, bladder.hd_mm, bladder.dice, bladder.volume_ml) == (math.inf, math.inf, 0.0, 0.0)
    assert bladder.added_path_length_mm == pytest.approx(10 * 160, rel=CORNERS)
    assert rows_of(found)["rectum"].score.dice == pytest.approx(1.0)
    assert "bladder is only in the reference: lost" in {remark.text for remark in found.remarks}


def test_the_field_is_measured_in_each_organ_and_in_the_body(tmp_path: Path) -> None:
    """u_x = x² / 200: the determinant is 1 + x / 100. Over an organ from x = 0 to 40 it is evenly spread over a width
    of 0.4, over a body of twice that over twice as much; an even spread of width w has a standard deviation of
    w / sqrt(12)."""
    body = prism("Body", -4.0, width_mm=48.0, kind="EXTERNAL")
    request = cohort(tmp_path, [prism("Bladder", 3.0)], [prism("Bladder"), body])
    values = np.zeros((3, *NEAR.size), np.float32)
    values[0] = NEAR.points()[..., 0] ** 2 / 200
    write_field(tmp_path / "results" / "reg.dcm", Field(NEAR, values))
    found = evaluate_cohort(request)
    assert rows_of(found)["bladder"].smoothness.jacobian_sd == pytest.approx(0.4 / math.sqrt(12), rel=0.05)
    assert rows_of(found)["bladder"].smoothness.folding_fraction == 0.0
    assert found.fields[0].region == BODY
    assert found.fields[0].smoothness.jacobian_sd == pytest.approx(0.48 / math.sqrt(12), rel=0.05)


def test_folds_are_counted_where_they_are(tmp_path: Path) -> None:
    """u_x = -2 x up to x = 21 and constant beyond: half of the organ is folded over, and 18 of the field's 36 columns;
    central differences see half of the fold in the column at its end."""
    request = cohort(tmp_path, [prism("Bladder")], [prism("Bladder")])
    values = np.zeros((3, *NEAR.size), np.float32)
    values[0] = -2 * np.minimum(NEAR.points()[..., 0], 21.0)
    write_field(tmp_path / "results" / "reg.dcm", Field(NEAR, values))
    found = evaluate_cohort(request)
    assert rows_of(found)["bladder"].smoothness.folding_fraction == pytest.approx(0.5, abs=0.06)
    assert found.fields[0].region == WHOLE_FIELD
    assert found.fields[0].smoothness.folding_fraction == pytest.approx(18 / 36, abs=0.03)


def test_a_patient_who_is_another_is_not_scored(tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Bladder")], [prism("Bladder")], PatientID="OTHER-ID")
    with pytest.raises(InputRefused, match="patient IDs differ") as caught:
        evaluate_cohort(request)
    assert "OTHER" not in str(caught.value) and "SECRET" not in str(caught.value)
    allowed = CohortRequest(request.results, request.references, allow_different_patients=True)
    assert evaluate_cohort(allowed).fractions == 1


def test_other_frames_and_broken_files_do_not_stop_the_rest(tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Bladder")], [prism("Bladder")])
    for number, frame in ((2, "2.77"), (3, FRAME)):
        uids = {"series": f"2.{number}", "frame": frame}
        write_structures(tmp_path / "results" / f"{number}.dcm", [prism("Bladder")], f"4.{number}", **uids)
        leaning = prism("Bladder", slices=[0.0]) | {
            "contours": [("CLOSED_PLANAR", [(0, 0, 0), (9, 0, 0), (9, 9, 9.0)])]
        }
        rois = [prism("Rectum"), leaning] if number == 3 else [prism("Bladder")]
        write_structures(tmp_path / "references" / f"{number}.dcm", rois, f"5.{number}", series=f"2.{number}")
    seen: list[tuple[int, int]] = []
    found = evaluate_cohort(request, lambda _, number, count: seen.append((number, count)))
    assert (found.fractions, seen) == (1, [(0, 2), (1, 2)])
    said = " / ".join(remark.text for remark in found.remarks)
    assert "not scored: result and reference are in different frames of reference" in said
    assert "not scored: a contour leaves the planes of the scan" in said


def test_questions_come_before_any_work(tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Bladder")], [prism("Vescica"), prism("Vescica_DL")])
    with pytest.raises(RoiAmbiguous, match="bladder=Vescica"):
        evaluate_cohort(request, lambda *_: pytest.fail("measured"))
    wrong = CohortRequest(request.results, request.references, {"bladder": "Vescika", "rectum": "none"})
    with pytest.raises((UsageError, RoiAmbiguous)):
        evaluate_cohort(wrong)
    chosen = CohortRequest(request.results, request.references, {"bladder": "vescica"})
    assert rows_of(evaluate_cohort(chosen))["bladder"].score.dice == pytest.approx(1.0)


def test_a_chosen_roi_that_no_file_has_is_a_mistake(tmp_path: Path) -> None:
    request = cohort(tmp_path, [prism("Bladder")], [prism("Bladder")])
    with pytest.raises(UsageError, match=r"no ROI Blader in any file.*Bladder"):
        evaluate_cohort(CohortRequest(request.results, request.references, {"bladder": "Blader"}))


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    for name in ("results", "references"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputRefused, match="no RTSTRUCT in either folder"):
        evaluate_cohort(CohortRequest(tmp_path / "results", tmp_path / "references"))
