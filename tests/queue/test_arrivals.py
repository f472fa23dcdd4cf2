"""When a series is taken as whole, and what late files do."""

from __future__ import annotations

import pytest

from recontour.queue.arrivals import settle
from recontour.queue.jobs import Jobs
from recontour.queue.matching import match
from recontour.queue.status import status
from tests.queue.made_queue import arrive, drawn_on, keep, no_identity_in, pair, scan

QUIET_S = 30.0


def test_a_series_is_whole_when_nothing_came_for_long_enough(jobs: Jobs) -> None:
    images = scan(1, count=5)
    keep(jobs.spool, images[:3], at=100)
    assert settle(jobs.spool, 129, QUIET_S) == []
    keep(jobs.spool, images[3:], at=129)
    assert settle(jobs.spool, 158, QUIET_S) == []
    assert settle(jobs.spool, 159, QUIET_S) == [images[0].SeriesInstanceUID]
    assert settle(jobs.spool, 200, QUIET_S) == []  # once


def test_an_image_that_is_sent_again_shows_that_the_sender_is_still_at_it(jobs: Jobs) -> None:
    images = scan(1)
    keep(jobs.spool, images, at=100)
    keep(jobs.spool, images[0], at=120)
    assert settle(jobs.spool, 140, QUIET_S) == []
    assert len(settle(jobs.spool, 150, QUIET_S)) == 1


def test_nothing_is_quiet_while_nobody_listened(jobs: Jobs) -> None:
    keep(jobs.spool, scan(1), at=100)
    jobs.recover(1000)  # the service begins again
    assert settle(jobs.spool, 1029, QUIET_S) == []
    assert len(settle(jobs.spool, 1030, QUIET_S)) == 1


@pytest.mark.parametrize(
    ("heights", "whole"),
    [
        ((0, 3, 6, 9, 12), True),
        ((12, 0, 9, 3, 6), True),  # in any order
        ((0, 3, 9, 12, 15), False),  # 6 is missing
        ((0, 3, 6, 10, 13), True),  # a little irregular, as the reader allows
        ((0, 3, 6, 11, 14), False),  # 5 mm is more than 1.5 x 3 mm
        ((0, 3, 3, 6, 9), True),  # one place twice: the reader's to judge
    ],
)
def test_a_gap_proves_that_slices_are_missing(jobs: Jobs, heights: tuple[float, ...], whole: bool) -> None:
    keep(jobs.spool, scan(1, zs=heights))
    assert bool(settle(jobs.spool, 1e6, QUIET_S)) == whole
    shown = status(jobs.spool).arriving
    assert bool(shown) != whole
    if shown:
        assert "slices are missing" in shown[0][3] and no_identity_in(str(shown))


def test_the_missing_slice_closes_the_gap(jobs: Jobs) -> None:
    images = scan(1, count=5)
    keep(jobs.spool, images[:2], images[3:])
    assert settle(jobs.spool, 1000, QUIET_S) == []
    keep(jobs.spool, images[2], at=1000)
    assert len(settle(jobs.spool, 1030, QUIET_S)) == 1
    assert not status(jobs.spool).arriving


def test_a_structure_set_is_whole_at_once_and_others_are_told(jobs: Jobs) -> None:
    images = scan(1)
    dose = scan(3, Modality="RTDOSE", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")[:1]
    keep(jobs.spool, drawn_on(images, 2), dose, at=100)
    assert settle(jobs.spool, 100, QUIET_S) == ["1.2.826.0.1.3680043.8.498.2.1"]
    assert len(settle(jobs.spool, 200, QUIET_S)) == 1
    (told,) = status(jobs.spool).notices
    assert "neither CT nor structure set" in told[3]


def test_our_own_registration_coming_back_is_no_news(jobs: Jobs) -> None:
    keep(jobs.spool, scan(3, Modality="REG", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.1", Manufacturer="recontour")[:1])
    assert len(settle(jobs.spool, 1e6, QUIET_S)) == 1
    assert not status(jobs.spool).notices


def test_late_images_reopen_a_scan_that_has_not_run(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    assert arrive(jobs, planning, structures, daily[:3]) == [1]
    keep(jobs.spool, daily[3], at=500)
    assert [job.state for job in jobs.list()] == ["waiting"]
    assert jobs.next(1e6) is None
    assert arrive(jobs, at=500) == [1]


def test_a_late_image_between_looking_and_claiming(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily[:3])
    job = jobs.next(1e6)
    keep(jobs.spool, planning[0], daily[3], at=500)
    assert job is not None and jobs.claim(job.id) is None


@pytest.mark.parametrize("done", [False, True])
def test_images_that_come_after_a_run_has_begun_are_told_and_do_not_run_by_themselves(jobs: Jobs, done: bool) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily[:3])
    job = jobs.claim(1)
    assert job is not None
    if done:
        jobs.finish(job, "pass", [])
    assert arrive(jobs, daily[3], at=500) == []
    assert [j.state for j in jobs.list()] == ["done" if done else "running"]
    (told,) = [n for n in status(jobs.spool).notices if n[2] == "job 1"]
    assert "requeue" in told[3]
    if done:
        jobs.requeue(1)
        assert match(jobs, 1000) == [1]
        assert not [n for n in status(jobs.spool).notices if n[2] == "job 1"]


def test_images_that_come_after_a_failure_are_another_chance(jobs: Jobs) -> None:
    planning, structures, daily = pair()
    arrive(jobs, planning, structures, daily[:3])
    job = jobs.claim(1)
    assert job is not None
    jobs.fail(job, "a series of too few slices")
    assert arrive(jobs, daily[3], at=500) == [1]
