"""The call that measures outcomes like these anew, from what is true of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from recontour.accuracy.pairs import PHANTOMS, REAL
from recontour.accuracy.rows import methods_of
from recontour.baselines import USUAL
from recontour.evaluate.journal import Outcome

_PERSONAL = "recontour personalised "
_WIDTH = 100


def command_of(outcomes: Sequence[Outcome], out: str) -> str:
    """Of one line or several, as a shell takes them; in capitals what outcomes do not tell. out: the page's name."""
    own = [name for name in methods_of(outcomes, own=True) if not name.startswith(_PERSONAL)]
    rivals = methods_of(outcomes, own=False)
    models = {o.model for o in outcomes if o.model and not o.method.startswith(_PERSONAL)}
    options = [*_data(outcomes), *(["--method", name] for name in dict.fromkeys(name.split()[-1] for name in own))]
    options += [["--model", name] for name in sorted(models)]
    options += [["--rival", name] for name in rivals if set(rivals) != set(USUAL)]
    personal = {o.man for o in outcomes if o.method.startswith(_PERSONAL)}
    if personal:
        made = {o.man for o in outcomes if o.group == PHANTOMS}
        options += [["--personal-minutes", "MINUTES"], ["--personal-men", str(len(personal & made))]]
    return _wrapped([["recontour", "accuracy", out], *options])


def _data(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Men and days."""
    made = {o.pair: o.man for o in outcomes if o.group == PHANTOMS}
    real = {o.pair for o in outcomes if o.group == REAL}
    men = list(made.values())
    found = [["--phantoms", str(len(set(men)))]]
    if men:
        found.append(["--fractions-per-man", str(max(men.count(man) for man in set(men)))])
    return found + ([["--planning", "PLANNING"], ["--days", str(len(real))]] if real else [])


def _wrapped(words: Sequence[Sequence[str]]) -> str:
    """No option is parted from its value."""
    lines = [""]
    for part in map(shlex.join, words):
        if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
            lines.append("    ")
        lines[-1] += part if not lines[-1].strip() else f" {part}"
    return " \\\n".join(lines)
