"""Certificates, and loops that do not let tests wait."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.queue.made_queue import in_memory


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room for it: an object is synced several times, and what is shown here by kills and by
    full disks does not depend on how long that takes."""
    yield from in_memory(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops of a node in this process look often."""
    monkeypatch.setattr("recontour.node.service.EVERY_S", 0.02)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; node.pem, node.key and peer.pem, peer.key, signed by it, for this computer; stranger.pem, stranger.key,
    which sign themselves."""
    folder = tmp_path_factory.mktemp("certificates")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]

    def openssl(*words: str) -> None:
        subprocess.run([*make, *words], cwd=folder, check=True, capture_output=True)

    openssl("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=hospital")
    openssl("-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=stranger", *names)
    for name in ("node", "peer"):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        openssl("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *names, *signed)
    return folder
