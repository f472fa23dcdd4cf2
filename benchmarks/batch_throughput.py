"""What a fraction costs in `recontour batch`, in its steady state, beside what `recontour run` costs for each.

    python benchmarks/batch_throughput.py COHORT [--rounds 3] [-- OPTIONS OF BOTH, such as --method affine]

Each round runs a batch of one patient, and then each of the same fractions by a command of its own, so that a busy or
slow computer slows both; the ratio is the figure to compare between computers. Steady state: from the first result to
the last, divided by the results after the first. COHORT: as benchmarks/batch_cohort.py makes it, a folder a patient.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from run_command import RECONTOUR, Usage, measure

from recontour.batch.plan import BatchRequest, plan_batch
from recontour.batch.task import Task


@dataclass(frozen=True)
class Round:
    """Of one patient: seconds from one result of the batch to the next, and of each command; and what both used."""

    steady_s: float
    batch: Usage
    commands: list[Usage]
    bytes_each: float

    @property
    def command_s(self) -> float:
        return statistics.mean(usage.wall_s for usage in self.commands)


def run_round(cohort: Path, options: list[str]) -> Round:
    with tempfile.TemporaryDirectory(prefix="recontour-throughput-") as name:
        out = Path(name) / "out"
        plan = plan_batch(BatchRequest(cohort, out))
        command = [*RECONTOUR, "batch", str(cohort), "--out", str(out), "--quiet", *options]
        batch = measure(command)
        ended = sorted(task.folder.stat().st_ctime for task in plan.tasks)  # when it took its name
        steady = (ended[-1] - ended[0]) / (len(ended) - 1)
        size = sum(p.stat().st_size for task in plan.tasks for p in task.folder.rglob("*") if p.is_file())
        commands = [measure(_run(task, Path(name) / f"{task.name}.dcm", options)) for task in plan.tasks]
    return Round(steady, batch, commands, size / len(plan.tasks))


def _run(task: Task, out: Path, options: list[str]) -> list[str]:
    """What somebody types who has no batch."""
    series = ["--series", task.daily.series_uid, "--planning-series", task.planning.series_uid]
    chosen = [*series, "--structures", task.structures_uid]
    return [*RECONTOUR, "run", task.planning.folder, task.daily.folder, "--out", str(out), "--quiet", *chosen, *options]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of one patient each, in the order of the names")
    own, separator, options = sys.argv[1:], "--", []
    if separator in own:
        place = own.index(separator)
        own, options = own[:place], own[place + 1 :]
    return parser.parse_args(own, argparse.Namespace(options=options))


def main() -> int:
    asked = arguments()
    patients = sorted(asked.cohort.glob("patient-*"))  # not the heaps, whose every file `run` would look at
    rounds: list[Round] = []
    for k in range(asked.rounds):
        done = run_round(patients[k % len(patients)], asked.options)
        rounds.append(done)
        n, spent = len(done.commands), sum(u.cpu_s for u in done.commands)
        print(f"round {k + 1}, {n} fractions: seconds each, processor seconds each, peak GB, MB of results each")
        size = done.bytes_each / 1e6
        print(f"  batch {done.steady_s:8.2f} {done.batch.cpu_s / n:8.2f} {done.batch.peak_gb:6.2f} {size:6.2f}")
        peak = max(u.peak_gb for u in done.commands)
        print(f"  run   {done.command_s:8.2f} {spent / n:8.2f} {peak:6.2f}", flush=True)
    ratio = statistics.median(r.steady_s / r.command_s for r in rounds)
    processor = statistics.median(r.batch.cpu_s / sum(u.cpu_s for u in r.commands) for r in rounds)
    print(f"ratio of wall seconds per fraction, batch in its steady state to run: {ratio:.2f}")
    print(f"ratio of processor seconds per fraction, batch with its start to run: {processor:.2f}")
    summary = {"wall": ratio, "processor": processor, "cores": os.cpu_count(), "options": asked.options}
    print(json.dumps(summary))
    return 0 if ratio <= 0.70 else 1


if __name__ == "__main__":
    sys.exit(main())
