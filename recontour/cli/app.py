"""The command line: one module for each group of commands; all of them hang on `app`."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

# From the daily work to the rare: how the help lists them. What is not named here comes last.
_DAILY = ("run", "batch", "report", "review", "course", "watch", "node")
_TRAINING = ("prepare", "train", "plot-training", "export-model", "personalize", "models")
_ORDER = (*_DAILY, *_TRAINING, "evaluate", "accuracy", "compare", "phantom", "doctor")


class _InOrder(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The commands in _ORDER."""
        known = {name: place for place, name in enumerate(_ORDER)}
        return sorted(self.commands, key=lambda name: known.get(name, len(known)))


app = typer.Typer(
    name="recontour",
    cls=_InOrder,
    help="Contours for the daily scan in adaptive radiotherapy of prostate cancer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
