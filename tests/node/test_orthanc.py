"""A real archive: Orthanc sends planning and daily scans to the node and gets structure set, registration and report
back, without TLS and with it; it counts as delivered when Orthanc has committed itself to keep them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from recontour.node.service import Node
from tests.node.made_node import audit_of, free_port, peer, serving, wait_until, write_config, written_by
from tests.node.programs import Orthanc, dcmtk
from tests.queue.made_queue import as_file, no_identity_in, pair

OWN = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, certificates: Path) -> Path | None:
    return certificates if request.param == "tls" else None


@pytest.fixture
def node_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(tmp_path: Path, node_port: int, tls: Path | None) -> Iterator[Orthanc]:
    archive = Orthanc(tmp_path / "orthanc", node_port, tls)
    yield archive
    archive.close()


def config_for(orthanc: Orthanc, tmp_path: Path, node_port: int, tls: Path | None, **more: Any) -> Path:
    about: dict[str, Any] = {
        "may_send": True, "gets": ["rtstruct", "registration", "report"], "storage_commitment": True, "tls": bool(tls)
    }  # fmt: skip
    known = peer("ORTHANC", orthanc.port, **about)
    if tls is None:
        return write_config(tmp_path / "node", known, port=node_port, **more)
    secret = {f"tls__{key}": str(tls / name) for key, name in OWN.items()}
    return write_config(tmp_path / "node", known, tls__port=node_port, **secret, **more)


def received(orthanc: Orthanc, **query: str) -> list[Dataset]:
    return [pydicom.dcmread(BytesIO(orthanc.file(one))) for one in orthanc.find("Series", **query)]


def all_sent(node: Node, count: int) -> bool:
    found = node._jobs.deliveries()
    return len(found) == count and all(one.state == "sent" for one in found)


def test_scans_go_to_the_node_and_results_come_back(
    orthanc: Orthanc, tmp_path: Path, node_port: int, tls: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run itself is a stand-in: test_a_fraction_from_archive_to_archive has a real one."""
    child = (sys.executable, "-I", "-S", str(Path(__file__).with_name("stand_in.py")), str(tmp_path / "ledger"))
    monkeypatch.setattr("recontour.queue.worker.CHILD", child)
    config = config_for(orthanc, tmp_path, node_port, tls)
    planning, structures, daily = pair()
    for one in (*planning, structures, *daily):
        orthanc.put(as_file(one))
    with serving(config, run=True) as node:
        # the daily scan first: it waits for its plan
        uids = (daily[0].SeriesInstanceUID, structures.SeriesInstanceUID, planning[0].SeriesInstanceUID)
        sent = [orthanc.send_all(uid) for uid in uids]
        assert [one["FailedInstancesCount"] for one in sent] == [0, 0, 0]
        wait_until(lambda: all_sent(node, 3))
        held = node._spool.held([str(one.SOPInstanceUID) for one in (*planning, structures, *daily)])
        wait_until(lambda: [orthanc.commitment(one)["Status"] for one in sent] == ["Success"] * 3)
    assert len(held) == 9
    names = [line["file"] for line in audit_of(config) if line["event"] == "delivered"]
    assert sorted(names) == ["registration.dcm", "report.dcm", "rtstruct.dcm"]
    assert [line["kept"] for line in audit_of(config) if line["event"] == "commitment reported"] == [3]
    assert no_identity_in(written_by(tmp_path / "node"))


@pytest.mark.parametrize("tls", ["plain"], indirect=True)
def test_a_fraction_from_archive_to_archive(
    orthanc: Orthanc, tmp_path: Path, node_port: int, tls: Path | None, phantom: Path
) -> None:
    """A whole run, affine alone since that is quick, of a coarse phantom; what Orthanc then holds is read again."""
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "run.toml").write_text('method = "affine"\n', "utf-8")
    config = config_for(orthanc, tmp_path, node_port, tls, settings="run.toml", send_rejected=True)
    files = [file for name in ("planning", "daily") for file in (phantom / name).rglob("*.dcm")]
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for file in files:
        orthanc.put(file.read_bytes())
    with serving(config, run=True) as node:
        orthanc.send_all(*sorted({str(header.SeriesInstanceUID) for header in headers}))
        wait_until(lambda: all_sent(node, 3), most_s=900)  # of a busy computer; 15 s of work
        assert "rtstruct.dcm" in {one.file.name for one in node._jobs.deliveries()}
    (daily_study,) = {h.StudyInstanceUID for h, f in zip(headers, files, strict=True) if "daily" in f.parts}
    came = received(orthanc, StudyInstanceUID=daily_study, Modality="RTSTRUCT")
    (structures,) = [one for one in came if one.Manufacturer == "recontour"]
    planned = next(h for h in headers if h.Modality == "RTSTRUCT")
    assert names_in(structures) == names_in(planned) - {"EXTERNAL"}
    (report,) = received(orthanc, StudyInstanceUID=daily_study, Modality="DOC")
    assert report.EncapsulatedDocument.startswith(b"%PDF")
    assert len(received(orthanc, StudyInstanceUID=daily_study, Modality="REG")) == 1
    query = ("-S", "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={daily_study}", "-k", "Modality")
    found = dcmtk("findscu", "-aet", "DCMTK", "-aec", "ORTHANC", *query, "127.0.0.1", orthanc.port)
    assert all(f"[{modality}" in found.stderr + found.stdout for modality in ("RTSTRUCT", "REG", "DOC"))
    who = {str(header.PatientID) for header in headers} | {str(header.PatientName) for header in headers}
    assert not any(name in written_by(tmp_path / "node") for name in who)


def names_in(structures: Dataset) -> set[str]:
    return {str(item.ROIName) for item in structures.StructureSetROISequence}
