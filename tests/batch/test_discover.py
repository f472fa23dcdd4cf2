"""Which fractions there are, and which planning scan is whose: from headers of scans of a few pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from recontour.batch.discover import Found, discover
from recontour.errors import UsageError
from tests.dicom.made_ct import rtstruct, save, simple_scan

NUMBERS = {"p": "90", "q": "91", "r": "92"}  # of planning scans, in UIDs
SQUARE = [("CLOSED_PLANAR", [[-4, 8, 13], [-2, 8, 13], [-2, 12, 13], [-4, 12, 13]])]


def scan(name: str, day: str, patient: str = "SECRET-1", **tags: Any) -> list[Dataset]:
    """Five slices of series 1.2.<name>."""
    number = NUMBERS.get(name, name)
    about = dict(SeriesInstanceUID=f"1.2.{number}", FrameOfReferenceUID=f"1.3.{number}", PatientID=patient)
    return simple_scan(**{"AcquisitionDate": day, "SeriesDescription": f"scan {name}", **about, **tags})


def drawn_on(name: str, patient: str = "SECRET-1") -> Dataset:
    roi = {"number": 1, "name": "Bladder", "contours": SQUARE}
    number = NUMBERS.get(name, name)
    return rtstruct([roi], f"1.2.{number}", f"1.3.{number}", f"1.9.{number}", PatientID=patient)


def plan(name: str, day: str, patient: str = "SECRET-1") -> list[Dataset]:
    return [*scan(name, day, patient, SeriesDescription="Planning CT"), drawn_on(name, patient)]


def joined(found: Found) -> dict[str, list[str]]:
    """Planning scan -> its fractions, by the names that they have here."""
    names = {f"1.2.{number}": name for name, number in NUMBERS.items()}
    return {
        names[t.planning.series_uid]: [scan.series_uid.removeprefix("1.2.") for scan in t.daily]
        for t in found.treatments
    }


def reasons(found: Found, counts: bool = True) -> dict[str, str]:
    return {item.what: item.reason for item in found.omitted if item.counts == counts}


def test_the_earliest_plan_is_every_fractions_without_a_name(tmp_path: Path) -> None:
    """Day 2 has contours of its own, as fractions of a study do: it stays a fraction."""
    save(tmp_path / "a", plan("p", "20240110"))
    for name, day in (("0", "20240101"), ("1", "20240112"), ("3", "20240114")):
        save(tmp_path / name, scan(name, day))
    save(tmp_path / "2", [*scan("2", "20240113"), drawn_on("2")])
    found = discover(tmp_path)
    assert joined(found) == {"p": ["1", "2", "3"]}
    assert reasons(found, counts=False) == {"series ...1.2.0": "made before the planning scan"}
    assert not reasons(found)


def test_each_fraction_takes_the_nearest_plan_before_it(tmp_path: Path) -> None:
    for name, day in (("p", "20240110"), ("q", "20240120")):
        save(tmp_path / name, plan(name, day))
    save(tmp_path / "r", plan("r", "20240130")[:-1])  # planned anew, its contours not here
    days = {"0": "20240101", "1": "20240111", "2": "20240119", "3": "20240120", "4": "20240121", "5": "20240131"}
    for name, day in days.items():
        save(tmp_path / name, scan(name, day))
    found = discover(tmp_path, "planning*")
    assert joined(found) == {"p": ["1", "2"], "q": ["3", "4"]}
    assert reasons(found) == {"series ...1.2.5": "its planning scan, series ...1.2.92, has no structure set"}
    assert reasons(found, counts=False) == {"series ...1.2.0": "made before the planning scan"}


def test_planning_scans_of_one_date_are_not_guessed(tmp_path: Path) -> None:
    for name in "pq":
        save(tmp_path / name, plan(name, "20240110"))
    save(tmp_path / "1", scan("1", "20240111"))
    found = discover(tmp_path, "planning*")
    assert not found.treatments and "dates do not tell" in reasons(found)["patient"]


def test_a_patient_without_a_plan_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    save(tmp_path / "1", scan("1", "20240111", "SECRET-2"))
    save(tmp_path / "p", plan("p", "20240110"))
    save(tmp_path / "2", scan("2", "20240112"))
    found = discover(tmp_path)
    assert joined(found) == {"p": ["2"]}
    assert reasons(found) == {"patient": "no CT with a structure set"}
    assert "SECRET" not in repr(found)


def test_a_file_that_may_be_a_slice_stops_its_scan_alone(tmp_path: Path) -> None:
    save(tmp_path / "p", plan("p", "20240110"))
    for name in "12":
        save(tmp_path / name, scan(name, f"2024011{name}"))
    (tmp_path / "1" / "slice.dcm").write_bytes(b"")
    (tmp_path / "2" / "notes.txt").write_text("no slice")
    found = discover(tmp_path)
    assert joined(found) == {"p": ["2"]}
    told = reasons(found)
    assert "lies among its images: a damaged" in told["series ...1.2.1"]
    assert len(told) == 2  # and the file itself


def test_a_file_that_cannot_be_opened_stops_its_plan(tmp_path: Path) -> None:
    save(tmp_path / "p", plan("p", "20240110"))
    save(tmp_path / "1", scan("1", "20240111"))
    locked = tmp_path / "p" / "locked.dcm"
    locked.symlink_to(locked)  # opening it fails for everybody, root included
    found = discover(tmp_path)
    assert not joined(found)
    assert "its planning scan: file" in reasons(found)["series ...1.2.1"]
    assert "cannot be opened" in reasons(found)["series ...1.2.1"]


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "p", plan("p", "20240110"))
    save(tmp_path / "1", scan("1", "20240111"))
    (tmp_path / "Doe").mkdir()
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "Doe":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = discover(tmp_path)
    assert joined(found) == {"p": ["1"]}
    assert reasons(found) == {"folder 1": "a folder that cannot be opened"}
    assert not reasons(discover(tmp_path, out=tmp_path / "Doe"))


def test_a_heap_of_all_patients_goes_on_without_a_damaged_file(tmp_path: Path) -> None:
    images = [*plan("p", "20240110"), *scan("1", "20240111"), *scan("2", "20240112")]
    save(tmp_path / "heap", images, [f"{k:03d}.dcm" for k in range(len(images))])
    (tmp_path / "heap" / "099.dcm").write_bytes(b"")
    found = discover(tmp_path)
    assert joined(found) == {"p": ["1", "2"]}
    assert len(reasons(found)) == 1  # the file: it might be anybody's


def test_a_scan_without_a_date_counts_as_lost(tmp_path: Path) -> None:
    save(tmp_path / "p", plan("p", "20240110"))
    save(tmp_path / "1", scan("1", ""))
    save(tmp_path / "2", scan("2", "20240112"))
    found = discover(tmp_path)
    assert joined(found) == {"p": ["2"]}
    assert "no date" in reasons(found)["series ...1.2.1"]


def test_a_dicomdir_names_the_files(tmp_path: Path) -> None:
    medium = FileSet()
    for part in (plan("p", "20240110"), scan("1", "20240111")):
        for image in part:
            image.PatientName, image.StudyDate, image.StudyTime, image.StudyID = "Secret^Name", "20240101", "1", "1"
            image.SeriesNumber, image.InstanceNumber = 1, 1
            image.StudyInstanceUID, image.SeriesInstanceUID = "1.4", image.get("SeriesInstanceUID", "1.5")
            image.StructureSetTime, image.PatientBirthDate = "1", ""
            medium.add(image)
    medium.write(tmp_path / "medium")
    save(tmp_path / "medium" / "extra", scan("2", "20240112"))  # lies there, but is not in the index
    assert joined(discover(tmp_path / "medium" / "DICOMDIR")) == {"p": ["1"]}
    assert joined(discover(tmp_path / "medium")) == {"p": ["1", "2"]}
    (tmp_path / "other").write_text("text")
    with pytest.raises(UsageError, match="not a readable DICOMDIR"):
        discover(tmp_path / "other")


def test_rows_of_a_table(tmp_path: Path) -> None:
    save(tmp_path / "p", plan("p", "20240110"))
    save(tmp_path / "q", plan("q", "20240110", "SECRET-2"))
    for name, patient in (("1", "SECRET-1"), ("2", "SECRET-1"), ("3", "SECRET-2")):
        save(tmp_path / "days" / name, scan(name, f"2024011{name}", patient))
    lines = ["planning,daily,structures", "p,days/2,", "q,days/3,1.9.91", "p,days/1,", "p,days/2,", "days/1,days/2,",
             "p,nowhere,", "q,days/3,1.9.90", "p,days,"]  # fmt: skip
    table = tmp_path / "cohort.csv"
    table.write_text("\n".join(lines))
    found = discover(table)
    assert joined(found) == {"p": ["2", "1"], "q": ["3"]}
    assert reasons(found) == {
        "row 4": "its daily scan is in an earlier row",
        "row 5": "no CT with a structure set in the planning folder",
        "row 6": "no such folder",
        "row 7": "no CT with a structure set of that name in the planning folder",
        "row 8": "3 CT series with a patient ID in the daily folder",
    }


@pytest.mark.parametrize("text", ["", "planning\np\n", "planning,daily,name\np,d,Doe\n", "planning,daily\np,\n"])
def test_tables_that_are_not_understood(tmp_path: Path, text: str) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=r"cohort\.csv"):
        discover(table)
