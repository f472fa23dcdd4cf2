"""Fractions that went wrong, made on purpose, through the real steps and rules: each gets the light it must get, with
a reason in the words of the clinic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import recontour.pipeline as pipeline
from recontour.dicom.scan_writer import ScanToWrite, write_series
from recontour.dicom.series import read_series
from recontour.geometry.field import Field
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.metal import metal_streaks
from recontour.qa.manifest import Manifest, RoiRecord, read_manifest
from recontour.settings import Method, Settings
from recontour.study import StudyRequest, run_study


def day(
    phantom: Path, tmp_path: Path, only: tuple[str, ...], method: Method = "affine", **folders: Path
) -> tuple[Manifest, Mapping[str, RoiRecord]]:
    request = StudyRequest(
        folders.get("planning", phantom / "planning"), folders.get("daily", phantom / "daily"), tmp_path / "rt.dcm",
        Settings(method=method), only=only, allow_different_patients=True,
    )  # fmt: skip
    run_study(request)
    manifest = read_manifest(request.manifest)
    return manifest, {roi.name: roi for roi in manifest.rois}


def changed_daily(phantom: Path, tmp_path: Path, change: Callable[[Volume], Volume]) -> Path:
    series = read_series(phantom / "daily")
    about = ScanToWrite("changed", series.identity.patient, "Daily CT", "tests", study_date="20000108")
    write_series(tmp_path / "daily", change(series.volume), about)
    return tmp_path / "daily"


def heights(phantom: Path, name: str) -> tuple[float, float]:
    """Lowest and highest true contour of an organ on the daily scan, mm."""
    read = pydicom.dcmread(phantom / "truth" / "rtstruct.dcm")
    numbers = {str(r.ROIName): int(r.ROINumber) for r in read.StructureSetROISequence}
    (item,) = (c for c in read.ROIContourSequence if int(c.ReferencedROINumber) == numbers[name])
    z = [float(c.ContourData[2]) for c in item.ContourSequence]
    return min(z), max(z)


def cut_above(volume: Volume, z_mm: float) -> Volume:
    count = int(np.floor(volume.grid.index_at((0.0, 0.0, z_mm))[0])) + 1
    grid = volume.grid.crop((0, 0, 0), (count, *volume.grid.size[1:]))
    return Volume(grid, volume.array[:count])


def test_an_ordinary_day_passes(phantom: Path, tmp_path: Path) -> None:
    manifest, rois = day(phantom, tmp_path, ("Prostate", "Femur*"), "refine")
    assert (manifest.light, manifest.reasons) == ("pass", ())
    assert {roi.light for roi in rois.values()} == {"pass"}


def test_what_was_asked_for_by_name_and_cannot_be_brought_over_is_said(phantom: Path, tmp_path: Path) -> None:
    manifest, _ = day(phantom, tmp_path, ("Prostate", "external"))
    assert "Asked for and not brought over: EXTERNAL." in manifest.reasons
    assert manifest.light != "pass"


def test_another_patients_scan_is_rejected(phantom: Path, tmp_path: Path) -> None:
    daily = Path(shutil.copytree(phantom / "daily", tmp_path / "daily"))
    for file in daily.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "SOMEONE-ELSE"
        dataset.save_as(file)
    manifest, _ = day(phantom, tmp_path, ("Prostate",), daily=daily)
    assert manifest.light == "reject"
    assert manifest.reasons[0] == "The two scans do not name the same patient."


def test_another_mans_scan_under_the_same_id_is_not_passed(phantom: Path, tmp_path: Path) -> None:
    """A man a tenth wider, and half as much from front to back."""

    def wider(volume: Volume) -> Volume:
        z, y, x = volume.grid.spacing_mm
        return Volume(replace(volume.grid, spacing_mm=(z, 1.05 * y, 1.1 * x)), volume.array)

    manifest, _ = day(phantom, tmp_path, ("Prostate",), daily=changed_daily(phantom, tmp_path, wider))
    assert manifest.light != "pass"
    assert any("stretches the patient" in reason for reason in manifest.reasons)


def test_a_bladder_cut_by_the_scans_end_is_to_be_looked_at(phantom: Path, tmp_path: Path) -> None:
    low, high = heights(phantom, "Bladder")
    daily = changed_daily(phantom, tmp_path, lambda volume: cut_above(volume, low + 0.5 * (high - low)))
    manifest, rois = day(phantom, tmp_path, ("Bladder", "Prostate"), daily=daily)
    assert rois["Bladder"].light != "pass" and manifest.light != "pass"
    assert any("edge of the daily scan" in reason for reason in rois["Bladder"].reasons)
    assert not any("edge of the daily scan" in reason for reason in rois["Prostate"].reasons)


def test_an_organ_that_the_scan_does_not_hold_is_rejected(phantom: Path, tmp_path: Path) -> None:
    low, _ = heights(phantom, "Bladder")
    daily = changed_daily(phantom, tmp_path, lambda volume: cut_above(volume, low - 20.0))
    manifest, rois = day(phantom, tmp_path, ("Bladder", "Prostate", "Femur*"), daily=daily)
    assert manifest.light == rois["Bladder"].light == "reject"
    assert rois["Bladder"].reasons[0].startswith("Nothing is left on the daily scan")


@pytest.mark.parametrize("other", ["Bladder", "Rectum", "SeminalVes"])
def test_a_prostate_that_bears_another_organs_name_in_the_plan(other: str, phantom: Path, tmp_path: Path) -> None:
    planning = Path(shutil.copytree(phantom / "planning", tmp_path / "planning"))
    plan = pydicom.dcmread(planning / "rtstruct.dcm")
    swapped = {"Prostate": other, other: "Prostate"}
    for roi in plan.StructureSetROISequence:
        roi.ROIName = swapped.get(str(roi.ROIName), roi.ROIName)
    plan.save_as(planning / "rtstruct.dcm")
    manifest, rois = day(phantom, tmp_path, ("Prostate", other), planning=planning)
    assert manifest.light != "pass"
    for name in ("Prostate", other):
        assert rois[name].light != "pass"
        assert any("has it another organ's contour?" in reason for reason in rois[name].reasons)


def test_a_prostate_that_took_the_bladders_place_today(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.warp_rois

    def exchanged(*given: object) -> dict[str, LevelSet]:
        found = real(*given)  # type: ignore[arg-type]
        return {"Prostate": found["Bladder"], "Bladder": found["Prostate"]}

    monkeypatch.setattr(pipeline, "warp_rois", exchanged)
    manifest, rois = day(phantom, tmp_path, ("Prostate", "Bladder"))
    assert manifest.light == rois["Prostate"].light == "reject"
    assert "centre moved by" in " ".join(rois["Prostate"].reasons)
    assert "has it another organ's contour?" in " ".join(rois["Bladder"].reasons)


def with_prosthesis(volume: Volume) -> Volume:
    """A head and a stem of metal where the left hip is, and their streaks."""
    points = volume.grid.points()
    low, high = volume.grid.bounds_mm()
    hip = (low + high) / 2 + (95.0, 0.0, 0.0)
    away = np.hypot(points[..., 0] - hip[0], points[..., 1] - hip[1])
    metal = np.where(away < 14.0, np.float32(8000.0), volume.array)
    streaks = metal_streaks(Volume(volume.grid, metal), np.random.default_rng(1))
    assert streaks is not None
    return Volume(volume.grid, np.clip(metal + streaks.array, -1000.0, 3071.0).astype(np.float32))


@pytest.mark.parametrize("method", ["affine", "refine"])
def test_a_prosthesis_in_one_scan_is_told(method: Method, phantom: Path, tmp_path: Path) -> None:
    daily = changed_daily(phantom, tmp_path, with_prosthesis)
    manifest, _ = day(phantom, tmp_path, ("Prostate",), method, daily=daily)
    assert manifest.light != "pass"
    (said,) = (reason for reason in manifest.reasons if "metal" in reason)
    assert "hip prosthesis" in said and "in the daily scan, not in the plan's" in said


def test_a_field_that_folds_is_rejected(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recontour.network.refine as refine

    def folding(fixed: Volume, *_: object) -> Field:
        """Points run to and fro along x: slope -2 at the zeros, so that x + u(x) turns back."""
        x = np.arange(fixed.grid.size[2], dtype=np.float32)
        u = np.zeros((3, *fixed.grid.size), np.float32)
        u[0] = 6.0 * np.sin(x / 3.0)
        return Field(fixed.grid, u)

    monkeypatch.setattr(refine, "refine_field", folding)
    manifest, rois = day(phantom, tmp_path, ("Prostate",), "refine")
    assert manifest.light == rois["Prostate"].light == "reject"
    assert any("folds over itself" in reason for reason in rois["Prostate"].reasons)
