"""The tables of docs/accuracy.md: recontour and its rivals on made patients and a real scan, moved by known fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recontour.baselines import as_method, rivals
from recontour.evaluate.cases import Method, Pair, own_method, run_accuracy
from recontour.evaluate.tables import Outcome
from recontour.settings import Settings
from recontour.train.dataset import FIRST_TEST_SEED

if TYPE_CHECKING:
    from recontour.geometry.volume import LevelSet, Volume

_PHANTOM_ORGANS = {
    "Prostate": "prostate",
    "SeminalVes": "seminal_vesicles",
    "Bladder": "bladder",
    "Rectum": "rectum",
    "CTV": "CTV",
}


@dataclass(frozen=True)
class AccuracyRequest:
    """What to measure. planning: a folder with a real planning CT and RTSTRUCT, or None. chosen_rois: organ to ROI
    name in it. real_seeds, phantom_seeds: how many days and how many men, from FIRST_TEST_SEED on."""

    out: Path
    planning: Path | None = None
    chosen_rois: dict[str, str] | None = None
    real_seeds: int = 10
    phantom_seeds: int = 10
    settings: tuple[Settings, ...] = (Settings(),)
    rivals: tuple[str, ...] = ()


def measure(request: AccuracyRequest, on_outcome: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Runs every method on every pair, in this process, one after the other, and writes request.out and, beside it,
    a CSV and the journal that a run which was cut short goes on from. Raises InputRefused for a bad planning folder.
    """
    methods = {name: as_method(name) for name in request.rivals or tuple(rivals())}
    methods |= {f"recontour {settings.method}": own_method(settings) for settings in request.settings}
    pairs = {**_real(request), **_phantoms(request.phantom_seeds)}
    _warm_up(methods)
    tables = request.out.with_suffix(".tables.md")
    outcomes = run_accuracy(pairs, methods, tables, request.out.with_suffix(".csv"), on_outcome)
    request.out.write_text(_INTRODUCTION.format(first=FIRST_TEST_SEED) + tables.read_text("utf-8"), "utf-8")
    tables.unlink()
    return outcomes


def _real(request: AccuracyRequest) -> dict[str, Callable[[], Pair]]:
    """The real scan on so many days. It is read once, when the first is asked for."""
    if request.planning is None:
        return {}
    planning, shapes, organs = _read_real(request.planning, request.chosen_rois or {})

    def make(seed: int) -> Pair:
        from recontour.phantom.scans import moved_pair

        by_organ = {organ: name for name, organ in organs.items()}
        return Pair("real scan, moved", planning, shapes, organs, moved_pair(planning, shapes, seed, by_organ)[2])

    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + request.real_seeds)
    return {f"real {seed}": _bound(make, seed) for seed in seeds}


def _read_real(folder: Path, chosen: dict[str, str]) -> tuple[Volume, dict[str, LevelSet], dict[str, str]]:
    """The planning scan, the level sets of the organs it has, and ROI name -> organ."""
    from recontour.dicom.names import match_organs
    from recontour.dicom.series import read_series
    from recontour.dicom.structures import read_structures
    from recontour.phantom.scans import shapes_of

    series = read_series(folder)
    closed = [roi for roi in read_structures(folder, series).rois if roi.kind == "closed_planar"]
    organs = {name: str(organ) for organ, name in match_organs([roi.name for roi in closed], chosen).items()}
    return series.volume, shapes_of([roi for roi in closed if roi.name in organs], series), organs


def _phantoms(count: int) -> dict[str, Callable[[], Pair]]:
    def make(seed: int) -> Pair:
        from recontour.phantom.scans import phantom_pair

        planning, shapes, day = phantom_pair(seed)
        planned = {name: shapes[name] for name in _PHANTOM_ORGANS}
        truth = replace(day, level_sets={name: day.level_sets[name] for name in _PHANTOM_ORGANS})
        return Pair("phantoms", planning, planned, _PHANTOM_ORGANS, truth)

    return {f"phantom {seed}": _bound(make, seed) for seed in range(FIRST_TEST_SEED, FIRST_TEST_SEED + count)}


def _bound(make: Callable[[int], Pair], seed: int) -> Callable[[], Pair]:
    return lambda: make(seed)


def _warm_up(methods: dict[str, Method]) -> None:
    """Imports happen before any clock runs."""
    from recontour.align.elastix import warm_up

    warm_up().join()
    from recontour.network import refine  # noqa: F401  # pyright: ignore[reportUnusedImport]


_INTRODUCTION = """# How accurate, measured on what

Made by `recontour accuracy`; every figure below is of that one run, on one machine, one method after the other.
The CSV beside this file has every pair.

What this is: **accuracy on known motions of CT, not accuracy on patients.** A planning scan, made or real, is
moved by a known smooth field (bladder and rectal filling, prostate shift and turn, set-up, fresh noise, gas
that comes and goes: recontour/phantom/motion.py), so that the true contour of every organ is known to a few
hundredths of a millimetre. Real days are worse: tissue slides, contrast and image quality change. No public
repeat CT of the male pelvis with contours was at hand.

Contours are taken as they were drawn: what counts is whether they are carried over. An organ that the real plan
does not have, as the seminal vesicles often, is not in its table.

How: all methods start from the same affine (translation search and elastix) on the same region around the
organs at 1 mm, and the planning contours are carried over in the same way, as level sets. Seconds are wall time
after that affine, without imports, until the daily shapes are there. Seeds begin at {first}; no released model
was trained on such a seed, nor on the real scan. MSD: mean surface distance, symmetric, area-weighted, from
triangulated surfaces (paper, eq. 10); HD95: the larger of both directed 95th percentiles; DSC: Dice. `elastix`:
B-spline, correlation, 4 resolutions, 500 iterations, with its HU window and its grid; [-1000, 1000] with 10 mm
is the paper's setting, [-150, 300] the strongest we know.

"""
