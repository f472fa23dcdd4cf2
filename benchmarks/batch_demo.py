"""Shows what `recontour batch` promises: one and two workers give the same files; killed (-9) at twenty random moments
and started again, the same files, nothing lost and nothing done twice; a corrupt fraction, a missing plan and a file
that cannot be opened are told, and the rest is done.

    python benchmarks/batch_demo.py FOLDER [--patients 6] [--fractions 5] [--kills 20] [--seed 1] [-- OPTIONS OF BATCH]

FOLDER/cohort is made if it is not there; everything else is made anew. All runs have one thread in each process, since
the order in which threads add up changes the last digits; and one code: where recontour's files change meanwhile, this
ends.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from batch_cohort import write_cohort
from batch_same import differences
from run_command import RECONTOUR, with_options
from same_code import check_code, code_digest

_PAUSE_S = 0.05
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Batches:
    """Of one cohort, with the same options and the same code. Ends the program where the code has changed."""

    cohort: Path
    options: list[str]
    code: str = field(default_factory=code_digest)

    def start(self, out: Path, *more: str) -> subprocess.Popen[bytes]:
        check_code(self.code)
        command = [*RECONTOUR, "batch", str(self.cohort), "--out", str(out), *self.options, *more]
        with out.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | _ONE_THREAD
            )

    def compared(self, name: str, one: Path, out: Path) -> int:
        """How many differences there are; they are printed."""
        check_code(self.code)
        found = differences(one, out)
        print(f"{name}: {len(found)} differences from one worker, undisturbed", *found[:20], sep="\n  ", flush=True)
        return len(found)


def spoil(cohort: Path) -> None:
    """A cut-off slice, a file that cannot be opened, a patient without a plan: in the folders of even patients."""
    two, four, six = (cohort / f"patient-{k}" for k in (2, 4, 6))
    cut = sorted((two / "day-3").iterdir())[7]
    cut.write_bytes(cut.read_bytes()[:-1500])
    locked = four / "day-2" / "locked.dcm"
    if os.geteuid():
        locked.write_bytes(b"DICM")
        locked.chmod(0)
    else:  # nothing is locked for root; a link to itself cannot be opened by anybody
        locked.symlink_to(locked)
    (six / "planning" / "rtstruct.dcm").unlink()


def results(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in out.glob("P-*/F-*/*")}


def killed(batches: Batches, out: Path, draw: random.Random) -> bool:
    """Starts it, waits for up to two results more and for some seconds after, and kills all its processes. False
    where it had ended by then. Raises AssertionError where what was there is not there as it was."""
    before, began = results(out), time.monotonic()
    process = batches.start(out)
    wanted, more_s = len({p.parent for p in before}) + draw.randrange(3), draw.uniform(0, 8)
    while process.poll() is None and len({p.parent for p in results(out)}) < wanted:
        time.sleep(_PAUSE_S)
    until = time.monotonic() + more_s
    while process.poll() is None and time.monotonic() < until:
        time.sleep(_PAUSE_S)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    now = results(out)
    assert all(now.get(path) == inode for path, inode in before.items()), "a result was lost, or made again"
    done = len({p.parent for p in now})
    print(f"  killed after {time.monotonic() - began:5.1f} s: {done} results" if alive else "  ended", flush=True)
    return alive


def told(out: Path) -> str:
    with (out / "fractions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["state"] != "done":
            print(f"  {row['state']}: {row['patient']} {row['fraction']}: {row['why']}")
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(row["state"] for row in rows).items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--fractions", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spacing", type=float, nargs=3, default=(5.0, 4.0, 4.0), help="of planning scans, mm, z y x")
    return with_options(parser)


def main() -> int:
    asked = arguments()
    folder, cohort = asked.folder, asked.folder / "cohort"
    if not cohort.exists():
        write_cohort(folder / "cohort.part", asked.patients, asked.fractions, tuple(asked.spacing))
        spoil(folder / "cohort.part")
        (folder / "cohort.part").rename(cohort)
    batches = Batches(cohort, asked.options)
    one, two = _new(folder / "one"), _new(folder / "two")
    for out, workers in ((one, "1"), (two, "2")):
        began = time.monotonic()
        code = batches.start(out, "--workers", workers).wait()
        print(f"{workers} worker(s): {time.monotonic() - began:.0f} s, exit code {code}; {told(out)}", flush=True)
    worst = batches.compared("two workers", one, two)
    draw, kills, number = random.Random(asked.seed), 0, 0
    while kills < asked.kills:  # a batch that came to its end between two kills is followed by another
        number += 1
        out = _new(folder / f"killed-{number}")
        while kills < asked.kills and killed(batches, out, draw):
            kills += 1
        code = batches.start(out).wait()
        print(f"{kills} kills so far, then left alone: exit code {code}; {told(out)}")
        worst = max(worst, batches.compared(out.name, one, out))
    return int(worst > 0)


def _new(out: Path) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    out.with_suffix(".log").unlink(missing_ok=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
