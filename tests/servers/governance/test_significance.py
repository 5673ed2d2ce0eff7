"""Two proportions: against the textbook, and where there is nothing to compare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from servers.governance.significance import Rate, p_higher, p_lower


@pytest.mark.parametrize(
    ("candidate", "baseline", "p"),
    [
        # Pooled z by hand: (0.08 - 0.12) / sqrt(0.1 * 0.9 * 2 / 1000) = -2.9814.
        (Rate(80, 1_000), Rate(120, 1_000), 0.001435),
        (Rate(100, 1_000), Rate(100, 1_000), 0.5),
    ],
)
def test_large_counts_are_tested_by_z(candidate: Rate, baseline: Rate, p: float) -> None:
    assert p_lower(candidate, baseline) == pytest.approx(p, rel=1e-3)


def test_small_counts_are_tested_exactly() -> None:
    # Fisher's tea: 3 of 4 against 1 of 4.
    assert p_higher(Rate(3, 4), Rate(1, 4)) == pytest.approx(17 / 70)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.integers(1, 20))
def test_the_exact_test_is_fishers(a: int, n: int, b: int, m: int) -> None:
    a, b = min(a, n), min(b, m)
    events = a + b
    if events in (0, n + m) or min(events, n + m - events) * min(n, m) >= 5 * (n + m):
        return
    expected = fisher_exact([[a, n - a], [b, m - b]], alternative="less").pvalue
    assert p_lower(Rate(a, n), Rate(b, m)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [(Rate(0, 0), Rate(1, 10)), (Rate(1, 10), Rate(0, 0)), (Rate(0, 10), Rate(0, 10)), (Rate(10, 10), Rate(9, 9))],
)
def test_where_there_is_nothing_to_compare_chance_explains_everything(candidate: Rate, baseline: Rate) -> None:
    assert p_lower(candidate, baseline) == p_higher(candidate, baseline) == 1.0


def test_more_errors_than_words_are_all_of_them() -> None:
    assert p_higher(Rate(30, 20), Rate(0, 20)) == p_higher(Rate(20, 20), Rate(0, 20)) < 1e-6
