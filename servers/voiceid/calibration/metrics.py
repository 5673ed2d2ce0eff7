"""Error rates of a verification score, as the speaker recognition evaluations define them (§38.1).

A trial is accepted when its score is at or above the threshold. FAR is the share of impostor trials accepted, FRR the
share of genuine trials rejected, TAR its complement. Every function takes optional non-negative weights, one a trial,
which is how the speaker bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from servers.statistics import Interval

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class TooFewTrials(ValueError):
    """A rate was asked for without any genuine, or without any impostor, trial."""


@dataclass(frozen=True, slots=True)
class Curve:
    """FAR and FRR at every threshold that changes them, thresholds rising; the last one, +inf, rejects everything.
    All arrays are ``[n]``.
    """

    thresholds: Floats
    far: Floats
    frr: Floats


def curve(scores: Floats, genuine: Flags, weights: Floats | None = None) -> Curve:
    """The curve of ``scores`` ``[n]``; trials with equal scores move together. TooFewTrials when one side has no
    weight.
    """
    weight = np.ones_like(scores) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    first_of_ties = np.flatnonzero(np.r_[True, ranked[1:] > ranked[:-1]]) if ranked.size else np.zeros(0, np.intp)
    rejected_genuine = np.r_[0.0, np.cumsum(np.where(genuine, weight, 0.0)[order])]
    rejected_impostor = np.r_[0.0, np.cumsum(np.where(genuine, 0.0, weight)[order])]
    if rejected_genuine[-1] <= 0.0 or rejected_impostor[-1] <= 0.0:
        raise TooFewTrials("an error rate needs genuine and impostor trials")
    below = np.r_[first_of_ties, ranked.size]
    return Curve(
        thresholds=np.r_[ranked[first_of_ties], np.inf],
        far=1.0 - rejected_impostor[below] / rejected_impostor[-1],
        frr=rejected_genuine[below] / rejected_genuine[-1],
    )


def eer(points: Curve) -> float:
    """Equal error rate: where FAR meets FRR, linearly interpolated between neighbouring points of the ROC (not its
    convex hull, which is never higher).
    """
    gap = points.frr - points.far
    after = int(np.argmax(gap >= 0.0))
    if after == 0:
        return float(points.frr[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(points.frr[after - 1] + share * (points.frr[after] - points.frr[after - 1]))


@dataclass(frozen=True, slots=True)
class Costs:
    """The operating point of a detection cost: prior of a genuine trial and what each kind of error costs."""

    p_target: float = 0.01
    miss: float = 1.0
    false_alarm: float = 1.0

    @property
    def bayes_threshold(self) -> float:
        """The LLR above which accepting is the cheaper choice."""
        return float(np.log(self.false_alarm * (1.0 - self.p_target)) - np.log(self.miss * self.p_target))

    def normalised(self, frr: Floats, far: Floats) -> Floats:
        """Detection cost over that of the better of always accepting and always rejecting."""
        miss, false_alarm = self.p_target * self.miss, (1.0 - self.p_target) * self.false_alarm
        return (miss * frr + false_alarm * far) / min(miss, false_alarm)


def min_dcf(points: Curve, costs: Costs) -> float:
    """The lowest normalised detection cost that any threshold reaches."""
    return float(costs.normalised(points.frr, points.far).min())


def act_dcf(points: Curve, costs: Costs) -> float:
    """The normalised detection cost at the Bayes threshold: scores must be natural-log LLRs."""
    at = int(np.searchsorted(points.thresholds, costs.bayes_threshold))
    return float(costs.normalised(points.frr[at : at + 1], points.far[at : at + 1])[0])


def frr_at_far(points: Curve, far: float) -> float:
    """The FRR at the lowest threshold whose FAR does not exceed ``far``."""
    return float(points.frr[int(np.argmax(points.far <= far))])


def threshold_at_far(points: Curve, far: float) -> float:
    """The lowest threshold whose FAR does not exceed ``far``; +inf when only rejecting everything does."""
    return float(points.thresholds[int(np.argmax(points.far <= far))])


def cllr(llrs: Floats, genuine: Flags, weights: Floats | None = None) -> float:
    """Cost of the LLRs in bits, both classes weighing the same: 0 is perfect, 1 is the cost of always answering 0."""
    weight = np.ones_like(llrs) if weights is None else weights
    loss = np.logaddexp(0.0, np.where(genuine, -llrs, llrs)) / np.log(2.0)
    sides = [np.where(genuine, weight, 0.0), np.where(genuine, 0.0, weight)]
    if any(side.sum() <= 0.0 for side in sides):
        raise TooFewTrials("Cllr needs genuine and impostor trials")
    return float(np.mean([(loss * side).sum() / side.sum() for side in sides]))


def min_cllr(scores: Floats, genuine: Flags) -> float:
    """The Cllr that the best monotone map of ``scores`` to LLRs would have (pool-adjacent-violators): what
    calibration can still win is the rest.
    """
    positives, total = int(genuine.sum()), genuine.size
    if positives in (0, total):
        raise TooFewTrials("Cllr needs genuine and impostor trials")
    # Equal scores must end with equal LLRs: pool them before the regression.
    values, group = np.unique(scores, return_inverse=True)
    counts = np.bincount(group, minlength=values.size).astype(np.float64)
    share = np.bincount(group, weights=genuine.astype(np.float64), minlength=values.size) / counts
    posterior = isotonic_regression(share, weights=counts).x[group]
    with np.errstate(divide="ignore"):
        llrs = np.log(posterior) - np.log1p(-posterior) - np.log(positives / (total - positives))
    return cllr(llrs, genuine)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores ``[n]`` with their labels and who was compared with whom (indices of speakers, ``[n]``)."""

    scores: Floats
    genuine: Flags
    enrolled: NDArray[np.intp]
    tested: NDArray[np.intp]


Statistic = Callable[[Floats], float]
"""A number that depends on the trials' weights ``[n]``."""


def speaker_bootstrap(
    scored: Scored,
    statistics: Sequence[Statistic],
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """Percentile intervals of ``statistics`` when speakers, not trials, are drawn again with replacement.

    A speaker drawn k times counts k times: a genuine trial weighs k, an impostor trial the product of its two
    speakers' counts. A draw that leaves one class without trials is skipped; TooFewTrials when all do. The same seed
    gives the same intervals.
    """
    speakers = int(max(scored.enrolled.max(initial=-1), scored.tested.max(initial=-1))) + 1
    random = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    for _ in range(resamples):
        counts = np.bincount(random.integers(0, speakers, speakers), minlength=speakers).astype(np.float64)
        weights = np.where(scored.genuine, counts[scored.enrolled], counts[scored.enrolled] * counts[scored.tested])
        if weights[scored.genuine].sum() > 0.0 and weights[~scored.genuine].sum() > 0.0:
            drawn.append([statistic(weights) for statistic in statistics])
    if not drawn:
        raise TooFewTrials("no resample of the speakers holds both genuine and impostor trials")
    tail = 100.0 * (1.0 - confidence) / 2.0
    lower, upper = np.percentile(np.asarray(drawn), [tail, 100.0 - tail], axis=0)
    return tuple(Interval(float(low), float(high)) for low, high in zip(lower, upper, strict=True))
