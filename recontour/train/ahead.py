"""Draws the next batch while the device computes with this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from recontour.train.batch import Batch
from recontour.train.sources import Source


class Ahead:
    """A source that is one step ahead of what it is asked for, in a thread of its own.

    It gives what the source gives: batches are functions of the step alone. For a GPU, whose processor has nothing
    else to do meanwhile; on a CPU the thread would take its time from the network.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._thread = ThreadPoolExecutor(1)
        self._drawn: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """The source's batch of `step`; the one after it is begun."""
        now = self._drawn.pop(step, None) or self._thread.submit(self.source.batch, step)
        self._drawn = {step + 1: self._thread.submit(self.source.batch, step + 1)}
        return now.result()

    def close(self) -> None:
        """Ends the thread, then the source."""
        self._thread.shutdown(cancel_futures=True)
        self.source.close()
