"""One tree of errors, in clinical nouns.

    RecontourError
    ├── UsageError            the command was asked wrongly                     exit 2
    │   └── SettingsError     a setting is out of its range
    └── InputRefused          the input or the result cannot be used            exit 3
        ├── ScanRefused       a CT series
        ├── StructuresRefused an RTSTRUCT, or one ROI of it
        ├── DoseRefused       an RTDOSE or an RTPLAN
        ├── RoiAmbiguous      several ROIs could be the organ
        ├── PatientMismatch   two patients, or scans that do not belong together
        ├── AlignmentFailed   the two scans do not show the same region
        ├── ModelRefused      a released model is missing, changed or unfit
        ├── MemoryShort       the work does not fit into the memory at hand
        ├── TrainingStopped   a training came to a loss or a gradient that is no number
        ├── ReviewRefused     a record of who looked is not whole, or speaks of another RTSTRUCT
        └── OutputRefused     the result could not be written or did not read back

Every error says what was found, where, and what is allowed or can be done. None may hold a patient's
name, identifier or birth date: `where` is a file name, an ROI name, a slice position or a setting.
"""

from __future__ import annotations


class RecontourError(Exception):
    """`found`: what is wrong, in one sentence. `where`: file, ROI or setting. `allowed`: what would be
    accepted, or what to do next."""

    exit_code = 3

    def __init__(self, found: str, *, where: str = "", allowed: str = "") -> None:
        self.found = found
        self.where = where
        self.allowed = allowed
        super().__init__(" | ".join(part for part in (found, where, allowed) if part))


class UsageError(RecontourError):
    """The command, or the call, was asked wrongly."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is out of its range."""


class InputRefused(RecontourError):
    """The input, or what became of it, cannot be used."""


class ScanRefused(InputRefused):
    """A CT series that cannot be read as one volume."""


class StructuresRefused(InputRefused):
    """An RTSTRUCT, or one ROI of it, that cannot be used."""


class DoseRefused(InputRefused):
    """A planning dose, or the plan of it, that cannot be used."""


class RoiAmbiguous(InputRefused):
    """Several ROIs could be the same organ."""


class PatientMismatch(InputRefused):
    """Objects that do not belong to the same patient, scan or frame of reference."""


class AlignmentFailed(InputRefused):
    """The two scans could not be brought over each other."""


class ModelRefused(InputRefused):
    """A released model that is missing, changed, or unfit for the question."""


class MemoryShort(InputRefused):
    """The work does not fit into the memory at hand."""


class TrainingStopped(InputRefused):
    """A training that came to a loss or a gradient that is not finite."""


class ReviewRefused(InputRefused):
    """A record of reviews that was changed or cut, or decisions on another RTSTRUCT than the one at hand."""


class OutputRefused(InputRefused):
    """The result could not be written whole, or did not read back as it was meant."""
