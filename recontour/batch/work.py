"""One task -> one outcome. What a process keeps between fractions: the plan's side of the last ones, and the network.

Several threads may call `do` at once: their reading and writing overlap, and one of them computes at a time, so that a
GPU, and the memory, is one fraction's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from recontour.batch.outcome import Outcome, failure_of
from recontour.batch.state import outcome_on_disk, put_in_place, work_folder
from recontour.batch.task import REGISTRATION, REPORT, RTSTRUCT, Task
from recontour.dicom.cohort import neighbours
from recontour.pipeline import Stopwatch
from recontour.settings import Settings
from recontour.study import Planned, StudyRequest, StudyResult, check_outputs, compute, finish, load, load_planned

if TYPE_CHECKING:
    from recontour.network.released import ReleasedModel

_PLANS_KEPT = 2  # of the patient at hand, and of the next one


class Stopped(Exception):
    """The batch is to end: this fraction is given up between two of its stages, and nothing of it is left."""


def do(task: Task, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Does a fraction, unless it is done, and tells what became of it. stopped: asked between stages; where it says
    so, raises Stopped. Raises nothing else."""
    began = perf_counter()
    try:
        known = outcome_on_disk(task)
        if known is not None and not known.failed:
            return known
        with work_folder(task) as made:
            result = _BENCH.made(task, made, stopped)
            put_in_place(task, made)
    except Stopped:
        raise
    except Exception as error:  # whatever a library throws at one fraction must not cost the others their night
        return replace(failure_of(task, error), seconds=round(perf_counter() - began, 3))
    missing = result.report_failure.found if result.report_failure else ""
    seconds = round(result.seconds, 3)
    return Outcome(
        task.patient, task.name, result.light, tuple(result.reasons), report_missing=missing, seconds=seconds
    )


def request_of(task: Task, made: Path) -> StudyRequest:
    """The study that makes the task's result in the folder `made`."""
    from recontour.report import ReportRequest

    wanted, planning, daily = task.wanted, task.planning, task.daily
    key = Path(wanted.pseudonym_key) if wanted.pseudonym_key else None
    return StudyRequest(
        planning=Path(planning.folder),
        daily=Path(daily.folder),
        out=made / RTSTRUCT,
        settings=wanted.settings,
        chosen_rois=dict(wanted.chosen_rois),
        only=wanted.only,
        skip=wanted.skip,
        daily_series=daily.series_uid,
        planning_series=planning.series_uid,
        structures=task.structures_uid,
        structures_file=Path(task.structures_file),
        not_planning=neighbours(Path(planning.folder), planning.files),
        not_daily=neighbours(Path(daily.folder), daily.files),
        registration=made / REGISTRATION if wanted.registration else None,
        report=ReportRequest(made / REPORT, pseudonym_key=key) if wanted.report else None,
    )


class Workbench:
    """What threads of one process share."""

    def __init__(self) -> None:
        self._reading, self._computing = threading.Lock(), threading.Lock()
        self._plans: OrderedDict[tuple[object, ...], Planned] = OrderedDict()
        self._model: tuple[str, ReleasedModel] | None = None

    def made(self, task: Task, made: Path, stopped: Callable[[], bool]) -> StudyResult:
        """The files of the task in `made`. Raises RecontourError, Stopped."""
        request, watch = request_of(task, made), Stopwatch()
        check_outputs(request)
        _go_on(stopped)
        planned = self._planned(task, request, watch)
        _go_on(stopped)
        loaded = load(request, watch, planned)
        with self._computing:
            _go_on(stopped)
            computed = compute(loaded, watch, self._opened(request.settings))
        _go_on(stopped)
        return finish(computed, watch)

    def _planned(self, task: Task, request: StudyRequest, watch: Stopwatch) -> Planned:
        """Read once for all fractions of a plan that follow each other: the time is that of the one that reads it."""
        wanted = task.wanted
        key = (task.planning, task.structures_file, task.structures_uid, wanted.chosen_rois, wanted.only, wanted.skip)
        with self._reading:
            if key not in self._plans:
                with watch.stage("plan"):
                    self._plans[key] = load_planned(request)
            self._plans.move_to_end(key)
            while len(self._plans) > _PLANS_KEPT:
                self._plans.popitem(last=False)
            return self._plans[key]

    def _opened(self, settings: Settings) -> ReleasedModel | None:
        if not settings.asks_network:
            return None
        if self._model is None or self._model[0] != settings.model:
            from recontour.network.released import open_model

            self._model = settings.model, open_model(settings.model)
        return self._model[1]


_BENCH = Workbench()


def _go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped
