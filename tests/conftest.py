"""What several tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REAL_PLANNING = Path(__file__).parents[2] / "shared" / "data" / "Pelvic-Ref-002"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: the programs that tests start and
    signal.signal(signal.SIGINT, signal.default_int_handler)  # interrupt would inherit it


@pytest.fixture(scope="session")
def real_planning() -> Path:
    """The folder of a real pelvic CT with contours; such tests skip where it is not at hand, but not in CI."""
    if not REAL_PLANNING.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{REAL_PLANNING.name} is missing")
        pytest.skip(f"{REAL_PLANNING.name} is not at hand")
    return REAL_PLANNING


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """planning/, daily/ and truth/ of one made patient, coarse so that it is quick. Tests only read it."""
    from recontour.phantom.scans import write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "seed3"
    write_phantom(folder, 3, spacing_mm=(5.0, 4.0, 4.0))
    return folder
