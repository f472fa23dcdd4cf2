"""Options that several commands take: the same words for the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Method = Annotated[str | None, typer.Option(help="network+refine (default), refine, network, affine or elastix.")]
Model = Annotated[str | None, typer.Option(help="A released model's name, or a model folder.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")]
SettingsFile = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]
Pairs = Annotated[
    list[str] | None, typer.Option(help="ORGAN=ROI where several ROIs could be it: bladder=Vescica, or =none.")
]
Only = Annotated[list[str] | None, typer.Option(help="Propagate only ROIs that match this pattern.")]
Skip = Annotated[list[str] | None, typer.Option(help="Leave out ROIs that match this pattern.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 4 if anything needs review.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

Identify = Annotated[bool, typer.Option("--identify", help="Name the patient on the report; else a pseudonym.")]
Dose = Annotated[Path | None, typer.Option(help="The planning dose (RTDOSE), shown on the daily anatomy.")]
Plan = Annotated[Path | None, typer.Option(help="The plan (RTPLAN), for the prescribed dose.")]
Goals = Annotated[Path | None, typer.Option(help="A TOML file of clinical goals.")]
PseudonymKey = Annotated[
    Path | None,
    typer.Option(help="The institution's key of pseudonyms. Default: $RECONTOUR_PSEUDONYM_KEY, else the user's own."),
]
