"""recontour export-model and recontour models, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recontour.cli import app
from recontour.errors import OutputRefused
from recontour.network.released import read_card
from recontour.train.validate import PathScore, Validation
from tests.train.made_run import settings_of, write_pairs, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_pairs(tmp_path / "data")
    write_run(tmp_path / "run", settings_of(tmp_path / "data"))
    return tmp_path / "run"


def scored(monkeypatch: pytest.MonkeyPatch, affine_mm: float, registration_mm: float) -> None:
    def answer(model: object, pairs: list[object]) -> Validation:
        both = {"affine": affine_mm, "registration": registration_mm}
        return Validation(tuple(PathScore("a", path, "prostate", mm, 2 * mm, 0.9) for path, mm in both.items()), ())

    monkeypatch.setattr("recontour.train.export.validate_settled", answer)


def test_export_then_list(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scored(monkeypatch, 3.0, 1.0)
    out = tmp_path / "own"
    arguments = ["export-model", str(run), "--name", "mine", "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--limit", "only in May", "--summary", "Hello."])
    assert done.exit_code == 0, done.output
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "prostate affine 3.00 6.00 0.900 0 of 3" in shown
    assert "prostate registration 1.00 2.00 0.900 0 of 3 chosen" in shown
    assert "WARNING" not in done.stderr
    assert "validation pair 3 of 3" in done.stderr and "cd2" not in done.output
    card = read_card(out / "mine")
    assert card.summary == "Hello." and "only in May" in card.limits
    listed = CliRunner().invoke(app, ["models", "--folder", str(out)])
    assert listed.exit_code == 0
    assert all(word in listed.stdout for word in ("mine", "registration:", "prostate", "verified"))
    (out / "mine" / "weights.safetensors").write_bytes(b"something else")
    listed = CliRunner().invoke(app, ["models", "--folder", str(out)])
    assert listed.exit_code == 3 and "verified" not in listed.stdout
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, OutputRefused)


def test_a_harmful_model_is_told_loudly(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scored(monkeypatch, 1.0, 1.5)
    done = CliRunner().invoke(app, ["export-model", str(run), "--name", "bad", "-o", str(tmp_path), "--quiet"])
    assert done.exit_code == 0 and done.stdout == ""
    assert "prostate: WORSE THAN AFFINE ALONE: MSD 1.50 mm, affine alone 1.00 mm" in done.stderr
    assert any("WORSE THAN AFFINE ALONE" in limit for limit in read_card(tmp_path / "bad").limits)
    assert "WORSE THAN AFFINE ALONE" in (tmp_path / "bad" / "README.md").read_text()
