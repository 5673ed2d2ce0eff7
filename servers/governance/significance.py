"""Whether a difference of two rates may be chance: one-sided tests of two proportions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

ALPHA: Final = 0.05
_FEW: Final = 5
"""Expected counts below which the normal approximation is not to be trusted."""
_LONGEST_TAIL: Final = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Events over trials. More events than trials (word errors over words) count as all of them."""

    events: int
    trials: int


def p_lower(candidate: Rate, baseline: Rate) -> float:
    """How likely chance alone makes the candidate's rate so much lower; 1 where a side has no trials.

    Fisher's exact test where a count is expected below 5, else the pooled two-proportion z test.
    """
    trials = candidate.trials + baseline.trials
    if not candidate.trials or not baseline.trials:
        return 1.0
    few = min(candidate.events, candidate.trials)
    many = few + min(baseline.events, baseline.trials)
    if many in (0, trials):
        return 1.0
    smaller_side = min(candidate.trials, baseline.trials)
    rarer = min(many, trials - many)
    if rarer * smaller_side < _FEW * trials and min(rarer, smaller_side) <= _LONGEST_TAIL:
        from scipy.stats import hypergeom  # takes a second to import, which no server should wait for

        return float(hypergeom.cdf(few, trials, many, candidate.trials))
    pooled = many / trials
    spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / candidate.trials + 1.0 / baseline.trials))
    difference = few / candidate.trials - (many - few) / baseline.trials
    return 0.5 * math.erfc(-difference / spread / math.sqrt(2.0))


def p_higher(candidate: Rate, baseline: Rate) -> float:
    """How likely chance alone makes the candidate's rate so much higher."""
    return p_lower(baseline, candidate)
