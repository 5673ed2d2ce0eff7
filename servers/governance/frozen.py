"""What a frozen evaluation set shows of a threshold pack (§38.1, §38.3, §38.7, §38.8), beside the one before it. Pure.

Both packs decide on the same trials, so what differs is theirs. Rates are held against the limits of `cohort_gates`;
that the candidate accepts one impostor more than the active pack, in any cohort, is a safety regression (§13).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rfc8785
from selene.governance.v1.decision_pb2 import CohortResult

from servers.frozen_sets import FrozenSet, scorer_sha256

Flags = npt.NDArray[np.bool_]
Pair = frozenset[str]

BASIS_POINTS: Final = 10_000
BINS: Final = 10
"""Of the reliability diagram, over posteriors from 0 to 1."""
EVALUATION: Final = "VOICEID_FROZEN_EVALUATION_V1"


class Finding(Enum):
    """What the frozen set says of a candidate."""

    NOT_ASKED = "NOT_ASKED"
    """Artifacts of its kind are not evaluated by frozen sets."""
    PASSED = "PASSED"
    MISSING = "MISSING"
    LEAKED = "LEAKED"
    REGRESSED = "REGRESSED"


@dataclass(frozen=True, slots=True)
class Collisions:
    """Impostor trials between speakers of a pair who are taken for each other, of so many."""

    accepted: int
    trials: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a pack's posteriors keep what they say, at its own prior: expected calibration error, and Cllr in bits
    (0 is perfect, 1 says nothing).
    """

    expected_error: float
    cllr: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What one pack makes of the set. Cohorts by their names."""

    cohorts: Mapping[str, CohortResult]
    collisions: Collisions
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A candidate beside the version that it is to replace, on the same trials."""

    candidate: Shown
    baseline: Shown

    @property
    def regressed(self) -> tuple[str, ...]:
        """The cohorts in which the candidate accepts more impostors."""
        before = self.baseline.cohorts
        return tuple(
            name
            for name, result in sorted(self.candidate.cohorts.items())
            if result.false_accepts > before[name].false_accepts
        )

    @property
    def confusion_reduced(self) -> bool:
        """Whether the pairs collide less than before, or as before where they did not (§38.7)."""
        now, before = self.candidate.collisions.accepted, self.baseline.collisions.accepted
        return now < before or not (now or before)


class NotComparable(ValueError):
    """The set's scores are not the pack's, or the pack cannot be read: nothing is shown."""


def evaluate(
    frozen: FrozenSet, candidate: Mapping[str, Any], baseline: Mapping[str, Any], pairs: Iterable[Pair] = ()
) -> Evaluation:
    """Both packs on the trials of the set. NotComparable.

    `pairs` are those that running servers confuse; where none of them is in the set, all of its pairs count.
    """
    chosen = _of_pairs(frozen, frozenset(pairs))
    return Evaluation(_shown(frozen, candidate, chosen), _shown(frozen, baseline, chosen))


def leaks(frozen: FrozenSet, *, speakers: Iterable[str], ancestors: set[str], frozen_ancestors: set[str]) -> bool:
    """Whether something was learned from the set: from the same signals or gold, or from one of its speakers (§38.8).

    `speakers` are those of the gold that the artifact came from; `ancestors` are refs of lineage, of the artifact and
    of the set, each with the set's own.
    """
    return bool(ancestors & frozen_ancestors) or not frozenset(frozen.speakers).isdisjoint(speakers)


def document(evaluation: Evaluation, *, candidate: str, baseline: str, frozen: str) -> bytes:
    """The evaluation as it is kept, RFC 8785; the three are the SHA-256 of what was evaluated, in hex."""
    return rfc8785.dumps(
        {
            "artifact_type": EVALUATION,
            "format": 1,
            "frozen_set": frozen,
            "candidate": {"package": candidate, **_told(evaluation.candidate)},
            "baseline": {"package": baseline, **_told(evaluation.baseline)},
            "regressed": list(evaluation.regressed),
            "confusion_reduced": evaluation.confusion_reduced,
        }
    )


def _told(shown: Shown) -> dict[str, Any]:
    return {
        "cohorts": {
            name: {
                "genuine": result.genuine_trials,
                "false_rejects": result.false_rejects,
                "impostors": result.impostor_trials,
                "false_accepts": result.false_accepts,
            }
            for name, result in shown.cohorts.items()
        },
        "collisions": {"accepted": shown.collisions.accepted, "trials": shown.collisions.trials},
        "calibration": {
            "expected_error": shown.calibration.expected_error,
            "cllr": shown.calibration.cllr,
        },
    }


def _shown(frozen: FrozenSet, pack: Mapping[str, Any], pairs: Flags) -> Shown:
    limit, prior = _limits(frozen, pack)
    posterior = _posteriors(frozen, prior)
    # Rounded down as the ladder does.
    accepted = np.floor(BASIS_POINTS * posterior) >= limit
    genuine = frozen.genuine
    cohorts = {
        name: CohortResult(
            cohort=name,
            genuine_trials=int((chosen & genuine).sum()),
            false_rejects=int((chosen & genuine & ~accepted).sum()),
            impostor_trials=int((chosen & ~genuine).sum()),
            false_accepts=int((chosen & ~genuine & accepted).sum()),
        )
        for name, chosen in frozen.in_cohorts().items()
    }
    collisions = Collisions(int((pairs & accepted).sum()), int(pairs.sum()))
    return Shown(cohorts, collisions, _calibration(frozen, posterior, prior))


def _limits(frozen: FrozenSet, pack: Mapping[str, Any]) -> tuple[int, float]:
    try:
        same = scorer_sha256(pack) == frozen.scorer_sha256
        limit, prior = pack["policy"]["conf_high_bp"], pack["fused"]["prior"]
    except (KeyError, TypeError, ValueError) as error:
        raise NotComparable("the pack cannot be read") from error
    if not same:
        raise NotComparable("the set's scores are of another scorer")
    if type(limit) is not int or not isinstance(prior, float) or not 0.0 < prior < 1.0:
        raise NotComparable("the pack has no limit, or no prior")
    return limit, prior


def _posteriors(frozen: FrozenSet, prior: float) -> npt.NDArray[np.float64]:
    log_odds = frozen.llr + np.log(prior) - np.log1p(-prior)
    # exp of what is never positive: it cannot overflow.
    small = np.exp(-np.abs(log_odds))
    posteriors: npt.NDArray[np.float64] = np.where(log_odds >= 0.0, 1.0, small) / (1.0 + small)
    return posteriors


def _of_pairs(frozen: FrozenSet, pairs: frozenset[Pair]) -> Flags:
    impostors = ~frozen.genuine
    if not pairs:
        return impostors
    place = {name: code for code, name in enumerate(frozen.speakers)}
    width = max(len(frozen.speakers), 1)
    low, high = np.minimum(frozen.enrolled, frozen.tested), np.maximum(frozen.enrolled, frozen.tested)
    wanted = []
    for pair in pairs:
        codes = sorted(place[name] for name in pair if name in place)
        if len(codes) == len(pair) == 2:
            wanted.append(codes[0] * width + codes[1])
    chosen: Flags = impostors & np.isin(low * width + high, wanted)
    return chosen if chosen.any() else impostors


def _calibration(frozen: FrozenSet, posterior: npt.NDArray[np.float64], prior: float) -> Calibration:
    """Trials are weighted so that genuine ones are as frequent as the pack takes them to be.

    Where one side is empty there is nothing to hold posteriors against: both figures say the worst, 1.
    """
    genuine = frozen.genuine
    if genuine.all() or not genuine.any():
        return Calibration(1.0, 1.0)
    weight = np.where(genuine, prior / genuine.sum(), (1.0 - prior) / (~genuine).sum())
    binned = np.minimum((posterior * BINS).astype(np.intp), BINS - 1)
    said = np.bincount(binned, weight * posterior, BINS)
    true = np.bincount(binned, weight * genuine, BINS)
    loss = np.logaddexp(0.0, np.where(genuine, -frozen.llr, frozen.llr)) / np.log(2.0)
    cllr = (loss[genuine].mean() + loss[~genuine].mean()) / 2.0
    return Calibration(float(np.abs(said - true).sum()), float(cllr))
