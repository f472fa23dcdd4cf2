"""What the tests of prepare share."""

from __future__ import annotations

from pathlib import Path

import pytest

from recontour.geometry.affine import Affine
from tests.prepare.made_cohort import ONE, TWO, write_day


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients: one with two fractions and a CT without contours, one with one fraction. Tests only read it."""
    folder = tmp_path_factory.mktemp("cohort")
    write_day(folder / "MRN-771133" / "a", ONE, "20240110")
    write_day(folder / "MRN-771133" / "b", ONE, "20240119", ("Bladder", "Rectum"))
    write_day(folder / "MRN-771133" / "c", ONE, "20240118")
    write_day(folder / "MRN-771133" / "d", ONE, "20240117", None)
    write_day(folder / "MRN-990044" / "CT", TWO, "20230110")
    write_day(folder / "MRN-990044" / "later", TWO, "20230111")
    return folder


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scans of `cohort` lie where they lie: what takes seconds to find is known."""
    monkeypatch.setattr("recontour.prepare.pair.align_scans", lambda daily, planning: Affine.identity())
