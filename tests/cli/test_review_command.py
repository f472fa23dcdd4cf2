"""recontour review, as a reviewer meets it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recontour.cli import main
from recontour.qa.manifest import OutputRecord, write_manifest
from recontour.qa.review import read_reviews
from tests.qa.made_fraction import fraction

CONTENT = b"an RTSTRUCT, which nobody opens here"
SHA = hashlib.sha256(CONTENT).hexdigest()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """rtstruct.dcm with its manifest; its ROIs: Bladder, Prostate, Rectum, and one with awkward letters."""
    write_result(tmp_path / "rtstruct.dcm", CONTENT)
    return tmp_path / "rtstruct.dcm"


def write_result(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    manifest = fraction().manifest
    odd = replace(manifest.rois[0], name="Rectum=[b]Wand")
    outputs = (OutputRecord(path.name, hashlib.sha256(content).hexdigest()),)
    manifest = replace(manifest, rois=(*manifest.rois, odd), outputs=outputs)
    write_manifest(manifest, path.with_suffix(".manifest.json"), overwrite=True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recontour", "review", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def test_decisions_are_kept_beside_the_result(run: Run, result: Path) -> None:
    comment = "Prostate=Apex: 5 mm = zu tief "
    code, out, _ = run(result, "--who", "mk", "--accept", "all", "--reject", "Prostate", "--comment", comment)
    assert code == 0
    assert "4 decisions recorded: rtstruct.review.jsonl" in out
    found = {r.roi: (r.who, r.decision, r.comment) for r in read_reviews(result.with_name("rtstruct.review.jsonl"))}
    assert found == {
        "Bladder": ("mk", "accept", ""),
        "Prostate": ("mk", "reject", "Apex: 5 mm = zu tief "),
        "Rectum": ("mk", "accept", ""),
        "Rectum=[b]Wand": ("mk", "accept", ""),
    }
    assert {r.rtstruct_sha256 for r in read_reviews(result.with_name("rtstruct.review.jsonl"))} == {SHA}
    assert result.read_bytes() == CONTENT


def test_the_longest_name_takes_the_comment(run: Run, result: Path) -> None:
    run(result, "--who", "mk", "--edit", "Rectum=[b]Wand", "--comment", "Rectum=[b]Wand=dünn")
    (record,) = read_reviews(result.with_name("rtstruct.review.jsonl"))
    assert (record.roi, record.comment) == ("Rectum=[b]Wand", "dünn")


def test_show_tells_what_holds_and_what_is_open(run: Run, result: Path) -> None:
    run(result, "--who", "mk", "--accept", "Bladder", "--accept", "Rectum=[b]Wand")
    code, out, err = run(result, "--who", "Ö", "--edit", "Bladder", "--comment", "Bladder=oben [x]", "--show")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    bladder = [line for line in lines if "Bladder" in line]
    assert "overruled" in bladder[0] and "accept" in bladder[0]
    assert "overruled" not in bladder[1] and "oben [x]" in bladder[1]
    assert "Rectum=[b]Wand" in out
    assert "3 lines, none changed or missing. Not decided: Prostate, Rectum." in out


def test_show_alone_writes_nothing(run: Run, result: Path) -> None:
    code, out, _ = run(result, "--show")
    assert code == 0
    assert "Not decided: Bladder, Prostate, Rectum, Rectum=[b]Wand." in out
    assert not list(result.parent.glob("*review*"))


def test_the_pages_file_is_taken_over(run: Run, result: Path, tmp_path: Path) -> None:
    decisions = [
        {"roi": "Bladder", "decision": "edit", "comment": "Kuppel"},
        {"roi": "", "decision": "reject", "comment": ""},
        {"roi": "Rectum", "decision": "accept"},
    ]
    page = tmp_path / "decisions.json"
    page.write_text(json.dumps({"rtstruct_sha256": SHA, "decisions": decisions, "made": "by the page"}))
    code, out, _ = run(result, "--who", "mk", "--from", page)
    assert code == 0 and "3 decisions" in out
    found = read_reviews(result.with_name("rtstruct.review.jsonl"))
    assert [(r.roi, r.decision, r.comment) for r in found] == [
        ("Bladder", "edit", "Kuppel"),
        ("", "reject", ""),
        ("Rectum", "accept", ""),
    ]
    assert "(all of it)" in run(result, "--show")[1]


BAD_PAGES = {
    "another RTSTRUCT": ({"rtstruct_sha256": "cd" * 32, "decisions": []}, 3, "another RTSTRUCT"),
    "no decisions": ({"rtstruct_sha256": SHA}, 3, "no decisions in it"),
    "a list": ([], 3, "no decisions in it"),
    "an unknown ROI": ({"rtstruct_sha256": SHA, "decisions": [{"roi": "Blase", "decision": "edit"}]}, 2, "no such ROI"),
    "an unknown word": ({"rtstruct_sha256": SHA, "decisions": [{"roi": "", "decision": "yes"}]}, 3, "accept, edit"),
    "a number": ({"rtstruct_sha256": SHA, "decisions": [{"roi": 3, "decision": "edit"}]}, 3, "no decisions in it"),
    "twice": ({"rtstruct_sha256": SHA, "decisions": [{"roi": "", "decision": "edit"}] * 2}, 3, "two decisions"),
}


@pytest.mark.parametrize("case", BAD_PAGES)
def test_another_file_is_refused(run: Run, result: Path, tmp_path: Path, case: str) -> None:
    content, wanted, said = BAD_PAGES[case]
    (tmp_path / "decisions.json").write_text(json.dumps(content))
    code, _, err = run(result, "--who", "mk", "--from", tmp_path / "decisions.json")
    assert code == wanted
    assert said in err
    assert not list(result.parent.glob("*review*"))


ASKED_WRONGLY = {
    "nobody": (("--accept", "all"), "nobody looked"),
    "nothing": (("--who", "mk"), "nothing was decided"),
    "unknown": (("--who", "mk", "--edit", "Blase"), "allowed: Bladder, Prostate, Rectum, Rectum=[b]Wand"),
    "twice": (("--who", "mk", "--edit", "Bladder", "--reject", "Bladder"), "two decisions on one ROI"),
    "all twice": (("--who", "mk", "--accept", "all", "--reject", "all"), "two decisions on all ROIs"),
    "comment alone": (("--who", "mk", "--edit", "Bladder", "--comment", "Rectum=x"), "without a decision"),
    "comment on nothing": (("--who", "mk", "--edit", "Bladder", "--comment", "good"), "ROI=TEXT"),
    "comment on another": (("--who", "mk", "--edit", "Bladder", "--comment", "Blase=x"), "no such ROI"),
    "both ways": (("--who", "mk", "--edit", "Bladder", "--from", "x.json"), "in a file and in words"),
}


@pytest.mark.parametrize("case", ASKED_WRONGLY)
def test_asked_wrongly(run: Run, result: Path, case: str) -> None:
    arguments, said = ASKED_WRONGLY[case]
    code, _, err = run(result, *arguments)
    assert code == 2
    assert said in err
    assert not list(result.parent.glob("*review*"))


def test_a_changed_rtstruct_is_not_reviewed(run: Run, result: Path) -> None:
    run(result, "--who", "mk", "--accept", "all")
    result.write_bytes(CONTENT + b"!")
    code, _, err = run(result, "--who", "mk", "--reject", "Bladder")
    assert code == 3 and "changed since" in err
    code, out, err = run(result, "--show")
    assert code == 3 and "changed since" in err
    assert "4 of 4 decisions are on another RTSTRUCT" in err
    assert "of another RTSTRUCT" in out


def test_decisions_do_not_pass_to_the_next_result(run: Run, result: Path) -> None:
    run(result, "--who", "mk", "--accept", "all")
    write_result(result, b"the next day's")
    code, out, err = run(result, "--who", "mk", "--edit", "Bladder", "--show")
    assert code == 0
    assert "4 of 5 decisions are on another RTSTRUCT that lay here" in err
    assert "Not decided: Prostate, Rectum, Rectum=[b]Wand." in out


def test_a_tampered_record_is_told(run: Run, result: Path) -> None:
    run(result, "--who", "mk", "--accept", "all")
    file = result.with_name("rtstruct.review.jsonl")
    file.write_text(file.read_text().replace("accept", "reject", 1))
    code, _, err = run(result, "--show")
    assert code == 3
    assert "line 2 does not follow the one before" in err and "rtstruct.review.jsonl" in err


def test_no_rtstruct_or_no_manifest(run: Run, result: Path) -> None:
    assert run(result.with_name("other.dcm"), "--show")[0] == 2
    result.with_suffix(".manifest.json").unlink()
    code, _, err = run(result, "--show")
    assert code == 3 and "not a readable manifest" in err
