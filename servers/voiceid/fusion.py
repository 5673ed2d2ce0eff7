"""Stage 2 of the decision (§32, §38.4): the cosines of every model become one calibrated score per candidate.

With ``t = log(clip(voiced_seconds, min_seconds, max_seconds) / reference_seconds)``, natural logarithms throughout::

    llr       = bias + duration_bias * t + sum_i (weights[i] + duration_weights[i] * t) * cosine[i]
    posterior = sigmoid(llr + log(prior / (1 - prior)))
    score_bp  = floor(10000 * posterior)

Rounding down makes ``score_bp >= threshold_bp`` say the same as ``10000 * posterior >= threshold_bp``. Every number
comes from the threshold pack, which carries one `Calibration` of the prune model alone and one of all models together.
A 1:1 claim and a 1:N search use the same formula; how likely an enrolled speaker is beforehand is the pack's ``prior``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_MODEL_FAILED, VoiceIdReason

BASIS_POINTS = 10_000
# float32 unit vectors of a few hundred dimensions miss 1 by about 1e-6; more than this is no cosine.
COSINE_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class Calibration:
    """Affine map from the cosines of `models` (`model_id@version`, in this order) and net speech to a natural-log LLR.

    `weights` and `duration_weights` have one entry a model; seconds are voiced seconds; `prior` is in (0, 1).
    Raises ValueError for lengths that differ, a number that is not finite, a clip range that is empty.
    """

    models: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    duration_bias: float
    duration_weights: tuple[float, ...]
    min_seconds: float
    max_seconds: float
    reference_seconds: float
    prior: float

    def __post_init__(self) -> None:
        if not self.models or not len(self.models) == len(self.weights) == len(self.duration_weights):
            raise ValueError("models, weights and duration_weights need one entry each, at least one")
        if len(set(self.models)) != len(self.models):
            raise ValueError("a model may be named once")
        if not all(map(math.isfinite, (*self.weights, *self.duration_weights, self.bias, self.duration_bias))):
            raise ValueError("coefficients must be finite")
        if not 0.0 < self.min_seconds <= self.max_seconds < math.inf or not 0.0 < self.reference_seconds < math.inf:
            raise ValueError("seconds must satisfy 0 < min_seconds <= max_seconds and 0 < reference_seconds")
        if not 0.0 < self.prior < 1.0:
            raise ValueError("prior must lie between 0 and 1, exclusively")


@dataclass(frozen=True, slots=True)
class CandidateCosines:
    """One enrolled person and the cosines of the utterance to the profile, in the order of `Calibration.models`."""

    user_id: str
    profile_version: int
    cosines: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with its LLR (natural log) and calibrated posterior in basis points."""

    user_id: str
    profile_version: int
    cosines: tuple[float, ...]
    llr: float
    score_bp: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first, never empty."""

    candidates: tuple[ScoredCandidate, ...]

    @property
    def best(self) -> ScoredCandidate:
        return self.candidates[0]

    @property
    def margin_to_next_bp(self) -> int:
        """Best score minus the next one's; the best's own score when there is no other."""
        return self.best.score_bp - (self.candidates[1].score_bp if len(self.candidates) > 1 else 0)

    @property
    def margin_to_next_llr(self) -> float:
        """The same in LLR; infinite when there is no other."""
        return self.best.llr - self.candidates[1].llr if len(self.candidates) > 1 else math.inf


@dataclass(frozen=True, slots=True)
class ScoringFailure:
    """The models' answer is no evidence: nobody may be named (VID-9)."""

    reason: VoiceIdReason
    detail: str


def log_likelihood_ratio(cosines: Sequence[float], voiced_seconds: float, calibration: Calibration) -> float:
    """The LLR of one comparison; NaN when any input is NaN."""
    clipped = min(max(voiced_seconds, calibration.min_seconds), calibration.max_seconds)
    t = math.log(clipped / calibration.reference_seconds)
    llr = calibration.bias + calibration.duration_bias * t
    for weight, slope, cosine in zip(calibration.weights, calibration.duration_weights, cosines, strict=True):
        llr += (weight + slope * t) * cosine
    return llr


def posterior(llr: float, prior: float) -> float:
    """Same-speaker posterior in [0, 1]; never overflows."""
    log_odds = llr + math.log(prior) - math.log1p(-prior)
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def score_bp(llr: float, prior: float) -> int:
    """Posterior in basis points, rounded down."""
    return math.floor(BASIS_POINTS * posterior(llr, prior))


def rank(
    candidates: Sequence[CandidateCosines], voiced_seconds: float, calibration: Calibration
) -> Ranking | ScoringFailure:
    """Score all candidates and order them by LLR, then by user id so that a tie replays the same.

    One cosine that is missing, not finite or beyond 1 fails the whole ranking: whoever produced it may have
    produced the others.
    """
    if not candidates:
        return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "nobody to compare with")
    if not math.isfinite(voiced_seconds) or voiced_seconds <= 0.0:
        return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "voiced seconds are not a positive number")
    scored = []
    for candidate in candidates:
        if len(candidate.cosines) != len(calibration.models):
            return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "a model's cosine is missing")
        if not all(abs(cosine) <= 1.0 + COSINE_SLACK for cosine in candidate.cosines):
            return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "a cosine is not a number between -1 and 1")
        llr = log_likelihood_ratio(candidate.cosines, voiced_seconds, calibration)
        if not math.isfinite(llr):
            return ScoringFailure(VOICE_ID_REASON_MODEL_FAILED, "the log-likelihood ratio is not finite")
        bp = score_bp(llr, calibration.prior)
        scored.append(ScoredCandidate(candidate.user_id, candidate.profile_version, candidate.cosines, llr, bp))
    scored.sort(key=lambda one: (-one.llr, one.user_id))
    return Ranking(tuple(scored))
