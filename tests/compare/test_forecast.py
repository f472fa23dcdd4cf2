"""What is left of a study, from logs that are drawn."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from recontour.cli.app import app
from recontour.compare.forecast import forecasts
from recontour.compare.results import FAILED, write_outcome
from recontour.compare.settings import read_compare_settings
from tests.compare.drawn import outcome, study

EXAMPLE = Path(__file__).parents[2] / "examples" / "compare-small.toml"
SETTINGS = study(tables=[3], networks=["seg", "reg"], rivals=["elastix"], train={"steps": 7200})
SEG, REG = "seg_fixed_equal_be0.5", "reg_fixed+moving_equal_be0.5"


def log(out: Path, key: str, step: int, seconds: float) -> None:
    (out / key / "run").mkdir(parents=True)
    (out / key / "run" / "log.csv").write_text(f"step,seconds,loss\n1,0.9,2\n{step},{seconds},1\n")


def test_nothing_is_known_of_what_has_not_begun(tmp_path: Path) -> None:
    found = forecasts(SETTINGS, tmp_path / "none")
    assert [(f.key, f.state, f.hours) for f in found] == [
        (SEG, "not begun", None),
        (REG, "not begun", None),
        ("elastix", "not begun", None),
    ]


def test_hours_left_from_the_pace_so_far(tmp_path: Path) -> None:
    """3600 steps in 7200 s: 3600 steps are left, so 2 hours."""
    log(tmp_path, SEG, 3600, 7200.0)
    write_outcome(_folder(tmp_path, "elastix"), outcome({"registration": [1.0]}))
    (_folder(tmp_path, REG) / FAILED).write_text("no room")
    found = forecasts(SETTINGS, tmp_path)
    assert [(f.state, f.hours) for f in found] == [
        ("step 3600 of 7200", 2.0),
        ("failed", None),
        ("done", 0.0),
    ]


def test_the_same_network_takes_as_long_again(tmp_path: Path) -> None:
    log(tmp_path, SEG, 7200, 7200.0)
    two = study(tables=[1], networks=["seg"], train={"steps": 7200})
    assert [f.hours for f in forecasts(two, tmp_path)] == [0.0, 2.0, 2.0, 2.0]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["compare", str(EXAMPLE), "--out", str(tmp_path / "out"), "--dry-run"])
    assert ended.exit_code == 0
    assert "10 configurations on cpu" in ended.output
    assert not (tmp_path / "out").exists()


def test_the_example_has_all_six_networks() -> None:
    settings = read_compare_settings(EXAMPLE)
    assert len(settings.networks) == 6
    assert settings.tables == (3, 4, 5)


def _folder(out: Path, key: str) -> Path:
    folder = out / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder
