"""Who belongs to whom is told by UIDs; what has no counterpart is said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from recontour.errors import UsageError
from recontour.evaluate.pairing import pair_up, pseudonym
from recontour.qa.manifest import AlignmentRecord, Manifest, ScanRecord, write_manifest
from tests.evaluate.made_results import prism, write_ct, write_structures


def manifest_of(daily: str, planning: str = "2.99") -> Manifest:
    scans = [ScanRecord("2.1", uid, "2.2", 10) for uid in (planning, daily)]
    return Manifest("2024-01-02T03:04:05+00:00", {}, {}, scans[0], scans[1], "2.3", (),
                    AlignmentRecord((0.0, 0.0, 0.0), 0.0, 1.0), (), "pass")  # fmt: skip


def drawn(path: Path, series: str, uid: str) -> Path:
    return write_structures(path, [prism("Bladder")], uid, series=series)


def texts(remarks: list) -> set[tuple[str, str]]:
    return {(remark.text, remark.fraction) for remark in remarks}


def test_pairs_by_series_and_not_by_name(tmp_path: Path) -> None:
    results, references = tmp_path / "results", tmp_path / "references"
    drawn(results / "a.dcm", "2.10", "3.1")
    drawn(results / "deep" / "b.dcm", "2.20", "3.2")
    drawn(references / "b.dcm", "2.10", "3.3")
    drawn(references / "a.dcm", "2.20", "3.4")
    write_ct(references / "ct", "2.10")
    fractions, remarks = pair_up(results, references)
    by_series = {fraction.series_uid: fraction for fraction in fractions}
    assert (by_series["2.10"].result.name, by_series["2.10"].reference.name) == ("a.dcm", "b.dcm")
    assert (by_series["2.20"].result.name, by_series["2.20"].reference.name) == ("b.dcm", "a.dcm")
    assert [len(by_series[uid].planes) for uid in ("2.10", "2.20")] == [14, 0]
    assert {text for text, _ in texts(remarks)} == {"no registration among the results: no Jacobian"}
    assert by_series["2.10"].name == hashlib.sha256(b"2.10").hexdigest()[:10]


def test_what_has_no_counterpart_is_said(tmp_path: Path) -> None:
    results, references = tmp_path / "results", tmp_path / "references"
    drawn(results / "a.dcm", "2.10", "3.1")
    drawn(references / "b.dcm", "2.20", "3.2")
    for number in (3, 4):
        drawn(results / f"{number}.dcm", "2.30", f"3.{number}")
        drawn(references / f"{number}.dcm", "2.40", f"4.{number}")
    drawn(references / "c.dcm", "2.30", "3.9")
    drawn(results / "c.dcm", "2.40", "3.8")
    write_structures(results / "lost.dcm", [prism("Bladder")], "3.7", series="")
    fractions, remarks = pair_up(results, references)
    assert fractions == []
    assert texts(remarks) == {
        ("1 structure set(s) among the results do not say which scan they are of: left out", ""),
        ("a result without a reference: not scored", pseudonym("2.10")),
        ("a reference without a result: not scored", pseudonym("2.20")),
        ("2 results for one scan: not scored, leave one of them in the folder", pseudonym("2.30")),
        ("2 references for one scan: not scored, leave one of them in the folder", pseudonym("2.40")),
    }


def test_manifests_lie_beside_results(tmp_path: Path) -> None:
    results, references = tmp_path / "results", tmp_path / "references"
    for number, daily in enumerate(("2.10", "2.20", "2.30"), 1):
        drawn(results / str(number) / "rt.dcm", daily, f"3.{number}")
        drawn(references / f"{number}.dcm", daily, f"4.{number}")
    write_manifest(manifest_of("2.10"), results / "1" / "rt.manifest.json")
    write_manifest(manifest_of("2.77"), results / "2" / "rt.manifest.json")
    (results / "3" / "rt.manifest.json").write_text('{"schema": 0}')
    drawn(references / "plan.dcm", "2.99", "4.9")  # the planning scan's own structures
    fractions, remarks = pair_up(results, references)
    assert {f.series_uid: f.manifest is not None for f in fractions} == {"2.10": True, "2.20": False, "2.30": False}
    assert texts(remarks) >= {
        ("references of 1 planning scan(s) of these results left out", ""),
        ("the manifest beside the result is of another scan: left out", pseudonym("2.20")),
        ("a manifest left out: schema 0", pseudonym("2.30")),
    }
    assert not any("without a result" in remark.text for remark in remarks)


def test_results_inside_the_references_are_no_references(tmp_path: Path) -> None:
    drawn(tmp_path / "reference.dcm", "2.10", "3.1")
    drawn(tmp_path / "out" / "rt.dcm", "2.10", "3.2")
    fractions, _ = pair_up(tmp_path / "out", tmp_path)
    assert [fraction.result.name for fraction in fractions] == ["rt.dcm"]
    with pytest.raises(UsageError, match="both folders are the same"):
        pair_up(tmp_path, tmp_path)
