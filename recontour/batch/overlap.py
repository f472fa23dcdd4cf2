"""Fractions in one process, the next one read while this one is computed and the last one is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event

from recontour.batch.outcome import Outcome
from recontour.batch.task import Task
from recontour.batch.work import do
from recontour.study import load_libraries

IN_HAND = 3  # fractions at once: one is read, one computed, one written; it bounds the memory


def outcomes(tasks: Sequence[Task], in_hand: int = IN_HAND) -> Iterator[Outcome]:
    """Each task's outcome as it is there; about in their order. Where the iteration is left early, by an interruption
    or otherwise, what is in hand is given up after the stage that it is in.

    Raises UsageError, before any work, for a device that this machine does not have.
    """
    for task in tasks[:1]:
        load_libraries(task.wanted.settings)
    stopped, waiting = Event(), iter(tasks)
    with ThreadPoolExecutor(in_hand, thread_name_prefix="fraction") as pool:
        try:
            running = {pool.submit(do, task, stopped.is_set) for task in islice(waiting, in_hand)}
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(do, task, stopped.is_set) for task in islice(waiting, len(ended))}
                yield from map(Future[Outcome].result, ended)
        finally:
            stopped.set()
