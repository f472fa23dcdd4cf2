"""DCMTK as a second peer, in both directions, without TLS and with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from tests.node.made_node import audit_of, free_port, peer, serving, wait_until, write_config
from tests.node.programs import dcmtk, storescp
from tests.node.test_delivering import finished_job, states
from tests.queue.made_queue import as_file, pair

OWN = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, certificates: Path) -> Path | None:
    return certificates if request.param == "tls" else None


def speaking(tls: Path | None) -> Sequence[object]:
    """DCMTK's options for the peer's certificate."""
    return ("+tls", tls / "peer.key", tls / "peer.pem", "+cf", tls / "ca.pem") if tls else ()


def node_for(tmp_path: Path, port: int, known: str, tls: Path | None) -> Path:
    if tls is None:
        return write_config(tmp_path / "node", known, port=port)
    secret = {f"tls__{key}": str(tls / name) for key, name in OWN.items()}
    return write_config(tmp_path / "node", known, tls__port=port, **secret)


def test_storescu_and_echoscu_are_answered(tmp_path: Path, tls: Path | None) -> None:
    port = free_port()
    config = node_for(tmp_path, port, peer("DCMTK", may_send=True, tls=bool(tls)), tls)
    planning, structures, daily = pair()
    files = [tmp_path / f"{number}.dcm" for number in range(9)]
    for file, one in zip(files, [*planning, structures, *daily], strict=True):
        file.write_bytes(as_file(one))
    ends = ("-aet", "DCMTK", "-aec", "RECONTOUR", "127.0.0.1", port)
    with serving(config) as node:
        echo = dcmtk("echoscu", *speaking(tls), *ends)
        assert echo.returncode == 0, echo.stderr
        sent = dcmtk("storescu", *speaking(tls), *ends, *files)
        assert sent.returncode == 0, sent.stderr
        held = node._spool.held([str(one.SOPInstanceUID) for one in (*planning, structures, *daily)])
        assert len(held) == 9
        assert dcmtk("echoscu", *speaking(tls), "-aet", "NOBODY", *ends[2:]).returncode != 0
        found = dcmtk("findscu", *speaking(tls), "-S", "-k", "QueryRetrieveLevel=STUDY", *ends)
        assert "No Acceptable Presentation Contexts" in found.stderr + found.stdout  # it answers no queries
    assert sum(line["event"] == "received" for line in audit_of(config)) == 9


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    port = free_port()
    config = node_for(tmp_path, port, peer("DCMTK", may_send=True), None)
    whole = as_file(pair()[0][0])
    file = tmp_path / "cut.dcm"
    file.write_bytes(whole[:-20])
    with serving(config):
        sent = dcmtk("storescu", "-aet", "DCMTK", "-aec", "RECONTOUR", "127.0.0.1", port, file)
        assert sent.returncode != 0
        assert dcmtk("echoscu", "-aet", "DCMTK", "-aec", "RECONTOUR", "127.0.0.1", port).returncode == 0
    assert not any(line["event"] == "received" for line in audit_of(config))


def test_storescp_gets_results(tmp_path: Path, tls: Path | None) -> None:
    port, scp_port = free_port(), free_port()
    about = peer("ARCHIVE", scp_port, gets=["rtstruct"], tls=bool(tls))
    config = node_for(tmp_path, port, about, tls)
    with storescp(tmp_path / "got", scp_port, *speaking(tls)) as got, serving(config) as node:
        uid = finished_job(node._jobs)
        wait_until(lambda: states(node)[0][0] == "sent")
        (file,) = got.iterdir()
    assert pydicom.dcmread(file).SOPInstanceUID == uid


def test_storescp_that_only_knows_implicit_gets_it_so(tmp_path: Path) -> None:
    """Implicit VR Little Endian is what every peer must take (PS3.5 10.1); the result is written as explicit."""
    port, scp_port = free_port(), free_port()
    config = node_for(tmp_path, port, peer("ARCHIVE", scp_port, gets=["rtstruct"]), None)
    with storescp(tmp_path / "got", scp_port, "+xi") as got, serving(config) as node:
        finished_job(node._jobs)
        wait_until(lambda: states(node)[0][0] == "sent")
        (file,) = got.iterdir()
        source = node._jobs.deliveries()[0].file
        sent, came = pydicom.dcmread(source), pydicom.dcmread(file)
    assert came.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2" and came == sent


def test_a_peer_with_another_certificate_gets_nothing(tmp_path: Path, certificates: Path) -> None:
    port, scp_port = free_port(), free_port()
    config = node_for(tmp_path, port, peer("ARCHIVE", scp_port, gets=["rtstruct"], tls=True), certificates)
    strange = ("+tls", certificates / "stranger.key", certificates / "stranger.pem", "-ic")
    with storescp(tmp_path / "got", scp_port, *strange) as got, serving(config) as node:
        finished_job(node._jobs)
        wait_until(lambda: states(node)[0][1] > 0)
        (delivery,) = node._jobs.deliveries()
        assert delivery.state == "due" and "certificates was refused" in delivery.message
        assert delivery.next_try > time.time() and list(got.iterdir()) == []
