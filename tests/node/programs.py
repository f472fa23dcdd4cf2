"""Programs of others that speak DICOM: DCMTK's tools, and Orthanc with a configuration of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.node.made_node import DEADLINE_S, free_port, is_open, wait_until

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    """Where it is; the test skips where it is not installed, but not in CI."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is not installed (make debian)")
    return found


def dcmtk(tool: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A tool of DCMTK, to its end."""
    command = [program(tool), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, errors="replace")


@contextmanager
def storescp(folder: Path, port: int, *words: object) -> Iterator[Path]:
    """DCMTK's receiver; what it is sent lies in the folder that is given."""
    folder.mkdir()
    command = [program("storescp"), "-od", folder, "-aet", "DCMTK", *words, port]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_open(port))
            yield folder
        finally:
            process.terminate()


class Orthanc:
    """An archive of its own for one test. tls: the folder of certificates, where it is to speak TLS alone."""

    def __init__(self, folder: Path, node_port: int, tls: Path | None = None) -> None:
        self.port, self._http = free_port(), free_port()
        folder.mkdir()
        node = {"AET": "RECONTOUR", "Host": "127.0.0.1", "Port": node_port, "UseDicomTls": tls is not None}
        config: dict[str, Any] = {
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [],
            "HttpPort": self._http, "AuthenticationEnabled": False, "DicomAet": "ORTHANC", "DicomPort": self.port,
            "DicomCheckCalledAet": True, "DicomCheckModalityHost": False, "DicomModalities": {"node": node},
            "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "SaveJobs": False, "StableAge": 1,
        }  # fmt: skip
        if tls:
            config |= {
                "DicomTlsEnabled": True, "DicomTlsRemoteCertificateRequired": True,
                "DicomTlsCertificate": str(tls / "peer.pem"), "DicomTlsPrivateKey": str(tls / "peer.key"),
                "DicomTlsTrustedCertificates": str(tls / "ca.pem"),
            }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(config), "utf-8")
        self._log = (folder / "log").open("wb")
        command = [program("Orthanc"), str(folder / "orthanc.json")]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        wait_until(lambda: self._process.poll() is not None or (is_open(self._http) and is_open(self.port)))
        assert self._process.poll() is None, (folder / "log").read_text("utf-8")[-2000:]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        self._log.close()

    def put(self, data: bytes) -> None:
        """One DICOM file into the archive."""
        self._ask("instances", data)

    def send_all(self, *series_uids: str) -> dict[str, Any]:
        """These series to the node, by C-STORE; what Orthanc says of it. Raises where it failed."""
        ids = [one for uid in series_uids for one in self.find("Series", SeriesInstanceUID=uid)]
        assert len(ids) == len(series_uids)
        asked = {"Resources": ids, "Synchronous": True, "StorageCommitment": True}
        return self._ask("modalities/node/store", json.dumps(asked).encode())

    def commitment(self, sent: dict[str, Any]) -> dict[str, Any]:
        """What the node has said so far of what it was sent."""
        return self._ask(f"storage-commitment/{sent['StorageCommitmentTransactionUID']}")

    def find(self, level: str, **query: str) -> list[str]:
        """Orthanc's own names of what fits."""
        return self._ask("tools/find", json.dumps({"Level": level, "Query": query}).encode())

    def file(self, series: str) -> bytes:
        """The one object of a series."""
        (instance,) = self._ask(f"series/{series}")["Instances"]
        with urllib.request.urlopen(f"{self._address}/instances/{instance}/file", timeout=DEADLINE_S) as answer:
            return answer.read()

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self._http}"

    def _ask(self, where: str, data: bytes | None = None) -> Any:
        try:
            with urllib.request.urlopen(f"{self._address}/{where}", data, timeout=DEADLINE_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{where}: {error.read().decode()}") from error
