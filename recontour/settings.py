"""All settings of a run: frozen, with units in their names, validated at birth, the same as TOML.

[refine]
knot_min_mm = 6.0
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from recontour.errors import SettingsError

Method = Literal["network", "refine", "network+refine", "affine", "elastix"]
METHODS: tuple[Method, ...] = get_args(Method)
NETWORK_MM = 1.0  # voxels of the region that networks are asked on (paper, section III-C)


@dataclass(frozen=True)
class RegionSettings:
    """The part of the daily scan that is worked on: the planning contours, aligned, and what lies around them."""

    spacing_mm: float = 1.0
    margin_mm: float = 30.0  # far enough for an organ to move, and for the networks to see its surroundings

    def __post_init__(self) -> None:
        between("region.spacing_mm", self.spacing_mm, 0.5, 4.0)
        between("region.margin_mm", self.margin_mm, 5.0, 100.0)


@dataclass(frozen=True)
class RefineSettings:
    """Instance optimisation of the field (network/refine.py)."""

    levels_mm: tuple[float, ...] = (8.0, 4.0, 2.0, 1.25)  # image spacing, coarse to fine
    steps: tuple[int, ...] = (6, 6, 8, 3)  # at most, per level
    window_hu: tuple[float, float] = (-150.0, 300.0)  # soft tissue: what lies outside says nothing of organs
    gas_hu: float = -200.0  # below: gas, which is filled in; fat ends at -150
    noise_hu: float = 20.0  # what a difference of intensities is measured by,
    edge_mm: float = 0.8  # and how far edges of two scans may lie apart, for they are not equally sharp
    outlier_hu: float = 40.0  # a difference that neither noise nor misalignment explains is trusted less
    variance_floor: float = 2e-3  # of local correlation, in units of the HU window squared: 20 HU
    window_sigma_voxels: float = 2.0  # of the local correlation
    window_stride: float = 2.0  # voxels between centres of windows
    knot_voxels: float = 2.0  # distance of the field's knots
    knot_min_mm: float = 4.0
    bending: float = 14.0  # mm^4, against data per voxel; four times as much where the field would fold
    bending_noise_hu: float = 7.0  # of the scans that it is for, in means over 2 mm; it grows with noise squared
    stretching: float = 0.0  # mm^2
    dice_weight: float = 2.0  # labels are right to about 1 mm, the scans to a third of that
    step_voxels: float = 2.0  # longest step, in voxels of the level
    solver_steps: int = 15  # of conjugate gradients, at most

    def __post_init__(self) -> None:
        if len(self.levels_mm) != len(self.steps) or not self.levels_mm:
            raise SettingsError(f"{self.steps}", where="refine.steps", allowed="one for each of refine.levels_mm")
        if not self.window_hu[0] < self.window_hu[1]:
            raise SettingsError(f"{self.window_hu}", where="refine.window_hu", allowed="the lower value first")
        for spacing_mm in self.levels_mm:
            between("refine.levels_mm", spacing_mm, 0.5, 16.0)
        between("refine.noise_hu", self.noise_hu, 1.0, 1000.0)
        between("refine.outlier_hu", self.outlier_hu, 1.0, 1000.0)
        between("refine.window_sigma_voxels", self.window_sigma_voxels, 0.5, 10.0)
        between("refine.window_stride", self.window_stride, 1.0, 8.0)
        between("refine.knot_min_mm", self.knot_min_mm, 1.0, 50.0)
        between("refine.knot_voxels", self.knot_voxels, 1.0, 8.0)
        between("refine.bending", self.bending, 0.1, 1e6)
        between("refine.bending_noise_hu", self.bending_noise_hu, 0.1, 1000.0)


@dataclass(frozen=True)
class OrganLimits:
    """What one kind of organ may do between the planning scan and the day.

    volume_review, volume_reject: lowest and highest daily volume over planned volume. shift_review_mm,
    shift_reject_mm: how far its centre may move, once the scans are aligned.
    """

    volume_review: tuple[float, float]
    volume_reject: tuple[float, float]
    shift_review_mm: float
    shift_reject_mm: float

    def __post_init__(self) -> None:
        ratios = (*self.volume_reject[:1], *self.volume_review, *self.volume_reject[1:])
        if len(ratios) != 4 or not 0 < ratios[0] <= ratios[1] <= 1 <= ratios[2] <= ratios[3]:
            raise SettingsError(
                f"review {self.volume_review}, reject {self.volume_reject}",
                where="qa: volume limits",
                allowed="two ratios around 1 each, reject outside review",
            )
        if not 0 < self.shift_review_mm <= self.shift_reject_mm:
            raise SettingsError(
                f"review {self.shift_review_mm}, reject {self.shift_reject_mm}",
                where="qa: shift limits",
                allowed="above 0 mm, reject at or above review",
            )


@dataclass(frozen=True)
class QaSettings:
    """Where pass becomes review, and review reject (qa/checks.py). Sources and calibration in docs/qa.md."""

    bladder: OrganLimits = OrganLimits((0.33, 3.0), (0.1, 8.0), 25.0, 50.0)
    rectum: OrganLimits = OrganLimits((0.33, 3.0), (0.2, 5.0), 12.0, 30.0)
    prostate: OrganLimits = OrganLimits((0.8, 1.2), (0.6, 1.6), 12.0, 25.0)
    seminal_vesicles: OrganLimits = OrganLimits((0.6, 1.6), (0.3, 3.0), 15.0, 30.0)
    bone: OrganLimits = OrganLimits((0.9, 1.1), (0.75, 1.3), 5.0, 12.0)
    other: OrganLimits = OrganLimits((0.6, 1.6), (0.3, 3.0), 15.0, 30.0)
    jacobian_review: tuple[float, float] = (0.125, 8.0)  # local volume change, 1st and 99th percentile inside
    folding_review: float = 0.001  # share of the organ where the field folds
    folding_reject: float = 0.01
    disagreement_review_mm: float = 4.0  # mean distance of the registered and the segmented surface
    disagreement_reject_mm: float = 8.0
    edges_review_mm: float = 4.5  # between the contour and the edge that the daily scan shows, at its worst twentieth
    edges_reject_mm: float = 7.5
    match_review: float = 0.4  # correlation of both scans around the organ, after warping
    match_reject: float = 0.2
    out_of_view_review: float = 0.01  # share of the organ beyond the daily scan's round field of view
    unlike_review: float = 0.25  # of the range that a network was trained on: how far beyond it a measure may lie
    metal_review_ml: float = 1.0  # at the organs' height, in either scan: more than gold markers
    alignment_review: float = 0.8  # correlation of both scans after the affine
    alignment_reject: float = 0.5
    rotation_review_degrees: float = 5.0
    rotation_reject_degrees: float = 15.0
    scale_review: float = 0.05  # a patient does not grow: largest change of length along any direction
    scale_reject: float = 0.15

    def __post_init__(self) -> None:
        for name, rising in _QA_PAIRS.items():
            review, reject = getattr(self, f"{name[0]}_review{name[1]}"), getattr(self, f"{name[0]}_reject{name[1]}")
            if not (0 <= review <= reject if rising else reject <= review <= 1):
                order = "reject at or above review" if rising else "reject at or below review"
                raise SettingsError(f"review {review}, reject {reject}", where=f"qa.{name[0]}", allowed=order)
        if len(self.jacobian_review) != 2 or not 0 <= self.jacobian_review[0] < 1 < self.jacobian_review[1]:
            raise SettingsError(f"{self.jacobian_review}", where="qa.jacobian_review", allowed="two values around 1")

    def limits_for(self, organ: str) -> OrganLimits:
        """The limits of an organ; femoral heads and other bones share one, what is not known takes `other`."""
        if organ in ("bladder", "rectum", "prostate", "seminal_vesicles"):
            return cast("OrganLimits", getattr(self, organ))
        return self.bone if any(word in organ.lower() for word in ("femor", "femur", "bone")) else self.other


# (name, unit) of settings with a review and a reject limit: whether larger is worse
_QA_PAIRS = {
    ("folding", ""): True,
    ("disagreement", "_mm"): True,
    ("edges", "_mm"): True,
    ("rotation", "_degrees"): True,
    ("scale", ""): True,
    ("match", ""): False,
    ("alignment", ""): False,
}


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a result. Two runs with equal settings and inputs give equal contours."""

    method: Method = "network+refine"
    model: str = "cross-stitch-phantom-v4"  # a released model's name, or a model folder
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
        if self.asks_network and self.region.spacing_mm != NETWORK_MM:
            found = f"{self.region.spacing_mm:g} mm with method {self.method}"
            allowed = f"{NETWORK_MM:g} mm for the networks; others with method refine, elastix or affine"
            raise SettingsError(found, where="region.spacing_mm", allowed=allowed)

    @property
    def asks_network(self) -> bool:
        """Whether the method needs a model."""
        return "network" in self.method

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, for the manifest."""
        return asdict(self)


def read_settings(path: Path) -> Settings:
    """Settings from a TOML file; what it does not name keeps its default. Raises SettingsError."""
    return settings_from(read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The nested plain values of a TOML file. Raises SettingsError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(str(error), where=path.name, allowed="a TOML file, as in docs/settings.md") from error


def settings_from(raw: dict[str, Any]) -> Settings:
    """Settings from nested plain values. Raises SettingsError on an unknown name or a value out of range."""
    return filled(Settings(), raw)


def filled(default: Any, raw: dict[str, Any], prefix: str = "") -> Any:
    """A copy of the dataclass `default` with the values of `raw`, nested alike; `prefix`: where it stands, for errors.

    Raises SettingsError on an unknown name or a value of another kind.
    """
    known = {f.name for f in fields(default)}
    changes: dict[str, Any] = {}
    for name, value in raw.items():
        where = f"{prefix}{name}"
        if name not in known:
            raise SettingsError("unknown setting", where=where, allowed=", ".join(sorted(known)))
        current = getattr(default, name)
        nested = is_dataclass(current) and isinstance(value, dict)
        changes[name] = filled(current, cast(dict[str, Any], value), f"{where}.") if nested else _like(current, value)
        if type(changes[name]) is not type(current):
            kind = "table" if is_dataclass(current) else type(current).__name__
            raise SettingsError(f"{value!r} is no {kind}", where=where, allowed="as in docs/settings.md")
    return replace(default, **changes)


def _like(current: Any, value: Any) -> Any:
    """TOML writes 3 for 3.0 and has lists for tuples."""
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return tuple(cast(list[Any], value)) if isinstance(current, tuple) and isinstance(value, list) else value


def between(where: str, value: float, low: float, high: float) -> None:
    """Raises SettingsError for a value below `low` or above `high`."""
    if not low <= value <= high:
        raise SettingsError(f"{value}", where=where, allowed=f"{low} to {high}")
