"""The process that runs one job: `python -m recontour.queue.child ATTEMPT_FOLDER`.

It reads request.json in that folder, runs the study, and leaves outcome.json, whole or not at all. It knows nothing of
the queue, so that however it ends, only the one job has failed. It ends when the process that began it does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from recontour.disk import is_full
from recontour.errors import MemoryShort, OutputRefused, RecontourError

REQUEST, OUTCOME = "request.json", "outcome.json"
NO_ROOM = 75  # exit status, as sysexits.h has it: not even the outcome could be written
RTSTRUCT, REGISTRATION, REPORT = "rtstruct.dcm", "registration.dcm", "report"


def main(folder: Path) -> int:
    """Runs the request in `folder`; the exit status."""
    from recontour.qa.manifest import write_text

    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = _run(folder, json.loads((folder / REQUEST).read_text("utf-8")))
    except RecontourError as error:
        lacking = isinstance(error, OutputRefused | MemoryShort)
        outcome = {"error": _words(error), "again": lacking}
    except MemoryError:
        outcome = {"error": "the memory is short", "again": True}
    except Exception as error:
        from recontour.report import failure_of

        full = is_full(error)
        outcome = {"error": "the disk is full" if full else failure_of(error).found, "again": full}
    try:
        write_text(folder / OUTCOME, json.dumps(outcome))
    except OSError:
        return NO_ROOM
    return 0


def _run(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    from recontour.report import ReportRequest
    from recontour.settings import settings_from
    from recontour.study import StudyRequest, run_study

    result = run_study(
        StudyRequest(
            planning=folder / "input" / "planning",
            daily=folder / "input" / "daily",
            out=folder / RTSTRUCT,
            settings=settings_from(asked["settings"]),
            chosen_rois=asked["chosen_rois"],
            only=tuple(asked["only"]),
            skip=tuple(asked["skip"]),
            planning_series=asked["planning_series"],
            daily_series=asked["daily_series"],
            structures=asked["structures"],
            registration=folder / REGISTRATION,
            report=ReportRequest(folder / REPORT, pseudonym_key=Path(key) if (key := asked["pseudonym_key"]) else None),
        )
    )
    lost = result.report_failure
    return {"light": result.light, "message": f"the report was not made: {_words(lost)}" if lost else ""}


def _words(error: RecontourError) -> str:
    """Without `where` and `allowed`, which may be long lists; none of the three holds an identity."""
    return f"{error.found} ({error.where})" if error.where and "\n" not in error.where else error.found


def _end_with_parent() -> None:
    """The other end of standard input is the parent's: it closes when the parent is gone."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
