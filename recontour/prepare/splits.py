"""Which patient is for training, which for validation and which for test. Patients are split, never their pairs."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from recontour.errors import SettingsError

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Place:
    """Where a split file names a patient: the `number`th, from 1, of a list."""

    split: str
    number: int

    def __str__(self) -> str:
        endings = {1: "st", 2: "nd", 3: "rd"}
        ending = "th" if self.number % 100 in (11, 12, 13) else endings.get(self.number % 10, "th")
        return f"the {self.number}{ending} of {self.split}"


def read_split_file(path: Path) -> dict[str, Place]:
    """PatientID to the split it belongs to, from a TOML file: training = ["ID", ...], validation and test likewise.

    Raises SettingsError for anything else, and where a patient is in two splits: its place is told, not the ID.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("a split file that cannot be read", where=path.name, allowed="a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        allowed = 'lines such as training = ["ID 1", "ID 2"]'
        raise SettingsError("a split file that is no TOML", where=path.name, allowed=allowed) from error
    out: dict[str, Place] = {}
    for split, listed in raw.items():
        for number, identifier in enumerate(_identifiers(split, listed, path), 1):
            place = Place(split, number)
            before = out.setdefault(identifier, place)
            if before.split != split:
                found = f"a patient in two splits: {before} and {place}"
                raise SettingsError(found, where=path.name, allowed="each patient in one split")
    return out


def _identifiers(split: str, listed: object, path: Path) -> list[str]:
    names = cast("list[object]", listed) if isinstance(listed, list) else [None]
    if split not in SPLITS or not all(isinstance(name, str) and name.strip() for name in names):
        found = "a list that is not of PatientIDs in quotes" if split in SPLITS else "an unknown split"
        raise SettingsError(found, where=path.name, allowed=f"lists of texts under {', '.join(SPLITS)}")
    return [str(name).strip() for name in names]


def assign_splits(
    identifiers: Iterable[str], known: Mapping[str, str], shares: Sequence[float], seed: int
) -> dict[str, str]:
    """PatientID to split. Those in `known` keep theirs; the others, in an order that seed and PatientID alone decide,
    each go to the split that is furthest below its share of all; first to one that has nobody, since there is no
    training without validation."""
    everybody = sorted(set(identifiers), key=lambda i: hashlib.sha256(f"{seed}\n{i.strip()}".encode()).digest())
    out = {identifier: known[identifier] for identifier in everybody if identifier in known}
    for identifier in everybody:
        if identifier not in out:
            counts = [list(out.values()).count(split) for split in SPLITS]
            short = [share * len(everybody) - count for share, count in zip(shares, counts, strict=True)]
            empty = [k for k in range(len(SPLITS)) if shares[k] and not counts[k]]
            out[identifier] = SPLITS[empty[0] if empty else int(np.argmax(short))]
    return out
