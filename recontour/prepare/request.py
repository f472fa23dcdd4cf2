"""What is asked of `recontour prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recontour.dicom.names import ORGANS
from recontour.errors import SettingsError


@dataclass(frozen=True)
class PrepareRequest:
    """What is asked.

    cohort: a folder of any layout. out: the folder of pairs, new or one that this command made.
    chosen_rois: organ to ROI name, or "none", where names do not tell; used in every structure set that has it.
    require: organs that must be contoured in both scans; without any, one organ is enough, whichever it is.
    margin_mm: around the organs of both scans. The networks look 28 voxels beyond what they answer for.
    shares: of patients for SPLITS, drawn by `seed`; or split_file: a TOML file with lists of PatientIDs under these
        names.
    planning_name: series description or folder name of planning scans, with * and ?; else the earliest is it.
    Raises SettingsError for values out of range.
    """

    cohort: Path
    out: Path
    chosen_rois: Mapping[str, str] = field(default_factory=dict[str, str])
    require: tuple[str, ...] = ()
    margin_mm: float = 60.0
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    split_file: Path | None = None
    planning_name: str = ""

    def __post_init__(self) -> None:
        if not 10 <= self.margin_mm <= 150:
            raise SettingsError(f"{self.margin_mm}", where="margin_mm", allowed="10 to 150")
        if len(self.shares) != 3 or not min(self.shares) >= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise SettingsError(f"{self.shares}", where="split", allowed="three shares, none negative, with the sum 1")
        for organ in self.require:
            if organ not in ORGANS:
                raise SettingsError(f"no organ {organ}", where="require", allowed=", ".join(ORGANS))

    @property
    def settings(self) -> dict[str, Any]:
        """What cohort.json says was asked."""
        return {
            "margin_mm": float(self.margin_mm),
            "require": sorted(self.require),
            "rois": dict(self.chosen_rois),
            "split": "file" if self.split_file else list(self.shares),
            "seed": self.seed,
            "planning_name": self.planning_name,
        }
