"""Pairs appear whole or not at all, once, whatever interrupts the work; and nobody is named."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from recontour.cli import app
from recontour.errors import AlignmentFailed, OutputRefused
from recontour.prepare import work
from recontour.prepare.plan import plan_cohort
from recontour.prepare.record import read_record
from recontour.prepare.request import PrepareRequest
from recontour.prepare.work import PrepareResult, make_pairs
from recontour.train.dataset import read_splits
from tests.prepare.made_cohort import ONE, SECRETS, write_day

PARTS = {"fixed_hu.npy", "moving_hu.npy", "fixed_labels.npy", "moving_labels.npy", "pair.json"}

pytestmark = pytest.mark.usefixtures("aligned")


def prepared(cohort: Path, out: Path, **options: Any) -> PrepareResult:
    shares = {"margin_mm": 10.0, "shares": (0.5, 0.5, 0.0)}
    return make_pairs(plan_cohort(PrepareRequest(cohort, out, **{**shares, **options})))


def files(data: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file but the record, which is written anew."""
    found = [path for path in data.rglob("*") if path.is_file() and path.name != "cohort.json"]
    return {str(path.relative_to(data)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_a_cohort_as_the_trainer_reads_it(cohort, tmp_path):
    result = prepared(cohort, tmp_path / "data")
    assert result.made == 3 and len(result.record.pairs) == 3
    splits = read_splits(tmp_path / "data")
    assert sorted(len(pairs) for pairs in splits.values()) == [1, 2]
    organs = {pair.name[-3:]: pair.organs for pairs in splits.values() if len(pairs) == 2 for pair in pairs}
    assert organs == {"f01": ("bladder", "rectum", "prostate"), "f02": ("bladder", "rectum")}
    assert read_record(tmp_path / "data") == result.record
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["cohort.json", "training", "validation"]


def test_an_organ_of_one_scan_stays_in_its_label_map_and_out_of_the_pair(cohort, tmp_path):
    result = prepared(cohort, tmp_path / "data")
    (second,) = [pair for pair in result.record.pairs if pair.endswith("f02")]
    facts = json.loads((tmp_path / "data" / second / "pair.json").read_text())
    assert "prostate" not in facts["organs"] + facts["fixed_organs"] and "prostate" in facts["moving_organs"]
    there = {part: set(np.unique(np.load(tmp_path / "data" / second / f"{part}_labels.npy"))) for part in
             ("fixed", "moving")}  # fmt: skip
    assert there == {"fixed": {0, 1, 2}, "moving": {0, 1, 2, 4}}


def test_a_second_call_repeats_nothing(cohort, tmp_path, monkeypatch):
    first = prepared(cohort, tmp_path / "data")
    before = files(tmp_path / "data")
    monkeypatch.setattr(work, "read_drawn", lambda *_: pytest.fail("a scan was read again"))
    again = prepared(cohort, tmp_path / "data")
    assert again.made == 0 and files(tmp_path / "data") == before and len(before) == 3 * len(PARTS)
    assert again.record == first.record


def test_a_cohort_that_grows(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "in")
    first = prepared(tmp_path / "in", tmp_path / "data")
    before = files(tmp_path / "data")
    write_day(tmp_path / "in" / "new", ONE, "20240112")  # earlier than the days that are there
    grown = prepared(tmp_path / "in", tmp_path / "data")
    new = set(grown.record.pairs) - set(first.record.pairs)
    assert grown.made == 1 and [name[-3:] for name in new] == ["f03"]
    assert {name: kept for name, kept in files(tmp_path / "data").items() if name in before} == before


def test_what_was_killed_half_written_is_made_again(cohort, tmp_path):
    first = prepared(cohort, tmp_path / "data")
    victim, kept = first.record.pairs[0], first.record.pairs[1]
    before = files(tmp_path / "data" / kept)
    (tmp_path / "data" / victim / "pair.json").unlink()
    leftover = tmp_path / "data" / work._UNFINISHED / "p0-f01"
    leftover.mkdir(parents=True)
    (leftover / "fixed_hu.npy").write_bytes(b"half")
    assert prepared(cohort, tmp_path / "data").made == 1
    assert {path.name for path in (tmp_path / "data" / victim).iterdir()} == PARTS
    assert files(tmp_path / "data" / kept) == before and not leftover.parent.exists()


def test_a_disk_that_fills_leaves_whole_pairs_and_the_next_call_goes_on(cohort, tmp_path, monkeypatch):
    write, written = work._write_array, []

    def until_full(path: Path, array: Any) -> None:
        written.append(path.name)
        if len(written) == 7:  # the third array of the second pair
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, array)

    monkeypatch.setattr(work, "_write_array", until_full)
    with pytest.raises(OutputRefused, match="No space left on device"):
        prepared(cohort, tmp_path / "data")
    pairs = [path.parent for path in (tmp_path / "data").rglob("fixed_hu.npy")]
    assert len(pairs) == 1 and {path.name for path in pairs[0].iterdir()} == PARTS
    assert read_record(tmp_path / "data").pairs == (f"{pairs[0].parent.name}/{pairs[0].name}",)
    before = files(pairs[0])
    monkeypatch.setattr(work, "_write_array", write)
    assert prepared(cohort, tmp_path / "data").made == 2 and files(pairs[0]) == before


def test_a_disk_too_small_is_told_before_any_work(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    monkeypatch.setattr(work, "read_drawn", lambda *_: pytest.fail("a scan was read"))
    with pytest.raises(OutputRefused, match=r"3 pairs need about 0\.\d\d GB, 0\.00 GB are free"):
        prepared(cohort, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_the_estimate_holds(cohort, tmp_path):
    """For organs as large as a man's; those here span 70 x 90 x 80 mm, a third of what is reckoned with."""
    plan = plan_cohort(PrepareRequest(cohort, tmp_path / "data"))
    make_pairs(plan)
    used = sum(path.stat().st_size for path in (tmp_path / "data").rglob("*.npy"))
    assert 0.2 * plan.bytes_needed < used < plan.bytes_needed


def test_of_two_calls_at_once_one_is_refused(cohort, tmp_path):
    """Otherwise one patient could be in two splits under two pseudonyms."""
    first, second = (plan_cohort(PrepareRequest(cohort, tmp_path / "data", margin_mm=10.0)) for _ in range(2))
    make_pairs(first)
    before = files(tmp_path / "data")
    with pytest.raises(OutputRefused, match="another call"):
        make_pairs(second)
    assert files(tmp_path / "data") == before


def test_one_bad_scan_stops_nothing(cohort, tmp_path, monkeypatch):
    def refuse(daily: Any, planning: Any) -> Any:
        raise AlignmentFailed("the scans do not match", where=SECRETS[0])

    def crash(daily: Any, planning: Any) -> Any:
        raise ZeroDivisionError(SECRETS[0])

    ends = iter([refuse, crash])
    from recontour.geometry.affine import Affine

    monkeypatch.setattr(
        "recontour.prepare.pair.align_scans", lambda d, p: next(ends, lambda d, p: Affine.identity())(d, p)
    )
    result = prepared(cohort, tmp_path / "data")
    assert result.made == 1
    reasons = [item.reason for item in result.record.left_out]
    assert "the scans do not match" in reasons
    assert "an error that should not happen (ZeroDivisionError)" in reasons
    assert prepared(cohort, tmp_path / "data").made == 2  # what was left out is tried again


def test_a_planning_scan_that_cannot_be_read_costs_its_patient_alone(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "in")
    slices = sorted((tmp_path / "in" / SECRETS[1] / "CT").glob("CT_*"))
    for path in slices[5:9]:
        path.unlink()
    result = prepared(tmp_path / "in", tmp_path / "data")
    assert result.made == 2
    (reason,) = [item.reason for item in result.record.left_out if "planning" in item.reason]
    assert reason.startswith("its planning scan: slices are missing")


def test_two_birth_dates_under_one_id_are_two_men(tmp_path):
    from dataclasses import replace

    write_day(tmp_path / "in" / "a", ONE, "20240101", z_mm=(0, 50))
    write_day(tmp_path / "in" / "b", replace(ONE, birth_date="19500101"), "20240102", z_mm=(0, 50))
    result = prepared(tmp_path / "in", tmp_path / "data")
    (item,) = result.record.left_out
    assert "birth dates differ" in item.reason and not result.record.pairs


def test_a_planning_scan_is_read_once(cohort, tmp_path, monkeypatch):
    read, seen = work.read_drawn, []

    def counted(scan: Any, request: Any) -> Any:
        seen.append(scan.series_uid)
        return read(scan, request)

    monkeypatch.setattr(work, "read_drawn", counted)
    prepared(cohort, tmp_path / "data")
    assert len(seen) == len(set(seen)) == 5  # two plans, three days


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["prepare", *arguments])


def test_the_command(cohort, tmp_path):
    out = str(tmp_path / "data")
    options = ["--margin", "10", "--split", "0.5,0.5,0"]
    planned = invoked(str(cohort), "--out", out, *options, "--dry-run")
    assert planned.exit_code == 0 and not Path(out).exists() and "3 pairs, 3 to make" in planned.output
    done = invoked(str(cohort), "--out", out, *options)
    assert done.exit_code == 0 and "a CT without a structure set" in done.output
    assert [line.split()[1:] for line in done.output.splitlines() if line.startswith("test ")] == [["0", "0"]]
    for shown in (planned.output, done.output, *(p.read_text() for p in Path(out).rglob("*.json")),
                  *(str(p.relative_to(out)) for p in Path(out).rglob("*"))):  # fmt: skip
        assert not any(secret.lower() in shown.lower() for secret in (*SECRETS, "Jonathan"))


def test_no_pair_at_all(cohort, tmp_path):
    ended = invoked(str(cohort), "--out", str(tmp_path / "data"), "--require", "seminal-vesicles")
    assert ended.exit_code == 3 and "no pair could be made" in ended.output
    assert read_record(tmp_path / "data").left_out


def test_shares_that_are_none(cohort, tmp_path):
    from recontour.errors import UsageError

    ended = invoked(str(cohort), "--out", str(tmp_path / "data"), "--split", "all")
    assert isinstance(ended.exception, UsageError)
