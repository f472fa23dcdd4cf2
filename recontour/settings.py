"""All settings of a run: frozen, with units in their names, validated at birth, the same as TOML.

[refine]
knot_spacing_mm = 8.0
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from recontour.errors import SettingsError

Method = Literal["network", "refine", "network+refine", "affine", "elastix"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class RegionSettings:
    """The part of the daily scan that is worked on: the planning contours, aligned, and what lies around them."""

    spacing_mm: float = 1.0
    margin_mm: float = 30.0  # far enough for an organ to move, and for the networks to see its surroundings

    def __post_init__(self) -> None:
        _between("region.spacing_mm", self.spacing_mm, 0.5, 4.0)
        _between("region.margin_mm", self.margin_mm, 5.0, 100.0)


@dataclass(frozen=True)
class RefineSettings:
    """Instance optimisation of the field (network/refine.py)."""

    def __post_init__(self) -> None:
        return


@dataclass(frozen=True)
class QaSettings:
    """Where pass becomes review, and review reject (qa/checks.py)."""

    def __post_init__(self) -> None:
        return


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a result. Two runs with equal settings and inputs give equal contours."""

    method: Method = "refine"
    model: str = ""  # a released model's name or folder; empty: the newest released
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    region: RegionSettings = field(default_factory=RegionSettings)
    refine: RefineSettings = field(default_factory=RefineSettings)
    qa: QaSettings = field(default_factory=QaSettings)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f"unknown method {self.method!r}", where="method", allowed=", ".join(METHODS))
        if self.precision not in ("auto", "fp32", "bf16"):
            raise SettingsError(f"unknown precision {self.precision!r}", where="precision", allowed="auto, fp32, bf16")

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, for the manifest."""
        return asdict(self)


def read_settings(path: Path) -> Settings:
    """Settings from a TOML file; what it does not name keeps its default. Raises SettingsError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(str(error), where=path.name, allowed="a TOML file, as in docs/settings.md") from error
    return settings_from(raw)


def settings_from(raw: dict[str, Any]) -> Settings:
    """Settings from nested plain values. Raises SettingsError on an unknown name or a value out of range."""
    return _filled(Settings(), raw, "")


def _filled(default: Any, raw: dict[str, Any], prefix: str) -> Any:
    known = {f.name for f in fields(default)}
    changes: dict[str, Any] = {}
    for name, value in raw.items():
        where = f"{prefix}{name}"
        if name not in known:
            raise SettingsError("unknown setting", where=where, allowed=", ".join(sorted(known)))
        current = getattr(default, name)
        nested = is_dataclass(current) and isinstance(value, dict)
        changes[name] = _filled(current, cast(dict[str, Any], value), f"{where}.") if nested else _like(current, value)
        if type(changes[name]) is not type(current):
            kind = "table" if is_dataclass(current) else type(current).__name__
            raise SettingsError(f"{value!r} is no {kind}", where=where, allowed="as in docs/settings.md")
    return replace(default, **changes)


def _like(current: Any, value: Any) -> Any:
    """TOML writes 3 for 3.0 and has lists for tuples."""
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return tuple(cast(list[Any], value)) if isinstance(current, tuple) and isinstance(value, list) else value


def _between(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{value}", where=where, allowed=f"{low} to {high}")
