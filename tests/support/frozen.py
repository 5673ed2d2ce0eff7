"""Frozen evaluation sets for tests: so many trials of each kind, so many of them on the wrong side of a limit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.frozen_sets import FrozenSet, scorer_sha256
from tests.support.packs import variant

PRIOR = 0.5
"""At this prior the ratio of a posterior is its log odds."""
COHORT = ("en", "mixed", "kitchen", "home")
NAMES = ("language:en", "accent:mixed", "device:kitchen", "noise:home")
SPEAKERS = ("frozen-ada", "frozen-bob", "frozen-cyd")

_SHIPPED: dict[str, Any] = json.loads(variant(proven=True))


def pack(high_bp: int, *, models: str = "a" * 64, prior: float = PRIOR) -> dict[str, Any]:
    """A threshold pack of this upper limit, as JSON."""
    return {
        **_SHIPPED,
        "model_set_hash": models,
        "fused": {**_SHIPPED["fused"], "prior": prior},
        "policy": {**_SHIPPED["policy"], "conf_high_bp": high_bp},
    }


def llr_of(posterior_bp: float) -> float:
    """The ratio that has this posterior at `PRIOR`."""
    return math.log(posterior_bp / (10_000 - posterior_bp))


@dataclass(frozen=True)
class Sample:
    """Trials of one cohort: `low` of the genuine ones and `high` of the impostors score 5000 bp and 9500 bp instead of
    the 9990 bp and 10 bp that their kind scores.
    """

    genuine: int = 1_500
    low: int = 0
    impostors: int = 15_000
    high: int = 0
    cohort: tuple[str, ...] = COHORT


def frozen_set(
    *samples: Sample,
    scorer: str = "",
    speakers: Sequence[str] = SPEAKERS,
    signals: Sequence[str] = (),
) -> FrozenSet:
    """The set of these samples. Genuine trials are of the first speaker, impostors of the first two by turns."""
    chosen = samples or (Sample(),)
    enrolled: list[int] = []
    tested: list[int] = []
    cohort: list[int] = []
    llr: list[float] = []
    for code, one in enumerate(chosen):
        enrolled += [0] * (one.genuine + one.impostors)
        tested += [0] * one.genuine + [1 + number % (len(speakers) - 1) for number in range(one.impostors)]
        cohort += [code] * (one.genuine + one.impostors)
        llr += [llr_of(5_000)] * one.low + [llr_of(9_990)] * (one.genuine - one.low)
        llr += [llr_of(9_500)] * one.high + [llr_of(10)] * (one.impostors - one.high)
    return FrozenSet(
        name="test",
        scorer_sha256=scorer or scorer_sha256(pack(9_000)),
        speakers=tuple(sorted(speakers)),
        cohorts=tuple(one.cohort for one in chosen),
        signals=tuple(sorted(signals)),
        enrolled=np.array(enrolled, np.intp),
        tested=np.array(tested, np.intp),
        cohort=np.array(cohort, np.intp),
        llr=np.array(llr, np.float64),
    )
