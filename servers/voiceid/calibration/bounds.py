"""Exact bounds on an error rate that was counted (§38.1)."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta


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
    lower = 0.0 if errors == 0 else float(beta.ppf(tail, errors, trials - errors + 1))
    upper = 1.0 if errors == trials else float(beta.ppf(1.0 - tail, errors + 1, trials - errors))
    return Interval(lower, upper)
