"""The record of a run: complete, readable again, whole or not at all, and silent about who the patient is."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

import recontour
from recontour.errors import InputRefused, OutputRefused
from recontour.qa.checks import RoiFacts, Verdict
from recontour.qa.manifest import (
    AlignmentRecord,
    Manifest,
    ModelRecord,
    OutputRecord,
    RoiRecord,
    ScanRecord,
    read_manifest,
    versions_here,
    write_manifest,
)
from recontour.settings import Settings

FACTS = RoiFacts("Vescica", "bladder", 120.0, 250.5, (1.2, -3.0, 0.0), 0.4, 1.9, disagreement_mm=float("inf"))
MANIFEST = Manifest(
    written="2021-03-04T05:06:07+01:00",
    versions=versions_here(),
    settings=Settings().as_dict(),
    planning=ScanRecord("1.2.3", "1.2.3.4", "1.2.3.9", 163),
    daily=ScanRecord("1.2.5", "1.2.5.4", "1.2.5.9", 80),
    structures_uid="1.2.3.5",
    outputs=(OutputRecord("rtstruct.dcm", "ab" * 32),),
    alignment=AlignmentRecord((5.0, -40.0, 0.0), 2.5, 1.01, 0.93),
    rois=(RoiRecord.of(FACTS, Verdict("review", ("Es läuft über.",))),),
    light="review",
    reasons=("1 of 1 ROIs is to be reviewed.",),
    left_out={"BODY": "outline of the patient"},
    seconds={"read": 0.5, "align": 1.25},
    model=ModelRecord("crossstitch-1", "cd" * 32),
)


def test_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rtstruct.manifest.json"
    write_manifest(MANIFEST, path)
    found = read_manifest(path)
    assert found.rois[0].disagreement_mm is None  # JSON has no infinity
    assert replace(found.rois[0], disagreement_mm=float("inf")) == MANIFEST.rois[0]
    assert (found.planning, found.alignment, found.model) == (MANIFEST.planning, MANIFEST.alignment, MANIFEST.model)
    assert (found.outputs, found.left_out, found.seconds) == (MANIFEST.outputs, MANIFEST.left_out, MANIFEST.seconds)
    assert found.as_dict() == MANIFEST.as_dict()


def test_what_an_older_version_measured_besides_is_passed_over(tmp_path: Path) -> None:
    raw = json.loads(MANIFEST.as_json())
    raw["rois"][0]["overlap_ml"] = 0.0
    path = tmp_path / "m.json"
    path.write_text(json.dumps(raw))
    assert read_manifest(path).as_dict() == MANIFEST.as_dict()


def test_what_a_reader_finds_in_the_file() -> None:
    raw = json.loads(MANIFEST.as_json())
    assert raw["schema"] == 1
    assert raw["versions"]["recontour"] == recontour.__version__
    assert "numpy" in raw["versions"]
    assert raw["rois"][0]["shift"] == "1.2 mm left, 3.0 mm anterior"
    assert raw["alignment"]["shift"] == "5.0 mm left, 40.0 mm anterior"
    assert raw["rois"][0]["reasons"] == ["Es läuft über."]
    assert "läuft" in MANIFEST.as_json()
    assert list(raw["seconds"]) == ["read", "align"]
    assert not {"patient", "patient_name", "patient_id"} & set(raw)


def test_no_model_is_none(tmp_path: Path) -> None:
    write_manifest(replace(MANIFEST, model=None), tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json").model is None


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("mine")
    with pytest.raises(OutputRefused, match=r"exists.*m\.json"):
        write_manifest(MANIFEST, path)
    assert path.read_text() == "mine"
    write_manifest(MANIFEST, path, overwrite=True)
    assert read_manifest(path).light == "review"


def test_a_failure_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("recontour.qa.manifest.os.fsync", fails)
    with pytest.raises(OutputRefused, match=r"m\.json"):
        write_manifest(MANIFEST, tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_colleagues_can_read_it(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path / "m.json")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE((tmp_path / "m.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "planning": 3}'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputRefused, match=r"other\.json"):
        read_manifest(path)


def test_an_unknown_light_is_refused() -> None:
    with pytest.raises(InputRefused, match="green"):
        replace(MANIFEST, light="green")
