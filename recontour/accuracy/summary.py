"""In short: each of recontour's methods beside the strongest elastix, and what was aimed at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recontour.accuracy.rows import (
    MSD,
    groups_of,
    mean_of_medians,
    methods_of,
    named,
    on_pairs_of,
    organ_rows,
    organs_of,
    scores,
    strongest_elastix,
    undisturbed,
)
from recontour.accuracy.tables import number
from recontour.evaluate.journal import Outcome
from recontour.evaluate.markdown import markdown_table
from recontour.evaluate.scores import summarise

STATISTICS = ("median", "mean", "worst")
PATHS = ("registration", "segmentation")
# Its best network on its validation set: cross-stitch, segmentation path; mean MSD (Elmahdy et al., IEEE Access 2021).
PAPER_MM = {"prostate": 1.06, "seminal_vesicles": 1.27, "rectum": 1.76, "bladder": 0.91}


@dataclass(frozen=True)
class Comparison:
    """One of our methods and the strongest elastix on one organ, MSD in mm, each by STATISTICS; on the same pairs."""

    method: str
    organ: str
    pairs: int
    ours: tuple[float, float, float]
    elastix: tuple[float, float, float]


def compared(outcomes: Sequence[Outcome]) -> list[Comparison]:
    """Within one group; nothing where there is no elastix."""
    rival = strongest_elastix(outcomes)
    if rival is None:
        return []
    found: list[Comparison] = []
    for method in methods_of(outcomes, own=True):
        same = on_pairs_of(outcomes, method)
        for organ in organs_of(same):
            ours, theirs = (scores(same, name, organ, MSD) for name in (method, rival))
            if ours and theirs:
                found.append(Comparison(method, organ, len(ours), _statistics(ours), _statistics(theirs)))
    return found


def best_own(outcomes: Sequence[Outcome]) -> str | None:
    """The one of recontour's methods that was run on all pairs and has the lowest mean over the organs of the median
    MSD; None where there is none."""
    pairs = len({o.pair for o in outcomes})
    whole = [m for m in methods_of(outcomes, own=True) if sum(o.method == m for o in outcomes) == pairs]
    return min(whole, key=lambda name: mean_of_medians(outcomes, name), default=None)


def summary_of(outcomes: Sequence[Outcome]) -> str:
    """Markdown for one group: which elastix is meant, the table, and in words how often ours is the better one."""
    rival, rows = strongest_elastix(outcomes), compared(outcomes)
    if rival is None or not rows:
        return "No elastix to compare with was run on these pairs.\n"
    mean_mm = mean_of_medians(outcomes, rival)
    about = f"The strongest elastix here is `{rival}`: its median MSD is {mean_mm:.2f} mm in the mean over the organs."
    cells = [
        [r.method, named(r.organ), str(r.pairs), *(_cell(a, b) for a, b in zip(r.ours, r.elastix, strict=True))]
        for r in rows
    ]
    heads = ["method", "organ", "n", *(f"MSD {name}: ours, elastix" for name in STATISTICS)]
    told = [_told(method, rival, [r for r in rows if r.method == method], outcomes) for method in _methods(rows)]
    return "\n".join([about, "", markdown_table(heads, cells), *(f"- {text}" for text in told)]) + "\n"


def aims_of(outcomes: Sequence[Outcome]) -> str:
    """The network alone beside the paper's figures and beside the affine; "" where it was not run."""
    rows = _of_networks(outcomes, _aim_rows)
    heads = ["pairs", "method", "organ", "MSD mean", "the paper's", "", "half of the affine's mean", ""]
    return markdown_table(heads, rows) if rows else ""


def _of_networks(
    outcomes: Sequence[Outcome], rows_of: Callable[[str, Sequence[Outcome], str], list[list[str]]]
) -> list[list[str]]:
    """The rows of every group and every method that is a network alone."""
    return [
        row
        for group, members in groups_of(outcomes).items()
        for method in methods_of(members, own=True)
        if method.endswith("network")
        for row in rows_of(group, members, method)
    ]


def _aim_rows(group: str, members: Sequence[Outcome], method: str) -> list[list[str]]:
    same = on_pairs_of(members, method)
    rows: list[list[str]] = []
    for organ in organs_of(o for o in same if o.method == method):
        ours = float(np.mean(scores(same, method, organ, MSD)))
        row = [group, method, named(organ), number(ours, 2)]
        paper, affine = PAPER_MM.get(organ), scores(same, "affine", organ, MSD)
        row += [number(paper, 2), _better(ours, paper)] if paper else ["", ""]
        half = float(np.mean(affine)) / 2 if affine else None
        rows.append([*row, *([number(half, 2), _better(ours, half)] if half else ["", ""])])
    return rows


def paths_of(outcomes: Sequence[Outcome]) -> str:
    """Both paths of the network alone, organ by organ; "" where none segments."""
    rows = _of_networks(outcomes, _path_rows)
    heads = ["pairs", "method", "organ", "n", *(f"{name}: MSD {word}" for name in PATHS for word in STATISTICS)]
    return markdown_table(heads, rows) if rows else ""


def _path_rows(group: str, members: Sequence[Outcome], method: str) -> list[list[str]]:
    rows: list[list[str]] = []
    for organ in organs_of(members):
        found = [
            [path.msd_mm for row in organ_rows(members, method, organ) for path in row.paths if path.path == name]
            for name in PATHS
        ]
        if all(found):
            figures = [number(mm, 2) for values in found for mm in _statistics(values)]
            rows.append([group, method, named(organ), str(len(found[0])), *figures])
    return rows


def _told(method: str, rival: str, rows: Sequence[Comparison], outcomes: Sequence[Outcome]) -> str:
    """How often ours is the better one, also than the best of all elastix, figure by figure; folding and seconds."""
    same = on_pairs_of(outcomes, method)
    parts = [
        f"{name} in {sum(r.ours[k] < r.elastix[k] for r in rows)} of {len(rows)}" for k, name in enumerate(STATISTICS)
    ]
    each = [tuple(_best_elastix(same, r.organ, k) for k in range(len(STATISTICS))) for r in rows]
    best = [
        f"{name} in {sum(r.ours[k] < mm[k] for r, mm in zip(rows, each, strict=True))}"
        for k, name in enumerate(STATISTICS)
    ]
    folding = [row.folding for organ in organs_of(same) for row in organ_rows(same, method, organ)]
    folded = sum(bool(share) for share in folding)
    return (
        f"**{method}**: its MSD is better than the strongest elastix's in the {', '.join(parts)} organs; than that of "
        f"whichever elastix is best there, in the {', '.join(best)}. It folds in {folded} of {len(folding)} organs of "
        f"all pairs.{_seconds(same, method, rival)}"
    )


def _seconds(outcomes: Sequence[Outcome], method: str, rival: str) -> str:
    """Nothing where the method was not timed while others were quiet, and another was."""
    quiet = undisturbed(outcomes) or outcomes
    took, theirs = (_median_seconds(quiet, name) for name in (method, rival))
    if not took:
        return ""
    beside = f", elastix {theirs:.1f} s: {took / theirs:.2f} of its time" if theirs else ""
    return f" Median {took:.1f} s{beside}."


def _best_elastix(outcomes: Sequence[Outcome], organ: str, statistic: int) -> float:
    rivals = [name for name in methods_of(outcomes, own=False) if name.startswith("elastix")]
    return min(_statistics(scores(outcomes, name, organ, MSD))[statistic] for name in rivals)


def _median_seconds(outcomes: Sequence[Outcome], method: str) -> float:
    found = [o.seconds for o in outcomes if o.method == method and not o.error]
    return float(np.median(found)) if found else 0.0


def _methods(rows: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(r.method for r in rows))


def _statistics(values: Sequence[float]) -> tuple[float, float, float]:
    found = summarise(values)
    return found.median, found.mean, found.worst


def _cell(ours: float, theirs: float) -> str:
    return f"{number(ours, 2)}, {number(theirs, 2)}: {_better(ours, theirs)}"


def _better(ours: float, theirs: float) -> str:
    return "better" if ours < theirs else "worse" if ours > theirs else "equal"
