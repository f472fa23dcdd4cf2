"""Makes a trained network a released model: weights, and a card that is bound to them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from recontour.errors import OutputRefused
from recontour.network.architectures import Network
from recontour.network.released import CARD, WEIGHTS, ModelCard


def export(network: Network, card: ModelCard, folder: Path, overwrite: bool = False) -> ModelCard:
    """Writes `folder`/weights.safetensors and card.toml; returns the card with the weights' sha256.

    Raises OutputRefused where there is a model already, unless `overwrite`.
    """
    from safetensors.torch import save

    if (folder / CARD).exists() and not overwrite:
        raise OutputRefused("there is a model already", where=folder.name, allowed="another name, or overwrite")
    content = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    bound = replace(card, weights_sha256=hashlib.sha256(content).hexdigest(), inputs=network.inputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    (folder / CARD).write_text(card_text(bound), encoding="utf-8")
    return bound


def card_text(card: ModelCard) -> str:
    """The card as TOML: plain values first, then tables, then lists of tables, as the format wants."""
    values = asdict(card)
    plain = [f"{f.name} = {_value(values[f.name])}" for f in fields(card) if _is_plain(values[f.name])]
    tables = [_table(f"[{name}]", values[name]) for name in ("path_per_organ", "training")]
    lists = [_table("[[scores]]", row) for row in values["scores"]]
    return "\n\n".join(["\n".join(plain), *tables, *lists]) + "\n"


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) and not (value and isinstance(value, tuple) and isinstance(value[0], dict))


def _table(head: str, rows: dict[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in rows.items())])


def _value(value: Any) -> str:
    """Strings, numbers, booleans and lists of them are written in TOML as in JSON."""
    return json.dumps(value, ensure_ascii=False)
