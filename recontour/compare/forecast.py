"""What a study would do, how far it is, and how long the rest takes as far as its own trainings tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recontour.compare.plan import Job, plan
from recontour.compare.results import read_outcome
from recontour.compare.settings import CompareSettings
from recontour.compare.work import RUN
from recontour.train.folder import LOG
from recontour.train.log import read_rows


@dataclass(frozen=True)
class Forecast:
    """state: done, failed, step n of m, or not begun. hours: of training left; None where no training of the same
    network has shown yet how long a step takes, and for what is not trained."""

    key: str
    state: str
    hours: float | None


def forecasts(settings: CompareSettings, out: Path) -> list[Forecast]:
    """One for each configuration, in the order in which they are done. Nothing is written."""
    jobs = plan(settings)
    pace: dict[str, float] = {}
    for job in jobs:
        step, seconds = _progress(job, out)
        if job.training is not None and step:
            pace.setdefault(job.training.network.architecture, seconds / step)
    return [_forecast(job, out, pace) for job in jobs]


def _forecast(job: Job, out: Path, pace: dict[str, float]) -> Forecast:
    outcome = read_outcome(out / job.key)
    if outcome.scores:
        return Forecast(job.key, "done", 0.0)
    step, _ = _progress(job, out)
    if job.training is None or not step:
        state = "failed" if outcome.failed else "not begun"
    else:
        state = f"{'failed at ' if outcome.failed else ''}step {step} of {job.training.steps}"
    if job.training is None:
        return Forecast(job.key, state, None)
    seconds = pace.get(job.training.network.architecture)
    hours = None if seconds is None else seconds * (job.training.steps - step) / 3600
    return Forecast(job.key, state, hours)


def _progress(job: Job, out: Path) -> tuple[int, float]:
    """The last step in the training's log, and the seconds until then; zeros where there is none."""
    rows = [row for row in read_rows(out / job.key / RUN / LOG) if (row.get("step") or "").isdigit()]
    return (int(rows[-1]["step"]), float(rows[-1]["seconds"] or 0.0)) if rows else (0, 0.0)
