"""Stands in for recontour.queue.child: at once, results that an archive takes, under UIDs that no other attempt has.

    python stand_in.py LEDGER ATTEMPT_FOLDER

LEDGER gets a line for each time that a daily series was run to its end.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

_RESULTS = {
    "rtstruct.dcm": ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", 1),
    "registration.dcm": ("1.2.840.10008.5.1.4.1.1.66.1", "REG", 2),
    "report/report.dcm": ("1.2.840.10008.5.1.4.1.1.104.1", "DOC", 3),
}


def dicom(sop_class: str, modality: str, uid: str) -> bytes:
    """A file of what every archive asks for, in explicit VR little endian, without a library: this begins at once."""
    ours = [
        (0x0008, 0x0016, b"UI", sop_class), (0x0008, 0x0018, b"UI", uid), (0x0008, 0x0060, b"CS", modality),
        (0x0010, 0x0020, b"LO", "MRN-771133"), (0x0020, 0x000D, b"UI", f"{uid}.1"), (0x0020, 0x000E, b"UI", f"{uid}.2"),
    ]  # fmt: skip
    meta = [(2, 2, b"UI", sop_class), (2, 3, b"UI", uid), (2, 0x10, b"UI", "1.2.840.10008.1.2.1")]
    group = b"".join(_element(*one) for one in meta)
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group))
    return bytes(128) + b"DICM" + length + group + b"".join(_element(*one) for one in ours)


def _element(group: int, number: int, vr: bytes, value: str) -> bytes:
    even = value.encode() + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(even)) + even


def main(ledger: Path, folder: Path) -> None:
    asked = json.loads((folder / "request.json").read_text())
    attempt = f"{asked['daily_series']}.{folder.name.rpartition('-')[2]}"
    for name, (sop_class, modality, number) in _RESULTS.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(dicom(sop_class, modality, f"{attempt}.{number}"))
    with ledger.open("a") as lines:
        lines.write(f"{asked['daily_series']}\n")
    beside = folder / ".outcome.json"
    beside.write_text(json.dumps({"light": "review", "message": ""}))
    os.replace(beside, folder / "outcome.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
