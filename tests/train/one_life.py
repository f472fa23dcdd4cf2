"""A training in a process of its own that kills itself, with nothing said, at the Nth of the places where it could
hurt: before and after a step, and around everything that a checkpoint does to the disk.

    python one_life.py SETTINGS.json RUN N      N = 0: lives to the end
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recontour.train import loop, recorder
from recontour.train.settings import train_settings_from

PLACES = ((os, "fsync"), (os, "replace"), (loop, "take_step"), (recorder.Recorder, "after_step"))


def deadly(function: Callable[..., Any], counter: itertools.count[int], last: int) -> Callable[..., Any]:
    def before_and_after(*arguments: Any) -> Any:
        for work in (None, function):
            result = work(*arguments) if work else None
            if next(counter) == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    return before_and_after


def main(settings: Path, run: Path, last: int) -> None:
    counter, clock = itertools.count(1), itertools.count()
    if last:
        for owner, name in PLACES:
            setattr(owner, name, deadly(getattr(owner, name), counter, last))
        recorder.monotonic = lambda: float(next(clock))  # a second at every look: checkpoints after most steps
    loop.train(train_settings_from(json.loads(settings.read_text("utf-8"))), run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
