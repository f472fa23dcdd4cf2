"""Several worker processes, one of them killed in mid-run: the same files as one process makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.batch_same import differences
from recontour.batch import cluster
from recontour.batch.outcome import Outcome
from recontour.batch.plan import BatchRequest, plan_batch
from recontour.batch.run import run_batch
from recontour.batch.task import Task
from recontour.errors import UsageError
from tests.batch.made import QUICK

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
