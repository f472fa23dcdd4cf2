"""Runs that are to be compared are runs of one code."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path


def code_digest() -> str:
    """sha256 over names and contents of all files of the package that a command started here would run."""
    where = [sys.executable, "-c", "import recontour; print(recontour.__file__)"]
    package = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.relative_to(package).as_posix()}\n{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_code(digest: str) -> None:
    """Ends the program where the code is another than when the digest was taken."""
    if code_digest() != digest:
        sys.exit("recontour's code was changed while this ran: it says nothing. Run it on a copy that nobody edits.")
