"""An empty queue for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recontour.queue.jobs import Jobs
from recontour.queue.spool import Spool
from tests.queue.made_queue import in_memory


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room for it: an object is synced several times, and what is shown here by kills and by
    full disks does not depend on how long that takes."""
    yield from in_memory(tmp_path)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(Spool(tmp_path / "spool"))
    yield made
    made.close()
    made.spool.database.close()
