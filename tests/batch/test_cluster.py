"""Several worker processes, one of them killed in mid-run: the same files as one process makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.batch_same import differences
from recontour.batch import cluster
from recontour.batch.outcome import Outcome
from recontour.batch.plan import BatchRequest, plan_batch
from recontour.batch.run import run_batch
from recontour.batch.task import Task, Wanted
from recontour.errors import OutputRefused, UsageError
from recontour.settings import Settings
from tests.batch.made import QUICK, task

pytest.importorskip("distributed")


def test_a_worker_is_killed_and_nothing_is_lost(  # type: ignore[no-untyped-def]
    cohort: Path, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both workers have fractions in hand when one of them dies. They are asked by the address of their scheduler, as
    --scheduler does."""
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(cohort.parent / "key"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    killed: list[int] = []

    def outcomes(tasks: Sequence[Task]) -> Iterator[Outcome]:
        with cluster.local(2, "cpu") as own, cluster.connected(own.scheduler.address) as client:
            for outcome in cluster.outcomes(tasks, client):
                if not killed:
                    at_work = [worker for worker, keys in client.processing().items() if keys]
                    pids = client.run(os.getpid, workers=at_work[:1])
                    killed.extend(pids.values())
                    os.kill(killed[0], signal.SIGKILL)
                yield outcome

    plan = plan_batch(BatchRequest(cohort, tmp_path / "out", QUICK))
    table = run_batch(plan, outcomes)
    assert killed
    assert [row.state for row in table].count("done") == 3
    assert differences(undisturbed[0], tmp_path / "out") == []


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of a worker without a GPU, in this process."""
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        yield client


def _told(task: Task) -> Outcome:
    return Outcome(task.patient, task.name, found=task.out)


def test_two_batches_on_one_scheduler(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same fractions, to two folders: neither is given what is the other's."""
    monkeypatch.setattr(cluster, "do", _told)
    first = cluster.outcomes([task(Path("/one"))], client)
    assert next(first).found == "/one"
    assert [outcome.found for outcome in cluster.outcomes([task(Path("/two"))], client)] == ["/two"]
    assert list(first) == []


def test_a_scheduler_that_is_lost_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed.comm.core import CommClosedError

    def closed() -> None:
        raise CommClosedError

    monkeypatch.setattr(client, "nthreads", closed)
    with pytest.raises(OutputRefused, match="the scheduler was lost"):
        list(cluster.outcomes([task(Path("/one"))], client))


def test_what_a_batch_waits_for_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = task(Path("/one"), wanted=Wanted(Settings(device="cuda")))
    assert cluster.missing([task(Path("/one"))], client) == ""
    assert "none of 1 workers says that it has a GPU" in cluster.missing([on_gpu], client)
    monkeypatch.setattr(client, "scheduler_info", lambda **_: {"workers": {}})
    assert "no workers yet" in cluster.missing([on_gpu], client)
    with_gpu = {"workers": {"a": {"resources": {}}, "b": {"resources": {"GPU": 1}}}}
    monkeypatch.setattr(client, "scheduler_info", lambda **_: with_gpu)
    assert cluster.missing([on_gpu], client) == ""


def test_no_scheduler_there() -> None:
    with pytest.raises(UsageError, match="no scheduler answers"), cluster.connected("tcp://127.0.0.1:9"):
        pass


def test_more_workers_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recontour.network.device.gpu_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    environments = cluster._environments(2, "auto")  # pyright: ignore[reportPrivateUsage]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["4", "7"]
    for workers, device in ((3, "cuda"), (2, "cuda:1")):
        with pytest.raises(UsageError, match="GPU"):
            cluster._environments(workers, device)  # pyright: ignore[reportPrivateUsage]
    assert "CUDA_VISIBLE_DEVICES" not in cluster._environments(3, "cpu")[0]  # pyright: ignore[reportPrivateUsage]
