"""recontour calibrate: what the checks' limits do, and where they could be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import chosen_settings, table

if TYPE_CHECKING:
    from recontour.calibrate import RuleFlags, Separation
    from recontour.evaluate.flagged import Flags, Share


@app.command()
def calibrate(
    journals: Annotated[list[Path], typer.Argument(help="Journals (.jsonl) that `recontour accuracy` wrote.")],
    settings: Annotated[Path | None, typer.Option(help="A TOML file whose [qa] limits are tried.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only these methods, by their names in the journal.")] = None,
) -> None:
    """Show how well the checks part wrong contours from good ones, on motions whose truth is known.

    A contour is wrong where its 95 % Hausdorff distance is above 5 mm. Nothing is run anew: the journal holds all that
    the checks measured.
    """
    from recontour.calibrate import read_contours, rule_flags, separations
    from recontour.evaluate.flagged import flags

    limits = chosen_settings(settings, None, None, None).qa
    contours = read_contours(journals, method or [])
    print("What each fact alone could do (wrong: HD95 above 5 mm; good: up to 5 mm)\n")
    _show_facts(separations(contours))
    print("\nFlagged by each rule at the limits of the settings\n")
    _show_rules(rule_flags(contours, limits))
    print("\nFlagged at the limits of the settings (fine: HD95 up to 3 mm)\n")
    _show_flags(flags(contours, limits))


def _show_facts(found: list[Separation]) -> None:
    table(
        ["fact", "wrong", "good", "AUC", "limit", "alarms", "10 % at", "caught"],
        [
            [
                s.fact.name, str(s.wrong), str(s.good), f"{s.auc:.3f}",
                f"{s.limit:.2f}", f"{s.alarms:.0%}", f"{s.quiet_limit:.2f}", f"{s.caught:.0%}",
            ]
            for s in found
        ],
    )  # fmt: skip
    print("\nlimit: catches 95 % of the wrong ones, with so many of the good ones as alarms.")
    print("10 % at: where 10 % of the good ones are alarms, and the wrong ones caught there.")


def _show_rules(found: list[RuleFlags]) -> None:
    rows = [[r.rule, _share(r.wrong), str(r.alone), _share(r.good)] for r in found]
    table(["rule", "wrong flagged", "by it alone", "good flagged"], rows)


def _show_flags(found: list[Flags]) -> None:
    rows = [[f.method, f.organ or "all", _share(f.wrong), _share(f.good), _share(f.fine)] for f in found]
    table(["method", "organ", "wrong flagged", "good flagged", "fine flagged"], rows)


def _share(share: Share) -> str:
    return f"{share.flagged} of {share.count} ({share.flagged / share.count:.0%})" if share.count else "none"
