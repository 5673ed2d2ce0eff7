"""The decision: everything that is known about an utterance becomes one verdict (VID-3, VID-6, VID-7, VID-9).

The checks run in the order of `BEFORE_PACK`, `BEFORE_SCORING` and `AFTER_SCORING`; the first that has a reason ends it
with UNKNOWN, and an UNKNOWN names nobody. Only what passes all of them climbs the ladder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid import conflict, ladder
from servers.voiceid.ask_once import PROMPTING_TIERS, Prompt
from servers.voiceid.fusion import CandidateCosines, Ranking, ScoredCandidate, ScoringFailure, rank
from servers.voiceid.policy import DecisionPolicy, Thresholds
from servers.voiceid.prune import Decisiveness, decisive

MAX_CANDIDATES = 5
# The range of google.protobuf.Duration: about 10 000 years.
MAX_DURATION_SECONDS = 315_576_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was heard. Seconds, dB, ratios 0 to 1; `overlap_ratio` is None where overlap is not measured."""

    audio_seconds: float
    voiced_seconds: float
    lost_seconds: float
    snr_db: float
    clipped_ratio: float
    overlap_ratio: float | None
    countermeasure_score: float | None = None
    replay_similarity: float
    spoof: v1.SpoofLivenessStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision may depend on.

    `thresholds` is the active pack or the reason why there is none; `failure` is the reason of what broke, if any.
    `stage1` holds one cosine a candidate, of the model of `thresholds.prune`; `stage2` those of `thresholds.fused`, or
    None where stage 2 did not run. They hold the same people, among them the claimed user and the device's owner if
    they are enrolled.
    `enrolled` counts who the stream was compared with. `earlier_conflicts` is the session's, before this stream.
    `commitments` are of whoever was compared, where a pack knows of pairs that are confused (§38.7).
    """

    evidence: Evidence
    thresholds: Thresholds | v1.VoiceIdReason
    loaded_models: tuple[str, ...]
    model_set_hash: bytes
    breaker_open: bool
    failure: v1.VoiceIdReason | None
    enrolled: int
    stage1: tuple[CandidateCosines, ...]
    stage2: tuple[CandidateCosines, ...] | None
    claimed_user_id: str
    device_owner_user_id: str
    earlier_conflicts: Mapping[v1.ConflictState, int]
    decision_latency_seconds: float
    commitments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """The candidate in question (the best, or the claimed user) against the best of the others, in basis points."""

    ranking: Ranking
    subject: ScoredCandidate
    competitor: ScoredCandidate | None
    stage2_skipped: bool

    @property
    def margin_bp(self) -> int:
        """Negative when somebody else is nearer than the claimed user."""
        return self.subject.score_bp - (self.competitor.score_bp if self.competitor else 0)

    def score_of(self, user_id: str) -> int | None:
        """A candidate's score; None when not among them."""
        return next((one.score_bp for one in self.ranking.candidates if one.user_id == user_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceDecision:
    """The verdict and what it was reached on. `candidates`, best first, is empty unless somebody is named."""

    situation: Situation
    tier: v2.IdentityTier
    reason: v1.VoiceIdReason
    score_bp: int
    margin_to_next_bp: int
    candidates: tuple[ScoredCandidate, ...]
    conflict_state: v1.ConflictState
    next_action: v1.NextAction
    retries_left: int
    stage2_skipped: bool

    @property
    def named_user_id(self) -> str:
        """Who was named; empty for UNKNOWN."""
        return self.candidates[0].user_id if self.candidates else ""


Reason: TypeAlias = "v1.VoiceIdReason | None"
BeforePack: TypeAlias = "Callable[[Situation], Reason]"
BeforeScoring: TypeAlias = "Callable[[Situation, DecisionPolicy], Reason]"
AfterScoring: TypeAlias = "Callable[[Situation, DecisionPolicy, Standing], Reason]"

# §38.5 and §38.11. A conflict has its own action; what is not listed goes on in generic mode.
NEXT_ACTIONS = {
    v1.VOICE_ID_REASON_MATCH_HIGH: v1.NEXT_ACTION_PROCEED,
    v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN: v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
    v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH: v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
    v1.VOICE_ID_REASON_QUALITY_LOW: v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
}
FAILURES = (
    v1.VOICE_ID_REASON_STORE_UNAVAILABLE,
    v1.VOICE_ID_REASON_MODEL_UNAVAILABLE,
    v1.VOICE_ID_REASON_MODEL_FAILED,
    v1.VOICE_ID_REASON_MODEL_SLOW,
)
NO_PACK = (
    v1.VOICE_ID_REASON_NO_THRESHOLD_PACK,
    v1.VOICE_ID_REASON_SETTING_AMBIGUOUS,
    v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH,
)


def spoof_found(s: Situation) -> Reason:
    found = s.evidence.spoof in (v1.SPOOF_LIVENESS_STATUS_MEDIUM, v1.SPOOF_LIVENESS_STATUS_HIGH)
    return v1.VOICE_ID_REASON_SPOOF_RISK if found else None


def breaker_open(s: Situation) -> Reason:
    return v1.VOICE_ID_REASON_BREAKER_OPEN if s.breaker_open else None


def something_failed(s: Situation) -> Reason:
    if s.failure is None:
        return None
    return s.failure if s.failure in FAILURES else v1.VOICE_ID_REASON_MODEL_FAILED


def no_pack(s: Situation) -> Reason:
    if not isinstance(s.thresholds, Thresholds):
        return s.thresholds if s.thresholds in NO_PACK else v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
    same_models = set(s.thresholds.fused.models) == set(s.loaded_models)
    return None if same_models else v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH


def too_little_speech(s: Situation, policy: DecisionPolicy) -> Reason:
    if s.evidence.voiced_seconds <= 0.0:
        return v1.VOICE_ID_REASON_NO_SPEECH
    enough = s.evidence.voiced_seconds >= policy.min_voiced_seconds
    return None if enough else v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH


def quality_low(s: Situation, policy: DecisionPolicy) -> Reason:
    heard = s.evidence
    unclipped = heard.clipped_ratio <= policy.max_clipped_ratio
    whole = heard.lost_seconds <= policy.max_lost_ratio * heard.audio_seconds
    clear = not math.isnan(heard.snr_db) and (policy.min_snr_db is None or heard.snr_db >= policy.min_snr_db)
    return None if unclipped and whole and clear else v1.VOICE_ID_REASON_QUALITY_LOW


def spoof_unchecked(s: Situation, policy: DecisionPolicy) -> Reason:
    checked = s.evidence.spoof == v1.SPOOF_LIVENESS_STATUS_LOW and not math.isnan(s.evidence.replay_similarity)
    return None if checked or not policy.require_spoof_check else v1.VOICE_ID_REASON_MODEL_FAILED


def overlap_above_gate(s: Situation, policy: DecisionPolicy) -> Reason:
    ratio = s.evidence.overlap_ratio
    if ratio is None or ratio <= policy.max_overlap_ratio:
        return None
    return v1.VOICE_ID_REASON_MODEL_FAILED if math.isnan(ratio) else v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP


def not_enrolled(s: Situation, policy: DecisionPolicy) -> Reason:
    compared = {one.user_id for one in s.stage1}
    claim_unknown = s.claimed_user_id != "" and bool(compared) and s.claimed_user_id not in compared
    return v1.VOICE_ID_REASON_NOT_ENROLLED if s.enrolled <= 0 or claim_unknown else None


def owner_diverges(s: Situation, policy: DecisionPolicy, standing: Standing) -> Reason:
    """Another person clears the ladder, or the owner is decisively not the one speaking."""
    if not s.device_owner_user_id:
        return None
    subject, owner = standing.subject, standing.score_of(s.device_owner_user_id)
    clear = subject.score_bp >= policy.conf_mid_bp and not ladder.in_gray_zone(standing.margin_bp, policy.min_margin_bp)
    other = clear and subject.user_id != s.device_owner_user_id
    rejected = owner is not None and owner < policy.owner_reject_bp
    return v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH if other or rejected else None


def close_competitor(s: Situation, policy: DecisionPolicy, standing: Standing) -> Reason:
    """Below threshold, and a competitor that is itself worth a thought is about as near."""
    competitor = standing.competitor
    if competitor is None or standing.subject.score_bp >= policy.conf_mid_bp:
        return None
    near = standing.margin_bp <= policy.close_competitor_margin_bp
    worth = competitor.score_bp >= policy.close_competitor_floor_bp
    return v1.VOICE_ID_REASON_PROFILE_MISMATCH if near and worth else None


def score_low(s: Situation, policy: DecisionPolicy, standing: Standing) -> Reason:
    return v1.VOICE_ID_REASON_SCORE_LOW if standing.subject.score_bp < policy.conf_mid_bp else None


def confused_pair(s: Situation, policy: DecisionPolicy, standing: Standing) -> Reason:
    """Somebody was compared too who is known to be taken for the subject, whose score others have reached (§38.7)."""
    subject = s.commitments.get(standing.subject.user_id)
    if subject is None or not isinstance(s.thresholds, Thresholds):
        return None
    others = (s.commitments.get(one.user_id) for one in standing.ranking.candidates if one is not standing.subject)
    limits = (s.thresholds.pairs.get(frozenset((subject, other)), 0) for other in others if other is not None)
    confused = standing.subject.score_bp < max(limits, default=0)
    return v1.VOICE_ID_REASON_PROFILE_MISMATCH if confused else None


def gray_zone(s: Situation, policy: DecisionPolicy, standing: Standing) -> Reason:
    gray = ladder.in_gray_zone(standing.margin_bp, policy.min_margin_bp)
    return v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN if gray else None


# A measurement that is not a number passes none of these: every comparison is written to be false for NaN.
BEFORE_PACK: tuple[BeforePack, ...] = (
    spoof_found,  # SPOOF_RISK: no failure may hide it
    breaker_open,  # BREAKER_OPEN
    something_failed,  # STORE_UNAVAILABLE, MODEL_UNAVAILABLE, MODEL_FAILED, MODEL_SLOW
    no_pack,  # NO_THRESHOLD_PACK, SETTING_AMBIGUOUS, PACK_MODEL_MISMATCH
)
BEFORE_SCORING: tuple[BeforeScoring, ...] = (
    too_little_speech,  # NO_SPEECH, INSUFFICIENT_SPEECH
    quality_low,  # QUALITY_LOW
    spoof_unchecked,  # MODEL_FAILED
    overlap_above_gate,  # MULTI_SPEAKER_OVERLAP
    not_enrolled,  # NOT_ENROLLED
)
AFTER_SCORING: tuple[AfterScoring, ...] = (
    owner_diverges,  # DEVICE_OWNER_MISMATCH
    close_competitor,  # PROFILE_MISMATCH
    score_low,  # SCORE_LOW
    confused_pair,  # PROFILE_MISMATCH
    gray_zone,  # GRAY_ZONE_MARGIN
)


def decide(s: Situation) -> VoiceDecision:
    """The decision on `s`. It always has one: whatever is missing or broken is UNKNOWN with its reason."""
    reason = _first(check(s) for check in BEFORE_PACK)
    if reason is not None or not isinstance(s.thresholds, Thresholds):
        return _unknown(s, reason or v1.VOICE_ID_REASON_NO_THRESHOLD_PACK, None)
    policy = s.thresholds.policy
    reason = _first(check(s, policy) for check in BEFORE_SCORING)
    if reason is not None:
        return _unknown(s, reason, None)
    standing = _standing(s, s.thresholds)
    if isinstance(standing, ScoringFailure):
        return _unknown(s, standing.reason, None)
    reason = _first(check(s, policy, standing) for check in AFTER_SCORING)
    if reason is not None:
        return _unknown(s, reason, standing)
    return _named(s, s.thresholds, standing)


def beside(decision: VoiceDecision, prompt: Prompt, *, max_retries: int) -> VoiceDecision:
    """The decision beside what ask-once says (VID.CONF.9): a prompt has its retries, and nobody is asked for a phrase
    without one. A conflict keeps its own action and retries (§38.5).
    """
    if decision.conflict_state:
        return decision
    if prompt is Prompt.GRANTED:
        return replace(decision, retries_left=max_retries)
    if decision.tier != v2.IDENTITY_TIER_UNKNOWN:
        return decision
    if prompt is Prompt.UNANSWERED:
        return replace(decision, next_action=v1.NEXT_ACTION_NON_PERSONALIZED)
    return replace(decision, next_action=v1.NEXT_ACTION_PROCEED_GENERIC)


def to_v1(decision: VoiceDecision) -> v1.VoiceIdDecision:
    """VOICE_ID_DECISION_V1."""
    return v1.VoiceIdDecision(
        decision=ladder.v2_to_v1(decision.tier),
        score_bp=decision.score_bp,
        reason_code=decision.reason,
        margin_to_next_bp=decision.margin_to_next_bp,
        spoof_liveness_status=_spoof(decision),
        candidate_set=map(_candidate, decision.candidates),
        provenance=_provenance(decision),
        telemetry=_telemetry(decision),
        conflict_state=decision.conflict_state,
        next_action=decision.next_action,
        retries_left=decision.retries_left,
    )


def to_v2(decision: VoiceDecision, *, may_prompt: bool) -> v2.VoiceIdDecision:
    """VOICE_ID_DECISION_V2. `may_prompt` is what ask-once granted; a CONFIRMED never prompts."""
    return v2.VoiceIdDecision(
        identity_tier=decision.tier,
        score_bp=decision.score_bp,
        reason_code=decision.reason,
        margin_to_next_bp=decision.margin_to_next_bp,
        spoof_liveness_status=_spoof(decision),
        candidate_set=map(_candidate, decision.candidates),
        may_prompt_identity=may_prompt and decision.tier in PROMPTING_TIERS,
        provenance=_provenance(decision),
        telemetry=_telemetry(decision),
        conflict_state=decision.conflict_state,
        next_action=decision.next_action,
        retries_left=decision.retries_left,
    )


def _first(reasons: Iterable[Reason]) -> Reason:
    return next((reason for reason in reasons if reason is not None), None)


def _standing(s: Situation, thresholds: Thresholds) -> Standing | ScoringFailure:
    """Stage 1 where it is decisive, else stage 2, which must then have run."""
    seconds = s.evidence.voiced_seconds
    ranking = rank(s.stage1, seconds, thresholds.prune)
    if isinstance(ranking, ScoringFailure):
        return ranking
    skipped = decisive(ranking, thresholds.policy) is not Decisiveness.NONE
    if not skipped:
        if {one.user_id for one in s.stage1} != {one.user_id for one in s.stage2 or ()}:
            return ScoringFailure(v1.VOICE_ID_REASON_MODEL_FAILED, "stage 2 did not verify everyone that stage 1 kept")
        ranking = rank(s.stage2 or (), seconds, thresholds.fused)
        if isinstance(ranking, ScoringFailure):
            return ranking
    subject = next(
        (one for one in ranking.candidates if one.user_id == (s.claimed_user_id or ranking.best.user_id)), None
    )
    if subject is None:
        return ScoringFailure(v1.VOICE_ID_REASON_MODEL_FAILED, "the claimed user was not compared")
    competitor = next((one for one in ranking.candidates if one is not subject), None)
    return Standing(ranking, subject, competitor, skipped)


def _unknown(s: Situation, reason: v1.VoiceIdReason, standing: Standing | None) -> VoiceDecision:
    state = conflict.STATES.get(reason)
    found = None if state is None else conflict.outcome(state, s.earlier_conflicts)
    return VoiceDecision(
        situation=s,
        tier=v2.IDENTITY_TIER_UNKNOWN,
        reason=found.reason if found else reason,
        score_bp=standing.subject.score_bp if standing else 0,
        margin_to_next_bp=standing.margin_bp if standing else 0,
        candidates=(),
        conflict_state=found.state if found else v1.CONFLICT_STATE_UNSPECIFIED,
        next_action=found.next_action if found else NEXT_ACTIONS.get(reason, v1.NEXT_ACTION_PROCEED_GENERIC),
        retries_left=found.retries_left if found else 0,
        stage2_skipped=standing.stage2_skipped if standing else False,
    )


def _named(s: Situation, thresholds: Thresholds, standing: Standing) -> VoiceDecision:
    policy, subject = thresholds.policy, standing.subject
    rung = ladder.climb(subject.score_bp, policy.conf_high_bp, policy.conf_mid_bp, provisional=thresholds.provisional)
    named = (subject,) if s.claimed_user_id else standing.ranking.candidates[:MAX_CANDIDATES]
    return VoiceDecision(
        situation=s,
        tier=rung.tier,
        reason=rung.reason,
        score_bp=subject.score_bp,
        margin_to_next_bp=standing.margin_bp,
        candidates=named,
        conflict_state=v1.CONFLICT_STATE_UNSPECIFIED,
        next_action=NEXT_ACTIONS.get(rung.reason, v1.NEXT_ACTION_PROCEED_GENERIC),
        retries_left=0,
        stage2_skipped=standing.stage2_skipped,
    )


def _spoof(decision: VoiceDecision) -> v1.SpoofLivenessStatus:
    return decision.situation.evidence.spoof or v1.SPOOF_LIVENESS_STATUS_NOT_CHECKED


def _candidate(one: ScoredCandidate) -> v1.Candidate:
    return v1.Candidate(
        user_id=one.user_id,
        score_bp=one.score_bp,
        llr=one.llr,
        cosines=one.cosines,
        profile_version=one.profile_version,
    )


def _provenance(decision: VoiceDecision) -> v1.Provenance:
    s = decision.situation
    if not isinstance(s.thresholds, Thresholds):
        return v1.Provenance(models=s.loaded_models, model_set_hash=s.model_set_hash)
    calibration = s.thresholds.prune if decision.stage2_skipped else s.thresholds.fused
    return v1.Provenance(
        models=calibration.models,
        model_set_hash=s.model_set_hash,
        threshold_pack=s.thresholds.pack_ref,
        cohort=s.thresholds.cohort,
        provisional=s.thresholds.provisional,
        conf_high_bp=s.thresholds.policy.conf_high_bp,
        conf_mid_bp=s.thresholds.policy.conf_mid_bp,
    )


def _telemetry(decision: VoiceDecision) -> v1.Telemetry:
    s, heard = decision.situation, decision.situation.evidence
    return v1.Telemetry(
        audio=_duration(heard.audio_seconds),
        voiced=_duration(heard.voiced_seconds),
        snr_db=heard.snr_db,
        clipped_ratio=heard.clipped_ratio,
        overlap_ratio=heard.overlap_ratio or 0.0,
        lost=_duration(heard.lost_seconds),
        replay_similarity=heard.replay_similarity,
        decision_latency=_duration(s.decision_latency_seconds),
        candidates_after_prune=len(s.stage1),
        stage2_skipped=decision.stage2_skipped,
        countermeasure_score=heard.countermeasure_score,
    )


def _duration(seconds: float) -> Duration:
    """Zero for what is no duration: a broken clock must not break the reply that says so."""
    if not 0.0 <= seconds <= MAX_DURATION_SECONDS:
        return Duration()
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)
