"""Settings: TOML in, a clear error for what does not belong there."""

from __future__ import annotations

from pathlib import Path

import pytest

from recontour.cli.screen import chosen_settings
from recontour.errors import SettingsError
from recontour.settings import Settings, read_settings, settings_from


def test_toml_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('method = "affine"\n[region]\nmargin_mm = 25\n')
    got = read_settings(file)
    assert (got.method, got.region.margin_mm, got.region.spacing_mm) == ("affine", 25.0, 1.0)
    assert got.refine == Settings().refine


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"metod": "affine"}, "metod"),
        ({"method": "magic"}, "method"),
        ({"region": {"margin": 3.0}}, "region.margin"),
        ({"region": {"margin_mm": 3.0}}, "region.margin_mm"),
        ({"region": {"margin_mm": "wide"}}, "region.margin_mm"),
        ({"region": 5}, "region"),
        ({"device": 3}, "device"),
        ({"region": {"spacing_mm": 2.0}}, "region.spacing_mm"),
        ({"method": "network", "region": {"spacing_mm": 0.5}}, "region.spacing_mm"),
    ],
)
def test_refuses_and_names(raw: dict[str, object], where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(raw)
    assert caught.value.where == where


def test_the_command_line_and_the_file_are_taken_together(tmp_path: Path) -> None:
    """The networks work on 1 mm alone, and a file of other voxels names no method."""
    (tmp_path / "coarse.toml").write_text("device = 'cuda'\n[region]\nspacing_mm = 2\n")
    got = chosen_settings(tmp_path / "coarse.toml", "refine", None, "cpu")
    assert (got.method, got.device, got.region.spacing_mm, got.model) == ("refine", "cpu", 2.0, Settings().model)
    with pytest.raises(SettingsError, match="2 mm with method network"):
        chosen_settings(tmp_path / "coarse.toml", None, None, None)


def test_no_toml(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("method = ")
    for name in ("s.toml", "missing.toml"):
        with pytest.raises(SettingsError):
            read_settings(tmp_path / name)


def test_settings_go_out_as_plain_values() -> None:
    assert settings_from(Settings().as_dict()) == Settings()
