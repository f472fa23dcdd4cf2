"""One fraction on disk: whole outputs or none, and what is written is where it should be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from recontour.errors import OutputRefused, PatientMismatch, RecontourError, RoiAmbiguous, ScanRefused, UsageError
from recontour.settings import Settings
from recontour.study import StudyRequest, run_study

AFFINE = Settings(method="affine")


def request_for(phantom: Path, out: Path, settings: Settings = AFFINE) -> StudyRequest:
    return StudyRequest(phantom / "planning", phantom / "daily", out, settings)


def centroids(file: Path) -> dict[str, np.ndarray]:
    """Mean of contour points by ROI name, read with pydicom alone."""
    read = pydicom.dcmread(file)
    names = {int(r.ROINumber): str(r.ROIName) for r in read.StructureSetROISequence}
    out: dict[str, np.ndarray] = {}
    for item in read.ROIContourSequence:
        points = [np.array(c.ContourData, float).reshape(-1, 3) for c in item.ContourSequence]
        out[names[int(item.ReferencedROINumber)]] = np.concatenate(points).mean(axis=0)
    return out


@pytest.fixture(scope="module")
def refined(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refined") / "rtstruct.dcm"
    request = request_for(phantom, out, Settings())
    run_study(replace(request, registration=out.with_name("registration.dcm")))
    return out


def test_contours_lie_where_the_truth_has_them(phantom: Path, refined: Path) -> None:
    truth = centroids(next((phantom / "truth").glob("*.dcm")))
    found = centroids(refined)
    assert set(found) == set(truth) - {"EXTERNAL"}
    planned = centroids(phantom / "planning" / "rtstruct.dcm")
    for name, centre in found.items():
        assert np.linalg.norm(centre - truth[name]) < 5.0, name  # one slice
        assert np.linalg.norm(planned[name] - truth[name]) > 10, "the phantom's frames should differ"


def test_manifest_tells_how_it_came_about_and_not_who(phantom: Path, refined: Path) -> None:
    manifest = json.loads(refined.with_name("rtstruct.manifest.json").read_text())
    assert {"Prostate", "Bladder", "CTV"} <= {roi["name"] for roi in manifest["rois"]}
    assert set(manifest["left_out"]) == {"EXTERNAL"}
    assert [output["file"] for output in manifest["outputs"]] == ["rtstruct.dcm", "registration.dcm"]
    assert manifest["settings"]["method"] == "network+refine"
    assert "PHANTOM" not in json.dumps(manifest)
    daily = pydicom.dcmread(next((phantom / "daily").glob("*.dcm")), stop_before_pixels=True)
    assert manifest["daily"]["series_uid"] == daily.SeriesInstanceUID


def family(rtstruct: Path) -> str:
    (algorithm,) = pydicom.dcmread(rtstruct).StructureSetROISequence[0].ROIDerivationAlgorithmIdentificationSequence
    return str(algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning)


def test_that_a_network_was_not_asked_is_told(phantom: Path, refined: Path, tmp_path: Path) -> None:
    """Femurs are none of the organs that it knows."""
    out = tmp_path / "femurs.dcm"
    run_study(replace(request_for(phantom, out, Settings()), only=("Femur*",)))
    manifest = json.loads(out.with_name("femurs.manifest.json").read_text())
    assert (manifest["model"], family(out)) == (None, "Deformable Models")
    assert any("the network was not asked" in note for note in manifest["notes"])
    assert family(refined) == "Artificial Intelligence"
    assert "not asked" not in refined.with_name("rtstruct.manifest.json").read_text()


def test_nothing_but_the_outputs_is_left(refined: Path) -> None:
    assert {p.name for p in refined.parent.iterdir()} == {
        "rtstruct.dcm",
        "rtstruct.manifest.json",
        "registration.dcm",
    }


def test_same_input_same_contours(phantom: Path, tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        run_study(request_for(phantom, tmp_path / name))
    a, b = centroids(tmp_path / "a.dcm"), centroids(tmp_path / "b.dcm")
    assert all((a[name] == b[name]).all() for name in a)


def test_an_existing_file_stays(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "rt.dcm"
    out.write_text("precious")
    with pytest.raises(OutputRefused, match=r"exists.*rt\.dcm"):
        run_study(request_for(phantom, out))
    assert out.read_text() == "precious"
    run_study(replace(request_for(phantom, out), overwrite=True))
    assert pydicom.dcmread(out).Modality == "RTSTRUCT"


def refusals(phantom: Path, tmp_path: Path) -> dict[str, tuple[StudyRequest, type[RecontourError]]]:
    base = request_for(phantom, tmp_path / "out" / "rt.dcm")
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    shutil.copytree(phantom / "daily", other)
    for file in other.glob("*.dcm"):
        changed = pydicom.dcmread(file)
        changed.PatientID = "SOMEONE-ELSE"
        changed.save_as(file)
    return {
        "no daily scan": (replace(base, daily=empty), ScanRefused),
        "the planning scan twice": (replace(base, daily=phantom / "planning"), PatientMismatch),
        "another patient": (replace(base, daily=other), PatientMismatch),
        "no such ROI": (replace(base, only=("Kidney",)), RecontourError),
        "no such organ's ROI": (replace(base, chosen_rois={"bladder": "Kidney"}), RecontourError),
        "a folder that is a file": (replace(base, out=phantom / "planning" / "rtstruct.dcm" / "rt.dcm"), OutputRefused),
        "no such device": (replace(base, settings=Settings(device="cuda:99")), UsageError),
        "two outputs, one name": (replace(base, registration=base.out), OutputRefused),
    }


@pytest.mark.parametrize("case", ["no daily scan", "the planning scan twice", "another patient", "no such ROI",
                                  "no such organ's ROI", "two outputs, one name",
                                  "a folder that is a file", "no such device"])  # fmt: skip
def test_bad_input_is_refused_and_nothing_is_written(case: str, phantom: Path, tmp_path: Path) -> None:
    request, kind = refusals(phantom, tmp_path)[case]
    with pytest.raises(kind) as caught:
        run_study(request)
    assert "SOMEONE" not in str(caught.value) and "PHANTOM" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_another_patient_can_be_allowed_and_is_flagged(phantom: Path, tmp_path: Path) -> None:
    request, _ = refusals(phantom, tmp_path)["another patient"]
    result = run_study(replace(request, allow_different_patients=True))
    assert result.light != "pass"
    assert any("patient" in reason for reason in result.reasons)


def test_a_failure_while_writing_leaves_nothing(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recontour.dicom.registration as registration

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registration, "write_registration", fail)
    request = replace(request_for(phantom, tmp_path / "rt.dcm"), registration=tmp_path / "reg.dcm")
    with pytest.raises(OutputRefused, match="No space left"):
        run_study(request)
    assert not list(tmp_path.iterdir())


def test_real_plan_asks_which_roi_is_the_bladder(real_planning: Path, phantom: Path, tmp_path: Path) -> None:
    request = StudyRequest(real_planning, phantom / "daily", tmp_path / "rt.dcm", AFFINE, allow_different_patients=True)
    with pytest.raises(RoiAmbiguous, match="Vescica"):
        run_study(request)
