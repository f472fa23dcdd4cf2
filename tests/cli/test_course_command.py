"""recontour course, as a user meets it: what lies below a folder, one patient, no page replaced unasked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from recontour.cli import main
from recontour.errors import InputRefused
from recontour.qa.fraction import DoseReport, GoalResult
from recontour.qa.manifest import OutputRecord, write_manifest
from recontour.qa.report.course_record import CourseRecord, as_json, course_record, read_course_record
from recontour.qa.review import ReviewRecord, append_review, review_file
from tests.qa.made_fraction import fraction

Run = Callable[..., tuple[int, str, str]]
MADE = fraction()
GOAL = GoalResult("Rectum V70Gy < 15 %", "Rectum", "%", 12.0, 13.0, True, True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(tmp_path / "key"))
    (tmp_path / "key").write_text("k" * 32)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recontour", "course", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def result(folder: Path, day: int, patient: str = "id-7", written: str = "", series: str = "") -> Path:
    """An RTSTRUCT of that day with its manifest; the RTSTRUCT is a header, which is all that is read of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rtstruct.dcm"
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", f"2.25.{day}"
    made.StudyDate, made.PatientID, made.PatientName = f"202611{day:02d}", patient, "Secret^Name"
    made.save_as(path, enforce_file_format=True)
    manifest = replace(
        MADE.manifest,
        written=written or f"2026-11-{day:02d}T10:00:00+01:00",
        daily=replace(MADE.manifest.daily, series_uid=series or f"2.25.1{day}"),
        outputs=(OutputRecord(path.name, hashlib.sha256(path.read_bytes()).hexdigest()),),
    )
    write_manifest(manifest, path.with_suffix(".manifest.json"))
    return path


def report(folder: Path, rtstruct: Path, pseudonym: str = "P-7f3a91c2", treated_on: str = "2026-11-20") -> None:
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<p>")
    sha = hashlib.sha256(rtstruct.read_bytes()).hexdigest()
    record = CourseRecord(pseudonym, treated_on, (sha,), "report.html", (GOAL,))
    (folder / "report.json").write_text(as_json(record))


def test_results_with_and_without_reports(run: Run, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = result(results / "day 1", 1)
    result(results / "day 2", 2)
    record = ReviewRecord("mk", "2026-11-01T12:00:00+01:00", "Prostate", "edit", "Apex", "ab" * 32)
    sha = hashlib.sha256(first.read_bytes()).hexdigest()
    append_review(review_file(first), [replace(record, rtstruct_sha256=sha)])
    code, _, err = run(results, "--out", tmp_path / "course.html")
    assert code == 0
    assert "day 2/rtstruct.manifest.json has no report" in err
    page = (tmp_path / "course.html").read_text(encoding="utf-8")
    assert "2 fractions, 2026-11-01 to 2026-11-02" in page
    assert "Prostate (Apex)" in page and "not reviewed" in page
    assert "Secret" not in page + err and "id-7" not in page + err


def test_pages_are_linked_wherever_they_lie(run: Run, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = result(results / "a", 1)
    report(results / "reports" / "Tag 1 ü", first)
    (results / "reports" / "report.json").write_text('{"of": "another program"}')
    (results / "pages").mkdir()
    code, out, err = run(results, "-o", results / "pages" / "course.html")
    assert (code, err) == (0, "")
    assert "1 fraction:" in out
    page = (results / "pages" / "course.html").read_text(encoding="utf-8")
    assert 'href="../reports/Tag%201%20%C3%BC/report.html"' in page
    assert "Rectum V70Gy &lt; 15 %" in page and "P-7f3a91c2" in page and "2026-11-20" in page


def test_two_patients_are_refused(run: Run, tmp_path: Path) -> None:
    result(tmp_path / "r" / "a", 1)
    result(tmp_path / "r" / "b", 2, patient="id-8")
    code, _, err = run(tmp_path / "r", "-o", tmp_path / "course.html")
    assert code == 3 and "several patients" in err
    assert "id-7" not in err and "id-8" not in err
    assert not (tmp_path / "course.html").exists()


def test_of_two_results_of_one_scan_the_later_stays(run: Run, tmp_path: Path) -> None:
    result(tmp_path / "r" / "b", 1, series="2.25.9", written="2026-11-03T10:00:00+01:00")
    result(tmp_path / "r" / "a", 1, series="2.25.9", written="2026-11-02T10:00:00+01:00")
    result(tmp_path / "r" / "c", 1, series="2.25.9", written="2026-11-01T10:00:00+01:00")
    code, out, err = run(tmp_path / "r", "-o", tmp_path / "course.html")
    assert code == 0 and "1 fraction:" in out
    for name in "ac":
        assert f"{name}/rtstruct.manifest.json left out: another result of the same scan was written later" in err
    assert "b/rtstruct.manifest.json left out" not in err


def test_no_page_is_replaced_unasked(run: Run, tmp_path: Path) -> None:
    result(tmp_path / "r" / "a", 1)
    (tmp_path / "course.html").write_text("mine")
    code, _, err = run(tmp_path / "r", "-o", tmp_path / "course.html")
    assert code == 3 and "--overwrite" in err
    assert (tmp_path / "course.html").read_text() == "mine"
    assert run(tmp_path / "r", "-o", tmp_path / "course.html", "--overwrite")[0] == 0
    assert "Course of P-" in (tmp_path / "course.html").read_text(encoding="utf-8")


def test_what_is_not_there(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "none", "-o", tmp_path / "c.html")[0] == 2
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty", "-o", tmp_path / "c.html")
    assert code == 2 and "no result in it" in err
    path = result(tmp_path / "r", 1)
    path.unlink()
    code, _, err = run(tmp_path / "r", "-o", tmp_path / "c.html")
    assert code == 3 and "no RTSTRUCT" in err
    assert run(tmp_path / "r", "-o", tmp_path / "nowhere" / "c.html")[0] == 3


def test_a_tampered_review_stops_the_course(run: Run, tmp_path: Path) -> None:
    first = result(tmp_path / "r", 1)
    append_review(review_file(first), [ReviewRecord("mk", "2026-11-01T12:00:00Z", "", "accept", "", "ab" * 32)])
    review_file(first).write_bytes(b"")
    code, _, err = run(tmp_path / "r", "-o", tmp_path / "c.html")
    assert code == 3 and "1 of 1 lines are missing" in err


def test_the_record_of_a_report(tmp_path: Path) -> None:
    dose = DoseReport(MADE.fixed, (), (GOAL,))
    outputs = (OutputRecord("rtstruct.dcm", "ab" * 32),)
    made = replace(MADE, dose=dose, treated_on="2026-11-20", manifest=replace(MADE.manifest, outputs=outputs))
    record = course_record(made, "report.html")
    assert record == CourseRecord("P-7f3a91c2", "2026-11-20", ("ab" * 32,), "report.html", (GOAL,))
    path = tmp_path / "report.json"
    path.write_text(as_json(record), encoding="utf-8")
    assert read_course_record(path) == record
    for text in ("", "[]", '{"schema": 2}', as_json(replace(record, page="../x.html")), as_json(record)[:-9]):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputRefused, match=r"report\.json"):
            read_course_record(path)
    assert course_record(MADE, "report.html").goals == ()
