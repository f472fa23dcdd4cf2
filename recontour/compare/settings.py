"""What a comparison is: one TOML file, one frozen value, checked before any work."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from recontour.errors import SettingsError
from recontour.network.catalogue import ARCHITECTURES
from recontour.settings import filled, read_toml
from recontour.train.settings import TrainSettings

TABLES, FIGURES = (1, 2, 3, 4, 5), (2,)
WEIGHTINGS = ("equal", "homoscedastic", "dwa")
RIVALS = ("elastix", "elastix-soft-tissue", "hybrid", "jrs-gan")
MULTI_TASK = ("jrs-reg", "dense", "sedd", "cross-stitch")
_DEVICE = re.compile(r"cpu|cuda:\d+")


@dataclass(frozen=True)
class TestSettings:
    """The independent test set, which nothing is chosen on.

    Prepared data bring theirs, in test/ beside training/ and validation/. Of phantoms it is made: men, each on `days`
    days; severity: of their motion, larger than in training, as another institute without a bladder filling protocol
    has it.
    """

    men: int = 6
    days: int = 1
    severity: float = 1.5

    def __post_init__(self) -> None:
        for name in ("men", "days"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{getattr(self, name)}", where=f"test.{name}", allowed="at least 1")
        if self.severity < 0:
            raise SettingsError(f"{self.severity}", where="test.severity", allowed="at least 0")


@dataclass(frozen=True)
class CompareSettings:
    """tables, figures: which of the paper's are wanted; configurations that none of them needs are not trained.
    networks: the rows that the tables have. weightings: of table 2. bending_weights: of figure 2. rivals: what the
    networks are compared with: elastix as in the paper, elastix on soft tissue alone, the Hybrid method, JRS-GAN.
    homoscedastic: networks weighted so in tables 3, 4 and 5; the others are weighted equally. hybrid_network: whose
    bladder the Hybrid method takes. adversarial: weight of JRS-GAN's critic. devices: each works on one configuration
    at a time, "cpu" or "cuda:N"; naming "cpu" twice shares its cores. train: what all trainings have in common; its
    network, weighting and bending weight are set by the tables.
    """

    tables: tuple[int, ...] = TABLES
    figures: tuple[int, ...] = FIGURES
    networks: tuple[str, ...] = tuple(ARCHITECTURES)
    weightings: tuple[str, ...] = WEIGHTINGS
    bending_weights: tuple[float, ...] = (0.005, 0.05, 0.5, 5.0)
    rivals: tuple[str, ...] = RIVALS
    homoscedastic: tuple[str, ...] = ("jrs-reg", "dense", "sedd")
    hybrid_network: str = "seg"
    adversarial: float = 0.01
    devices: tuple[str, ...] = ("cpu",)
    test: TestSettings = field(default_factory=TestSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        _each_of("tables", self.tables, TABLES)
        _each_of("figures", self.figures, FIGURES)
        _each_of("networks", self.networks, tuple(ARCHITECTURES))
        _each_of("weightings", self.weightings, WEIGHTINGS)
        _each_of("rivals", self.rivals, RIVALS)
        _each_of("homoscedastic", self.homoscedastic, MULTI_TASK)
        _each_of("hybrid_network", (self.hybrid_network,), _with_segmentation())
        if not (self.tables or self.figures):
            raise SettingsError("nothing is wanted", where="tables, figures", allowed="at least one of them")
        if not self.devices or not all(_DEVICE.fullmatch(name) for name in self.devices):
            raise SettingsError(f"{self.devices}", where="devices", allowed='"cpu" or "cuda:N", at least one')
        if not self.adversarial > 0:
            raise SettingsError(f"{self.adversarial}", where="adversarial", allowed="above 0")
        if 2 in self.figures and not all(weight > 0 for weight in self.bending_weights):
            raise SettingsError(
                f"{self.bending_weights}", where="bending_weights", allowed="above 0: the axis is a log"
            )
        if self.train.device != "auto":
            raise SettingsError(self.train.device, where="train.device", allowed="auto: `devices` says where")


def read_compare_settings(path: Path) -> CompareSettings:
    """Settings from a TOML file; what it does not name keeps its default. Raises SettingsError."""
    return compare_settings_from(read_toml(path))


def compare_settings_from(raw: dict[str, Any]) -> CompareSettings:
    """Settings from nested plain values. Raises SettingsError on an unknown name or a value out of range."""
    return filled(CompareSettings(), raw)


def toml_of(values: dict[str, Any], prefix: str = "") -> str:
    """Nested plain values as TOML: strings, numbers, booleans and lists of them are written there as in JSON."""
    nested = {name: cast("dict[str, Any]", value) for name, value in values.items() if isinstance(value, dict)}
    plain = [f"{name} = {json.dumps(value)}\n" for name, value in values.items() if name not in nested]
    tables = [f"\n[{prefix}{name}]\n{toml_of(value, f'{prefix}{name}.')}" for name, value in nested.items()]
    return "".join(plain + tables)


def _with_segmentation() -> tuple[str, ...]:
    return tuple(name for name, row in ARCHITECTURES.items() if "segmentation" in row.heads)


def _each_of(where: str, values: tuple[Any, ...], allowed: tuple[Any, ...]) -> None:
    for value in values:
        if value not in allowed:
            raise SettingsError(f"{value!r}", where=where, allowed=", ".join(str(a) for a in allowed))
