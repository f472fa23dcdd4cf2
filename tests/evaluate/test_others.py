"""What others took of the processors, by hand; and this process is none of them."""

from __future__ import annotations

import os
import time

import pytest

from recontour.evaluate.others import ProcessorTime


def test_the_share_of_others_is_what_is_neither_idle_nor_our_own() -> None:
    before, after = ProcessorTime(100.0, 500.0, 30.0), ProcessorTime(110.0, 516.0, 42.0)
    assert after.others_since(before, processors=2) == pytest.approx(4.0 / 20.0)


def test_what_the_clocks_ticks_leave_below_nothing_is_nothing() -> None:
    before, after = ProcessorTime(0.0, 0.0, 0.0), ProcessorTime(1.0, 0.9, 1.0)
    assert after.others_since(before, processors=2) == 0.0
    assert after.others_since(after) == 0.0


def test_our_own_work_is_not_others() -> None:
    """The kernel is asked for this process; what all processes together took is at least that."""
    before = ProcessorTime.now()
    while time.process_time() - before.own < 0.5:
        pass
    after = ProcessorTime.now()
    ticks = 3.0 / os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    assert after.busy - before.busy >= after.own - before.own - ticks
