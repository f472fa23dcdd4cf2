"""A cohort of results against the references of the same scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recontour.dicom.names import ABSENT, close_to
from recontour.errors import InputRefused, RecontourError, RoiAmbiguous, UsageError
from recontour.evaluate.fraction import FieldRow, Row, check_fraction, measure_fraction
from recontour.evaluate.pairing import Fraction, Remark, pair_up


@dataclass(frozen=True)
class CohortRequest:
    """results, references: folders of any layout. chosen_rois: organ to ROI name, for the structure sets that have such
    an ROI; "none" for an organ that is not to be looked for."""

    results: Path
    references: Path
    chosen_rois: dict[str, str] = field(default_factory=dict[str, str])
    allow_different_patients: bool = False


@dataclass(frozen=True, eq=False)
class CohortResult:
    """rows: one for each fraction and organ. fields: one for each fraction with a field. remarks: all that was left
    out, lost or not as it should be. fractions: how many were scored."""

    rows: tuple[Row, ...]
    fields: tuple[FieldRow, ...]
    remarks: tuple[Remark, ...]
    fractions: int


def evaluate_cohort(request: CohortRequest, on_fraction: Callable[[str, int, int], None] | None = None) -> CohortResult:
    """Scores every fraction that has one result and one reference, in the order of their pseudonyms.

    on_fraction: called with the pseudonym, how many came before and how many there are. A fraction that cannot be used
    is a remark. Raises RoiAmbiguous before anything is measured; UsageError for a chosen ROI that no file has, or
    folders that cannot be; InputRefused where nothing can be scored.
    """
    fractions, remarks = pair_up(request.results, request.references)
    usable, unfit = _usable(fractions, request)
    remarks += unfit
    rows: list[Row] = []
    fields: list[FieldRow] = []
    for number, fraction in enumerate(usable):
        if on_fraction:
            on_fraction(fraction.name, number, len(usable))
        try:
            found = measure_fraction(fraction, request.chosen_rois)
        except RecontourError as error:
            remarks.append(Remark(f"not scored: {error.found}", fraction.name))
            continue
        rows += found.rows
        fields += [found.field] if found.field else []
        remarks += found.remarks
    if not rows:
        where = "; ".join(f"{r.fraction} {r.text}".strip() for r in remarks) or "no RTSTRUCT in either folder"
        allowed = "an RTSTRUCT in each folder that refers to the same CT series"
        raise InputRefused("no result could be scored against a reference", where=where, allowed=allowed)
    return CohortResult(tuple(rows), tuple(fields), tuple(remarks), len({row.fraction for row in rows}))


def _usable(fractions: Sequence[Fraction], request: CohortRequest) -> tuple[list[Fraction], list[Remark]]:
    """Those whose files can be read and belong together, and why the others do not."""
    usable: list[Fraction] = []
    remarks: list[Remark] = []
    names: set[str] = set()
    for fraction in fractions:
        try:
            names |= check_fraction(fraction, request.chosen_rois, request.allow_different_patients)
            usable.append(fraction)
        except (RoiAmbiguous, UsageError):
            raise  # a question to whoever asked
        except RecontourError as error:
            remarks.append(Remark(f"not scored: {error.found}", fraction.name))
    folded = {name.casefold() for name in names} | {ABSENT}
    for name in request.chosen_rois.values():
        if usable and name.casefold() not in folded:
            raise UsageError(f"no ROI {name} in any file", where="--roi", allowed=close_to(name, sorted(names)))
    return usable, remarks
