"""Bounds of rates, and agreement beyond chance, against what was published."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from servers.statistics import clopper_pearson, fleiss_kappa


def test_clopper_pearson_against_published_values() -> None:
    # No errors in 10: 1 - 0.025 ** (1/10). One of ten: Clopper and Pearson's table, 0.0025 to 0.4450.
    assert clopper_pearson(0, 10).lower == 0.0
    assert clopper_pearson(0, 10).upper == pytest.approx(1 - 0.025**0.1)
    assert clopper_pearson(1, 10).lower == pytest.approx(0.0025, abs=5e-5)
    assert clopper_pearson(1, 10).upper == pytest.approx(0.4450, abs=5e-5)
    assert clopper_pearson(10, 10).upper == 1.0
    assert clopper_pearson(0, 0) == clopper_pearson(0, 0, confidence=0.5)


def test_clopper_pearson_bounds_are_where_the_binomial_tails_are_half_of_the_rest() -> None:
    bounds = clopper_pearson(3, 40, confidence=0.9)
    assert binom.sf(2, 40, bounds.lower) == pytest.approx(0.05)
    assert binom.cdf(3, 40, bounds.upper) == pytest.approx(0.05)


@pytest.mark.parametrize(("errors", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, 0.0)])
def test_impossible_counts_are_refused(errors: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"trials|confidence"):
        clopper_pearson(errors, trials, confidence=confidence)


def test_fleiss_kappa_against_the_published_example() -> None:
    # Fleiss (1971) as worked out in the literature: ten subjects, fourteen raters, five categories; kappa 0.210.
    table = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    ratings = [[category for category, count in enumerate(row) for _ in range(count)] for row in table]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)


def test_kappa_of_no_pair_of_raters_is_unknown() -> None:
    assert math.isnan(fleiss_kappa([]))
    assert math.isnan(fleiss_kappa([["a"], [], ["b"]]))


def test_kappa_of_full_agreement_is_one_and_of_raters_who_never_agree_below_chance() -> None:
    assert fleiss_kappa([["a", "a"], ["b", "b"]]) == 1.0
    assert fleiss_kappa([["a", "a"], ["a", "a"]]) == 1.0
    assert fleiss_kappa([["a", "b"], ["b", "a"]]) == -1.0


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=8))
def test_kappa_does_not_depend_on_who_rated_what_first(ratings: list[list[str]]) -> None:
    shuffled = [sorted(each, reverse=True) for each in reversed(ratings)]
    one, other = fleiss_kappa(ratings), fleiss_kappa(shuffled)
    assert one == other or (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other)
