"""Released models: folders that explain themselves.

    models/<name>/card.toml             what it is, what it was trained on, what it scores, what it is for
                  weights.safetensors   its weights, bound to the card by their sha256
                  README.md

Cards are read without torch. Weights are checked against the card each time they are opened; nothing is downloaded
and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from recontour.errors import ModelRefused
from recontour.network.catalogue import ARCHITECTURES, LABELS

if TYPE_CHECKING:
    from recontour.network.architectures import Network

CARD, WEIGHTS, README = "card.toml", "weights.safetensors", "README.md"
SPACINGS_MM = (1.0, 2.0)
SEEN_KEYS = ("organ", "measure", "low", "high", "scans")  # fields of qa.likeness.Seen
MEASURES = ("volume_ml", "inside_hu", "around_hu")  # what they mean: qa/likeness.py
OutputPath = Literal["registration", "segmentation", "blend"]


@dataclass(frozen=True)
class ModelCard:
    """What a model says of itself: the keys of card.toml.

    labels: the order of its segmentation channels and the values of its label map. spacing_mm: the isotropic grid
    it works on, 1 or 2 (network/coarse.py). hu_window: HU are clipped to it and divided by
    1000. path_per_organ: which output gives the contour.
    segmentation_inputs: those of the cross-stitch network's segmentation path, empty: the daily scan alone.
    patient_key: of the planning scan that it was personalised for (dicom.references.scan_key); empty: for anybody.
    released: ISO date. training, scores: as written on the card (docs/models.md). limits: where not to trust it.
    seen: the ranges of its training data, a row for each organ and measure (SEEN_KEYS); empty: not known.
    Raises ModelRefused where a value does not fit this version of recontour.
    """

    name: str
    architecture: str
    inputs: tuple[str, ...]
    weights_sha256: str = ""
    labels: tuple[str, ...] = LABELS
    segmentation_inputs: tuple[str, ...] = ()
    spacing_mm: float = 1.0
    hu_window: tuple[float, float] = (-1000.0, 1000.0)
    path_per_organ: dict[str, OutputPath] = field(default_factory=dict[str, OutputPath])
    patient_key: str = ""
    released: str = ""
    summary: str = ""
    intended_use: str = ""
    limits: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    scores: tuple[dict[str, Any], ...] = ()
    seen: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _known(self.name, "architecture", [self.architecture], tuple(ARCHITECTURES))
        _known(self.name, "labels", [self.labels], (LABELS,))
        _known(self.name, "spacing_mm", [self.spacing_mm], SPACINGS_MM)
        _known(self.name, "path_per_organ", self.path_per_organ.values(), get_args(OutputPath))
        _known(self.name, "path_per_organ", self.path_per_organ, LABELS[1:])
        for row in self.seen:
            _check_seen(self.name, row)
        if len(self.hu_window) != 2 or not self.hu_window[0] < self.hu_window[1]:
            raise ModelRefused(f"hu_window {self.hu_window}", where=self.name, allowed="two HU, the lower one first")

    @property
    def registers(self) -> bool:
        """Whether its network gives a field."""
        return "field" in ARCHITECTURES[self.architecture].heads


@dataclass(frozen=True)
class ListedModel:
    """One line of a listing: `fault` is empty where the card is readable and the weights are what it says."""

    name: str
    folder: Path
    card: ModelCard | None
    fault: str


@dataclass(frozen=True, eq=False)
class ReleasedModel:
    """A card and the network it speaks of, in evaluation mode, float32, on the CPU."""

    card: ModelCard
    network: Network


def models_folder() -> Path:
    """Where the released models lie: inside the installed package, or beside it in a checkout. Raises ModelRefused."""
    spec = importlib.util.find_spec("recontour")
    package = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    for folder in [p / "models" for p in package] + [p.parent / "models" for p in package]:
        if folder.is_dir():
            return folder
    raise ModelRefused("no released models in this installation", allowed="reinstall recontour, or name a model folder")


def list_models(folder: Path | None = None) -> list[ListedModel]:
    """All models below `folder` (default: the released ones), by name; cards read, weights checked, no torch."""
    home = folder or models_folder()
    return [_listed(path.parent) for path in sorted(home.glob(f"*/{CARD}"))]


def open_model(name_or_folder: str | Path, folder: Path | None = None) -> ReleasedModel:
    """The model of that name below `folder` (default: the released ones), or in that folder.

    Raises ModelRefused where it is missing, its weights are not those of the card, or do not fit the network.
    """
    home = _find(str(name_or_folder), folder)
    card = read_card(home)
    return ReleasedModel(card, _network(card, _verified_weights(home, card)))


def folder_of(name_or_folder: str | Path) -> Path:
    """The folder of the model that `open_model` would open. Raises ModelRefused where there is none."""
    return _find(str(name_or_folder), None)


def read_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`, without torch. Raises ModelRefused."""
    try:
        raw = tomllib.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelRefused("the card cannot be read", where=f"{folder.name}/{CARD}", allowed="a TOML file") from error
    known = {f.name for f in fields(ModelCard)}
    _known(folder.name, CARD, raw, tuple(sorted(known)))
    for key in ("name", "architecture", "inputs", "weights_sha256"):
        if key not in raw:
            raise ModelRefused(f"the card has no {key}", where=f"{folder.name}/{CARD}")
    values: dict[str, Any] = {key: _frozen(value) for key, value in raw.items()}
    try:
        return ModelCard(**values)
    except (TypeError, AttributeError) as error:  # a number where a table or a list should be
        raise ModelRefused("a value of the wrong kind", where=f"{folder.name}/{CARD}") from error


def _frozen(value: Any) -> Any:
    """TOML has lists where the card has tuples."""
    return tuple(cast(list[Any], value)) if isinstance(value, list) else value


def _listed(folder: Path) -> ListedModel:
    card = None
    try:
        card = read_card(folder)
        _verified_weights(folder, card)
    except ModelRefused as refusal:
        return ListedModel(folder.name, folder, card, refusal.found)
    return ListedModel(card.name, folder, card, "")


def _find(name_or_folder: str, folder: Path | None) -> Path:
    if name_or_folder and (Path(name_or_folder) / CARD).is_file():
        return Path(name_or_folder)
    home = folder or models_folder()
    names = sorted(path.parent.name for path in home.glob(f"*/{CARD}"))
    if name_or_folder in names:
        return home / name_or_folder
    allowed = ", ".join(names) or "a folder with a card.toml"
    raise ModelRefused(f"no model {name_or_folder!r}", where=home.name, allowed=allowed)


def _verified_weights(folder: Path, card: ModelCard) -> bytes:
    """The bytes of the weights, after their sha256 was compared with the card's."""
    where = f"{folder.name}/{WEIGHTS}"
    try:
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelRefused("the weights are missing", where=where, allowed="reinstall recontour") from error
    found = hashlib.sha256(content).hexdigest()
    if found != card.weights_sha256:
        raise ModelRefused(
            "the weights are not those of the card", where=where, allowed=f"sha256 {card.weights_sha256}, not {found}"
        )
    return content


def _network(card: ModelCard, content: bytes) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from recontour.network.architectures import build_network

    network = build_network(card.architecture, card.inputs, card.segmentation_inputs)
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        allowed = f"the weights of a {card.architecture} network"
        raise ModelRefused("the weights do not fit the network", where=card.name, allowed=allowed) from error
    if not all(bool(p.isfinite().all()) for p in network.state_dict().values()):
        raise ModelRefused("weights that are not finite", where=card.name, allowed="a model that was trained to an end")
    return network.eval()


def _check_seen(name: str, row: Mapping[str, Any]) -> None:
    _known(name, "seen", [sorted(row)], (sorted(SEEN_KEYS),))
    _known(name, "seen", [row["organ"]], LABELS[1:])
    _known(name, "seen", [row["measure"]], MEASURES)
    low, high = row["low"], row["high"]
    if not all(isinstance(value, int | float) for value in (low, high)) or not low <= high:
        raise ModelRefused(f"seen: {low!r} to {high!r}", where=name, allowed="two numbers, the lower one first")


def _known(name: str, key: str, values: Any, allowed: tuple[Any, ...]) -> None:
    for value in values:
        if value not in allowed:
            raise ModelRefused(f"{key}: {value!r}", where=name, allowed=" | ".join(str(a) for a in allowed))
