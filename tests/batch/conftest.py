"""What the tests of batch share: a cohort in which things are wrong, and the results of one undisturbed batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.made import QUICK_TOML, write_cohort

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
def run(cohort: Path) -> Run:
    """recontour batch COHORT --out OUT ..., as a user starts it. code: what to run instead of the command line."""

    def run(
        out: Path, *options: str, code: str = "from recontour.cli import main; main()", at: Path = cohort
    ) -> object:
        quick = str(cohort.parent / "quick.toml")
        command = [sys.executable, "-c", code, "batch", str(at), "--out", str(out), "--settings", quick, *options]
        environment = os.environ | {"RECONTOUR_PSEUDONYM_KEY": str(cohort.parent / "key"), "COLUMNS": "80"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run  # type: ignore[return-value]


@pytest.fixture(scope="session")
def undisturbed(cohort: Path, run: Run) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of results, and what the command said."""
    out = cohort.parent / "undisturbed"
    return out, run(out)
