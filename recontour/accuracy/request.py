"""What is asked of `recontour accuracy`, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recontour.errors import UsageError
from recontour.settings import Settings

_MOST_DAYS = 10  # of a made man: their seeds keep clear of those that train.patient draws from


@dataclass(frozen=True)
class Personal:
    """Training for men of the test, each on his planning scan alone.

    minutes: of training for each man; 0: none. men: how many of the made men, from the first on; the real scan's man
    is one more.
    """

    minutes: float = 0.0
    men: int = 3

    def __post_init__(self) -> None:
        if self.minutes < 0 or self.men < 0:
            raise UsageError("a negative number", where="--personal-minutes, --personal-men", allowed="0 or more")


@dataclass(frozen=True)
class AccuracyRequest:
    """What to measure.

    planning: a folder with a real planning CT and RTSTRUCT, or None. chosen_rois: organ to ROI name in it. days: of
    that scan. phantoms, days_each: made men, and days of each. settings: of recontour's own methods. rivals: by name;
    empty: the usual ones. part: (k, n), from 1: only the k-th of n shares of the pairs, and no tables. from_journals:
    tables of what was measured before, nothing is run. Raises UsageError for values out of range.
    """

    out: Path
    planning: Path | None = None
    chosen_rois: Mapping[str, str] = field(default_factory=dict[str, str])
    days: int = 20
    phantoms: int = 30
    days_each: int = 2
    settings: tuple[Settings, ...] = (Settings(),)
    rivals: tuple[str, ...] = ()
    personal: Personal = field(default_factory=Personal)
    part: tuple[int, int] | None = None
    from_journals: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.days_each <= _MOST_DAYS:
            raise UsageError(f"{self.days_each}", where="--fractions-per-man", allowed=f"1 to {_MOST_DAYS}")
        if self.part and not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"{self.part[0]}/{self.part[1]}", where="--part", allowed="K/N with K from 1 to N")
        if len(self.own) < len(self.settings):
            raise UsageError("two of one name", where="--method, --model", allowed="methods and models, once each")
        if self.personal.minutes and len(self.models) > 1:
            raise UsageError(f"{len(self.models)} models", where="--personal-minutes", allowed="one to begin with")

    @property
    def models(self) -> list[str]:
        """Those of the methods with a network, each once."""
        return list(dict.fromkeys(s.model for s in self.settings if s.asks_network))

    @property
    def own(self) -> dict[str, Settings]:
        """recontour's methods by name, with their model's where there are several: "network", or "model-1 network"."""
        several = len(self.models) > 1
        return {
            f"{Path(s.model).name} {s.method}" if several and s.asks_network else s.method: s for s in self.settings
        }

    @property
    def journal(self) -> Path:
        """Of this call: accuracy.jsonl, or accuracy.part-1-of-2.jsonl."""
        share = f".part-{self.part[0]}-of-{self.part[1]}" if self.part else ""
        return self.out.absolute().with_name(f"{self.out.stem}{share}.jsonl")

    @property
    def journals(self) -> list[Path]:
        """All that lie beside the output, of this call and of others."""
        whole = self.out.absolute().with_name(f"{self.out.stem}.jsonl")
        parts = sorted(whole.parent.glob(f"{self.out.stem}.part-*.jsonl")) if whole.parent.is_dir() else []
        return [path for path in (*parts, whole) if path.exists()]

    @property
    def personal_folder(self) -> Path:
        """Where the personalised models are kept until somebody deletes them."""
        return self.out.with_name(f"{self.out.stem}.personal")
