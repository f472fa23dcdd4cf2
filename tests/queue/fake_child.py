"""Stands in for recontour.queue.child: it does at once, or never, what a study does in minutes.

    python fake_child.py MODE ATTEMPT_FOLDER

works: leaves results.  rejects: the same, of a fraction that was rejected.  dies: ends by signal 9.  dies once: only at
the first attempt.  refuses, lacks: as a study that was refused or found no room.  hangs: says that it has begun (a file
`begun` beside the spool) and waits for its parent to end; it must not outlive it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from pathlib import Path


def dicom(description: str, uid: str) -> bytes:
    """A file of four elements in explicit VR little endian, without a library: this process begins at once."""

    def element(group: int, number: int, vr: bytes, value: str) -> bytes:
        even = value.encode() + b" " * (len(value) % 2) if vr == b"LO" else value.encode() + b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(even)) + even

    syntax = element(2, 0x10, b"UI", "1.2.840.10008.1.2.1")
    kind = element(8, 0x16, b"UI", "1.2.840.10008.5.1.4.1.1.481.3") + element(8, 0x18, b"UI", uid)
    return bytes(128) + b"DICM" + syntax + kind + element(8, 0x103E, b"LO", description)


def main(mode: str, folder: Path) -> None:
    asked = json.loads((folder / "request.json").read_text())
    if mode == "dies" or (mode == "dies once" and folder.name == "attempt-1"):
        (folder / "rtstruct.dcm").write_bytes(b"half a resu")
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hangs":
        (folder / "rtstruct.dcm").write_bytes(b"half a resu")
        (folder.parents[3] / "begun").write_text(str(os.getpid()))
        sys.stdin.read()
        (folder.parents[3] / "ended").write_text("with its parent")
        return
    if mode in ("refuses", "lacks"):
        outcome = {"error": "a reason", "again": mode == "lacks"}
    else:
        seen = {name: sorted(p.name for p in (folder / "input" / name).iterdir()) for name in ("planning", "daily")}
        (folder / "rtstruct.dcm").write_bytes(dicom(f"contours of {folder.name}", "1.2.1"))
        (folder / "registration.dcm").write_bytes(dicom("registration", "1.2.2"))
        (folder / "report").mkdir()
        (folder / "report" / "report.dcm").write_bytes(dicom("report", "1.2.3"))
        (folder / "rtstruct.manifest.json").write_text(json.dumps({"seen": seen, "asked": asked}))
        outcome = {"light": "reject" if mode == "rejects" else "review", "message": ""}
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
