"""One fraction to do, as plain frozen values: what it is made from, what is asked, and where its result goes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import recontour
from recontour.settings import Settings

SCHEMA = 1
RTSTRUCT, REGISTRATION, REPORT, ASKED = "rtstruct.dcm", "registration.dcm", "report", "asked.json"


@dataclass(frozen=True)
class ScanFiles:
    """A CT series on disk. folder: the innermost one that holds all its images. files: their paths in it. size: bytes
    of all of them."""

    series_uid: str
    folder: str = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    size: int = 0

    @property
    def told(self) -> dict[str, Any]:
        """What it was, for the record: a series that lost or gained images, or was copied anew, is another."""
        return {"series_uid": self.series_uid, "images": len(self.files), "bytes": self.size}


@dataclass(frozen=True)
class Wanted:
    """What is asked of every fraction of a batch.

    chosen_rois: as in StudyRequest. model_sha256: of the weights that the settings mean today, "" where no network
    takes part. pseudonym_key: the file with the key, for reports.
    """

    settings: Settings = field(default_factory=Settings)
    chosen_rois: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    registration: bool = False
    report: bool = False
    model_sha256: str = ""
    pseudonym_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Task:
    """Everything that one fraction needs. Holds paths, and is therefore never shown.

    out: the folder of the batch. patient: his pseudonym. name: of the fraction, unique in the batch. number: its place
    among the patient's fractions by date, from 1. structures_file: the RTSTRUCT of the plan, of structures_size bytes.
    """

    out: str = field(repr=False)
    patient: str
    name: str
    number: int
    planning: ScanFiles
    daily: ScanFiles
    structures_uid: str
    structures_file: str = field(repr=False)
    structures_size: int
    wanted: Wanted

    @property
    def folder(self) -> Path:
        """Where its result lies: whole, or not there."""
        return Path(self.out) / self.patient / self.name

    @property
    def failure(self) -> Path:
        """Where it is written down that, and why, it could not be done."""
        return Path(self.out) / self.patient / f"{self.name}.failed.json"

    def asked(self) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back: another of these is another result. No path, no
        identity."""
        wanted = self.wanted
        told = {
            "schema": SCHEMA,
            "recontour": recontour.__version__,  # of the process that makes it, wherever it was planned
            "planning": self.planning.told,
            "daily": self.daily.told,
            "structures": {"sop_instance_uid": self.structures_uid, "bytes": self.structures_size},
            "settings": wanted.settings.as_dict(),
            "rois": dict(wanted.chosen_rois),
            "only": wanted.only,
            "skip": wanted.skip,
            "registration": wanted.registration,
            "report": wanted.report,
            "model_sha256": wanted.model_sha256,
        }
        return json.loads(json.dumps(told))
