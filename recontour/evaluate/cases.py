"""Scores of any method against known truth: one case, and many cases with a journal.

All methods start from the same alignment and the same region; what they are timed for begins after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from recontour.errors import RecontourError
from recontour.evaluate.journal import OrganOutcome, Outcome, PathOutcome, append_outcome, as_json, read_journals
from recontour.evaluate.others import ProcessorTime
from recontour.evaluate.scores import Truth, score_one, slices_of
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.judged import Judged, judge_propagation
from recontour.network.released import ReleasedModel
from recontour.phantom.move import MovedScan
from recontour.pipeline import HU_RANGE, PlannedRoi, align_scans, propagate_from, region_of, undrawn
from recontour.qa.measure import jacobian_inside
from recontour.qa.shape import volume_ml
from recontour.settings import Settings


@dataclass(frozen=True, eq=False)
class Pair:
    """A planning scan with its shapes, and a day of it whose truth is known.

    group: pairs of one kind are tabled together ("real", "phantom"). organs: ROI name -> what its rows are called;
    only these are scored, all of `planned` are propagated. man: who it is; the pairs of one man are days of his.
    """

    group: str
    planning: Volume
    planned: dict[str, LevelSet]
    organs: dict[str, str]
    moved: MovedScan
    man: str = ""

    @cached_property
    def truths(self) -> dict[str, Truth]:
        """Of the organs that are scored, by ROI name; once for all methods."""
        planes = slices_of(self.moved.volume.grid)
        return {roi: Truth(shape, planes) for roi, shape in self.moved.level_sets.items() if roi in self.organs}


@dataclass(frozen=True, eq=False)
class Case:
    """A pair, aligned once for all methods.

    region: the 1 mm box, daily frame. fixed, moving: the daily and the affinely placed planning scan on it, HU within
    [-1000, 1000]. affine_daily_to_planning: the alignment found, not the true one; it took align_seconds.
    """

    pair: Pair
    affine_daily_to_planning: Affine
    region: Grid
    fixed: Volume
    moving: Volume
    align_seconds: float

    @property
    def rois(self) -> list[PlannedRoi]:
        """The planned ROIs as the pipeline takes them."""
        return [PlannedRoi(name, shape, self.pair.organs.get(name, "")) for name, shape in self.pair.planned.items()]


@dataclass(frozen=True, eq=False)
class Found:
    """What a method makes of a case.

    level_sets: daily shapes by ROI name, on any grid. seconds: wall time after the alignment.
    field_daily_to_planning: before the affine, mm, on any axial grid; None where the method has none.
    paths: of a method that combines two, path -> ROI name -> shape. judged, model, stages: of recontour's own.
    unknown: ROIs that the method does not know and was not asked for; one that is merely missing counts as lost.
    note: what the table's reader has to know.
    """

    level_sets: Mapping[str, LevelSet]
    seconds: float
    field_daily_to_planning: Field | None = None
    paths: Mapping[str, Mapping[str, LevelSet]] = field(default_factory=dict[str, Mapping[str, LevelSet]])
    judged: Judged | None = None
    model: str = ""
    stages: Mapping[str, float] = field(default_factory=dict[str, float])
    note: str = ""
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Method:
    """run: may raise RecontourError, or RuntimeError as torch and itk do: a result as well. own: one of recontour's.
    prepare: what comes before; what it raises ends the whole run."""

    run: Callable[[Case], Found]
    own: bool = False
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """A pair, made only when it is needed, and the methods by name that are to be run on it."""

    make: Callable[[], Pair]
    methods: Mapping[str, Method]


def align_pair(pair: Pair, settings: Settings | None = None) -> Case:
    """Aligns a pair and cuts its region, as the pipeline does. Raises AlignmentFailed."""
    start = time.perf_counter()
    affine = align_scans(pair.moved.volume, pair.planning)
    took = time.perf_counter() - start
    rois = [PlannedRoi(name, shape) for name, shape in pair.planned.items()]
    region = region_of(rois, affine, pair.moved.volume.grid, settings or Settings())
    fixed = resample_volume(pair.moved.volume, region)
    moving = resample_volume(pair.planning, region, affine)
    return Case(pair, affine, region, _clipped(fixed), _clipped(moving), took)


def own_method(settings: Settings, opened: Callable[[], ReleasedModel | None]) -> Method:
    """recontour itself with these settings: all that it does after the alignment, which every method starts from.

    opened: gives the network, the same each time it is asked, before the clock starts; None for a method without one.
    """

    def run(case: Case) -> Found:
        model = opened()
        planning, daily = case.pair.planning, case.pair.moved.volume
        unknown = frozenset(undrawn(case.rois, settings, model.card) if model else ())
        rois = [roi for roi in case.rois if roi.name not in unknown]
        result = propagate_from(case.affine_daily_to_planning, planning, daily, rois, settings, model)
        both = {"registration": {name: result.registered[name] for name in result.segmented}}
        return Found(
            level_sets=result.level_sets,
            seconds=sum(result.seconds.values()),
            field_daily_to_planning=result.field_daily_to_planning,
            paths=both | {"segmentation": result.segmented},
            judged=judge_propagation(rois, result, planning, daily, settings.qa),
            model=result.model[0] if result.model else "",
            stages=result.seconds,
            unknown=unknown,
        )

    return Method(run, own=True, prepare=opened)


def run_accuracy(
    tasks: Mapping[str, Task],
    journal: Path,
    machine: str = "",
    on_outcome: Callable[[Outcome], None] | None = None,
    others: Iterable[Path] = (),
) -> list[Outcome]:
    """Every method of every task, by pair name, and all outcomes of them.

    An outcome is appended to the journal at once, and what is there, or in one of the `others`, is not run again: a
    run that was cut short goes on; delete the journal to start anew. A method that fails on a pair is recorded with
    its error; its organs count as lost. Raises UsageError for a journal of another version.
    """
    done = {(o.pair, o.method): o for o in read_journals([*others, journal])}
    for name, task in tasks.items():
        missing = {label: method for label, method in task.methods.items() if (name, label) not in done}
        for outcome in _run_pair(name, task.make, missing, machine) if missing else ():
            done[(name, outcome.method)] = outcome
            append_outcome(journal, outcome)
            if on_outcome:
                on_outcome(outcome)
    return [done[(name, label)] for name, task in tasks.items() for label in task.methods]


def _run_pair(name: str, make: Callable[[], Pair], methods: Mapping[str, Method], machine: str) -> Iterable[Outcome]:
    pair = make()
    try:
        case = align_pair(pair)
    except RecontourError as error:
        for label, method in methods.items():
            yield _failed(name, label, method, pair, machine, 0.0, str(error))
        return
    for label, method in methods.items():
        if method.prepare:
            method.prepare()
        yield _run_method(name, label, method, case, machine)


def _run_method(name: str, label: str, method: Method, case: Case, machine: str) -> Outcome:
    """RuntimeError is what torch and itk raise: a rival's failure is a result as well."""
    before = ProcessorTime.now()
    try:
        found = method.run(case)
    except (RecontourError, RuntimeError) as error:
        why = str(error) or type(error).__name__
        return _failed(name, label, method, case.pair, machine, case.align_seconds, why)
    others_share = round(ProcessorTime.now().others_since(before), 3)
    return Outcome(
        pair=name,
        group=case.pair.group,
        man=case.pair.man,
        method=label,
        seconds=found.seconds,
        align_seconds=case.align_seconds,
        organs=tuple(_organ(case.pair, roi, found) for roi in case.pair.truths if roi not in found.unknown),
        own=method.own,
        model=found.model,
        machine=machine,
        note=found.note,
        stages=dict(found.stages),
        study=as_json(found.judged.study) if found.judged else {},
        others_share=others_share,
    )


def _failed(name: str, label: str, method: Method, pair: Pair, machine: str, align_seconds: float, why: str) -> Outcome:
    nothing = Found({}, 0.0)
    lost = tuple(_organ(pair, roi, nothing) for roi in pair.truths)
    return Outcome(
        name, pair.group, pair.man, label, 0.0, align_seconds, lost, error=why, own=method.own, machine=machine
    )


def _organ(pair: Pair, roi: str, found: Found) -> OrganOutcome:
    """The organ's row: scores, and what the field and the checks say of it."""
    truth = pair.truths[roi]
    spread, folding = _field_inside(found.field_daily_to_planning, truth.shape)
    verdict = found.judged.verdicts[roi] if found.judged else None
    paths: list[PathOutcome] = []
    for path, shapes in found.paths.items():
        if roi in shapes:
            row = score_one(path, shapes[roi], truth)
            paths.append(PathOutcome(path, row.msd_mm, row.hd95_mm, row.dice))
    return OrganOutcome(
        score=score_one(pair.organs[roi], found.level_sets.get(roi), truth),
        roi=roi,
        planned_ml=volume_ml(pair.planned[roi]),
        jacobian_sd=spread,
        folding=folding,
        light=verdict.light if verdict else "",
        reasons=verdict.reasons if verdict else (),
        facts=as_json(found.judged.facts[roi]) if found.judged else None,
        paths=tuple(paths),
    )


def _field_inside(displacement: Field | None, truth: LevelSet) -> tuple[float | None, float | None]:
    """Standard deviation of the Jacobian determinant, and the share where it folds, in the organ's true daily shape:
    the same place for all methods."""
    if displacement is None:
        return None, None
    determinant = jacobian_inside(displacement, resample_level_set(truth, displacement.grid))
    return float(determinant.std()), float((determinant <= 0).mean())


def _clipped(scan: Volume) -> Volume:
    return Volume(scan.grid, np.clip(scan.array, *HU_RANGE))
