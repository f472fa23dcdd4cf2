"""The service as a whole: begun, asked, stopped; as a program of its own where that matters."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recontour.cli.app import app
from recontour.errors import UsageError
from recontour.node.config import FILES, read_config
from recontour.node.service import Node, run_options
from recontour.queue.database import notice
from recontour.queue.jobs import Jobs
from recontour.queue.spool import Spool
from tests.node.made_node import (
    Archive,
    NodeProcess,
    audit_of,
    echoes,
    free_port,
    is_open,
    peer,
    serving,
    store,
    wait_until,
    write_config,
    written_by,
)
from tests.queue.made_queue import no_identity_in, pair

SCANNER = peer("SCANNER", may_send=True)


def asked(*words: object) -> Any:
    return CliRunner().invoke(app, ["node", *map(str, words)])


def stand_in(tmp_path: Path) -> tuple[str, ...]:
    return sys.executable, "-I", "-S", str(Path(__file__).with_name("stand_in.py")), str(tmp_path / "ledger")


def test_a_program_that_is_told_to_stop_ends_cleanly_and_names_nobody(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    planning, structures, daily = pair()
    node = NodeProcess(config)
    assert store(port, *planning, structures, *daily) == [0] * 9
    shown = asked("status", config)
    assert shown.exit_code == 0 and "RECONTOUR: running" in shown.output and "objects received" in shown.output
    assert node.stop() == 0
    assert f"listens on port {port}; 1 peers" in node.said and "stopped" in node.said
    assert not is_open(port)
    shown = asked("status", config)
    assert shown.exit_code == 3 and "NOT running" in shown.output
    events = [line["event"] for line in audit_of(config)]
    assert events[0] == "node started" and events[-1] == "node stopped"
    assert no_identity_in(written_by(tmp_path) + node.said + shown.output)


def test_a_job_at_hand_is_put_back_when_the_node_is_stopped(tmp_path: Path) -> None:
    """The run hangs until its parent ends (tests/queue/fake_child.py)."""
    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    fake = Path(__file__).parents[1] / "queue" / "fake_child.py"
    child = (sys.executable, "-I", "-S", str(fake), "hangs")
    before = f"import recontour.queue.worker; recontour.queue.worker.CHILD = {child!r}"
    node = NodeProcess(config, before)
    planning, structures, daily = pair()
    store(port, *planning, structures, *daily)
    wait_until(lambda: list(tmp_path.rglob("begun")))
    assert echoes(port)  # it listens while it runs
    assert node.stop() == 0
    jobs = Jobs(Spool(read_config(config).spool_folder))
    assert [job.state for job in jobs.list()] == ["ready"]
    jobs.close()


def test_two_nodes_do_not_share_a_queue(tmp_path: Path) -> None:
    config = write_config(tmp_path, SCANNER)
    with serving(config), pytest.raises(UsageError, match="another node"):
        Node(read_config(config))


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    port = free_port()
    with serving(write_config(tmp_path / "a", SCANNER, port=port)):
        shown = asked(write_config(tmp_path / "b", SCANNER, port=port))
        assert isinstance(shown.exception, UsageError) and f"port {port}" in shown.exception.found
    again = Node(read_config(tmp_path / "b" / "node.toml"))  # nothing of the first try is left
    again.start()
    again.close()


def test_check_echoes_every_peer(tmp_path: Path) -> None:
    archive, silent = Archive(free_port()), free_port()
    config = write_config(tmp_path, SCANNER, peer("ARCHIVE", archive.port), peer("[SILENT]", silent))
    try:
        shown = asked("check", config)
    finally:
        archive.close()
    found = {line.split()[0]: line for line in shown.output.splitlines() if line}
    assert shown.exit_code == 3
    assert "answers" in found["ARCHIVE"] and "not called" in found["SCANNER"]
    assert "could not be reached" in found["[SILENT]"]  # no markup of a table


@pytest.mark.parametrize(
    ("more", "where"),
    [({"settings": "none.toml"}, "none.toml"), ({"run__pseudonym_key": "none.key"}, "none.key")],
)
def test_check_looks_at_the_files_as_well(more: dict[str, Any], where: str, tmp_path: Path) -> None:
    shown = asked("check", write_config(tmp_path, SCANNER, **more))
    assert isinstance(shown.exception, UsageError) and where in str(shown.exception)


def test_each_peer_gets_what_it_is_to_get(tmp_path: Path) -> None:
    contours, all_of_it = Archive(free_port(), title="CONTOURS"), Archive(free_port(), title="ALL")
    port = free_port()
    config = write_config(
        tmp_path,
        SCANNER,
        peer("CONTOURS", contours.port, gets=["rtstruct"]),
        peer("ALL", all_of_it.port, gets=list(FILES)),
        port=port,
    )
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("recontour.queue.worker.CHILD", stand_in(tmp_path))
    planning, structures, daily = pair()
    try:
        with serving(config, run=True):
            store(port, *daily, structures, *planning)
            wait_until(lambda: len(contours.received) + len(all_of_it.received) >= 4)
    finally:
        monkeypatch.undo()
        contours.close()
        all_of_it.close()
    scan = f"{daily[0].SeriesInstanceUID}.1"
    assert contours.received == [f"{scan}.1"]
    assert sorted(all_of_it.received) == [f"{scan}.{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("send_rejected", "light", "sent"),
    [
        (False, "reject", {"report.dcm"}),
        (True, "reject", {"rtstruct.dcm", "registration.dcm", "report.dcm"}),
        (False, "review", {"rtstruct.dcm", "registration.dcm", "report.dcm"}),
    ],
)
def test_rejected_contours_stay_here_unless_asked_for(
    send_rejected: bool, light: str, sent: set[str], tmp_path: Path
) -> None:
    config = write_config(tmp_path, peer("ALL", 104, gets=list(FILES)), send_rejected=send_rejected)
    options = run_options(read_config(config))
    assert {name for name in FILES.values() if options.destinations_of(Path("a", name), light) == ("ALL",)} == sent


def test_what_was_given_up_is_sent_again_when_a_person_asks(tmp_path: Path) -> None:
    config = write_config(tmp_path, SCANNER)
    assert isinstance(asked("send-again", config).exception, UsageError)  # there is no queue yet
    with serving(config):
        pass
    assert "0 results are due again" in asked("send-again", config).output
    assert isinstance(asked("requeue", config, 7).exception, UsageError)
    assert isinstance(asked("plan", config, "1.2.3").exception, UsageError)


def test_an_error_in_a_handler_is_an_answer_and_its_words_stay_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("Doe^Jonathan")

    port = free_port()
    config = write_config(tmp_path, SCANNER, port=port)
    with serving(config):
        with monkeypatch.context() as broken:
            broken.setattr(Spool, "keep", fail)
            assert store(port, pair()[0][0]) == [0x0110]
        assert store(port, pair()[0][0]) == [0]
    assert no_identity_in(written_by(tmp_path))


@pytest.mark.parametrize(("keep_days", "said"), [(0, "until a person removes it"), (90, "for 90 days after")])
def test_the_status_says_how_long_things_are_kept_and_shows_every_letter(
    keep_days: int, said: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path, SCANNER, keep_days=keep_days)
    spool = Spool(read_config(config).spool_folder)
    with spool.database.changing() as changes:
        notice(changes, "late images", "job 1", "[bold]look[/bold]", 0)
    spool.database.close()
    shown = asked("status", config)
    assert said in shown.output and "[bold]look[/bold]" in shown.output


def test_the_log_is_lines_of_json_with_times(tmp_path: Path) -> None:
    config = write_config(tmp_path, SCANNER)
    with serving(config):
        assert echoes(read_config(config).port)
    for line in read_config(config).audit_file.read_text("utf-8").splitlines():
        assert {"time", "event"} <= set(json.loads(line))


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    config = write_config(tmp_path, SCANNER)
    with serving(config, run=True):
        assert echoes(read_config(config).port)
    wait_until(lambda: set(threading.enumerate()) <= before)
