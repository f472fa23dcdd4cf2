"""How much of the processors other programs take while something is timed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

_IDLE = ("idle", "iowait", "guest", "guest_nice")  # guests are counted in user and nice already


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds since some moment: on the clock, of all processors in use, and of this process and its threads."""

    wall: float
    busy: float
    own: float

    @staticmethod
    def now() -> ProcessorTime:
        """Read from the system."""
        import psutil

        total = psutil.cpu_times()
        busy = sum(total) - sum(getattr(total, name, 0.0) for name in _IDLE)
        return ProcessorTime(time.perf_counter(), busy, time.process_time())

    def others_since(self, before: ProcessorTime, processors: int | None = None) -> float:
        """The share, 0 to 1, of what all `processors` (None: the computer's) could do since then that others took."""
        could = (processors or os.cpu_count() or 1) * (self.wall - before.wall)
        took = (self.busy - before.busy) - (self.own - before.own)
        return min(max(took / could, 0.0), 1.0) if could > 0 else 0.0
