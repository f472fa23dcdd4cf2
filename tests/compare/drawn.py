"""Outcomes with values that are easy to reckon with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recontour.compare.results import FieldRow, Outcome, ScoreRow
from recontour.compare.settings import CompareSettings, compare_settings_from
from recontour.network.catalogue import LABELS

ORGANS = LABELS[1:]


def outcome(by_path: Mapping[str, Sequence[float]], which: Sequence[str] = ("validation", "test")) -> Outcome:
    """By path the MSD of pairs a, b, c ...: the same for every organ and set; the affine 9 mm off. Fields with a
    Jacobian sd of 0.1, 0.2 ... and as much folding over 100, where there is a registration."""
    paths = {**by_path, "affine": [9.0 + k for k in range(len(next(iter(by_path.values()))))]}
    scores = [
        ScoreRow(s, "abcdef"[k], path, organ, mm, 2 * mm, 0.9)
        for s in which
        for path, values in paths.items()
        for organ in ORGANS
        for k, mm in enumerate(values)
    ]
    count = len(by_path.get("registration", ()))
    fields = [FieldRow(s, "abcdef"[k], 0.1 * (k + 1), 0.001 * (k + 1)) for s in which for k in range(count)]
    return Outcome(tuple(scores), tuple(fields))


def study(**raw: object) -> CompareSettings:
    return compare_settings_from({"figures": [], **raw})
