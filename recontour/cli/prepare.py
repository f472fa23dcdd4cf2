"""recontour prepare: a cohort of DICOM folders -> pairs to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recontour.cli.app import app
from recontour.cli.screen import organ_pairs, stderr, table

if TYPE_CHECKING:
    from recontour.prepare.plan import PlannedPair, PreparePlan
    from recontour.prepare.record import CohortRecord


@app.command()
def prepare(
    cohort: Annotated[Path, typer.Argument(help="Folder of any layout: CT and RTSTRUCT of many patients.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of pairs: new, or to go on with.")],
    roi: Annotated[
        list[str] | None, typer.Option(help="ORGAN=ROI where several ROIs could be it: bladder=Vescica, or =none.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Leave out pairs where this organ is not contoured in both scans.")
    ] = None,
    margin: Annotated[float, typer.Option(help="How much around the organs is kept, mm.")] = 60.0,
    split: Annotated[str, typer.Option(help="Shares of patients for training, validation and test.")] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(help="Decides which patient is in which split.")] = 0,
    split_file: Annotated[
        Path | None, typer.Option(help="TOML: PatientIDs under training, validation and test. Instead of --split.")
    ] = None,
    planning_name: Annotated[
        str, typer.Option(help="Planning scans are called so (series description or folder). Default: the earliest.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make aligned 1 mm pairs to train on, patients split. The same command goes on where it stopped."""
    from recontour.prepare.plan import plan_cohort
    from recontour.prepare.request import PrepareRequest
    from recontour.prepare.work import make_pairs

    request = PrepareRequest(
        cohort=cohort,
        out=out,
        chosen_rois=organ_pairs(roi or []),
        require=tuple(organ.strip().lower().replace("-", "_") for organ in require or ()),
        margin_mm=margin,
        shares=_shares(split),
        seed=seed,
        split_file=split_file,
        planning_name=planning_name,
    )
    plan = plan_cohort(request, None if quiet else _show_files)
    record = plan.record
    if not quiet:
        stderr(f"{len(plan.pairs)} pairs, {len(plan.missing)} to make: about {plan.bytes_needed / 1e9:.1f} GB")
        stderr(f"{len(record.left_out)} left out so far: see below" if dry_run else _told(record))
    if not dry_run:
        record = make_pairs(plan, None if quiet else _Progress(plan)).record
    if not quiet:
        _show(record, plan if dry_run else None)
    if not (record.pairs or (dry_run and plan.pairs)):
        stderr("recontour: no pair could be made")
        raise typer.Exit(3)


def _shares(text: str) -> tuple[float, float, float]:
    from recontour.errors import UsageError

    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r}", where="--split", allowed="three shares, such as 0.7,0.15,0.15") from error
    return first, second, third


def _told(record: CohortRecord) -> str:
    """What is left out before any work, so that a long night need not pass before somebody sees it."""
    from collections import Counter

    reasons = Counter(item.reason for item in record.left_out)
    return "\n".join(f"left out, {count}: {reason}" for reason, count in reasons.most_common()) or "nothing left out"


def _show_files(number: int) -> None:
    if number % 1000 == 0:
        stderr(f"{number} files looked at")


class _Progress:
    """A line for each pair, on stderr: files of a queueing system hold no bars."""

    def __init__(self, plan: PreparePlan) -> None:
        from time import perf_counter

        self._clock = perf_counter
        self._count, self._total, self._since = 0, len(plan.missing), perf_counter()

    def __call__(self, pair: PlannedPair, reason: str) -> None:
        from rich.console import Console
        from rich.markup import escape

        self._count += 1
        took, self._since = self._clock() - self._since, self._clock()
        mark = f"[yellow]left out[/]: {escape(reason)}" if reason else f"[green]✓[/] {pair.split:<11}{took:6.1f} s"
        Console(stderr=True, highlight=False).print(f"  {self._count}/{self._total}  {escape(pair.name)}  {mark}")


def _show(record: CohortRecord, planned: PreparePlan | None) -> None:
    from collections import Counter

    from rich.markup import escape

    from recontour.prepare.splits import SPLITS

    patients = Counter(patient.split for patient in record.patients.values())
    pairs = {split: len(record.pairs_of(split)) for split in SPLITS}
    if planned:
        pairs = Counter(pair.split for pair in planned.pairs)
    table(["split", "patients", "pairs"], [[split, str(patients[split]), str(pairs[split])] for split in SPLITS])
    reasons = Counter(item.reason for item in record.left_out)
    if reasons:
        print()
        table(["left out", "why"], [[str(count), escape(reason)] for reason, count in reasons.most_common()])
