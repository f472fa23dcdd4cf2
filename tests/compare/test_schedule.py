"""Jobs that are drawn, on devices that only remember."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from recontour.compare.plan import Job
from recontour.compare.schedule import Event, environment, reason_in, share_out
from recontour.errors import UsageError

A, B, C = Job("a", "seg"), Job("b", "reg"), Job("c", "hybrid", needs="a")


def done(job: Job, device: str) -> Event:
    return Event("done", job.key, device)


def test_every_job_is_done_once_in_order() -> None:
    order: list[str] = []

    def run(job: Job, device: str) -> Event:
        order.append(job.key)
        return done(job, device)

    finished = share_out([A, B, C], ["cpu"], run, {})
    assert order == ["a", "b", "c"]
    assert {key: event.kind for key, event in finished.items()} == {"a": "done", "b": "done", "c": "done"}


def test_as_many_side_by_side_as_there_are_devices() -> None:
    """Each waits at the barrier until two are there: with one at a time, it would break."""
    both = threading.Barrier(2, timeout=10)
    devices: set[str] = set()

    def run(job: Job, device: str) -> Event:
        both.wait()
        devices.add(device)
        return done(job, device)

    share_out([A, B], ["cuda:0", "cuda:1"], run, {})
    assert devices == {"cuda:0", "cuda:1"}


def test_a_job_waits_for_what_it_needs_and_others_pass_it() -> None:
    b_began, order = threading.Event(), list[str]()

    def run(job: Job, device: str) -> Event:
        if job is A:
            assert b_began.wait(10)  # b, which stands behind c, is begun while a is at work
        elif job is B:
            b_began.set()
        order.append(job.key)
        return done(job, device)

    share_out([A, C, B], ["cpu", "cpu"], run, {})
    assert order.index("c") > order.index("a")
    assert set(order) == {"a", "b", "c"}


def test_a_failure_stops_no_other_but_what_needs_it() -> None:
    def run(job: Job, device: str) -> Event:
        return Event("failed", job.key, device, reason="no room") if job is A else done(job, device)

    finished = share_out([A, B, C], ["cpu"], run, {})
    assert {key: event.kind for key, event in finished.items()} == {"a": "failed", "b": "done", "c": "failed"}
    assert "needs a" in finished["c"].reason


def test_what_is_done_already_counts_as_there() -> None:
    finished = share_out([C], ["cpu"], done, {"a": Event("done", "a", "")})
    assert finished["c"].kind == "done"


@pytest.mark.parametrize(
    ("device", "visible", "seen"),
    [
        ("cpu", None, ""),
        ("cpu", "4,5", ""),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,5", "5"),
        ("cuda:0", "GPU-7c", "GPU-7c"),
    ],
)
def test_a_process_sees_its_device_alone(device: str, visible: str | None, seen: str) -> None:
    base = {"PATH": "/bin"} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert environment(device, [device], base) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": seen}


@pytest.mark.parametrize("visible", ["", "4,5"])
def test_a_device_that_is_hidden_is_refused(visible: str) -> None:
    with pytest.raises(UsageError, match="cuda:2"):
        environment("cuda:2", ["cuda:2"], {"CUDA_VISIBLE_DEVICES": visible})


def test_two_on_one_processor_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 9)
    assert environment("cpu", ["cpu", "cpu", "cuda:0"], {})["OMP_NUM_THREADS"] == "4"
    assert environment("cpu", ["cpu", "cpu"], {"OMP_NUM_THREADS": "1"})["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environment("cpu", ["cpu"], {})


def test_the_reason_is_the_first_error_that_was_told(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("a warning\nrecontour: no room\n  where:   run\nrecontour: the training ended with 3\n")
    assert reason_in(log, 3) == "no room; where:   run"
    log.write_text("Segmentation fault\n")
    assert reason_in(log, -11) == "ended by signal 11"
    assert reason_in(tmp_path / "none", 3) == "ended with 3"
