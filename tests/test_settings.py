"""Settings: TOML in, a clear error for what does not belong there."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    ],
)
def test_refuses_and_names(raw: dict[str, object], where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(raw)
    assert caught.value.where == where


def test_no_toml(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("method = ")
    for name in ("s.toml", "missing.toml"):
        with pytest.raises(SettingsError):
            read_settings(tmp_path / name)


def test_settings_go_out_as_plain_values() -> None:
    assert settings_from(Settings().as_dict()) == Settings()
