"""The record of who looked: lines that stay as they are, or else it shows."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from recontour.errors import OutputRefused, ReviewRefused, UsageError
from recontour.qa.review import ReviewRecord, append_review, latest, now, read_reviews, review_file, sha256_of

SHA = "ab" * 32
FIRST = ReviewRecord("mk", "2026-11-20T10:11:12+01:00", "Bladder", "accept", "", SHA)
SECOND = replace(FIRST, roi="Prostate", decision="edit", comment='Apex 5 mm zu tief; "so"\nnicht\u2028 = gut')
THIRD = replace(FIRST, who="Dr. Ö", roi="", decision="reject", comment=" ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = review_file(tmp_path / "rtstruct.dcm")
    append_review(out, [FIRST, SECOND])
    append_review(out, [THIRD])
    return out


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def test_reads_back_as_it_was_typed(path: Path) -> None:
    assert path.name == "rtstruct.review.jsonl"
    assert read_reviews(path) == (FIRST, SECOND, THIRD)


def test_a_line_is_json_and_chained_by_hand(path: Path) -> None:
    lines = lines_of(path)
    assert len(lines) == 3
    assert json.loads(lines[1])["comment"] == SECOND.comment
    assert "zu tief" in lines[1].decode()
    assert json.loads(lines[0])["before"] == "0" * 64
    assert json.loads(lines[2])["before"] == hashlib.sha256(lines[1]).hexdigest()
    assert json.loads(path.with_suffix(".head").read_text())["lines"] == 3


def test_no_file_is_no_review(tmp_path: Path) -> None:
    assert read_reviews(tmp_path / "rtstruct.review.jsonl") == ()
    append_review(tmp_path / "rtstruct.review.jsonl", [])
    assert list(tmp_path.iterdir()) == []


def changed(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"accept", b"reject"), *lines[1:]]


def changed_last(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"reject", b"accept")]


def cut_inside(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-9]]


def misnumbered(lines: list[bytes]) -> list[bytes]:
    """A line by hand, with the right hash of the one before and a wrong number."""
    forged = {**json.loads(lines[-1]), "line": 9, "before": hashlib.sha256(lines[-1]).hexdigest()}
    return [*lines, json.dumps(forged).encode()]


TAMPERED = {
    "a decision changed": (changed, "line 2 does not follow"),
    "the last decision changed": (changed_last, "line 3 was changed"),
    "the first line taken out": (lambda lines: lines[1:], "line 1 does not follow"),
    "a middle line taken out": (lambda lines: [lines[0], lines[2]], "line 2 does not follow"),
    "the last line taken out": (lambda lines: lines[:-1], "1 of 3 lines are missing at the end"),
    "all lines taken out": (lambda lines: [], "3 of 3 lines are missing at the end"),
    "two lines swapped": (lambda lines: [lines[1], lines[0], lines[2]], "line 1 does not follow"),
    "a line twice": (lambda lines: [*lines, lines[-1]], "line 4 does not follow"),
    "a line with another number": (misnumbered, "line 4 does not follow"),
    "a line cut": (cut_inside, "line 3 cannot be read"),
    "a line of something else": (lambda lines: [*lines, b"[]"], "line 4 does not follow"),
    "an empty line": (lambda lines: [lines[0], b"", *lines[1:]], "line 2 cannot be read"),
    "bytes that are no text": (lambda lines: [b"\xff\xfe", *lines], "line 1 cannot be read"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_every_change_shows_and_stops_what_follows(path: Path, case: str) -> None:
    change, said = TAMPERED[case]
    path.write_bytes(b"".join(line + b"\n" for line in change(lines_of(path))))
    before = path.read_bytes()
    with pytest.raises(ReviewRefused, match=said) as caught:
        read_reviews(path)
    assert path.name in str(caught.value)
    with pytest.raises(ReviewRefused, match=said):
        append_review(path, [FIRST])
    assert path.read_bytes() == before


def test_a_missing_file_shows(path: Path) -> None:
    held = path.read_bytes()
    path.unlink()
    with pytest.raises(ReviewRefused, match="3 of 3 lines are missing"):
        read_reviews(path)
    path.write_bytes(held)
    path.with_suffix(".head").unlink()
    with pytest.raises(ReviewRefused, match="missing"):
        read_reviews(path)
    with pytest.raises(ReviewRefused, match="missing"):
        append_review(path, [FIRST])


def test_a_damaged_head_shows(path: Path) -> None:
    for text in ("", "[]", "{}", '{"lines": "x", "last": ""}'):
        path.with_suffix(".head").write_text(text)
        with pytest.raises(ReviewRefused, match="cannot be read"):
            read_reviews(path)


def test_a_power_failure_between_lines_and_head_loses_nothing(path: Path) -> None:
    head = path.with_suffix(".head")
    old = head.read_text()
    append_review(path, [FIRST])
    head.write_text(old)
    assert read_reviews(path) == (FIRST, SECOND, THIRD, FIRST)
    append_review(path, [SECOND])
    assert read_reviews(path) == (FIRST, SECOND, THIRD, FIRST, SECOND)
    assert json.loads(head.read_text())["lines"] == 5


def test_half_a_line_that_nobody_was_told_of_is_dropped(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"who": "mk", "wh')
    assert read_reviews(path) == (FIRST, SECOND, THIRD)
    append_review(path, [SECOND])
    assert path.read_bytes().startswith(whole)
    assert read_reviews(path) == (FIRST, SECOND, THIRD, SECOND)


@pytest.mark.parametrize("failing", ["recontour.qa.chain.os.fsync", "recontour.qa.chain.write_text"])
def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(failing, fails)
        with pytest.raises(OutputRefused, match="No space left"):
            append_review(path, [FIRST])
    assert path.read_bytes() == before
    assert read_reviews(path) == (FIRST, SECOND, THIRD)


def test_many_at_once_all_get_in(path: Path) -> None:
    records = [replace(FIRST, who=f"user {k}") for k in range(12)]
    threads = [threading.Thread(target=append_review, args=(path, [record, record])) for record in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_reviews(path)
    assert len(found) == 3 + 24
    assert {record.who for record in found[3:]} == {record.who for record in records}
    assert all(found[k].who == found[k + 1].who for k in range(3, 27, 2)), "what was given together stays together"


def test_the_last_decision_on_this_file_holds() -> None:
    other = replace(SECOND, roi="Bladder", rtstruct_sha256="cd" * 32)
    overruled = replace(FIRST, decision="reject")
    found = latest([FIRST, SECOND, overruled, other], SHA)
    assert found == {"Bladder": overruled, "Prostate": SECOND}
    assert latest([FIRST], "cd" * 32) == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("decision", "approve", "accept, edit, reject"),
        ("who", "  ", "login"),
        ("rtstruct_sha256", "ABC", "64"),
        ("rtstruct_sha256", "AB" * 32, "64"),
        ("when", "2026-11-20T10:11:12", "offset"),
        ("when", "yesterday", "ISO 8601"),
    ],
)
def test_a_record_is_refused_by_name(name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(FIRST, **{name: value})


def test_letters_that_cannot_be_written_are_refused_whole(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="UTF-8"):
        append_review(path, [FIRST, replace(FIRST, comment="\udcff")])
    assert path.read_bytes() == before


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UsageError, match="nothing"):
        sha256_of(tmp_path / "nothing")
    assert replace(FIRST, when=now())
