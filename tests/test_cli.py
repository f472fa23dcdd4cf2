"""The command line as a user meets it: exit codes, one screen of error, never a traceback, never a name."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from recontour.cli import app


def recontour(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recontour", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def run_once(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("cli") / "rt.dcm"
    return recontour("run", phantom / "planning", phantom / "daily", "-o", out, "--method", "affine"), out


def test_a_run_shows_stages_rows_and_where_the_result_lies(
    run_once: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, out = run_once
    assert done.returncode in (0, 4), done.stderr
    assert "align" in done.stderr
    assert "Bladder" in done.stdout and "EXTERNAL" in done.stdout and "UNAPPROVED" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 200
    assert pydicom.dcmread(out).ApprovalStatus == "UNAPPROVED"
    assert "PHANTOM" not in done.stdout + done.stderr


def test_names_with_brackets_are_shown_as_they_are(phantom: Path, tmp_path: Path) -> None:
    """The screen is told of colours in square brackets: a name that holds some must not vanish, nor end the run."""
    planning = tmp_path / "planning"
    shutil.copytree(phantom / "planning", planning)
    structures = next(path for path in planning.rglob("*.dcm") if pydicom.dcmread(path).Modality == "RTSTRUCT")
    plan = pydicom.dcmread(structures)
    roi = next(item for item in plan.StructureSetROISequence if item.ROIName == "Prostate")
    roi.ROIName = "Prostate [/b] [red]"
    plan.save_as(structures)
    out = tmp_path / "[rt].dcm"
    done = recontour("run", planning, phantom / "daily", "-o", out, "--method", "affine", "--only", "Prostate*")
    assert done.returncode in (0, 4), done.stderr
    assert "Prostate [/b] [red]" in done.stdout and "[rt].dcm" in done.stdout


def test_json_is_the_manifest_and_nothing_else(phantom: Path, tmp_path: Path) -> None:
    done = recontour(
        "run", phantom / "planning", phantom / "daily", "-o", tmp_path / "rt.dcm", "--method", "affine", "--json",
        "--only", "Prostate", "--only", "Femur*",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert [roi["name"] for roi in told["rois"]] == ["Prostate", "Femur_Head_L", "Femur_Head_R"]
    assert told == json.loads((tmp_path / "rt.manifest.json").read_text())
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run",), 2, "Missing argument"),
        (("run", "nowhere", "nowhere", "-o", "x.dcm"), 2, "nowhere"),
        (("run", ".", ".", "-o", "x.dcm", "--method", "magic"), 2, "network+refine"),
        (("run", ".", ".", "-o", "x.dcm", "--roi", "bladder"), 2, "bladder=Vescica"),
        (("run", ".", ".", "-o", "x.dcm", "--settings", "no.toml"), 2, "no.toml"),
        (("run", ".", ".", "-o", "x.dcm"), 3, "CT"),
        (("phantom", "full"), 3, "full"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_errors_are_one_screen_with_an_exit_code(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    done = recontour(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 24
    assert {p.name for p in tmp_path.iterdir()} == {"full"}


def test_strict_makes_review_an_exit_code(phantom: Path, tmp_path: Path) -> None:
    settings = tmp_path / "harsh.toml"
    settings.write_text('method = "affine"\n[qa]\nmatch_review = 1.0\nmatch_reject = 0.0\n')
    arguments = ["run", phantom / "planning", phantom / "daily", "--only", "Femur*", "--settings", settings, "-q"]
    assert recontour(*arguments, "-o", tmp_path / "a.dcm").returncode == 0
    done = recontour(*arguments, "-o", tmp_path / "b.dcm", "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "")
    assert (tmp_path / "b.dcm").exists()


def test_ctrl_c_leaves_nothing(phantom: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recontour", "run", phantom / "planning", phantom / "daily", "-o", tmp_path / "a"]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "align" in line or "Interrupted" in line:  # the refinement begins; and impatiently once more at the end
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert "Interrupted" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_models_and_architectures_are_listed() -> None:
    done = recontour("models", "--architectures")
    for count in ("779,436", "779,733", "781,164", "722,936", "779,000"):
        assert count in done.stdout
    assert recontour("models").returncode == 0


def test_doctor_finds_a_working_installation() -> None:
    done = recontour("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch" in done.stdout and "2.13" in done.stdout


def test_help_begins_with_the_daily_work() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    places = [shown.index(f"│ {name} ") for name in ("run", "report", "train", "compare", "doctor")]
    assert places == sorted(places)
