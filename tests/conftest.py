"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_PLANNING = Path(__file__).parents[2] / "shared" / "data" / "Pelvic-Ref-002"


@pytest.fixture(scope="session")
def real_planning() -> Path:
    """The folder of a real pelvic CT with contours; such tests skip where it is not at hand, but not in CI."""
    if not REAL_PLANNING.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{REAL_PLANNING.name} is missing")
        pytest.skip(f"{REAL_PLANNING.name} is not at hand")
    return REAL_PLANNING
