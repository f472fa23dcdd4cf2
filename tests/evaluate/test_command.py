"""recontour evaluate, as a user meets it."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from recontour.settings import Settings
from recontour.study import StudyRequest, run_study
from tests.evaluate.made_results import prism, write_structures


def recontour(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recontour", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def results(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    out = folder / "day 1" / "rt.dcm"
    request = StudyRequest(phantom / "planning", phantom / "daily", out, Settings(method="affine"))
    run_study(request)
    return folder


def test_a_run_against_the_truth(phantom: Path, results: Path, tmp_path: Path) -> None:
    done = recontour("evaluate", results, phantom, "--out", tmp_path / "out", "--plots")
    assert done.returncode == 0, done.stderr
    assert "seminal_vesicles" in done.stdout and "fraction 1" not in done.stdout
    assert "references of 1 planning scan(s) of these results left out" in done.stdout
    assert "EXTERNAL, of the reference, is not scored: its type is EXTERNAL" in done.stdout
    assert "no registration among the results: no Jacobian" in done.stdout
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    plots = {f"plots/{name}.{kind}" for name in ("scores", "bladder") for kind in ("png", "pdf")}
    assert files == {"scores.csv", "summary.csv", "summary.md"} | plots
    written = "".join((tmp_path / "out" / name).read_text() for name in ("scores.csv", "summary.csv", "summary.md"))
    assert "PHANTOM" not in written + done.stdout + done.stderr
    lines = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert {line["organ"] for line in lines} == {
        "bladder", "rectum", "prostate", "seminal_vesicles", "CTV", "Femur_Head_L", "Femur_Head_R"
    }  # fmt: skip
    femur = next(line for line in lines if line["organ"] == "Femur_Head_L")
    assert float(femur["msd_mm"]) < 2.0  # a bone, which the affine brings there to within half a voxel
    assert float(femur["planning_volume_ml"]) == pytest.approx(float(femur["reference_volume_ml"]), rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nowhere", "references", "-o", "out"), 2, "no such folder"),
        (("results", "results", "-o", "out"), 2, "both folders are the same"),
        (("results", "references", "-o", "full"), 3, "--overwrite"),
        (("results", "empty", "-o", "out"), 3, "a result without a reference"),
        (("results", "references", "-o", "out", "--roi", "bladder"), 2, "bladder=Vescica"),
        (("results", "references", "-o", "out", "--roi", "bladder=Blase"), 2, "no ROI Blase in any file"),
        (("several", "references", "-o", "out"), 3, "--roi bladder=Vescica"),
    ],
)
def test_errors_are_one_screen_and_leave_nothing(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "summary.md").write_text("mine")
    write_structures(tmp_path / "results" / "rt.dcm", [prism("Bladder")], "3.1")
    write_structures(tmp_path / "references" / "rt.dcm", [prism("Bladder")], "3.2")
    write_structures(tmp_path / "several" / "rt.dcm", [prism("Vescica"), prism("Vescica_DL")], "3.3")
    done = recontour("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr and "SECRET" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "full", "results", "references", "several"}
    assert (tmp_path / "full" / "summary.md").read_text() == "mine"


def test_quiet_is_quiet_and_overwrite_overwrites(tmp_path: Path) -> None:
    write_structures(tmp_path / "results" / "rt.dcm", [prism("Bladder")], "3.1")
    write_structures(tmp_path / "references" / "rt.dcm", [prism("Bladder")], "3.2")
    for extra in ([], ["--overwrite"]):
        done = recontour("evaluate", "results", "references", "-o", "out", "-q", *extra, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
