"""Which scan is a plan, which is a day, and whose. What is not certain waits or fails, and says why."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recontour.errors import UsageError
from recontour.queue.jobs import Job, Jobs, Result
from recontour.queue.matching import appoint, match
from recontour.queue.status import status
from tests.queue.made_queue import (
    OTHER,
    ROOT,
    WHO,
    arrive,
    drawn_on,
    keep,
    made_by_recontour,
    no_identity_in,
    pair,
    scan,
)


def only(jobs: Jobs) -> Job:
    (job,) = jobs.list()
    assert no_identity_in(str(job).replace(str(jobs.spool.folder), ""))
    return job


def run(jobs: Jobs, job_id: int, results: Sequence[Result] = ()) -> None:
    job = jobs.claim(job_id)
    assert job is not None
    jobs.finish(job, "pass", results)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_in_whatever_order_plan_and_day_arrive_they_find_each_other(jobs: Jobs, order: tuple[int, ...]) -> None:
    parts = pair()
    became = [arrive(jobs, parts[k], at=100.0 + 100 * n) for n, k in enumerate(order)]
    job = only(jobs)
    assert became[-1] == [job.id] and not any(became[:-1])
    assert (job.state, job.planning_series_uid, job.daily_series_uid, job.structures_uid) == (
        "ready", f"{ROOT}.10.1", f"{ROOT}.11.1", f"{ROOT}.15.4.1",
    )  # fmt: skip
    assert match(jobs, 1e6) == []  # once


def test_every_series_mixed_slice_by_slice(jobs: Jobs) -> None:
    planning, structures, daily = pair(1)
    other_planning, other_structures, other_daily = pair(2, who=OTHER)
    slices = [one for four in zip(planning, daily, other_daily, other_planning, strict=True) for one in four]
    arrive(jobs, slices, other_structures, structures)
    found = {(j.daily_series_uid, j.planning_series_uid, j.state) for j in jobs.list()}
    assert found == {(f"{ROOT}.{n}1.1", f"{ROOT}.{n}0.1", "ready") for n in (1, 2)}


def test_the_plan_that_was_made_last_before_the_day(jobs: Jobs) -> None:
    plans = [scan(k, day) for k, day in ((1, "20260101"), (2, "20260201"), (3, "20260301"))]
    arrive(jobs, *plans, *(drawn_on(p, 5 + k) for k, p in enumerate(plans)))
    days = {"20260102": 1, "20260215": 2, "20260301": 3, "20261231": 3}
    for k, day in enumerate(days):
        arrive(jobs, scan(20 + k, day))
    assert [j.planning_series_uid for j in jobs.list()] == [f"{ROOT}.{k}.1" for k in days.values()]


def test_a_nearer_plan_that_comes_before_the_run_is_taken(jobs: Jobs) -> None:
    arrive(jobs, *pair(1, day="20260401"))
    nearer = scan(7, "20260301")
    arrive(jobs, nearer, drawn_on(nearer, 8), at=500)
    assert [(j.state, j.planning_series_uid) for j in jobs.list()] == [("ready", f"{ROOT}.7.1")]


def waits(planning: list[Any], daily: list[Any]) -> dict[str, tuple[list[Any], str]]:
    """What has arrived, and what the job says it waits for."""
    structures = drawn_on(planning, 5)
    undated = scan(11, StudyDate="", AcquisitionDate="")
    twin = drawn_on(planning, 6)
    return {
        "no plan": ([daily], "no plan of the patient is here"),
        "no planning CT": ([daily, structures], "its planning CT is not"),
        "slices of it missing": ([daily, structures, planning[:5]], "1 images that its plan refers to are not here"),
        "still arriving": ([daily, structures, planning[:1], planning[2:]], "still arriving"),
        "made afterwards": ([scan(11, "20251231"), structures, planning], "was made after it"),
        "no date": ([undated, structures, planning], "without a date"),
        "two sets of one time": ([daily, structures, twin, planning], "two structure sets"),
        "another man's plan": ([scan(11, **OTHER), structures, planning], "no plan of the patient"),
    }


@pytest.mark.parametrize("case", list(waits(scan(10, "20260101", 6), scan(11))))
def test_what_is_not_certain_waits_and_says_for_what(jobs: Jobs, case: str) -> None:
    arrived, reason = waits(scan(10, "20260101", 6), scan(11))[case]
    assert arrive(jobs, *arrived) == []
    job = only(jobs)
    assert job.state == "waiting" and reason in job.message
    assert status(jobs.spool).waiting[0][3] == job.message


@pytest.mark.parametrize("name", ["PatientName", "PatientBirthDate"])
@pytest.mark.parametrize("first", ["plan", "day"])
def test_two_patients_under_one_id_are_refused_loudly(jobs: Jobs, name: str, first: str) -> None:
    planning, structures, _ = pair()
    other = scan(11, **{name: OTHER[name]})
    arrived = [[planning, structures], [other]]
    for k, group in enumerate(arrived if first == "plan" else arrived[::-1]):
        assert arrive(jobs, *group, at=100 + 100.0 * k) == []
    job = only(jobs)
    assert job.state == "failed" and "may not be of one patient" in job.message
    assert any("may not be of one patient" in n[3] for n in status(jobs.spool).notices)
    assert no_identity_in(str(status(jobs.spool)))


@pytest.mark.parametrize("name", ["DOE^JONATHAN", "Doe^Jonathan^^^", "Döe^Jonathan^A", ""])
def test_one_name_written_another_way_is_one_patient(jobs: Jobs, name: str) -> None:
    planning, structures, _ = pair()
    assert arrive(jobs, planning, structures, scan(11, PatientName=name, SpecificCharacterSet="ISO_IR 192")) == [1]


def test_without_an_id_name_and_birth_date_decide(jobs: Jobs) -> None:
    planning, structures, daily = pair(1, who=WHO | {"PatientID": ""})
    other = scan(21, **(OTHER | {"PatientID": ""}))
    assert arrive(jobs, planning, structures, daily, other) == [1]
    assert [j.state for j in jobs.list()] == ["ready", "waiting"]


def test_a_structure_set_of_another_man_makes_no_plan_of_a_scan(jobs: Jobs) -> None:
    planning, _, daily = pair()
    arrive(jobs, planning, drawn_on(planning, 5, PatientBirthDate="19990101"), daily)
    assert {j.state for j in jobs.list()} == {"waiting"}
    assert all("not used" in j.message and "birth dates" in j.message for j in jobs.list())
    assert any("a structure set and its CT" in n[3] for n in status(jobs.spool).notices)


def test_images_of_two_patients_in_one_series_are_refused(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    daily[2].PatientID = OTHER["PatientID"]
    arrive(jobs, planning, structures, daily)
    assert only(jobs).state == "failed" and "two patients" in only(jobs).message


def test_an_image_in_two_versions_stops_its_scan_until_a_person_has_looked(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    daily[1].PixelData = b"\1" * 48
    arrive(jobs, daily[1], at=500)
    assert only(jobs).state == "failed" and "two versions" in only(jobs).message
    assert jobs.next(1e6) is None
    jobs.requeue(1)
    assert match(jobs, 1000) == [1]


@pytest.mark.parametrize("part", ["planning image", "structure set"])
def test_a_plan_in_two_versions_stops_its_scans_until_a_person_has_looked(jobs: Jobs, part: str) -> None:
    """And no older plan is taken in its place."""
    planning, structures, daily = pair()
    older = scan(7, "20250101")
    arrive(jobs, older, drawn_on(older, 8), planning, structures, daily)
    if part == "planning image":
        planning[1].PixelData = b"\1" * 48
    else:
        structures.StructureSetROISequence[0].ROIName = "Bladder"
    arrive(jobs, planning[1], structures, at=500)
    assert only(jobs).state == "failed" and "two versions" in only(jobs).message
    jobs.requeue(1)
    assert match(jobs, 1000) == [1]
    assert only(jobs).structures_uid == f"{ROOT}.15.4.1"


@pytest.mark.parametrize("daily_too", [False, True])
def test_a_disputed_structure_set_that_comes_before_its_scan_makes_it_no_day(jobs: Jobs, daily_too: bool) -> None:
    planning, structures, daily = pair()
    older = scan(7, "20250101")
    arrive(jobs, older, drawn_on(older, 8), structures)
    structures.StructureSetROISequence[0].ROIName = "Bladder"
    arrive(jobs, structures, at=500)
    arrive(jobs, planning, *([daily] if daily_too else []), at=900)
    assert [(j.daily_series_uid, j.state) for j in jobs.list()] == [(f"{ROOT}.11.1", "failed")][:daily_too]
    assert not daily_too or "two versions" in only(jobs).message


def test_a_structure_set_that_is_disputed_just_before_the_run_is_not_used(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    structures.StructureSetROISequence[0].ROIName = "Bladder"
    keep(jobs.spool, structures)
    assert jobs.claim(1) is None


@pytest.mark.parametrize("kind", ["ours", "changed in a planning system", "known by its UID", "made from ours"])
def test_our_own_contours_that_come_back_start_nothing(jobs: Jobs, kind: str, tmp_path: Path) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    back = drawn_on(daily, 40, "20260106")
    result = jobs.spool.folder / "jobs" / "rtstruct.dcm"
    result.write_bytes(b"result")
    run(jobs, 1, [Result(result, str(back.SOPInstanceUID) if kind == "known by its UID" else f"{ROOT}.99", ())])
    if kind in ("ours", "changed in a planning system"):
        made_by_recontour(back).Manufacturer = "recontour" if kind == "ours" else "A planning system"
    elif kind == "made from ours":
        from pydicom.dataset import Dataset

        before = Dataset()
        before.ReferencedSOPInstanceUID = f"{ROOT}.99"
        back.PredecessorStructureSetSequence = [before]
    arrive(jobs, back, at=500)
    later = scan(60, "20260120")
    arrive(jobs, later, at=900)
    first, second = jobs.list()
    assert first.state == "done"
    assert (second.state, second.planning_series_uid) == ("ready", f"{ROOT}.10.1")  # the plan, not the day before
    assert any("recontour made" in n[3] for n in status(jobs.spool).notices)


def test_our_contours_that_come_back_before_the_plan_make_no_plan(jobs: Jobs) -> None:
    daily = scan(11)
    arrive(jobs, daily, made_by_recontour(drawn_on(daily, 40)))
    assert only(jobs).state == "waiting" and only(jobs).daily_series_uid == f"{ROOT}.11.1"


def test_anyone_s_contours_on_a_day_that_was_run_are_kept_and_told(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    run(jobs, 1)
    arrive(jobs, drawn_on(daily, 40, "20260106"), at=500)
    arrive(jobs, scan(60, "20260120"), at=900)
    assert [(j.state, j.planning_series_uid) for j in jobs.list()] == [
        ("done", f"{ROOT}.10.1"),
        ("ready", f"{ROOT}.10.1"),
    ]
    assert any("not taken as a plan" in n[3] for n in status(jobs.spool).notices)


@pytest.mark.parametrize("ours", [False, True])
def test_a_person_can_say_that_it_was_a_new_plan(jobs: Jobs, ours: bool) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    run(jobs, 1)
    drawn = drawn_on(daily, 40, "20260106")
    arrive(jobs, made_by_recontour(drawn) if ours else drawn, scan(60, "20260120"), at=500)
    assert jobs.list()[1].planning_series_uid == f"{ROOT}.10.1"
    appoint(jobs, f"{ROOT}.11.1", 1000)
    for at in (1000, 1001):
        match(jobs, at)
        assert jobs.list()[1].planning_series_uid == f"{ROOT}.11.1"


def test_contours_that_come_for_a_plan_that_was_used_are_told(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    run(jobs, 1)
    arrive(jobs, drawn_on(planning, 7, "20260107"), scan(60, "20260120"), at=500)
    assert [j.structures_uid for j in jobs.list()] == [f"{ROOT}.15.4.1", f"{ROOT}.7.4.1"]
    (told,) = status(jobs.spool).notices
    assert "another structure set" in told[3] and told[2] == "job 1"
    jobs.requeue(1)
    match(jobs, 1000)
    assert jobs.get(1).structures_uid == f"{ROOT}.7.4.1" and not status(jobs.spool).notices


def test_only_a_scan_with_a_structure_set_can_be_appointed(jobs: Jobs) -> None:
    arrive(jobs, scan(1))
    for uid in (f"{ROOT}.1.1", "1.2.3"):
        with pytest.raises(UsageError):
            appoint(jobs, uid, 0)


def test_a_new_plan_whose_contours_come_before_it_is_run_is_a_plan_and_no_day(jobs: Jobs) -> None:
    arrive(jobs, *pair())
    new = scan(30, "20260110")
    assert arrive(jobs, new, at=500) == [2]
    arrive(jobs, drawn_on(new, 31), at=900)
    assert [j.daily_series_uid for j in jobs.list()] == [f"{ROOT}.11.1"]


def test_another_reconstruction_of_the_planning_scan_is_no_day(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    sibling = scan(12, "20260101", FrameOfReferenceUID=f"{ROOT}.10.3", StudyInstanceUID=f"{ROOT}.10.2")
    arrive(jobs, sibling)
    arrive(jobs, planning, structures, daily, at=500)
    assert [j.daily_series_uid for j in jobs.list()] == [f"{ROOT}.11.1"]
    assert any("reconstruction" in n[3] for n in status(jobs.spool).notices)


def test_one_or_two_images_are_no_scan_until_more_come(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    assert arrive(jobs, planning, structures, daily[:2]) == [] and not jobs.list()
    assert any("fewer than 3 images" in n[3] for n in status(jobs.spool).notices)
    assert arrive(jobs, daily[2:], at=500) == [1]
    assert not status(jobs.spool).notices


def test_of_two_plans_of_one_moment_the_frame_of_reference_decides(jobs: Jobs) -> None:
    a, b = scan(1, "20260101"), scan(2, "20260101")
    arrive(jobs, a, b, drawn_on(a, 5), drawn_on(b, 6), scan(11), scan(12, FrameOfReferenceUID=f"{ROOT}.2.3"))
    first, second = sorted(jobs.list(), key=lambda j: j.daily_series_uid)
    assert first.state == "waiting" and "two planning scans of one moment" in first.message
    assert (second.state, second.planning_series_uid) == ("ready", f"{ROOT}.2.1")


def test_the_newer_structure_set_of_a_plan(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, drawn_on(planning, 6, "20260103"), daily)
    assert only(jobs).structures_uid == f"{ROOT}.6.4.1"


def test_a_scan_is_one_job_for_ever(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily)
    run(jobs, 1)
    for at in (500, 900):
        assert arrive(jobs, planning, structures, daily, at=at) == []
    assert only(jobs).state == "done"
