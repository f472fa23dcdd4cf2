"""The work itself: pair after pair onto the disk, each whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.cohort import CohortScan
from recontour.errors import OutputRefused
from recontour.prepare.pair import DrawnScan, make_pair, read_drawn, reason_of
from recontour.prepare.plan import PlannedPair, PreparePlan
from recontour.prepare.record import RECORD, CohortRecord, LeftOutRecord, read_record, write_json, write_record
from recontour.prepare.request import PrepareRequest
from recontour.train.dataset import ABOUT, PARTS

_UNFINISHED = ".unfinished"  # beside the splits, where no reader of pairs looks


@dataclass(frozen=True)
class PrepareResult:
    """What there is now. made: pairs that this call made. record: as cohort.json holds it."""

    made: int
    record: CohortRecord


def make_pairs(plan: PreparePlan, on_pair: Callable[[PlannedPair, str], None] | None = None) -> PrepareResult:
    """Makes what is missing, one pair after the other, and keeps cohort.json up to date.

    on_pair: called after each, with why it was left out, or "". A pair that cannot be made never stops the rest.
    Raises OutputRefused where the disk has too little room, before any work or in the middle; the pairs made so far
    are whole, and a later call goes on. Holds two scans at a time.
    """
    out, record, made = plan.request.out, plan.record, 0
    _check_same_record(plan)
    _check_room(plan)
    with _disk(out):
        _clear(out / _UNFINISHED)
        write_record(out, record)
    for pair, reason in _outcomes(plan):
        if reason:
            entry = LeftOutRecord(pair.patient, pair.daily.label, reason)
            record = replace(record, left_out=(*record.left_out, entry))
        else:
            record = replace(record, pairs=tuple(sorted((*record.pairs, f"{pair.split}/{pair.name}"))))
            made += 1
        with _disk(out):
            write_record(out, record)
        if on_pair:
            on_pair(pair, reason)
    return PrepareResult(made, record)


def _outcomes(plan: PreparePlan) -> Iterator[tuple[PlannedPair, str]]:
    """Each missing pair once it is on disk, or why it is not. Patient after patient: a planning scan is read once."""
    for _, group in groupby(plan.missing, key=lambda pair: pair.patient):
        pairs = list(group)
        planning = _drawn_or_reason(pairs[0].planning, plan.request)
        for pair in pairs:
            yield pair, _made_or_reason(pair, planning, plan.request)


def _drawn_or_reason(scan: CohortScan, request: PrepareRequest) -> DrawnScan | str:
    try:
        return read_drawn(scan, request)
    except Exception as error:  # as below
        return f"its planning scan: {reason_of(error)}"


def _made_or_reason(pair: PlannedPair, planning: DrawnScan | str, request: PrepareRequest) -> str:
    """Why the pair could not be made, or "" once it is on disk."""
    if isinstance(planning, str):
        return planning
    try:
        arrays, about = make_pair(planning, read_drawn(pair.daily, request), request)
    except Exception as error:  # whatever a library throws at one scan must not cost the others their night
        return reason_of(error)
    _write_pair(request.out, pair, arrays, about)
    return ""


def _check_same_record(plan: PreparePlan) -> None:
    """Of two calls that start at once, one would name the same patients otherwise, and split them otherwise."""
    out = plan.request.out
    if (out / RECORD).exists() and read_record(out).salt != plan.record.salt:
        found = f"another call has written its {RECORD} in the meantime"
        raise OutputRefused(found, where=out.name, allowed="one call at a time")


def _check_room(plan: PreparePlan) -> None:
    if plan.missing:
        _check_free(plan.request.out, plan.bytes_needed, f"{len(plan.missing)} pairs")


def _check_free(out: Path, needed: int, what: str) -> None:
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OutputRefused(
            f"{what} need about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free on the disk",
            where=out.name,
            allowed="more room, or a smaller margin; pairs that are there already are kept",
        )


def _write_pair(out: Path, pair: PlannedPair, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Beside, synced, renamed. Raises OutputRefused; then nothing of the pair is there."""
    beside, folder = out / _UNFINISHED / pair.name, pair.folder(out)
    _check_free(out, sum(array.nbytes for array in arrays.values()), "one pair more would")
    with _disk(out):
        try:
            beside.mkdir(parents=True)
            for part in PARTS:
                _write_array(beside / f"{part}.npy", arrays[part])
            write_json(beside / ABOUT, about)
            _clear(folder)  # what somebody took a file out of
            folder.parent.mkdir(exist_ok=True)
            os.replace(beside, folder)
        finally:
            _clear(out / _UNFINISHED)


def _write_array(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk(out: Path) -> Generator[None]:
    """What the disk refuses, in the house's words."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        allowed = "room on the disk, and the same command again: it goes on where it stopped"
        raise OutputRefused(f"cannot be written: {reason}", where=out.name, allowed=allowed) from error
