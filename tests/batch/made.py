"""A cohort of made patients in which things are wrong, and results that were never computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from recontour.batch.task import ScanFiles, Task, Wanted
from recontour.dicom.references import PatientHeader
from recontour.qa.manifest import OutputRecord, write_manifest
from recontour.settings import RegionSettings, Settings
from tests.prepare.made_cohort import ONE, SECRETS, TWO, write_day
from tests.qa.made_fraction import fraction

QUICK = Settings(method="affine", region=RegionSettings(spacing_mm=4.0, margin_mm=10.0))
QUICK_TOML = 'method = "affine"\n[region]\nspacing_mm = 4.0\nmargin_mm = 10.0\n'
THREE = PatientHeader("Roe^Richard", "MRN-550000", "", "M")
IDENTITIES = (*SECRETS, "Doe", "Jonathan", "MRN-550000", "Roe^Richard")


def write_cohort(folder: Path) -> None:
    """Two patients with three and two fractions, of which one is cut off and one has a file that cannot be opened
    among its images; and one without a plan. Names of folders and files are identities, as they are in clinics."""
    doe = folder / "Doe Jonathan"
    write_day(doe / "plan", ONE, "20240110")
    for day, shift in (("20240112", (4, -3, 5)), ("20240113", (0, 4, 0)), ("20240114", (2, 2, 0))):
        write_day(doe / day, ONE, day, None, shift)
    cut = sorted((doe / "20240113").glob("*.dcm"))[5]
    cut.rename(cut.with_name("Doe_Jonathan_5.dcm"))
    cut = cut.with_name("Doe_Jonathan_5.dcm")
    cut.write_bytes(cut.read_bytes()[:-2000])
    locked = doe / "20240114" / "Doe_locked.dcm"
    locked.symlink_to(locked)  # opening it fails for everybody, root included
    write_day(folder / "second", TWO, "20230110")
    for day, shift in (("20230111", (-4, 2, 3)), ("20230112", (3, 0, -4))):
        write_day(folder / "second" / day, TWO, day, None, shift)
    write_day(folder / "third", THREE, "20230301", None)


def task(out: Path, **changes: Any) -> Task:
    planning = ScanFiles("1.2.3.1", "/secret/Doe/plan", ("a.dcm", "b.dcm"), 20)
    daily = ScanFiles("1.2.4.1", "/secret/Doe/day", ("c.dcm", "Doe_2.dcm"), 30)
    made = Task(str(out), "P-00000001", "F-00000001", 1, planning, daily, "1.2.3.2", "/secret/Doe/rs.dcm", 10, Wanted())
    return replace(made, **changes)


def write_result(folder: Path, mark: str = "first") -> None:
    """What a study leaves, as far as the state looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rtstruct.dcm").write_text(mark)
    manifest = replace(fraction().manifest, outputs=(OutputRecord("rtstruct.dcm", "ab" * 32),))
    write_manifest(manifest, folder / "rtstruct.manifest.json")


def asked_at(folder: Path) -> Any:
    return json.loads((folder / "asked.json").read_text())
