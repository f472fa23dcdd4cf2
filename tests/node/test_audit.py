"""The audit log: lines of JSON, turned over by size, without identities, and no reason to stop for."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from recontour.errors import OutputRefused
from recontour.node.audit import Audit, digest, tail, title

UID = "1.2.826.0.1.3680043.8.498.12345678901234"


def test_lines_are_turned_over_and_the_oldest_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, most_bytes=200, kept_files=2)
    for number in range(30):
        audit.write("tried", number=number, why=None)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    texts = [(tmp_path / name).read_text("utf-8") for name in reversed(files)]
    lines = [json.loads(line) for line in "".join(texts).splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(numbers[0], 30)) and numbers[0] > 0
    assert set(lines[0]) == {"time", "event", "number"}
    assert all(len(text) < 200 + 120 for text in texts)


def test_threads_do_not_break_each_others_lines(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", most_bytes=2000, kept_files=100)
    writers = [threading.Thread(target=lambda: [audit.write("tried", n=n) for n in range(50)]) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for file in tmp_path.iterdir() for line in file.read_text("utf-8").splitlines()]
    assert sorted(line["n"] for line in lines) == sorted(list(range(50)) * 8)


def test_a_uid_is_found_by_its_end_and_by_its_digest() -> None:
    assert tail(UID) == "...78901234"
    assert digest(UID) == hashlib.sha256(UID.encode()).hexdigest()[:16]


def test_what_a_stranger_calls_itself_cannot_break_a_line() -> None:
    assert title("AB\n{\0\x1b[0m   ") == "AB?{??[0m"
    assert title("Ä" * 40) == "?" * 16


@pytest.mark.skipif(os.name != "posix", reason="rights of files")
def test_it_is_readable_by_the_service_alone(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    Audit(path).write("tried")
    assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    path.unlink()
    path.mkdir()
    audit.write("tried")
    audit.write("tried")
    assert capsys.readouterr().err.count("audit log cannot be written") == 1
    path.rmdir()
    audit.write("tried again")
    assert json.loads(path.read_text("utf-8"))["event"] == "tried again"


def test_a_log_that_can_never_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("", "utf-8")
    with pytest.raises(OutputRefused, match="audit log"):
        Audit(tmp_path / "log" / "audit.jsonl")
