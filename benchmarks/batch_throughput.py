"""What a fraction costs in `recontour batch`, in its steady state, beside what `recontour run` costs for each.

    python benchmarks/batch_throughput.py COHORT [--rounds 3] [-- OPTIONS OF BOTH, such as --method affine]

Each round takes one patient: half of his fractions by a command each, then a batch of his first fraction alone and a
batch of all, then the other half by commands, so that a busy or slow computer slows both; the ratio is the figure to
compare between computers. Steady state: what the longer batch took more than the shorter one, for each fraction more.
COHORT: as benchmarks/batch_cohort.py makes it, a folder for each scan.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from run_command import RECONTOUR, Usage, measure, with_options

from recontour.batch.plan import BatchRequest, plan_batch
from recontour.batch.task import Task


@dataclass(frozen=True)
class Round:
    """Of one patient: what a batch of one fraction used, of all, and each command."""

    first: Usage
    batch: Usage
    commands: list[Usage]
    bytes_each: float

    def steady(self, what: str) -> float:
        """what: wall_s or cpu_s."""
        return (getattr(self.batch, what) - getattr(self.first, what)) / (len(self.commands) - 1)

    def command(self, what: str) -> float:
        return statistics.mean(getattr(usage, what) for usage in self.commands)


def run_round(cohort: Path, options: list[str]) -> Round:
    with tempfile.TemporaryDirectory(prefix="recontour-throughput-") as name:
        home, out = Path(name), Path(name) / "all"
        tasks = plan_batch(BatchRequest(cohort, out)).tasks
        half = len(tasks) // 2
        commands = [measure(_run(task, home / f"{task.name}.dcm", options)) for task in tasks[:half]]
        first = measure(_batch(tasks[:1], home / "one", options))
        batch = measure(_batch(tasks, out, options))
        commands += [measure(_run(task, home / f"{task.name}.dcm", options)) for task in tasks[half:]]
        size = sum(p.stat().st_size for p in out.glob("P-*/F-*/**/*") if p.is_file())
    return Round(first, batch, commands, size / len(tasks))


def _batch(tasks: Sequence[Task], out: Path, options: list[str]) -> list[str]:
    table = out.with_suffix(".csv")
    table.write_text("\n".join(["planning,daily", *(f"{t.planning.folder},{t.daily.folder}" for t in tasks)]))
    return [*RECONTOUR, "batch", str(table), "--out", str(out), "--quiet", *options]


def _run(task: Task, out: Path, options: list[str]) -> list[str]:
    """What somebody types who has no batch."""
    series = ["--series", task.daily.series_uid, "--planning-series", task.planning.series_uid]
    chosen = [*series, "--structures", task.structures_uid]
    return [*RECONTOUR, "run", task.planning.folder, task.daily.folder, "--out", str(out), "--quiet", *chosen, *options]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of one patient each, in the order of the names")
    return with_options(parser)


def main() -> int:
    asked = arguments()
    patients = sorted(asked.cohort.glob("patient-*"))  # not the heaps, whose every file `run` would look at
    rounds: list[Round] = []
    for k in range(asked.rounds):
        done = run_round(patients[k % len(patients)], asked.options)
        rounds.append(done)
        print(f"round {k + 1}, {len(done.commands)} fractions: wall s each, processor s each, peak GB")
        print(f"  batch {done.steady('wall_s'):8.2f} {done.steady('cpu_s'):8.2f} {done.batch.peak_gb:6.2f}", end="")
        print(f"   {done.bytes_each / 1e6:.2f} MB of results each; its start {done.first.wall_s:.1f} s with the first")
        peak = max(usage.peak_gb for usage in done.commands)
        print(f"  run   {done.command('wall_s'):8.2f} {done.command('cpu_s'):8.2f} {peak:6.2f}", flush=True)
    ratio, processor = (statistics.median(r.steady(w) / r.command(w) for r in rounds) for w in ("wall_s", "cpu_s"))
    print(f"ratio per fraction, batch in its steady state to run: wall {ratio:.2f}, processor {processor:.2f}")
    summary = {"wall": ratio, "processor": processor, "cores": os.cpu_count(), "options": asked.options}
    print(json.dumps(summary))
    return 0 if ratio <= 0.70 else 1


if __name__ == "__main__":
    sys.exit(main())
