"""Killed at any moment and started again: nothing is lost, nothing is done twice, and the results are the same.

The process kills itself, as `kill -9` would, at the n-th of the calls by which it changes the disk: that is where a
kill could do harm. Kills at random moments are in benchmarks/batch_demo.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batch_same import differences

# What takes longest is taken as found: kills are about files, and the true alignment is in test_batch.py.
ALIGNED = """
import recontour.pipeline
from recontour.cli import main
from recontour.geometry.affine import Affine

recontour.pipeline.align_scans = lambda daily, planning: Affine.identity()
main()
"""
KILLED = """
import os, signal, sys, threading
fatal, count, lock = int(os.environ["FATAL_CALL"]), 0, threading.Lock()

def deadly(call):
    def counted(*arguments, **named):
        global count
        with lock:
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return counted

for name in ("mkdir", "rename", "replace", "fsync", "unlink"):
    setattr(os, name, deadly(getattr(os, name)))
"""


def test_killed_at_several_moments(  # type: ignore[no-untyped-def]
    run, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = cohort / "second"
    assert run(tmp_path / "reference", "--registration", code=ALIGNED, at=second).returncode in (0, 4)
    out, kept, kills = tmp_path / "out", dict[Path, int](), 0
    for fatal in (2, 9, 14, 23):
        monkeypatch.setenv("FATAL_CALL", str(fatal))
        kills += run(out, "--registration", code=KILLED + ALIGNED, at=second).returncode == -9
        there = {p: p.stat().st_ino for p in out.glob("P-*/F-*/*")}
        assert all(there.get(p) == inode for p, inode in kept.items()), "what was done was done again, or lost"
        kept = there
    assert kills >= 3
    ended = run(out, "--registration", code=ALIGNED, at=second)
    assert ended.returncode in (0, 4), ended.stderr
    assert all(p.stat().st_ino == inode for p, inode in kept.items())
    assert differences(tmp_path / "reference", out) == []
