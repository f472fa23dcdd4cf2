"""What is asked of `recontour personalize`, and the training that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recontour.errors import SettingsError
from recontour.network.released import ModelCard
from recontour.settings import Settings, filled, read_toml
from recontour.train.settings import DataSettings, LossSettings, NetworkSettings, OptimiserSettings, TrainSettings

STEPS = 2000  # more than half an hour of a processor; the minutes end it
PATCH_VOXELS = {1.0: 96, 2.0: 72}  # by spacing, mm: as released models were trained; 2 mm show more in fewer
CHOOSING_DAYS, STEPS_BETWEEN_CHOICES = 3, 100


@dataclass(frozen=True)
class PersonalizeRequest:
    """What is asked.

    planning: folder with the planning CT and its RTSTRUCT. out: the model's folder, to be made; its last part names the
    model. model: a released model's name or a model folder to begin with.
    fractions: folders of earlier fractions, CT and checked RTSTRUCT each. minutes: of training, all sessions together.
    chosen_rois: organ to ROI name, or "none", where names do not tell. held_back: made days that judge the result.
    training: a TOML file as for `recontour train`, for what is to differ from the settings made here.
    Raises SettingsError for values out of range.
    """

    planning: Path
    out: Path
    model: str = Settings.model
    fractions: tuple[Path, ...] = ()
    minutes: float = 30.0
    chosen_rois: Mapping[str, str] = field(default_factory=dict[str, str])
    held_back: int = 8
    training: Path | None = None
    seed: int = 0
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise SettingsError(f"{self.minutes}", where="--minutes", allowed="above 0")
        if not 2 <= self.held_back <= 100:
            raise SettingsError(f"{self.held_back}", where="held-back days", allowed="2 to 100")

    @property
    def work(self) -> Path:
        """The folder beside `out` that holds what is unfinished; gone at the end."""
        return self.out.with_name(f".{self.out.name}.personalizing")

    @property
    def patient(self) -> Path:
        """The patient as recontour.train.patient keeps him, within `work`."""
        return self.work / "patient"

    @property
    def run(self) -> Path:
        """The training's folder, within `work`."""
        return self.work / "run"


def settings_of(request: PersonalizeRequest, model_folder: Path, card: ModelCard) -> TrainSettings:
    """The training: the model's own network and window, his days, and what the request's TOML file changes.

    Raises SettingsError for a file that would change the network, the window, or whose days they are.
    """
    network = NetworkSettings(card.architecture, card.inputs, card.segmentation_inputs, str(model_folder.resolve()))
    ours = TrainSettings(
        seed=request.seed,
        steps=STEPS,
        patch_voxels=PATCH_VOXELS[card.spacing_mm],
        batch=1,
        device=request.device,
        spacing_mm=card.spacing_mm,
        hu_window=card.hu_window,
        validate_every=STEPS_BETWEEN_CHOICES,
        validation_pairs=CHOOSING_DAYS,
        checkpoint_every_s=120.0,
        data=DataSettings("patient", str(request.patient.resolve()), days_at_once=4, patches_per_day=8),
        network=network,
        loss=LossSettings(similarity="local-ncc", w_field=1.0),  # his days are made: where everything went is known
        optimiser=OptimiserSettings(learning_rate=2e-4, head_rate=5.0, beta2=0.99),
    )
    told: TrainSettings = filled(ours, read_toml(request.training)) if request.training else ours
    fixed = replace(
        told,
        network=network,
        spacing_mm=card.spacing_mm,
        hu_window=card.hu_window,
        data=replace(told.data, folder=ours.data.folder),
    )
    if fixed != told or told.data.source != "patient":
        allowed = (
            "neither network, spacing_mm, hu_window, data.source nor data.folder: the model and the patient have them"
        )
        raise SettingsError("a setting that is not free", where="--training", allowed=allowed)
    return told
