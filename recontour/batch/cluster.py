"""The same on Dask distributed: on worker processes of this machine, or on those of a scheduler that is there.

A worker that is killed loses the fractions it had in hand, which another one does anew; what it had put in place is
found there. Each worker process has its own Workbench (work.py): with two threads it reads the next fraction while it
computes one, and computes one at a time. A worker with a GPU says so (--resources GPU=1); fractions on a GPU go to
such workers alone, at most IN_HAND to each GPU, of which one computes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from logging import ERROR
from typing import Any, cast
from uuid import uuid4

from recontour.batch.outcome import Outcome
from recontour.batch.task import Task
from recontour.batch.work import do
from recontour.errors import OutputRefused, UsageError

IN_HAND = 2  # fractions at once in each worker process; it bounds the memory
GPU = "GPU"
_ANSWER_S = 10  # that a scheduler may take to answer
_QUEUED = 2  # tasks for each thread of the cluster, those at work included: enough that none waits


@contextmanager
def local(workers: int, device: str) -> Generator[Any]:
    """A client of that many new processes of this machine, gone afterwards. device: as in Settings; where it means
    GPUs, each process has one of its own.

    Raises UsageError where there are fewer GPUs than workers.
    """
    from distributed import Client, Nanny, Scheduler, SpecCluster

    options = {"nthreads": IN_HAND, "memory_limit": 0, "resources": {GPU: 1}, "silence_logs": ERROR}
    environments = _environments(workers, device)
    cluster = SpecCluster(
        workers={k: {"cls": Nanny, "options": {**options, "env": e}} for k, e in enumerate(environments)},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": None}},
        silence_logs=cast(Any, ERROR),
        shutdown_on_close=True,
    )
    with cluster, Client(cluster) as client:
        client.wait_for_workers(workers, timeout=120)
        yield client


def _environments(workers: int, device: str) -> list[dict[str, str]]:
    """Of each worker process: a share of the cores, and a GPU where there are any."""
    from recontour.network.device import gpu_count

    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // workers))
    common = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    gpus = 0 if device == "cpu" else gpu_count()
    if not gpus:
        return [common] * workers
    if workers > (1 if ":" in device else gpus):
        allowed = "one worker for each GPU, or --device cpu"
        raise UsageError(f"{workers} workers on {gpus} GPU(s)", where="--workers", allowed=allowed)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(k) for k in range(gpus))
    return [{**common, "CUDA_VISIBLE_DEVICES": gpu} for gpu in visible.split(",")[:workers]]


@contextmanager
def connected(address: str) -> Generator[Any]:
    """A client of the scheduler at tcp://host:port. Raises UsageError where none answers."""
    from distributed import Client

    try:
        client = Client(address, timeout=_ANSWER_S)
    except (OSError, ValueError) as error:
        raise UsageError(
            "no scheduler answers", where=address, allowed="tcp://HOST:PORT of a dask scheduler"
        ) from error
    with client:
        yield client


def missing(tasks: Sequence[Task], client: Any) -> str:
    """What the tasks will wait for, in words; "" where there are workers that may do them."""
    workers: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        return "the scheduler has no workers yet: waiting for them"
    if any(_resources(task) for task in tasks) and not any(GPU in w["resources"] for w in workers.values()):
        return f"none of {len(workers)} workers says that it has a GPU (--resources {GPU}=1): waiting for one"
    return ""


def outcomes(tasks: Sequence[Task], client: Any) -> Iterator[Outcome]:
    """Each task's outcome as it is there. Workers may come and go.

    Raises OutputRefused where the scheduler is lost; what is in place by then stays.
    """
    from distributed import CancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield from _answers(tasks, client)
    except (CancelledError, CommClosedError) as error:
        found = "the scheduler was lost"
        allowed = "the same command again: it goes on where it stopped"
        raise OutputRefused(found, where="cluster", allowed=allowed) from error


def _answers(tasks: Sequence[Task], client: Any) -> Iterator[Outcome]:
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    run = uuid4().hex
    by_key = {f"{task.patient}-{task.name}-{run}": task for task in tasks}
    waiting = iter(by_key.items())
    ahead: Any = as_completed(_submitted(islice(waiting, _room(client)), client))
    for future in ahead:
        for more in _submitted(islice(waiting, max(1, _room(client) - ahead.count())), client):
            ahead.add(more)
        try:
            yield future.result()
        except KilledWorker:
            yield _killed(by_key[future.key])


def _room(client: Any) -> int:
    threads: dict[str, int] = client.nthreads()
    return max(2, _QUEUED * sum(threads.values()))


def _submitted(tasks: Iterable[tuple[str, Task]], client: Any) -> list[Any]:
    """By keys of this call's own: what two clients of a scheduler submit under one key, Dask does once, for both."""
    return [client.submit(do, task, key=key, pure=False, resources=_resources(task)) for key, task in tasks]


def _resources(task: Task) -> dict[str, float]:
    """What Dask is to keep for it: a share of a GPU, such that IN_HAND of them fill one."""
    return {GPU: 1 / IN_HAND} if task.wanted.settings.device.startswith("cuda") else {}


def _killed(task: Task) -> Outcome:
    """After several deaths: Dask gives a task up then (distributed.scheduler.allowed-failures)."""
    found = "each worker process that did it was killed: most likely it needs more memory than there is"
    return Outcome(task.patient, task.name, found=found, allowed="fewer ROIs, or more memory", passing=True)
