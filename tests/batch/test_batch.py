"""recontour batch on a cohort in which things are wrong: each is told, the rest is done, and nobody is named."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pydicom
import pytest

from recontour.batch import overlap, work
from recontour.batch.outcome import Outcome
from recontour.batch.plan import BatchRequest, plan_batch
from recontour.batch.run import run_batch
from recontour.batch.task import Task
from recontour.errors import UsageError
from recontour.geometry.affine import Affine
from recontour.settings import RefineSettings, Settings
from tests.batch.made import IDENTITIES, QUICK


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch, cohort: Path) -> None:
    """What takes longest is taken as found: the tests that need the true alignment start the command."""
    monkeypatch.setattr("recontour.pipeline.align_scans", lambda daily, planning: Affine.identity())
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(cohort.parent / "key"))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "fractions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def centre(file: Path, roi: str) -> np.ndarray:
    """Mean of the contour points, read with pydicom alone."""
    read = pydicom.dcmread(file)
    number = next(r.ROINumber for r in read.StructureSetROISequence if r.ROIName == roi)
    item = next(c for c in read.ROIContourSequence if c.ReferencedROINumber == number)
    return np.concatenate([np.array(c.ContourData, float).reshape(-1, 3) for c in item.ContourSequence]).mean(axis=0)


def test_each_is_told_and_the_rest_is_done(undisturbed) -> None:  # type: ignore[no-untyped-def]
    out, said = undisturbed
    assert said.returncode == 3, said.stderr
    found = rows(out)
    assert [row["state"] for row in found].count("done") == 3
    (failed,) = [row for row in found if row["state"] == "failed"]
    assert "cut off" in failed["why"] and "daily image" in failed["why"]
    left_out = {row["fraction"].split(" ")[0]: row["why"] for row in found if row["state"] == "left out"}
    assert left_out["patient"] == "no CT with a structure set"
    assert "cannot be opened" in left_out["series"] and "cannot be opened" in left_out["file"]
    assert len(found) == 7
    for row in (row for row in found if row["state"] == "done"):
        folder = out / row["patient"] / row["fraction"]
        names = {p.name for p in folder.iterdir()}
        assert names == {"rtstruct.dcm", "rtstruct.manifest.json", "asked.json"}
    assert "Traceback" not in said.stderr


def test_nobody_is_named(undisturbed) -> None:  # type: ignore[no-untyped-def]
    out, said = undisturbed
    paths = [p.relative_to(out) for p in out.rglob("*")]
    texts = [said.stdout, said.stderr, *map(str, paths)]
    texts += [p.read_text() for p in out.rglob("*") if p.is_file() and p.suffix in (".json", ".csv")]
    for identity in IDENTITIES:
        assert not any(identity.casefold() in text.casefold() for text in texts), identity


def test_each_result_is_its_own_scans(undisturbed, cohort: Path) -> None:  # type: ignore[no-untyped-def]
    """No two are mixed up: each organ lies where its own day has moved it, within half a slice."""
    out, _ = undisturbed
    moved = {"20240112": (4, -3, 5), "20230111": (-4, 2, 3), "20230112": (3, 0, -4)}
    planned = centre(next((cohort / "Doe Jonathan" / "plan").glob("MRN*.dcm")), "Prostate")
    results = {str(pydicom.dcmread(p).StudyDate): p for p in out.glob("P-*/F-*/rtstruct.dcm")}
    assert set(results) == set(moved)
    for day, shift in moved.items():
        assert np.linalg.norm(centre(results[day], "Prostate") - planned - shift) < 2.5, day
    assert len({p.parent.parent for p in results.values()}) == 2


def test_a_dry_run_writes_nothing(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    said = run(tmp_path / "out", "--dry-run")
    assert said.returncode == 0
    assert "2 patient(s), 4 fraction(s), 4 to do now" in said.stderr
    assert "no CT with a structure set" in " ".join(said.stdout.split())
    assert not (tmp_path / "out").exists()
    assert all(len(line) <= 80 for line in said.stdout.splitlines())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_it_stops_cleanly(start, cohort: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Ctrl-C once the first fraction is done: no traceback, nothing half made, and the table's fractions go on."""
    out = tmp_path / "out"
    process = start(out, at=cohort / "second")
    for line in process.stderr:
        if " F-" in line:
            process.send_signal(signal.SIGINT)
            break
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Stopping after the stage at hand" in said and "Traceback" not in said
    assert not list((out / ".work").iterdir())
    for folder in out.glob("P-*/F-*"):
        assert {p.name for p in folder.iterdir()} == {"rtstruct.dcm", "rtstruct.manifest.json", "asked.json"}


@pytest.mark.usefixtures("aligned")
def test_it_goes_on_and_repeats_nothing(cohort: Path, tmp_path: Path) -> None:
    """A batch that ends after its first outcome; what failed is tried again when asked, or when it was mended."""
    mended = tmp_path / "cohort"
    shutil.copytree(cohort, mended, symlinks=True)
    request = BatchRequest(mended, tmp_path / "out", QUICK)
    done: list[Outcome] = []

    class Enough(Exception):
        pass

    def first(outcome: Outcome) -> None:
        done.append(outcome)
        raise Enough

    with pytest.raises(Enough):
        run_batch(plan_batch(request), overlap.outcomes, on_outcome=first)
    before = {p: p.stat().st_ino for p in (tmp_path / "out").glob("P-*/F-*/*")}
    run_batch(plan_batch(request), overlap.outcomes, on_outcome=done.append)
    names = [outcome.name for outcome in done]  # what was being written when the first batch ended is in place, untold
    assert len(set(names)) == len(names)
    assert {*names, *(p.parent.name for p in before)} == {task.name for task in plan_batch(request).tasks}
    assert all(p.stat().st_ino == inode for p, inode in before.items())

    assert not plan_batch(request).to_do()
    (failed,) = plan_batch(request).to_do(retry_failed=True)
    assert [o.failed for o in overlap.outcomes([failed])] == [True]
    shutil.rmtree(mended / "Doe Jonathan" / "20240113")
    shutil.copytree(mended / "Doe Jonathan" / "20240112", mended / "Doe Jonathan" / "20240113")
    for file in (mended / "Doe Jonathan" / "20240113").glob("*.dcm"):
        image = pydicom.dcmread(file)
        image.SeriesInstanceUID = failed.daily.series_uid
        image.SOPInstanceUID += ".1"
        image.save_as(file)
    (task,) = plan_batch(request).to_do()
    assert task.name == failed.name
    table = run_batch(plan_batch(request), overlap.outcomes)
    assert [row.state for row in table].count("done") == 4


@pytest.mark.usefixtures("aligned")
def test_reports_and_registrations_are_part_of_a_result(cohort: Path, tmp_path: Path) -> None:
    """Asked for later they make results that are not done; the earlier ones are kept."""
    second = cohort / "second"
    plain = BatchRequest(second, tmp_path / "out", QUICK)
    run_batch(plan_batch(plain), overlap.outcomes)
    plan = plan_batch(BatchRequest(second, tmp_path / "out", QUICK, registration=True, report=True))
    assert plan.standings == ("changed", "changed")
    plan = replace(plan, tasks=plan.tasks[:1], standings=plan.standings[:1])  # a report takes long, and one shows it
    table = run_batch(plan, overlap.outcomes)
    assert [(row.state, row.report) for row in table] == [("done", "made")]
    for task in plan.tasks:
        assert (task.folder / "registration.dcm").is_file() and (task.folder / "report" / "report.html").is_file()
        assert (tmp_path / "out" / "superseded" / task.patient / f"{task.name}.1" / "rtstruct.dcm").is_file()


@pytest.mark.usefixtures("aligned")
def test_several_are_in_hand_and_one_computes(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one computes, the next one is read: it waits for that. Never do two compute."""
    computing, most, read = 0, 0, Event()
    compute, load = work.compute, work.load
    loads: list[str] = []

    def counted(*arguments: object) -> object:
        nonlocal computing, most
        computing += 1
        most = max(most, computing)
        assert read.wait(60), "no other fraction was read meanwhile"
        try:
            return compute(*arguments)  # type: ignore[arg-type]
        finally:
            computing -= 1

    def loaded(*arguments: object) -> object:
        result = load(*arguments)  # type: ignore[arg-type]
        loads.append("")
        if len(loads) == 2:
            read.set()
        return result

    monkeypatch.setattr(work, "compute", counted)
    monkeypatch.setattr(work, "load", loaded)
    plan = plan_batch(BatchRequest(cohort / "second", tmp_path / "out", QUICK))
    assert not any(outcome.failed for outcome in overlap.outcomes(plan.to_do()))
    assert most == 1


@pytest.mark.usefixtures("aligned")
def test_each_refinement_finds_its_own_day(cohort: Path, tmp_path: Path) -> None:
    """Nothing is aligned, so that it is the field alone that brings the prostate where the day has moved it: at least
    half of the way, along that day's own direction and not along the other's, which is opposite."""
    quick = replace(QUICK, method="refine", refine=RefineSettings(levels_mm=(8.0, 4.0), steps=(6, 4)), device="cpu")
    run_batch(plan_batch(BatchRequest(cohort / "second", tmp_path / "out", quick)), overlap.outcomes)
    planned = centre(next((cohort / "second").glob("MRN*.dcm")), "Prostate")
    moved = {"20230111": (-4, 2, 3), "20230112": (3, 0, -4)}
    results = {str(pydicom.dcmread(p).StudyDate): p for p in (tmp_path / "out").glob("P-*/F-*/rtstruct.dcm")}
    assert set(results) == set(moved)
    for day, shift in moved.items():
        way = np.dot(centre(results[day], "Prostate") - planned, shift) / np.dot(shift, shift)
        assert 0.5 < way < 1.5, (day, way)


def test_a_plan_is_read_once(cohort: Path, tmp_path: Path, aligned, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    reads: list[Path] = []
    load_planned = work.load_planned
    monkeypatch.setattr(work, "_BENCH", work.Workbench())
    monkeypatch.setattr(work, "load_planned", lambda request: reads.append(request.planning) or load_planned(request))
    plan = plan_batch(BatchRequest(cohort, tmp_path / "out", QUICK))
    assert len(plan.tasks) == 4
    list(overlap.outcomes(plan.to_do()))
    assert len(reads) == 2


@pytest.mark.usefixtures("aligned")
def test_what_nobody_foresaw_costs_one_fraction(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = work.Workbench.made

    def fails(bench: work.Workbench, task: Task, *rest: object) -> object:
        if task.number == 1:
            raise ZeroDivisionError("Doe^Jonathan")
        return made(bench, task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(work.Workbench, "made", fails)
    plan = plan_batch(BatchRequest(cohort / "second", tmp_path / "out", QUICK))
    first, second = sorted(run_batch(plan, overlap.outcomes), key=lambda row: row.number or 0)
    assert first.state == "failed" and "ZeroDivisionError" in first.why and "Doe" not in first.why
    assert second.state == "done"


@pytest.mark.usefixtures("aligned")
def test_a_full_disk_is_no_fault_of_the_fraction(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BatchRequest(cohort / "second", tmp_path / "out", QUICK)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(work, "put_in_place", full)
        table = run_batch(plan_batch(request), overlap.outcomes)
    assert all("No space left" in row.why and row.state == "failed" for row in table)
    assert len(plan_batch(request).to_do()) == 2
    assert not list((tmp_path / "out").glob("P-*/*"))


def test_a_device_that_is_not_there_is_told_before_any_work(cohort: Path, tmp_path: Path, aligned) -> None:  # type: ignore[no-untyped-def]
    plan = plan_batch(BatchRequest(cohort / "second", tmp_path / "out", Settings(device="cuda:99")))
    with pytest.raises(UsageError, match="cuda:99"):
        run_batch(plan, overlap.outcomes)
    assert not list((tmp_path / "out").glob("P-*"))
