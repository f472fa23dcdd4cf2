"""An empty queue for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recontour.queue.jobs import Jobs
from recontour.queue.spool import Spool


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(Spool(tmp_path / "spool"))
    yield made
    made.close()
    made.spool.database.close()
