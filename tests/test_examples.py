"""Every example runs, as its own process, as a reader would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_propagate_in_memory() -> None:
    lines = run("propagate_in_memory.py").splitlines()
    assert [line.split()[0] for line in lines] == ["Prostate", "Bladder", "Rectum"]
    assert all(float(line.split()[3]) < 3.0 for line in lines)


def test_one_network_by_hand() -> None:
    assert "779,000" in run("one_network_by_hand.py")


def test_export_contours(phantom: Path, tmp_path: Path) -> None:
    assert "contours" in run("export_contours.py", phantom / "planning", tmp_path / "ball.dcm")
    assert (tmp_path / "ball.dcm").exists()


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_no_example_is_forgotten(example: Path) -> None:
    assert f'"{example.name}"' in Path(__file__).read_text(encoding="utf-8")
