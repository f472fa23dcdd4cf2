"""What the command makes of the end of a batch: exit codes and course pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recontour.batch.plan import Plan
from recontour.batch.table import Row
from recontour.cli.batch import _exit_code, _make_pages  # pyright: ignore[reportPrivateUsage]
from tests.batch.made import task
from tests.cli.test_course_command import result

DONE = Row("P-1", "F-1", 1, "done", "pass")
REVIEW, REJECT = replace(DONE, light="review"), replace(DONE, light="reject")
FAILED = replace(DONE, state="failed", light="")
LOST = Row("P-1", "patient", None, "left out")
HARMLESS = replace(LOST, counts=False)
UNREPORTED, REPORTED = replace(DONE, report="no report"), replace(DONE, report="made")

# rows, --strict, whether a course page is missing; exit code
CODES = [
    ([DONE, REPORTED, HARMLESS], False, False, 0),
    ([DONE, REVIEW], False, False, 0),
    ([DONE, REVIEW], True, False, 4),
    ([DONE, REJECT, UNREPORTED], False, True, 4),
    ([DONE, UNREPORTED], False, False, 5),
    ([DONE], False, True, 5),
    ([DONE, REJECT, FAILED], False, True, 3),
    ([DONE, LOST], False, False, 3),
    ([], False, False, 3),
]


@pytest.mark.parametrize(("rows", "strict", "pages_missing", "code"), CODES)
def test_exit_codes(rows: list[Row], strict: bool, pages_missing: bool, code: int) -> None:
    assert _exit_code(rows, strict, pages_missing) == code


def test_a_course_page_for_each_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be made costs no other; results that were superseded are in none."""
    (tmp_path / "key").write_text("k" * 32)
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(tmp_path / "key"))
    out = tmp_path / "out"
    for day in (1, 2):
        result(out / "P-1" / f"F-{day}", day)
    result(out / "superseded" / "P-1" / "F-1.1", 3)
    result(out / "P-2" / "F-3", 3, patient="id-8").unlink()
    tasks = tuple(task(out, patient=patient) for patient in ("P-1", "P-2", "P-3"))
    missing = _make_pages(Plan(out, "", tasks, ("done",) * 3, ()), None)
    assert "2 fractions" in (out / "P-1" / "course.html").read_text(encoding="utf-8")
    assert missing == ["no course page of P-2: no RTSTRUCT"]
    assert not (out / "P-3").exists()
