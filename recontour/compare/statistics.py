"""Whether a difference between methods, measured on the same pairs, is more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from recontour.errors import UsageError

SIGNIFICANT = 0.05  # section III-C of Elmahdy et al., IEEE Access 2021


@dataclass(frozen=True)
class Anova:
    """One-way repeated-measures analysis of variance: F with its degrees of freedom, and its p."""

    f: float
    df_conditions: int
    df_error: int
    p: float


def repeated_measures_anova(values: ArrayLike) -> Anova:
    """values: (pairs, conditions), one row for each pair of scans, one column for each method; no value is missing.

    Each pair is its own control: what it is worse or better by under all conditions is taken off the error (Girden,
    "ANOVA: Repeated Measures", 1992). With two conditions F is the square of the paired t. Where all conditions are
    the same p is 1; where they differ by the same amount in every pair, F is infinite and p 0. Sphericity is taken
    for granted, as it is for two. Raises UsageError below two pairs or two conditions.
    """
    from scipy.stats import f as f_distribution

    table = np.asarray(values, float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise UsageError(f"values of shape {table.shape}", where="ANOVA", allowed="two pairs, two conditions or more")
    pairs, conditions = table.shape
    mean = table.mean()
    between = pairs * float(((table.mean(axis=0) - mean) ** 2).sum())
    residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + mean
    error = float((residual**2).sum())
    df_between, df_error = conditions - 1, (conditions - 1) * (pairs - 1)
    rounding = 1e-24 * float((table**2).sum())
    if between <= rounding:
        return Anova(0.0, df_between, df_error, 1.0)
    if error <= rounding:
        return Anova(float("inf"), df_between, df_error, 0.0)
    ratio = (between / df_between) / (error / df_error)
    p = float(np.asarray(f_distribution.sf(ratio, df_between, df_error), float))
    return Anova(ratio, df_between, df_error, p)


def p_of_two(first: dict[str, float], second: dict[str, float]) -> float | None:
    """p between two methods over the pairs, by name, that both have; None where those are fewer than two."""
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    return repeated_measures_anova([[first[name], second[name]] for name in shared]).p
