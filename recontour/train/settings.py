"""What a training is: one TOML file, one frozen value, checked before any work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recontour.errors import SettingsError
from recontour.network.architectures import output_sizes
from recontour.network.catalogue import ARCHITECTURES, INPUTS
from recontour.network.released import SPACINGS_MM
from recontour.settings import filled, read_toml

LONGEST_BETWEEN_CHECKPOINTS_S = 600.0


@dataclass(frozen=True)
class DataSettings:
    """Where pairs come from.

    source: "prepared", a folder made by `recontour prepare` with training/ and validation/; or "phantoms", made men
    moved anew all the time; or "patient", one patient's planning scan, likewise (recontour personalize makes the
    folder). folder: that folder; for phantoms, where made men are kept between runs (empty: in the
    run's own folder). The rest is for what is moved: training_men, validation_men: how many, by seeds that never meet;
    severity: of their motion, 1 as clinics report; days_at_once: how many days patches are drawn from at any time;
    patches_per_day: how many patches are cut from a day before the next one takes its place; workers: processes that
    make days, 0: the training process itself; drawing_mm: standard deviation of how much more or less another doctor
    would have drawn, on both days alike, 0: nobody else draws; texture_hu: the largest standard deviation of structures
    that tissue is given, moving with it, 0: none.
    """

    source: str = "prepared"
    folder: str = ""
    training_men: int = 60
    validation_men: int = 6
    severity: float = 1.0
    days_at_once: int = 8
    patches_per_day: int = 16
    workers: int = 1
    drawing_mm: float = 0.0
    texture_hu: float = 0.0

    def __post_init__(self) -> None:
        _one_of("data.source", self.source, ("prepared", "phantoms", "patient"))
        if self.source != "phantoms" and not self.folder:
            maker = "prepare" if self.source == "prepared" else "personalize"
            raise SettingsError("no folder", where="data.folder", allowed=f"a folder made by recontour {maker}")
        for name in ("training_men", "validation_men", "days_at_once", "patches_per_day"):
            _at_least(f"data.{name}", getattr(self, name), 1)
        _at_least("data.workers", self.workers, 0)
        for name in ("severity", "drawing_mm", "texture_hu"):
            _at_least(f"data.{name}", getattr(self, name), 0.0)


@dataclass(frozen=True)
class NetworkSettings:
    """Which of the paper's networks. inputs, segmentation_inputs: other input images than the paper's choice (its
    table 1); the second is for the cross-stitch network's segmentation path. Empty: the paper's choice.
    start_from: whose weights the training begins with: a released model's name, a model folder, or the folder of a
    run, whose last ones are taken; empty: at random. fixed_norms: batch norm by the running means that the weights came
    with, in training as in prediction, instead of by each step's own patches; for a stage that starts from another.
    """

    architecture: str = "cross-stitch"
    inputs: tuple[str, ...] = ()
    segmentation_inputs: tuple[str, ...] = ()
    start_from: str = ""
    fixed_norms: bool = False

    def __post_init__(self) -> None:
        if self.fixed_norms and not self.start_from:
            allowed = "false, or a start_from, whose running means they are"
            raise SettingsError("true, and no start_from", where="network.fixed_norms", allowed=allowed)
        _one_of("network.architecture", self.architecture, tuple(ARCHITECTURES))
        for name in ("inputs", "segmentation_inputs"):
            for image in getattr(self, name):
                _one_of(f"network.{name}", image, INPUTS)
        if self.segmentation_inputs and self.architecture != "cross-stitch":
            raise SettingsError(
                f"{self.segmentation_inputs}", where="network.segmentation_inputs", allowed="cross-stitch alone has it"
            )


@dataclass(frozen=True)
class LossSettings:
    """Eq. 6 and what may be added to it.

    similarity: "ncc" over the patch (eq. 2), "local-ncc" squared over windows of local_window voxels, or "mind" for
    scans of different appearance. weighting: "equal" (the weights below as they are), "homoscedastic" (eq. 7), or
    "dwa" (eq. 8, with temperature); both multiply the weights below, which are 1 in the paper, and leave those of
    bending, boundary and adversarial term as they are. A term with weight 0 is left out.
    boundary: final weight of the distance-based term of Kervadec et al. 2019 on the segmentation, 0: off; it grows
    linearly from nothing until step boundary_full_at, and the segmentation's Dice gives way to it by as much.
    w_cross_entropy: weight of the segmentation's cross-entropy beside its Dice, 0: off.
    w_field: weight of the distance to the true displacements, in mm, known where days are made; 0: off.
    adversarial: weight of the critic's judgement of the warped contours (JRS-GAN), 0: no critic.
    """

    similarity: str = "ncc"
    local_window: int = 7
    weighting: str = "equal"
    temperature: float = 1.0
    w_similarity: float = 1.0
    w_dice_registration: float = 1.0
    w_dice_segmentation: float = 1.0
    w_bending: float = 0.5
    w_field: float = 0.0
    w_cross_entropy: float = 0.0
    boundary: float = 0.0
    boundary_full_at: int = 100_000
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        _one_of("loss.similarity", self.similarity, ("ncc", "local-ncc", "mind"))
        _one_of("loss.weighting", self.weighting, ("equal", "homoscedastic", "dwa"))
        _at_least("loss.local_window", self.local_window, 3)
        _at_least("loss.boundary_full_at", self.boundary_full_at, 1)
        for name in (
            "w_similarity",
            "w_dice_registration",
            "w_dice_segmentation",
            "w_bending",
            "w_field",
            "w_cross_entropy",
            "adversarial",
        ):
            _at_least(f"loss.{name}", getattr(self, name), 0.0)
        if not 0 <= self.boundary < 1:
            raise SettingsError(f"{self.boundary}", where="loss.boundary", allowed="0 to below 1")
        if not self.temperature > 0:
            raise SettingsError(f"{self.temperature}", where="loss.temperature", allowed="above 0")


@dataclass(frozen=True)
class OptimiserSettings:
    """RAdam. learning_rate: the paper's is 1e-4, for 200,000 steps. head_rate: factor on it for the three
    registration heads: they begin at displacements of hundredths of a mm, and a short training has no time to grow
    them. beta2: how long squared gradients are remembered; its steps are small until it has seen about
    1 / (1 - beta2) of them. critic_rate: learning rate of the critic, where there is one."""

    learning_rate: float = 1e-4
    head_rate: float = 1.0
    beta2: float = 0.999
    critic_rate: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("learning_rate", "head_rate", "critic_rate"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{getattr(self, name)}", where=f"optimiser.{name}", allowed="above 0")
        if not 0 <= self.beta2 < 1:
            raise SettingsError(f"{self.beta2}", where="optimiser.beta2", allowed="0 to below 1")


@dataclass(frozen=True)
class TrainSettings:
    """patch_voxels: the input's side, a multiple of 4 from 44 on. spacing_mm: of the voxels that the network sees, 1 as
    in the paper, or 2: an eighth of the voxels, so that a patch shows more, and a training is shorter. batch: patches
    a step on each device, before swapping fixed and moving doubles them. precision: "fp32", or "bf16" for the
    convolutions (auto: bf16 where the processor has it). device: auto, cpu, cuda, cuda:N; under torchrun each process
    takes its own. validate_every: steps; validation_pairs: how many of the validation pairs, spread over the patients.
    log_every: steps. checkpoint_every_s: seconds, ten minutes at most."""

    seed: int = 0
    steps: int = 200_000
    patch_voxels: int = 96
    spacing_mm: float = 1.0
    batch: int = 2
    precision: str = "auto"
    device: str = "auto"
    hu_window: tuple[float, float] = (-1000.0, 1000.0)
    log_every: int = 20
    validate_every: int = 2000
    validation_pairs: int = 6
    checkpoint_every_s: float = 300.0
    data: DataSettings = field(default_factory=lambda: DataSettings("phantoms"))
    network: NetworkSettings = field(default_factory=NetworkSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)

    def __post_init__(self) -> None:
        output_sizes(self.patch_voxels)
        if self.spacing_mm not in SPACINGS_MM:
            raise SettingsError(f"{self.spacing_mm}", where="spacing_mm", allowed="1 or 2")
        _one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        for name in ("steps", "batch", "log_every", "validate_every", "validation_pairs"):
            _at_least(name, getattr(self, name), 1)
        if not 1 <= self.checkpoint_every_s <= LONGEST_BETWEEN_CHECKPOINTS_S:
            allowed = f"1 to {LONGEST_BETWEEN_CHECKPOINTS_S:.0f} s"
            raise SettingsError(f"{self.checkpoint_every_s}", where="checkpoint_every_s", allowed=allowed)
        if len(self.hu_window) != 2 or not self.hu_window[0] < self.hu_window[1]:
            raise SettingsError(f"{self.hu_window}", where="hu_window", allowed="two HU, the lower one first")

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as they stand in a run's settings.json."""
        return asdict(self)


def read_train_settings(path: Path) -> TrainSettings:
    """Settings from a TOML file; what it does not name keeps its default. Raises SettingsError."""
    return train_settings_from(read_toml(path))


def train_settings_from(raw: dict[str, Any]) -> TrainSettings:
    """Settings from nested plain values. Raises SettingsError on an unknown name or a value out of range."""
    return filled(TrainSettings(), raw)


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{value!r}", where=where, allowed=", ".join(allowed))


def _at_least(where: str, value: float, least: float) -> None:
    if not value >= least:
        raise SettingsError(f"{value}", where=where, allowed=f"at least {least}")
