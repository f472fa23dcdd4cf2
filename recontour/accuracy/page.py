"""docs/accuracy.md with its plots and its CSV, from outcomes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from recontour.accuracy import plots
from recontour.accuracy.command import command_of
from recontour.accuracy.filling import filling_table
from recontour.accuracy.rows import (
    DICE,
    HD95,
    MSD,
    OTHERS_AT_MOST,
    groups_of,
    methods_of,
    named,
    ordered,
    organ_rows,
    organs_of,
    slug,
    timed,
    undisturbed,
)
from recontour.accuracy.summary import aims_of, compared, paths_of, summary_of
from recontour.accuracy.tables import csv_of, field_table, flags_table, measure_table, time_table
from recontour.evaluate.flagged import WRONG_MM, contours_of, flags
from recontour.evaluate.journal import Outcome
from recontour.qa.manifest import write_text
from recontour.settings import QaSettings
from recontour.train.dataset import FIRST_TEST_SEED

_TITLES = {"msd_mm": "Mean surface distance, mm", "hd95_mm": "95 % Hausdorff distance, mm", "dice": "Dice"}


@dataclass(frozen=True)
class _Images:
    """Where plots go, and how the page links them."""

    page: Path

    def path(self, *name: str) -> Path:
        return self.page.parent / "img" / f"{'-'.join(slug(part) for part in (self.page.stem, *name))}.png"

    def link(self, *name: str) -> str:
        return f"![{', '.join(name)}](img/{self.path(*name).name})"


def write_page(outcomes: Sequence[Outcome], out: Path, limits: QaSettings, journals: int = 1) -> None:
    """Writes the page, its plots in img/ beside it, and a CSV of the same name.

    limits: of the checks whose worth is tabled. journals: from how many the outcomes come: of more than one, parts were
    measured apart. Raises OSError.
    """
    rows, images = ordered(outcomes), _Images(out)
    groups = groups_of(rows)
    command = indent(command_of(rows, out.name), "    ")
    about = _INTRODUCTION.format(first=FIRST_TEST_SEED, where=_where(rows, journals), command=command)
    parts = [about, "## In short"]
    parts += [_summary(group, members, images) for group, members in groups.items()]
    aims = aims_of(rows)
    if aims:
        parts.append(f"### The network alone, and what was aimed at\n\n{_AIMS}\n\n{aims}")
    paths = paths_of(rows)
    if paths:
        parts.append(f"### The two paths of the network\n\n{_PATHS}\n\n{paths}")
    parts += [_group(group, members, images) for group, members in groups.items()]
    parts += [_failures(rows, limits, images), _filling(groups, images), _notes(rows)]
    write_text(out, "\n\n".join(part.strip() for part in parts if part) + "\n")
    write_text(out.with_suffix(".csv"), csv_of(rows))


def _summary(group: str, members: Sequence[Outcome], images: _Images) -> str:
    rows = compared(members)
    text = f"### {group}\n\n{summary_of(members)}"
    if not rows:
        return text
    plots.summary_plot(rows, images.path(group, "summary"))
    return f"{text}\n{images.link(group, 'summary')}"


def _group(group: str, members: Sequence[Outcome], images: _Images) -> str:
    pairs, men = len({o.pair for o in members}), len({o.man for o in members})
    parts = [f"## {group}: {_count(pairs, 'pair')} of {_count(men, 'man', 'men')}"]
    for measure in (MSD, HD95, DICE):
        plots.measure_plot(members, measure, images.path(group, measure.name))
        link = images.link(group, measure.name)
        parts += [f"### {_TITLES[measure.name]} ({group})", link, measure_table(members, measure)]
    plots.field_plot(members, images.path(group, "field"))
    parts += [f"### The field inside the organs ({group})", images.link(group, "field"), field_table(members)]
    quiet = undisturbed(members)
    plots.time_plot(quiet or members, images.path(group, "seconds"))
    parts += [f"### Seconds ({group})", _timed(quiet), images.link(group, "seconds"), time_table(quiet or members)]
    return "\n\n".join(part.strip() for part in parts)


def _timed(quiet: Sequence[Outcome]) -> str:
    if not quiet:
        return "Other programs took time meanwhile, or it is not known whether they did: compare with care."
    pairs = _count(len({o.pair for o in quiet}), "pair")
    return f"Of the {pairs} during which other programs took at most {OTHERS_AT_MOST:.0%} of the processors."


def _failures(rows: Sequence[Outcome], limits: QaSettings, images: _Images) -> str:
    found = flags(contours_of(rows), limits)
    if not found:
        return ""
    plots.flags_plot(found, images.path("failures"))
    return f"{_FAILURES}\n\n{images.link('failures')}\n\n{flags_table(found)}"


def _filling(groups: dict[str, list[Outcome]], images: _Images) -> str:
    parts = [_FILLING]
    for group, members in groups.items():
        table = filling_table(members)
        if table:
            plots.filling_plot(members, images.path(group, "filling"))
            parts += [f"### {group}", images.link(group, "filling"), table]
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _notes(rows: Sequence[Outcome]) -> str:
    """What was said of single outcomes, what failed, and which organs a method has no rows of."""
    said = [f"{o.man}: {o.note}" for o in rows if o.note]
    said += [f"{o.pair}, {o.method}, failed: {o.error}" for o in rows if o.error]
    said += _undrawn(rows)
    models = sorted({o.model for o in rows if o.model})
    said += [f"networks used: {', '.join(models)}"] if models else []
    return "\n".join(["## Notes", "", *(f"- {text}" for text in dict.fromkeys(said))]) if said else ""


def _undrawn(rows: Sequence[Outcome]) -> list[str]:
    """Which organs of a group a method of ours has no rows of, not even of a failure: it was not asked for them."""
    found = [
        (group, method, [named(organ) for organ in organs_of(members) if not organ_rows(members, method, organ)])
        for group, members in groups_of(rows).items()
        for method in methods_of(members, own=True)
    ]
    say = "{}, {}: no rows of {}, which it does not draw"
    return [say.format(group, method, ", ".join(left)) for group, method, left in found if left]


def _where(rows: Sequence[Outcome], journals: int) -> str:
    machines = " and ".join(sorted({o.machine for o in rows if o.machine})) or "a machine that was not noted"
    if journals > 1:
        return (
            f"The pairs were shared among {journals} parts, which may have run side by side and so have taken each "
            f"other's time; within a pair all methods ran one after the other, in one process. Machine: {machines}."
        )
    unknown = {o.pair for o in timed(rows) if o.others_share is None}
    noted = {o.pair for o in timed(rows)} - unknown
    if noted and unknown:
        return (
            f"On {_count(len(noted), 'pair')} one method ran after the other, in one process, and what other programs "
            f"took was noted; on the rest it was not, and methods may have run side by side, in several processes: "
            f"their errors count, their seconds do not. Machine: {machines}."
        )
    return f"One method after the other, in one process. Machine: {machines}."


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number} {what if number == 1 else many or what + 's'}"


_INTRODUCTION = """# How accurate, measured on what

Made by `recontour accuracy`. {where}
The CSV beside this file has every pair, the journal (.jsonl) all that was measured of it: `recontour accuracy
--from-journal` makes this page anew from it and runs nothing. To repeat all of it, which takes hours and goes on where
it was stopped (`--roi ORGAN=ROI` where the plan's names do not tell which ROIs are meant):

{command}

What this is: **accuracy on known motions of CT, not accuracy on patients.** A planning scan, made or real, is
moved by a known smooth field (bladder and rectal filling, prostate shift and turn, set-up, another scanner, fresh
noise, gas that comes and goes: [phantom.md](phantom.md)), so that the true contour of every organ is known to a few
hundredths of a millimetre. Real days are worse: tissue slides, contrast and image quality change. No public repeat CT
of the male pelvis with contours was at hand.

Contours are taken as they were drawn: what counts is whether they are carried over. An organ that the real plan
does not have, as the seminal vesicles often, is not in its tables.

How: all methods start from the same affine (translation search and elastix) on the same region around the
organs at 1 mm, and the planning contours are carried over in the same way, as level sets. Seconds are wall time
after that affine, until the daily shapes are there, without imports and without reading a network from disk; judging
and measuring come after. Seeds of men and days begin at {first}; no released model was trained on such a seed, nor on
the real scan, unless its card says so. Days of one man are not independent of each other.

What was changed after a look at test pairs: two faults were mended (phantom 100006: medium in the bladder, seminal
vesicles that come apart), and the refinement's levels go on as long as they gain (phantom 100027 day 2, whose large
bladder a fixed number of steps left 1.4 mm off). After earlier tables, on other days of the same real scan and on other
made men, were chosen: how the network alone is asked and that its weights are a mean of two trainings' (seeds 50001 to
50006; 10021 to 10030; [models.md](models.md)), how stiff the refined field is and how finely it sees
([refine.md](refine.md)). Three limits of the checks were widened on these very tables ([qa.md](qa.md)). Rows of the
network alone on pairs that are not among those of the seconds were computed in bfloat16, all others in float32, as the
processors had it.

MSD: mean surface distance, symmetric, area-weighted, from triangulated surfaces (paper, eq. 10); HD95: the larger of
both directed 95th percentiles; DSC: Dice. An organ of which nothing was left is lost: infinitely far off. sd: of the
sample; 95 %: the 95th percentile, of the DSC the 5th. Jacobian sd: standard deviation of the field's Jacobian
determinant inside the organ's true daily shape; folding: the share of it where the determinant is not positive.

`elastix`: B-spline, correlation, 4 resolutions, 500 iterations, with its HU window and its grid; [-1000, 1000] with
10 mm is the paper's setting. `personalised`: the network was trained further on the man's planning scan and contours
alone, before any of his days ([personalize.md](personalize.md)); done for some of the men, n says for how many pairs,
and comparisons are made on those. It is the same network with other weights: where its own seconds are not tabled,
those of the network alone are what it takes. In the plots rivals are white and recontour's methods coloured; boxes are
quartiles, whiskers the 5th and 95th percentile; ×2 says that two are lost and not drawn."""

_AIMS = """The mean MSD, mm, beside what the paper's best network reached on its own validation patients (other
men, other scanners, contours of people: a figure to aim at, no rival), and beside half of the affine's."""

_PATHS = """The contour that is carried over by the network's field, and the one that it draws on the day's scan, before
they are combined as its card says. The one that is not used is a second opinion: see [qa.md](qa.md)."""

_FAILURES = f"""## Knowing when it fails

A contour is wrong here if its 95 % Hausdorff distance to the truth is above {WRONG_MM:g} mm, and good up to that; it is
flagged if its light is not "pass" ([qa.md](qa.md)). All pairs together. Judged by the limits of this version from what
was measured. Aimed at (the lines in the plot): at least
95 % of the wrong ones, at most 10 % of the good ones."""

_FILLING = """## Bladder filling

MSD, mm, against the bladder's true daily volume over its planned one: the median (and how many pairs) in each range.
Growth: the median from half to twice the volume, without the middle range, over that in the middle range; 1 is flat.
(Paper, figures 5 and 6.) The plots have the affine, the strongest elastix, and the best of recontour's methods."""
