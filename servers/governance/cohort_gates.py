"""Which cohorts passed their evaluation (§38.1, §38.3), from what was counted.

The source gives limits for voice identity only. For every other kind of artifact a cohort passes where at least 90 % of
its cases succeed, at 95 % confidence, over 100 or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selene.governance.v1.decision_pb2 import CohortResult
from selene.governance.v1.rollout_pb2 import JUDGE_DOMAIN_VOICE_IDENTITY, JudgeDomain

from servers.statistics import clopper_pearson


@dataclass(frozen=True, slots=True)
class Limits:
    """What a cohort has to show. Rates are bounds of 95 % intervals."""

    genuine_trials: int
    impostor_trials: int
    tar_lower: float
    frr_upper: float
    far_upper: float
    dimensions: frozenset[str]
    """Each must be among the required cohorts."""


VOICE: Final = Limits(
    genuine_trials=1_500,
    impostor_trials=15_000,
    tar_lower=0.99,
    frr_upper=0.01,
    far_upper=0.001,
    dimensions=frozenset({"language", "accent", "device", "noise"}),
)
OTHERS: Final = Limits(
    genuine_trials=100,
    impostor_trials=0,
    tar_lower=0.90,
    frr_upper=0.10,
    far_upper=1.0,
    dimensions=frozenset(),
)

LIMITS: Final[Mapping[JudgeDomain, Limits]] = MappingProxyType({JUDGE_DOMAIN_VOICE_IDENTITY: VOICE})


def limits_of(domain: JudgeDomain) -> Limits:
    """What cohorts of this domain have to show."""
    return LIMITS.get(domain, OTHERS)


def passes(result: CohortResult, limits: Limits) -> bool:
    """Whether a cohort had enough trials and its bounds lie within the limits."""
    if result.genuine_trials < limits.genuine_trials or result.impostor_trials < limits.impostor_trials:
        return False
    frr = clopper_pearson(result.false_rejects, result.genuine_trials)
    far = clopper_pearson(result.false_accepts, result.impostor_trials)
    return 1.0 - frr.upper >= limits.tar_lower and frr.upper <= limits.frr_upper and far.upper <= limits.far_upper


def passing(results: Iterable[CohortResult], limits: Limits) -> frozenset[str]:
    """The cohorts that pass. One that is reported twice passes only where every report does."""
    passed: dict[str, bool] = {}
    for result in results:
        passed[result.cohort] = passed.get(result.cohort, True) and passes(result, limits)
    return frozenset(cohort for cohort, held in passed.items() if held)


def dimensions_of(cohorts: Iterable[str]) -> frozenset[str]:
    """The dimensions of cohorts named `<dimension>:<value>`."""
    return frozenset(cohort.partition(":")[0] for cohort in cohorts)
