"""What the tests of batch share: a cohort in which things are wrong, and the results of one undisturbed batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.made import QUICK_TOML, write_cohort

_MAIN = "from recontour.cli import main; main()"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests only read it."""
    folder = tmp_path_factory.mktemp("batch") / "cohort"
    write_cohort(folder)
    (folder.parent / "key").write_text("k" * 32)
    (folder.parent / "quick.toml").write_text(QUICK_TOML)
    return folder


@pytest.fixture(scope="session")
def start(cohort: Path) -> Callable[..., subprocess.Popen[str]]:
    """recontour batch COHORT --out OUT ..., as a user starts it. code: what to run instead of the command line."""

    def start(out: Path, *options: str, code: str = _MAIN, at: Path = cohort) -> subprocess.Popen[str]:
        quick = str(cohort.parent / "quick.toml")
        command = [sys.executable, "-c", code, "batch", str(at), "--out", str(out), "--settings", quick, *options]
        environment = os.environ | {"RECONTOUR_PSEUDONYM_KEY": str(cohort.parent / "key"), "COLUMNS": "80"}
        environment |= {"OMP_NUM_THREADS": "1"}  # sums of two threads differ in their last bits
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    return start


@pytest.fixture(scope="session")
def run(start: Callable[..., subprocess.Popen[str]]) -> Run:
    """The same, to its end."""

    def run(out: Path, *options: str, **named: Any) -> subprocess.CompletedProcess[str]:
        process = start(out, *options, **named)
        said, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, errors)

    return run


@pytest.fixture(scope="session")
def undisturbed(cohort: Path, run: Run) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of results, and what the command said."""
    out = cohort.parent / "undisturbed"
    return out, run(out)
