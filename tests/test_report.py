"""The report as a whole: what it is built from, that it never harms the contours, and what it refuses."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import recontour.report as report
from recontour.errors import InputRefused, OutputRefused, PatientMismatch, RecontourError, UsageError
from recontour.finished import NO_FIELD, FinishedRun, read_finished
from recontour.geometry.affine import Affine
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet
from recontour.qa.fraction import Fraction
from recontour.report import PAGE, Evidence, ReportRequest, failure_of, fraction_of, make_report, placed_on
from recontour.settings import Settings
from recontour.study import StudyRequest, StudyResult, run_study
from tests.qa.made_fraction import REGION, ball
from tests.qa.made_fraction import fraction as made

KEY = b"a key for tests, 16 bytes and more"
AFFINE = Settings(method="affine")


@pytest.fixture(scope="module", autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file = tmp_path_factory.mktemp("key") / "pseudonym.key"
    file.write_bytes(KEY + b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECONTOUR_PSEUDONYM_KEY", str(file))
        yield


@contextmanager
def nothing_drawn() -> Iterator[list[Fraction]]:
    """Instead of drawing, which others test: what was given to be drawn."""
    fractions: list[Fraction] = []

    def page(fraction: Fraction, rtstruct: Path) -> bytes:
        fractions.append(fraction)
        return b"<html>" + fraction.pseudonym.encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_page", page)
        patch.setattr(report, "_pdf", lambda fraction: b"%PDF-")
        patch.setattr(report, "_encapsulate", lambda path, pdf, daily, identified: path.write_bytes(b"DICM" + pdf))
        yield fractions


@pytest.fixture
def seen() -> Iterator[list[Fraction]]:
    with nothing_drawn() as fractions:
        yield fractions


@dataclass(frozen=True)
class Once:
    """A run with its report, which tests only read: an affine one, and a refined one of the prostate alone."""

    request: StudyRequest
    result: StudyResult
    fraction: Fraction

    @property
    def finished(self) -> FinishedRun:
        return FinishedRun(self.request.out, self.request.planning, self.request.daily)


def run_once(phantom: Path, folder: Path, settings: Settings, only: tuple[str, ...]) -> Once:
    request = StudyRequest(
        phantom / "planning", phantom / "daily", folder / "rt.dcm", settings, only=only,
        registration=folder / "reg.dcm", report=ReportRequest(folder / "report"),
    )  # fmt: skip
    with nothing_drawn() as fractions:
        result = run_study(request)
    return Once(request, result, fractions[0])


@pytest.fixture(scope="module")
def aligned(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Once:
    return run_once(phantom, tmp_path_factory.mktemp("aligned"), AFFINE, ("Prostate", "Bladder"))


@pytest.fixture(scope="module")
def refined(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Once:
    return run_once(phantom, tmp_path_factory.mktemp("refined"), Settings(), ("Prostate",))


@pytest.fixture(scope="module")
def evidence(aligned: Once) -> Evidence:
    """The affine run, read back."""
    return read_finished(aligned.finished)


def copied(once: Once, folder: Path) -> FinishedRun:
    """A copy of a run's files that may be changed."""
    there = Path(shutil.copytree(once.request.out.parent, folder / "copy"))
    return replace(once.finished, rtstruct=there / "rt.dcm")


def test_a_run_leaves_a_report_of_what_it_found(phantom: Path, aligned: Once) -> None:
    assert aligned.result.report_failure is None
    folder = aligned.request.out.parent / "report"
    assert [p.name for p in aligned.result.report] == ["report.html", "report.pdf", "report.dcm", "report.json"]
    assert {p.name for p in folder.iterdir()} == {"report.html", "report.pdf", "report.dcm", "report.json"}
    fraction = aligned.fraction
    assert fraction.manifest.as_json() == aligned.request.manifest.read_text()
    planned = pydicom.dcmread(phantom / "planning" / "rtstruct.dcm")
    colours = {
        str(r.ROIName): [int(v) for v in c.ROIDisplayColor]
        for r, c in zip(planned.StructureSetROISequence, planned.ROIContourSequence, strict=True)
    }
    assert {p.record.name: list(p.colour) for p in fraction.rois} == {n: colours[n] for n in ("Prostate", "Bladder")}
    for picture in fraction.rois:
        assert picture.change is not None and picture.change.largest_mm < 1.5, "nothing but the affine moved it"
    dates = [str(pydicom.dcmread(next((phantom / s).glob("*.dcm"))).StudyDate) for s in ("planning", "daily")]
    assert [fraction.planned_on.replace("-", ""), fraction.treated_on.replace("-", "")] == dates


def test_without_being_asked_it_names_nobody(aligned: Once, evidence: Evidence) -> None:
    said = hmac.new(KEY, b"PHANTOM-3", hashlib.sha256).hexdigest()[:8]
    assert (aligned.fraction.identity, aligned.fraction.pseudonym) == ("", f"P-{said}")
    asked = fraction_of(evidence, ReportRequest(Path("nowhere"), identify=True))
    assert (asked.identity, asked.pseudonym) == ("PHANTOM, 3; ID PHANTOM-3", f"P-{said}")


def test_the_planning_scan_lies_where_the_alignment_puts_it(aligned: Once) -> None:
    fraction = aligned.fraction
    apart = np.abs(fraction.rigid.array - fraction.warped.array)
    assert float(apart.max()) < 1.0, "an affine run warps by nothing else"
    assert float(np.corrcoef(fraction.rigid.array.ravel(), fraction.fixed.array.ravel())[0, 1]) > 0.8


@pytest.mark.parametrize("part", ["_page", "_pdf", "_encapsulate", "fraction_of"])
@pytest.mark.parametrize("error", [RuntimeError("DOE^JOHN"), OSError(28, "No space left on device"), MemoryError()])
def test_a_report_that_fails_leaves_nothing_and_tells_no_name(
    part: str, error: Exception, evidence: Evidence, tmp_path: Path, seen: list[Fraction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise error

    if part != "fraction_of":
        monkeypatch.setattr(report, "fraction_of", lambda evidence, request: made())
    monkeypatch.setattr(report, part, fail)
    with pytest.raises(Exception) as caught:
        make_report(evidence, ReportRequest(tmp_path / "report"), tmp_path / "rt.dcm")
    assert isinstance(caught.value, (type(error), OutputRefused))
    said = str(failure_of(caught.value))  # type: ignore[arg-type]
    assert "DOE" not in said and (type(error).__name__ in said or "No space" in said)
    assert not (tmp_path / "report").exists() or not list((tmp_path / "report").iterdir())


def test_a_run_survives_its_report(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("DOE^JOHN")

    monkeypatch.setattr(report, "fraction_of", fail)
    request = StudyRequest(
        phantom / "planning", phantom / "daily", tmp_path / "rt.dcm", AFFINE, only=("Prostate",),
        report=ReportRequest(tmp_path / "report"),
    )  # fmt: skip
    result = run_study(request)
    assert "ZeroDivisionError" in str(result.report_failure) and result.report == ()
    assert [row.name for row in result.rows] == ["Prostate"]
    written = {o["file"]: o["sha256"] for o in json.loads(request.manifest.read_text())["outputs"]}
    assert written["rt.dcm"] == hashlib.sha256(request.out.read_bytes()).hexdigest()


def test_a_report_that_is_there_stays(phantom: Path, evidence: Evidence, tmp_path: Path, seen: list[Fraction]) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / PAGE).write_text("signed")
    request = StudyRequest(
        phantom / "planning", phantom / "daily", tmp_path / "rt.dcm", AFFINE, report=ReportRequest(folder)
    )
    with pytest.raises(OutputRefused, match=PAGE):
        run_study(request)
    with pytest.raises(OutputRefused, match=PAGE):
        make_report(evidence, ReportRequest(folder), tmp_path / "rt.dcm")
    assert {p.name for p in tmp_path.iterdir()} == {"report"}, "refused before any work"
    assert (folder / PAGE).read_text() == "signed"
    make_report(evidence, ReportRequest(folder, overwrite=True), tmp_path / "rt.dcm")
    assert (folder / PAGE).read_bytes().startswith(b"<html>")


def test_from_files_it_shows_what_the_run_showed(aligned: Once, evidence: Evidence) -> None:
    run, again = aligned.fraction, fraction_of(evidence, ReportRequest(Path("nowhere")))
    assert again.region.same_as(run.region)
    assert again.manifest.as_json() == run.manifest.as_json()
    assert np.abs(again.fixed.array - run.fixed.array).max() < 0.01
    assert np.abs(again.rigid.array - run.rigid.array).max() < 1.0  # DICOM's decimals of the matrix
    assert again.remarks == (NO_FIELD,) and again.field_daily_to_planning is None, "an affine run has no field"
    for a, b in zip(again.rois, run.rois, strict=True):
        assert (a.record, a.colour) == (b.record, b.colour)
        apart = a.daily.mask().volume_ml / b.daily.mask().volume_ml
        assert 0.95 < apart < 1.05, "contours on slices, read back"


def test_a_deformable_registration_gives_back_the_field(refined: Once, tmp_path: Path) -> None:
    again = read_finished(refined.finished)
    run, read = refined.fraction.field_daily_to_planning, again.field_daily_to_planning
    assert run is not None and read is not None and again.warped is not None
    assert np.abs(run.array).max() > 2.0
    assert np.abs(read.array - run.array).max() < 1e-3
    assert np.abs(again.warped.array - refined.fraction.warped.array).mean() < 0.1
    run_without = copied(refined, tmp_path)
    run_without.rtstruct.with_name("reg.dcm").unlink()
    without = read_finished(run_without)
    assert without.field_daily_to_planning is None and without.remarks == (NO_FIELD,)
    assert np.allclose(without.affine_daily_to_planning.matrix, again.affine_daily_to_planning.matrix, atol=1e-6)


def test_an_early_manifest_places_by_the_shift_and_says_so(aligned: Once, tmp_path: Path) -> None:
    run = copied(aligned, tmp_path)
    path = run.rtstruct.with_name("rt.manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["alignment"]["matrix"]
    manifest["outputs"] = manifest["outputs"][:1]
    path.write_text(json.dumps(manifest))
    read = read_finished(run)
    assert np.allclose(read.affine_daily_to_planning.matrix[:3, 3], manifest["alignment"]["shift_mm"])
    assert any("without the rotation" in remark for remark in read.remarks)


Spoil = Callable[[Path, Path], dict[str, object]]


def edited_rtstruct(rtstruct: Path, phantom: Path) -> dict[str, object]:
    dataset = pydicom.dcmread(rtstruct)
    dataset.StructureSetLabel = "edited"
    dataset.save_as(rtstruct)
    return {}


def no_manifest(rtstruct: Path, phantom: Path) -> dict[str, object]:
    rtstruct.with_name("rt.manifest.json").unlink()
    return {}


def another_daily_scan(rtstruct: Path, phantom: Path) -> dict[str, object]:
    return {"daily": phantom / "planning"}


def truth_as_registration(rtstruct: Path, phantom: Path) -> dict[str, object]:
    return {"registration": phantom / "truth" / "registration.dcm"}


def other_frames(rtstruct: Path, phantom: Path) -> dict[str, object]:
    path = rtstruct.with_name("reg.dcm")
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = "1.2.3"
    dataset.save_as(path)
    return {"registration": path}


def nothing_there(rtstruct: Path, phantom: Path) -> dict[str, object]:
    return {"rtstruct": rtstruct.with_name("no.dcm")}


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (edited_rtstruct, InputRefused, "changed since"),
        (no_manifest, InputRefused, "no manifest"),
        (another_daily_scan, RecontourError, "no series"),
        (truth_as_registration, InputRefused, "another alignment"),
        (other_frames, PatientMismatch, "other frames"),
        (nothing_there, InputRefused, "no such file"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    spoil: Spoil, kind: type[RecontourError], says: str, phantom: Path, aligned: Once, tmp_path: Path
) -> None:
    run = copied(aligned, tmp_path)
    with pytest.raises(kind, match=says):
        read_finished(replace(run, **spoil(run.rtstruct, phantom)))


def test_two_patients_are_refused_or_red(phantom: Path, aligned: Once, tmp_path: Path) -> None:
    daily = Path(shutil.copytree(phantom / "daily", tmp_path / "daily"))
    for file in daily.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "SOMEONE-ELSE"
        dataset.save_as(file)
    run = replace(aligned.finished, daily=daily)
    with pytest.raises(PatientMismatch):
        read_finished(run)
    allowed = read_finished(replace(run, allow_different_patients=True))
    manifest = fraction_of(allowed, ReportRequest(tmp_path)).manifest
    assert manifest.light == "reject" and "same patient" in manifest.reasons[0]


def test_placed_on_is_the_shape_on_its_part_of_the_region() -> None:
    shape = ball((4.0, 5.0, 120.0), 9.0)
    own = Grid.of((40, 50, 50), (1.5, 1.0, 1.0), (0.0, 0.0, 90.0))
    elsewhere = LevelSet(own, np.asarray(9.0 - np.linalg.norm(own.points() - (24.0, 25.0, 120.0), axis=-1), np.float32))
    found = placed_on(REGION, elsewhere, Affine.shift((20.0, 20.0, 0.0)))
    REGION.box_of(found.grid)  # raises where it is no part
    assert np.prod(found.grid.size) < 0.25 * np.prod(REGION.size)
    there = REGION.box_of(found.grid)
    assert np.abs(found.array - shape.array[there])[np.abs(shape.array[there]) < 3].max() < 0.1
    beside = placed_on(REGION, elsewhere, Affine.shift((900.0, 0.0, 0.0)))
    assert not (beside.array > 0).any()


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"plan": "plan.dcm"}, UsageError, "--plan without a dose"),
        ({"dose": "nowhere.dcm"}, UsageError, "nowhere.dcm"),
        ({"folder": "plan.dcm"}, OutputRefused, "plan.dcm"),
    ],
)
def test_a_request_is_checked_before_any_work(
    changes: dict[str, str], kind: type[RecontourError], says: str, tmp_path: Path
) -> None:
    (tmp_path / "plan.dcm").write_bytes(b"")
    request = replace(ReportRequest(tmp_path / "report"), **{name: tmp_path / file for name, file in changes.items()})
    with pytest.raises(kind, match=says):
        report.check_request(request)
    assert not (tmp_path / "report").exists()
