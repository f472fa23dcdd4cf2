"""Times `recontour run` as a user does: the whole process, from the shell's return key to the prompt.

    python benchmarks/run_command.py PLANNING DAILY [--reference "COMMAND {planning} {daily} {out}"] [-- OPTIONS OF RUN]

The reference runs in turn with it, so that a busy or slow computer slows both; the ratio is the figure to compare
between computers. Without --reference it is `recontour run --method elastix`, the strongest rival, end to end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

RECONTOUR = (sys.executable, "-m", "recontour")


@dataclass(frozen=True)
class Usage:
    """One process: wall and processor seconds, and the most memory it held at once, in GB (children apart)."""

    wall_s: float
    cpu_s: float
    peak_gb: float
    exit_code: int


def measure(command: list[str]) -> Usage:
    """Runs a command to its end; its output goes to stderr only if it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 4):  # 4: something needs review
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, process.returncode)


def run_command(planning: Path, daily: Path, out: Path, options: list[str]) -> list[str]:
    """The command that is measured."""
    return [*RECONTOUR, "run", str(planning), str(daily), "--out", str(out), "--quiet", "--overwrite", *options]


def reference_command(asked: argparse.Namespace, out: Path) -> list[str]:
    """What it is compared with."""
    if not asked.reference:
        return run_command(asked.planning, asked.daily, out, [*asked.options, "--method", "elastix"])
    places = {"planning": asked.planning, "daily": asked.daily, "out": out}
    return [part.format(**places) for part in shlex.split(asked.reference)]


def slowest_imports(command: list[str], count: int = 12) -> list[tuple[str, float]]:
    """Seconds that each top-level package spends in its own modules, the most expensive first."""
    call = [sys.executable, "-X", "importtime", *command[1:]]
    done = subprocess.run(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    spent: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            spent[parts[2].strip().split(".")[0]] += int(parts[0])
    return [(name, microseconds / 1e6) for name, microseconds in spent.most_common(count)]


def describe(name: str, runs: list[Usage]) -> str:
    """One line: median wall and processor seconds, the worst of the peaks."""
    wall, cpu = (statistics.median(getattr(r, field) for r in runs) for field in ("wall_s", "cpu_s"))
    codes = sorted({r.exit_code for r in runs})
    return f"{name:<12} {wall:8.2f} {cpu:8.2f} {max(r.peak_gb for r in runs):8.2f}   {codes}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planning", type=Path, help="planning CT and RTSTRUCT")
    parser.add_argument("daily", type=Path, help="daily CT")
    parser.add_argument("--reference", help="a command to compare with; {planning}, {daily} and {out} are filled in")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--imports", action="store_true", help="also list what importing costs, by package")
    parser.epilog = "Options of `recontour run` go after --."
    return with_options(parser)


def with_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the parser knows, and as `options` what comes after --: argparse takes nothing there once options of its own
    have come between."""
    own, options = sys.argv[1:], list[str]()
    if "--" in own:
        place = own.index("--")
        own, options = own[:place], own[place + 1 :]
    return parser.parse_args(own, argparse.Namespace(options=options))


def main() -> int:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="recontour-benchmark-") as name:
        ours = run_command(asked.planning, asked.daily, Path(name) / "rtstruct.dcm", asked.options)
        theirs = reference_command(asked, Path(name) / "reference.dcm")
        rounds = [(measure(ours), measure(theirs)) for _ in range(asked.repeat)]
        print(f"{'':<12} {'wall s':>8} {'cpu s':>8} {'peak GB':>8}   exit codes")
        print(describe("recontour", [a for a, _ in rounds]))
        print(describe("reference", [b for _, b in rounds]))
        ratio = statistics.median(a.wall_s / b.wall_s for a, b in rounds)
        print(f"ratio of wall seconds, recontour to reference: {ratio:.2f}")
        print(describe("--help", [measure([*RECONTOUR, "--help"]) for _ in range(5)]))
        if asked.imports:
            for package, seconds in slowest_imports(ours):
                print(f"importing {package:<20} {seconds:6.3f} s")
    return max(a.exit_code not in (0, 4) for a, _ in rounds)


if __name__ == "__main__":
    sys.exit(main())
