"""OUT/tables.md, tables.csv and figure2.png, of whatever is done by now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recontour.compare.figures import draw_figure_2
from recontour.compare.plan import plan
from recontour.compare.results import TEST, VALIDATION, Outcome, read_outcome
from recontour.compare.settings import CompareSettings
from recontour.compare.tables import csv_of, markdown
from recontour.qa.manifest import write_text

TABLES, CSV, FIGURE_2 = "tables.md", "tables.csv", "figure2.png"


def write_tables(settings: CompareSettings, out: Path) -> dict[str, Outcome]:
    """Writes them, each whole; what every configuration has come to, by key. The first line says how much is done."""
    outcomes = {job.key: read_outcome(out / job.key) for job in plan(settings)}
    write_text(out / TABLES, markdown(settings, outcomes, _head(settings, outcomes)))
    write_text(out / CSV, csv_of(settings, outcomes))
    if 2 in settings.figures:
        draw_figure_2(settings, outcomes, out / FIGURE_2)
    return outcomes


def _head(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> str:
    failed = {key: outcome.failed for key, outcome in outcomes.items() if outcome.failed}
    parts = [f"# {_how_much(outcomes)}", _training(settings), _data(settings, outcomes)]
    if failed:
        parts.append("Failed:\n\n" + "\n".join(f"- {key}: {reason}" for key, reason in failed.items()))
    return "\n\n".join(parts)


def _how_much(outcomes: Mapping[str, Outcome]) -> str:
    done = sum(bool(outcome.scores) for outcome in outcomes.values())
    failed = sum(bool(outcome.failed) for outcome in outcomes.values())
    whole = f"{len(outcomes)} configuration{'s' * (len(outcomes) != 1)}"
    if done == len(outcomes):
        return f"Comparison of {whole}, all done"
    return f"Comparison of {whole}, in part: {done} done, {failed} failed, {len(outcomes) - done - failed} not yet"


def _training(settings: CompareSettings) -> str:
    train = settings.train
    patches = f"{train.batch} patch{'es' * (train.batch != 1)} of {train.patch_voxels}³"
    return (
        f"Each network: {train.steps} steps of {patches}, "
        f"doubled by swapping fixed and moving; similarity {train.loss.similarity}, learning rate "
        f"{train.optimiser.learning_rate:g}, seed {train.seed}; the weights are those of the lowest validation MSD. "
        "If: daily scan, Im: planning scan, Sm: planning contours, ⊕: concatenated, \\|\\|: inputs of the segmentation "
        "and of the registration path."
    )


def _data(settings: CompareSettings, outcomes: Mapping[str, Outcome]) -> str:
    counts = {which: _pairs(which, outcomes) for which in (VALIDATION, TEST)}
    data = settings.train.data
    if data.source != "phantoms":
        return f"Patients. Validation pairs: {counts[VALIDATION]}; test pairs: {counts[TEST]}."
    return (
        "Phantoms, which are not patients: what is better here need not be better there. "
        f"Men to train on, moved anew all the time: {data.training_men}. Validation pairs, of others: "
        f"{counts[VALIDATION]}. Test pairs, of others again, moved {settings.test.severity:g} times as far as clinics "
        f"report: {counts[TEST]}."
    )


def _pairs(which: str, outcomes: Mapping[str, Outcome]) -> int:
    return max((len({r.pair for r in o.scores if r.set == which}) for o in outcomes.values()), default=0)
