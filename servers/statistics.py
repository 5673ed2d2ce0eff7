"""Statistics that several owners rest on: exact bounds on a rate, and agreement beyond chance. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from scipy.special import betaincinv


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval. For rates, both ends lie in [0, 1]."""

    lower: float
    upper: float


def clopper_pearson(errors: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """The exact interval of a binomial proportion: ``errors`` of ``trials``, each tail holding half of what is left
    out.

    It takes trials as independent; trials that share speakers are not, so read it beside a speaker bootstrap.
    No trials give [0, 1]. ValueError when ``errors`` is not in [0, trials] or ``confidence`` not in (0, 1).
    """
    if not 0 <= errors <= trials:
        raise ValueError(f"{errors} errors of {trials} trials")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is outside (0, 1)")
    tail = (1.0 - confidence) / 2.0
    lower = 0.0 if errors == 0 else float(betaincinv(errors, trials - errors + 1, tail))
    upper = 1.0 if errors == trials else float(betaincinv(errors + 1, trials - errors, 1.0 - tail))
    return Interval(lower, upper)


def fleiss_kappa(ratings: Iterable[Sequence[Hashable]]) -> float:
    """Fleiss' kappa: agreement beyond what chance gives, from -1 to 1. One sequence of categories a subject, one
    category a rater.

    Subjects may have different numbers of raters (the mean over subjects then weighs each alike); those with fewer than
    two say nothing. NaN where no subject has two. One where everybody always chose the same category: there is no
    disagreement, though chance alone would explain it.
    """
    observed: list[float] = []
    chosen: dict[Hashable, int] = {}
    for rated in ratings:
        raters = len(rated)
        if raters < 2:
            continue
        counts: dict[Hashable, int] = {}
        for category in rated:
            counts[category] = counts.get(category, 0) + 1
            chosen[category] = chosen.get(category, 0) + 1
        pairs = sum(count * (count - 1) for count in counts.values())
        observed.append(pairs / (raters * (raters - 1)))
    if not observed:
        return math.nan
    total = sum(chosen.values())
    by_chance = sum(count * count for count in chosen.values()) / (total * total)
    if by_chance == 1.0:
        return 1.0
    return (math.fsum(observed) / len(observed) - by_chance) / (1.0 - by_chance)
