"""All methods on all pairs, and the page that tells of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from recontour.accuracy.page import write_page
from recontour.accuracy.pairs import Man, men
from recontour.accuracy.personal import personal_model
from recontour.accuracy.request import AccuracyRequest
from recontour.baselines import USUAL, rivals, run_rival
from recontour.errors import UsageError
from recontour.evaluate.cases import Case, Found, Method, Task, own_method, run_accuracy
from recontour.evaluate.journal import Outcome, read_journals
from recontour.evaluate.plots import check_matplotlib
from recontour.pipeline import warp_rois
from recontour.settings import Settings
from recontour.train.dataset import FIRST_TEST_SEED

if TYPE_CHECKING:
    from recontour.network.released import ReleasedModel


def measure(
    request: AccuracyRequest,
    on_outcome: Callable[[Outcome], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Runs every method on every pair, in this process, one after the other, and writes request.out, and beside it a
    CSV, plots in img/ and the journal that a run which was cut short goes on from. Of a part only the journal.

    say: is told when something long begins. Raises InputRefused for a bad planning folder, ModelRefused,
    UsageError for an unknown rival, a missing library, or no journal where the tables are to be made of them; and what
    a personal training raises.
    """
    check_matplotlib()
    if request.from_journals:
        outcomes = read_journals(request.journals)
        if not outcomes:
            raise UsageError("nothing was measured yet", where=request.out.name, allowed="without --from-journal")
    else:
        outcomes = _run(request, on_outcome, say)
    if request.part is None:
        write_page(outcomes, request.out, request.settings[0].qa, len(request.journals))
    return outcomes


def _run(
    request: AccuracyRequest, on_outcome: Callable[[Outcome], None] | None, say: Callable[[str], None] | None
) -> list[Outcome]:
    shared = _methods(request)
    tasks: dict[str, Task] = {}
    for man in men(request):
        methods = shared | (_personal(man, request, say) if _wanted(man, request) else {})
        tasks |= {name: Task(make, methods) for name, make in man.days.items()}
    _warm_up()
    others = [path for path in request.journals if path != request.journal]
    return run_accuracy(tasks, request.journal, _machine(request), on_outcome, others)


def _methods(request: AccuracyRequest) -> dict[str, Method]:
    """The rivals, then recontour's own. Raises UsageError for a rival, ModelRefused for a model that is not here."""
    from recontour.network.released import folder_of

    for settings in request.settings:
        if settings.asks_network:
            folder_of(settings.model)
    names = request.rivals or USUAL
    unknown = [name for name in names if name not in rivals()]
    if unknown:
        raise UsageError(f"no rival {unknown[0]!r} here", where="--rival", allowed=", ".join(rivals()))
    found = {name: rival_method(name) for name in names}
    return found | {f"recontour {name}": own_method(s, _released(s)) for name, s in request.own.items()}


def rival_method(name: str) -> Method:
    """The rival's field, and the contours that it carries over; its seconds include warping them."""

    def run(case: Case) -> Found:
        affine = case.affine_daily_to_planning
        found = run_rival(name, case.fixed, case.pair.planning, affine)
        start = time.perf_counter()
        shapes = warp_rois(case.rois, affine, found.field)
        return Found(shapes, found.seconds + time.perf_counter() - start, found.field)

    return Method(run)


def _released(settings: Settings) -> Callable[[], ReleasedModel | None]:
    """The model of the settings, opened once; None for a method without a network."""

    @cache
    def opened() -> ReleasedModel | None:
        from recontour.network.released import open_model

        return open_model(settings.model) if settings.asks_network else None

    return opened


def _wanted(man: Man, request: AccuracyRequest) -> bool:
    """The first made men, in whatever part they are, and the one who was scanned."""
    first = man.seed is None or man.seed < FIRST_TEST_SEED + request.personal.men
    return request.personal.minutes > 0 and first


def _personal(man: Man, request: AccuracyRequest, say: Callable[[str], None] | None) -> dict[str, Method]:
    """The methods with a network, with the man's own."""

    def method(settings: Settings) -> Method:
        @cache
        def made() -> tuple[ReleasedModel, str]:
            return personal_model(man, request, settings, say)

        plain = own_method(settings, lambda: made()[0])

        def run(case: Case) -> Found:
            return replace(plain.run(case), note=made()[1])

        return replace(plain, run=run)

    return {f"recontour personalised {name}": method(s) for name, s in request.own.items() if s.asks_network}


def _warm_up() -> None:
    """Imports happen before any clock runs."""
    from recontour.align.elastix import warm_up

    warm_up().join()
    from recontour.network import refine  # noqa: F401  # pyright: ignore[reportUnusedImport]


def _machine(request: AccuracyRequest) -> str:
    """In words, of what the processors are and whether a GPU is used; no name of anybody's machine."""
    from recontour.network.device import choose_device, describe_devices

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = {choose_device(settings.device).partition(":")[0] for settings in request.settings}
    return f"{cores} cores" + (f", {describe_devices()}" if "cuda" in used else "")
