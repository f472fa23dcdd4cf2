"""recontour watch, from the outside: a made patient's files in a folder become contours in another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest


def recontour(*args: object, key: Path) -> subprocess.CompletedProcess[str]:
    around = {**os.environ, "RECONTOUR_PSEUDONYM_KEY": str(key), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "recontour", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=around, timeout=600)


@pytest.fixture(scope="module")
def watched(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The folder, that of the results, and the key, after one run that took everything at once."""
    base = tmp_path_factory.mktemp("watch")
    key = base / "key"
    key.write_text("0123456789abcdef")
    for part in ("daily", "planning"):
        shutil.copytree(phantom / part, base / "in" / "PHANTOM^3" / part)
    ended = once(base / "in", base / "out", key)
    rejected = "done: reject" in ended.stdout  # what the checks say of an affine alone is not this test's
    assert ended.returncode == (4 if rejected else 0), ended.stderr
    assert "done: " in ended.stdout and "PHANTOM" not in ended.stdout + ended.stderr
    return base / "in", base / "out", key


def once(folder: Path, out: Path, key: Path) -> subprocess.CompletedProcess[str]:
    asked = ("--once", "--every", 0, "--quiet-seconds", 0, "--method", "affine")
    return recontour("watch", folder, "--out", out, *asked, key=key)


def visible(out: Path) -> list[Path]:
    return sorted(p for p in out.rglob("*") if p.is_file() and ".recontour" not in p.parts)


def test_the_daily_scan_has_its_contours(watched: tuple[Path, Path, Path], phantom: Path) -> None:
    _, out, _ = watched
    assert {p.name for p in visible(out)} == {
        "rtstruct.dcm", "registration.dcm", "rtstruct.manifest.json",
        "report.dcm", "report.html", "report.json", "report.pdf",
    }  # fmt: skip
    written = pydicom.dcmread(next(p for p in visible(out) if p.name == "rtstruct.dcm"))
    daily = pydicom.dcmread(next((phantom / "daily").glob("*.dcm")), stop_before_pixels=True)
    assert written.FrameOfReferenceUID == daily.FrameOfReferenceUID
    assert {"Prostate", "Bladder"} <= {str(roi.ROIName) for roi in written.StructureSetROISequence}


def test_again_does_nothing_twice_and_our_own_contours_start_nothing(watched: tuple[Path, Path, Path]) -> None:
    folder, out, key = watched
    before = {p: p.read_bytes() for p in visible(out)}
    for name in ("rtstruct.dcm", "registration.dcm", "report.dcm"):  # the archive sends them back
        shutil.copy(next(p for p in before if p.name == name), folder / name)
    ended = once(folder, out, key)
    assert ended.returncode == 0, ended.stderr
    assert {p: p.read_bytes() for p in visible(out)} == before
    shown = recontour("watch", folder, "--out", out, "--status", key=key)
    assert shown.returncode == 0 and "jobs done" in shown.stdout and "recontour made" in " ".join(shown.stdout.split())
    assert "PHANTOM" not in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80


def test_a_spoilt_file_ends_with_3(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Doe.dcm").write_bytes(bytes(128) + b"DICM" + b"x" * 400)
    ended = once(tmp_path / "in", tmp_path / "out", key)
    assert ended.returncode == 3 and "could not be used" in ended.stderr and "Doe" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("asked", [("--requeue", "7"), ("--plan", "1.2.3")])
def test_what_is_not_there_cannot_be_asked_for(asked: tuple[str, str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    ended = recontour("watch", tmp_path, "--out", tmp_path / "out", *asked, key=key)
    assert ended.returncode == 2 and "allowed:" in ended.stderr
