"""A model's card as TOML, and as a page to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from recontour.network.released import WEIGHTS, ModelCard
from recontour.train.validate import LOST_MM


def card_text(card: ModelCard) -> str:
    """The card as TOML: plain values first, then tables, then lists of tables, as the format wants."""
    values = asdict(card)
    plain = [f"{f.name} = {_value(values[f.name])}" for f in fields(card) if _is_plain(values[f.name])]
    tables = [_table(f"[{name}]", values[name]) for name in ("path_per_organ", "training")]
    lists = [_table(f"[[{name}]]", row) for name in ("scores", "seen") for row in values[name]]
    return "\n\n".join(["\n".join(plain), *tables, *lists]) + "\n"


def readme_text(card: ModelCard) -> str:
    """The card in words and tables, Markdown."""
    parts = [
        f"# {card.name}\n\n{card.summary}".rstrip(),
        f"**For:** {card.intended_use}",
        "**Not to be trusted:**\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
        _what_it_is(card),
        "## Which output gives each organ's contour\n\n"
        + "\n".join(f"- {_plainly(organ)}: {path}" for organ, path in card.path_per_organ.items()),
        _score_table(card),
        *_field_line(card),
        "## How it was trained\n\n" + "\n".join(f"- {_plainly(key)}: {value}" for key, value in card.training.items()),
        f"`{WEIGHTS}` has the sha256 `{card.weights_sha256}`; recontour compares it each time the model is opened.\n"
        f"The same, for machines: `card.toml`. To use it: `recontour run --method network --model FOLDER`.",
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(card: ModelCard) -> str:
    low, high = card.hu_window
    rows = [f"- network: {card.architecture}, given {', '.join(card.inputs)}"]
    if card.segmentation_inputs:
        rows.append(f"- its segmentation path is given {', '.join(card.segmentation_inputs)}")
    rows += [
        f"- labels, in this order: {', '.join(card.labels)}",
        f"- grid: {card.spacing_mm:g} mm in all directions; HU clipped to {low:g} to {high:g}, divided by 1000",
        f"- released: {card.released}",
    ]
    return "## What it is\n\n" + "\n".join(rows)


def _score_table(card: ModelCard) -> str:
    rows = [row for row in card.scores if "path" in row]
    if not rows:
        return "## Scores\n\nNone."
    about = (
        f"On {rows[0]['data']}, {rows[0]['precision']}, {rows[0]['date']}: mean ± standard deviation (median, worst)."
    )
    lines = ["| organ | path | MSD mm | HD95 mm | Dice | n | lost |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        mark = " (chosen)" if card.path_per_organ.get(row["organ"]) == row["path"] else ""
        cells = [_plainly(row["organ"]), row["path"] + mark, _spread(row, "msd_mm", 2), _spread(row, "hd95_mm", 2)]
        lines.append("| " + " | ".join([*cells, _spread(row, "dice", 3), str(row["n"]), str(row["lost"])]) + " |")
    tail = f"No distance counts more than {LOST_MM:g} mm, as a lost organ does. Affine: the planning contour laid over."
    return f"## Scores\n\n{about}\n\n" + "\n".join(lines) + f"\n\n{tail}"


def _field_line(card: ModelCard) -> list[str]:
    return [
        f"Its fields: standard deviation of the Jacobian determinant {row['jacobian_sd_mean']:.3f} "
        f"(worst {row['jacobian_sd_worst']:.3f}), folded {100 * row['folding_mean']:.3f} % of the voxels "
        f"(worst {100 * row['folding_worst']:.3f} %)."
        for row in card.scores
        if "folding_mean" in row
    ]


def _spread(row: Mapping[str, Any], name: str, digits: int) -> str:
    mean, sd, median, worst = (f"{row[f'{name}_{key}']:.{digits}f}" for key in ("mean", "sd", "median", "worst"))
    return f"{mean} ± {sd} ({median}, {worst})"


def _plainly(name: str) -> str:
    return name.replace("_", " ")


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) and not (value and isinstance(value, tuple) and isinstance(value[0], dict))


def _table(head: str, rows: dict[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in rows.items())])


def _value(value: Any) -> str:
    """Strings, numbers, booleans and lists of them are written in TOML as in JSON, but for what is not finite and for
    one character."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
