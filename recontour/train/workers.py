"""Processes that make days in the background.

Started afresh (spawn), so that no lock or GPU of the training process is inherited; one thread each; they end with the
training process, even when that is killed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

from recontour.errors import MemoryShort
from recontour.train.moved import CoarseDay, day_of

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

DaySeeds = tuple[int, int]  # of the anatomy, and of the motion


class DayMaker:
    """Makes days by their seeds. count: processes; 0: days are made here, when they are taken."""

    def __init__(self, men_folder: Path, severity: float, count: int) -> None:
        self._told = men_folder, severity
        self._asked: dict[DaySeeds, Future[CoarseDay]] = {}
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, initializer=_begin) if count else None
        self.ahead = count + 1  # how many days may be in the making: each worker has its next one waiting

    def ask(self, days: list[DaySeeds]) -> None:
        """Has these days made, the first ones first, as many as `ahead`; what is no longer asked for is let go."""
        if self._pool is None:
            return
        wanted = days[: self.ahead]
        for seeds in [seeds for seeds in self._asked if seeds not in wanted]:
            self._asked.pop(seeds).cancel()
        for seeds in wanted:
            if seeds not in self._asked:
                self._asked[seeds] = self._submit(self._pool, seeds)

    def take(self, seeds: DaySeeds) -> CoarseDay:
        """The day of these seeds; waits until it is made. Raises MemoryShort where a worker was
        ended from outside, as systems do that run out of memory."""
        if self._pool is None:
            return day_of(self._told[0], *seeds, self._told[1])
        future = self._asked.pop(seeds, None) or self._submit(self._pool, seeds)
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _ended_from_outside() from error

    def close(self) -> None:
        """Ends the processes; a day in the making is finished first."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: ProcessPoolExecutor, seeds: DaySeeds) -> Future[CoarseDay]:
        try:
            with _one_thread():  # what a process is told of threads, it must know before it loads numpy
                return pool.submit(day_of, self._told[0], *seeds, self._told[1])
        except BrokenProcessPool as error:
            raise _ended_from_outside() from error


def _ended_from_outside() -> MemoryShort:
    found = "a process that makes training data was ended from outside"
    return MemoryShort(found, where="data.workers", allowed="fewer workers, or more memory")


@contextmanager
def _one_thread() -> Generator[None]:
    """Processes started in here use one thread for arithmetic."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a new process: an interrupt is the training process's to answer, and its end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
