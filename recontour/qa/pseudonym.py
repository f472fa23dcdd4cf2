"""What a patient is called where his name must not stand: the same word for the same man within one institution.

    "P-" + the first 8 hexadecimal digits of HMAC-SHA256(key, identifier)

Without the key nobody can try out all patient IDs until one fits, as with a plain hash; with it only its holder can.
Two patients of one institution share a pseudonym with a chance of 1 in 4 billion for each pair. The key is taken from
the file that was asked for; else from the file that the environment variable RECONTOUR_PSEUDONYM_KEY names; else from
`pseudonym.key` in the user's data folder (user_data_folder), which is made there once, at random, readable by him
alone. An institution that wants one pseudonym on all its computers copies one key file to them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import tempfile
from pathlib import Path

from recontour.errors import OutputRefused, UsageError

ENVIRONMENT = "RECONTOUR_PSEUDONYM_KEY"
SHORTEST_KEY = 16  # bytes: 128 bits, if they are random


def pseudonym(key: bytes, identifier: str) -> str:
    """ "P-7f3a91c2": of a patient's identifier, blanks around it left out. `key`: as from `pseudonym_key`."""
    said = identifier.strip().encode("utf-8")
    return f"P-{hmac.new(key, said, hashlib.sha256).hexdigest()[:8]}"


def known_by(identifier: str, name: str, birth_date: str, series_uid: str) -> str:
    """What a patient is told apart by: his identifier; without one name and birth date; without those a series, that
    of the plan, which all his fractions share."""
    named = f"{name.strip(' ^').casefold()}|{birth_date.strip()}"
    return identifier.strip() or (named if named != "|" else series_uid)


def pseudonym_key(file: Path | None = None) -> bytes:
    """The key in `file`, else in the file that the environment names, else the user's own, made if there is none.

    Line ends at either end of a file are not part of its key. Raises UsageError where a file that was named cannot
    be read or holds less than SHORTEST_KEY bytes, OutputRefused where the user's own cannot be made.
    """
    return _read(key_file(file))


def key_file(file: Path | None = None) -> Path:
    """Where that key lies: for other processes, which may have another environment. Raises OutputRefused as
    `pseudonym_key`."""
    named = file or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None:
        return named
    own = user_data_folder() / "pseudonym.key"
    if not own.exists():
        _make(own)
    return own


def user_data_folder() -> Path:
    """Where this user's data of recontour lies: $XDG_DATA_HOME/recontour or ~/.local/share/recontour; on Windows
    %LOCALAPPDATA%\\recontour, on macOS ~/Library/Application Support/recontour."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "recontour"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "recontour"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "recontour"


def _read(file: Path) -> bytes:
    try:
        key = file.read_bytes().strip(b"\r\n")
    except OSError as error:
        raise UsageError("the key of pseudonyms cannot be read", where=file.name, allowed="a readable file") from error
    if len(key) < SHORTEST_KEY:
        found = f"a key of {len(key)} bytes"
        raise UsageError(found, where=file.name, allowed=f"at least {SHORTEST_KEY} random bytes")
    return key


def _make(file: Path) -> None:
    """A new key, whole, and never in the place of one that another process has just made."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, beside = tempfile.mkstemp(dir=file.parent, prefix=".key-")  # of mode 0600
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(secrets.token_hex(32).encode() + b"\n")
                out.flush()
                os.fsync(out.fileno())
            os.link(beside, file)
        except FileExistsError:
            pass
        finally:
            Path(beside).unlink()
    except OSError as error:
        raise OutputRefused(
            "the key of pseudonyms cannot be made", where=file.name, allowed="--pseudonym-key FILE"
        ) from error
