"""Which scans there are, whose they are and in what order, whatever folders they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from recontour.dicom.cohort import Cohort, CohortPatient, CohortScan, course_of, find_cohort, short
from recontour.errors import ScanRefused, UsageError
from tests.dicom.made_ct import ct_image, rtstruct, save, simple_scan

SQUARE = [("CLOSED_PLANAR", [[-4, 8, 13], [-2, 8, 13], [-2, 12, 13], [-4, 12, 13]])]


def scan(name: str, day: str = "20240101", patient: str = "SECRET-1", z0: float = 10.0, **tags: Any) -> list[Dataset]:
    """Five slices of series 1.2.<name>, frame of reference 1.3.<name>."""
    about = dict(SeriesInstanceUID=f"1.2.{name}", FrameOfReferenceUID=f"1.3.{name}", PatientID=patient)
    return simple_scan(z0=z0, **{"AcquisitionDate": day, **about, **tags})


def drawn_on(name: str, patient: str = "SECRET-1", uid: str = "", **tags: Any) -> Dataset:
    roi = {"number": 1, "name": "Bladder", "contours": SQUARE}
    empty = {"number": 2, "name": "Rectum"}
    series = tags.pop("series", f"1.2.{name}")
    frame = tags.pop("frame", f"1.3.{name}")
    return rtstruct([roi, empty], series, frame, uid or f"1.9.{name}", PatientID=patient, **tags)


def write(folder: Path, *groups: list[Dataset] | Dataset) -> Path:
    """Everything into one folder, under names that say nothing."""
    files = [file for group in groups for file in (group if isinstance(group, list) else [group])]
    order = np.random.default_rng(4).permutation(len(files))
    return save(folder, [files[i] for i in order], [f"{k:04d}.dcm" for k in range(len(files))])


def reasons(cohort: Cohort) -> dict[str, str]:
    return {item.what: item.reason for item in cohort.left_out}


def test_two_patients_in_one_heap_of_files(tmp_path):
    first, second = scan("1", "20240108", z0=10.0), scan("2", "20240101", z0=100.0)
    other = scan("3", "20240102", "SECRET-2", z0=200.0)
    write(tmp_path, first, other, second, drawn_on("2"), drawn_on("3", "SECRET-2"))
    cohort = find_cohort(tmp_path)
    assert [[s.series_uid for s in p.scans] for p in cohort.patients] == [["1.2.2", "1.2.1"], ["1.2.3"]]
    assert [p.identifier for p in cohort.patients] == ["SECRET-1", "SECRET-2"]
    by_uid = {s.series_uid: s for p in cohort.patients for s in p.scans}
    assert by_uid["1.2.1"].structures is None
    assert by_uid["1.2.2"].structures and by_uid["1.2.2"].structures.roi_names == ("Bladder",)  # the rectum is empty
    assert not cohort.left_out
    for uid, z0 in (("1.2.1", 10), ("1.2.2", 100), ("1.2.3", 200)):  # every pixel's HU is its z
        np.testing.assert_array_equal(by_uid[uid].read().volume.array[:, 0, 0], z0 + 3.0 * np.arange(5))


def test_one_series_spread_over_folders_among_others(tmp_path):
    images = scan("1")
    save(tmp_path / "a" / "x", images[:2], ["1.dcm", "2.dcm"])
    save(tmp_path / "a" / "y", images[2:], ["1.dcm", "2.dcm", "3.dcm"])
    save(tmp_path / "a" / "z", scan("2"))
    (tmp_path / "a" / "y" / "cut.dcm").write_bytes(b"")
    found = find_cohort(tmp_path)
    one = next(s for p in found.patients for s in p.scans if s.series_uid == "1.2.1")
    assert one.folder == (tmp_path / "a").resolve() and one.places == ("a",)
    assert one.read().volume.grid.size[0] == 5  # neither the other series nor the damaged file disturbs it
    (damaged,) = found.left_out
    assert damaged.what == "file 6" and "damaged" in damaged.reason


def test_nothing_of_an_ignored_folder(tmp_path):
    save(tmp_path / "in", scan("1"))
    save(tmp_path / "out", scan("2"))
    (patient,) = find_cohort(tmp_path, [tmp_path / "out"]).patients
    assert [s.series_uid for s in patient.scans] == ["1.2.1"]
    with pytest.raises(UsageError):
        find_cohort(tmp_path / "nowhere")


# A structure set, and what becomes of it; None where it is joined to series 1.2.1 of SECRET-1. There also are
# series 1.2.2 of the same patient and 1.2.3 of SECRET-2.
JOINS = {
    "series and frame": (dict(), None),
    "frame alone": (dict(series=""), None),
    "series alone": (dict(frame=""), None),
    "neither": (dict(series="", frame=""), "neither a series nor a frame"),
    "unknown series": (dict(series="1.2.99"), "its CT is not here"),
    "unknown frame": (dict(series="", frame="1.3.99"), "no CT of the patient has its frame"),
    "frame of another scan": (dict(frame="1.3.2"), "another frame of reference"),
    "series of another patient": (dict(series="1.2.3", frame="1.3.3"), "another patient ID"),
}


@pytest.mark.parametrize("case", JOINS)
def test_a_structure_set_finds_its_scan(tmp_path, case):
    tags, reason = JOINS[case]
    write(tmp_path, scan("1"), scan("2", "20240105"), scan("3", patient="SECRET-2"), drawn_on("1", **tags))
    cohort = find_cohort(tmp_path)
    joined = {s.series_uid for p in cohort.patients for s in p.scans if s.structures}
    assert joined == (set() if reason else {"1.2.1"})
    if reason:
        assert reason in reasons(cohort)["structure set ...1.9.1"]


def test_a_frame_shared_by_two_scans_does_not_tell(tmp_path):
    write(tmp_path, scan("1"), scan("2", FrameOfReferenceUID="1.3.1"), drawn_on("1", series=""))
    cohort = find_cohort(tmp_path)
    assert reasons(cohort) == {"structure set ...1.9.1": "it could have been drawn on any of 2 CT series"}


def test_the_newest_of_several_structure_sets(tmp_path):
    days = {"7": "20240103", "8": "20240105", "9": "20240104"}
    sets = [drawn_on("1", uid=f"1.9.{n}", StructureSetDate=day) for n, day in days.items()]
    save(tmp_path / "copy", [sets[1]])  # the same object again, which is no second one
    write(tmp_path, scan("1"), *sets)
    cohort = find_cohort(tmp_path)
    (patient,) = cohort.patients
    assert patient.scans[0].structures and patient.scans[0].structures.sop_instance_uid == "1.9.8"
    assert set(reasons(cohort)) == {"structure set ...1.9.7", "structure set ...1.9.9"}
    assert all("newer" in reason for reason in reasons(cohort).values())


def test_structure_sets_of_one_moment_are_not_chosen_from(tmp_path):
    sets = [drawn_on("1", uid=f"1.9.{n}", StructureSetTime="120000") for n in (7, 8)]
    write(tmp_path, scan("1"), *sets)
    cohort = find_cohort(tmp_path)
    assert cohort.patients[0].scans[0].structures is None
    assert len(cohort.left_out) == 2 and all("dates do not tell" in item.reason for item in cohort.left_out)


def test_what_is_no_scan_is_told(tmp_path):
    scout = scan("5", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    mixed = [*scan("1"), ct_image(np.zeros((6, 4)), (0, 0, 0), ImageType=["A", "B", "LOCALIZER"],
             SeriesInstanceUID="1.2.1", FrameOfReferenceUID="1.3.1", PatientID="SECRET-1")]  # fmt: skip
    write(tmp_path, scout, mixed, scan("6", PatientID=""), scan("7", Modality="MR"))
    cohort = find_cohort(tmp_path)
    assert [s.series_uid for p in cohort.patients for s in p.scans] == ["1.2.1"]
    assert reasons(cohort) == {"series ...1.2.5": "5 localiser image(s), no scan",
                               "series ...1.2.6": "its images name no patient ID"}  # fmt: skip
    assert cohort.other_files == 5
    assert cohort.patients[0].scans[0].read().volume.grid.size[0] == 5


# Tags of a scan, and when it was made: the first kind of date that is there.
MOMENTS = {
    "acquisition": (dict(AcquisitionDate="20240103", SeriesDate="20240202", StudyDate="20240301"), "20240103"),
    "series": (dict(AcquisitionDate=None, SeriesDate="20240202", StudyDate="20240301"), "20240202"),
    "study": (dict(AcquisitionDate="", StudyDate="20240301", StudyTime="0930"), "202403010930"),
    "with the zone": (dict(AcquisitionDateTime="20240103101500.25-0500"), "2024010310150025"),
    "old spelling": (dict(AcquisitionDate="2024.01.03", AcquisitionTime="10:15:00"), "20240103101500"),
    "none": (dict(AcquisitionDate=None), ""),
}


@pytest.mark.parametrize("case", MOMENTS)
def test_when_a_scan_was_made(tmp_path, case):
    tags, moment = MOMENTS[case]
    write(tmp_path, scan("1", **tags))
    assert find_cohort(tmp_path).patients[0].scans[0].scanned == (moment.ljust(20, "0") if moment else "")


def test_a_scan_is_as_old_as_its_first_image(tmp_path):
    images = scan("1")
    for image, time in zip(images, ("101504", "101503", "101501.5", "101502", "101505"), strict=True):
        image.AcquisitionTime = time
    write(tmp_path, images)
    assert find_cohort(tmp_path).patients[0].scans[0].scanned == "20240101101501500000"


def patient(*scans: tuple[str, bool, str], place: str = "") -> CohortPatient:
    """A patient of scans of (moment, contoured, description), with the UIDs 0, 1, 2, ..."""
    from recontour.dicom.cohort import StructuresFile

    file = StructuresFile(Path("x"), "1", "", ("Bladder",))
    return CohortPatient("SECRET", tuple(
        CohortScan(str(k), "1", moment, name, Path("/"), (), (place,), file if contoured else None)
        for k, (moment, contoured, name) in enumerate(scans)
    ))  # fmt: skip


# scans, --planning-name -> planning, daily scans, those before
COURSES = {
    "earliest": ([("2", True, ""), ("1", True, ""), ("3", False, "")], "", ("1", ["0", "2"], [])),
    "earliest with contours": ([("1", False, ""), ("2", True, ""), ("3", True, "")], "", ("1", ["2"], ["0"])),
    "by name": ([("1", True, "CBCT"), ("2", True, "Plan CT"), ("", True, "cb")], "plan*", ("1", ["0", "2"], [])),
    "the earlier of two of that name": ([("2", True, "plan"), ("1", True, "plan"), ("3", True, "x")], "PLAN",
                                        ("1", ["2"], ["0"])),
    "only one has contours": ([("", True, ""), ("2", False, "")], "", ("0", ["1"], [])),
}  # fmt: skip


@pytest.mark.parametrize("case", COURSES)
def test_which_scan_is_the_planning_scan(case):
    scans, name, (planning, daily, before) = COURSES[case]
    course = course_of(patient(*scans), name)
    assert course.planning.series_uid == planning
    assert [s.series_uid for s in course.daily] == daily and [s.series_uid for s in course.before] == before


def test_a_planning_scan_stays_when_an_earlier_one_turns_up():
    course = course_of(patient(("1", True, ""), ("2", True, ""), ("3", True, "")), planning_uid="1")
    assert (course.planning.series_uid, [s.series_uid for s in course.daily]) == ("1", ["2"])


def test_folder_names_count_for_the_planning_name():
    there = patient(("2", True, ""), place="Planning")
    assert course_of(there, "planning").planning.series_uid == "0"


@pytest.mark.parametrize(
    ("scans", "name", "found"),
    [
        ([("1", False, "")], "", "no CT with a structure set"),
        ([("1", True, "a")], "b", "no CT with a structure set is called b"),
        ([("1", True, ""), ("1", True, "")], "", "one date and time"),
        ([("", True, ""), ("1", True, "")], "", "without any date"),
    ],
)
def test_where_dates_do_not_tell_nobody_guesses(scans, name, found):
    with pytest.raises(ScanRefused, match=found):
        course_of(patient(*scans), name)


def test_no_identity_in_what_is_shown(tmp_path):
    write(tmp_path / "SECRET-1", scan("1", PatientName="Secret^Name"), drawn_on("1"), drawn_on("77"))
    cohort = find_cohort(tmp_path)
    assert cohort.left_out
    for shown in (repr(cohort), str([(i.what, i.reason) for i in cohort.left_out])):
        assert "secret" not in shown.lower()


def test_the_end_of_a_uid():
    assert short("1.2.826.0.1.12345678") == "...12345678"
