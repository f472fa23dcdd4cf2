"""A worked example with its sums of squares, and scipy's paired t test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from recontour.compare.statistics import p_of_two, repeated_measures_anova
from recontour.errors import UsageError

# Fitness of six people before, 3 and 6 months into an exercise programme (the example of Laerd Statistics, "Repeated
# Measures ANOVA"): means of 42.8, 45.3 and 49.7, SS of time 143.44, of people 658.28, of error 57.22.
#   F = (143.44 / 2) / (57.22 / 10) = 12.53, p = 0.002
FITNESS = [[45, 50, 55], [42, 42, 45], [36, 41, 43], [39, 35, 40], [51, 55, 59], [44, 49, 56]]


def test_worked_example() -> None:
    found = repeated_measures_anova(FITNESS)
    assert (found.df_conditions, found.df_error) == (2, 10)
    assert found.f == pytest.approx((143.44 / 2) / (57.22 / 10), rel=1e-3)
    assert found.p == pytest.approx(0.0019, abs=5e-5)


def test_two_conditions_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, variance 1, t = 2 / sqrt(1 / 3), F = t^2 = 12, with 1 and 2 degrees of freedom.
    With those, P(F > f) = 1 - sqrt(f / (f + 2)) = 1 - sqrt(12 / 14)."""
    found = repeated_measures_anova([[5, 4], [1, -1], [7, 4]])
    assert found.f == pytest.approx(12.0)
    assert (found.df_conditions, found.df_error) == (1, 2)
    assert found.p == pytest.approx(1 - np.sqrt(12 / 14))


def test_two_conditions_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(5)
    first = rng.gamma(2.0, 1.0, 17)
    second = first + rng.normal(0.2, 0.5, 17)
    t, p = ttest_rel(first, second)
    found = repeated_measures_anova(np.stack([first, second], axis=1))
    assert found.f == pytest.approx(t**2)
    assert found.p == pytest.approx(p)


def test_what_differs_between_pairs_alone_is_no_difference() -> None:
    assert repeated_measures_anova([[1.1, 1.1], [7.3, 7.3], [0.2, 0.2]]).p == 1.0


def test_the_same_difference_everywhere_is_beyond_chance() -> None:
    assert repeated_measures_anova([[1.1, 1.6], [7.3, 7.8], [0.2, 0.7]]).p == 0.0


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [1.0, 2.0]])
def test_too_little_to_say(values: list[object]) -> None:
    with pytest.raises(UsageError, match="shape"):
        repeated_measures_anova(values)


def test_only_pairs_that_both_have_are_compared() -> None:
    first = {"a": 5.0, "b": 1.0, "c": 7.0, "only here": 99.0}
    second = {"c": 4.0, "b": -1.0, "a": 4.0, "only there": -99.0}
    assert p_of_two(first, second) == pytest.approx(1 - np.sqrt(12 / 14))
    assert p_of_two(first, {"a": 1.0}) is None
