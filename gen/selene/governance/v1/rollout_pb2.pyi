import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.governance.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RolloutStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_STAGE_UNSPECIFIED: _ClassVar[RolloutStage]
    ROLLOUT_STAGE_SHADOW: _ClassVar[RolloutStage]
    ROLLOUT_STAGE_CANARY_1: _ClassVar[RolloutStage]
    ROLLOUT_STAGE_CANARY_2: _ClassVar[RolloutStage]
    ROLLOUT_STAGE_FULL: _ClassVar[RolloutStage]

class RolloutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_STATE_UNSPECIFIED: _ClassVar[RolloutState]
    ROLLOUT_STATE_RUNNING: _ClassVar[RolloutState]
    ROLLOUT_STATE_COMPLETED: _ClassVar[RolloutState]
    ROLLOUT_STATE_ROLLED_BACK: _ClassVar[RolloutState]

class JudgeDomain(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JUDGE_DOMAIN_UNSPECIFIED: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_STT: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_TTS: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_NLP: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_LLM_BOUNDARY: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_CONTEXT: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_PAE_ROUTING: _ClassVar[JudgeDomain]
    JUDGE_DOMAIN_VOICE_IDENTITY: _ClassVar[JudgeDomain]

class Arm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARM_UNSPECIFIED: _ClassVar[Arm]
    ARM_BASELINE: _ClassVar[Arm]
    ARM_CANDIDATE: _ClassVar[Arm]

class KpiMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KPI_METRIC_UNSPECIFIED: _ClassVar[KpiMetric]
    KPI_METRIC_WORD_ERRORS: _ClassVar[KpiMetric]
    KPI_METRIC_REJECTS: _ClassVar[KpiMetric]
    KPI_METRIC_MISPRONUNCIATION_COMPLAINTS: _ClassVar[KpiMetric]
    KPI_METRIC_INTERRUPTION_SUCCESS: _ClassVar[KpiMetric]
    KPI_METRIC_INTERRUPTION_FALSE_POSITIVES: _ClassVar[KpiMetric]
    KPI_METRIC_INTENT_F1: _ClassVar[KpiMetric]
    KPI_METRIC_SLOT_F1: _ClassVar[KpiMetric]
    KPI_METRIC_SCHEMA_VALID: _ClassVar[KpiMetric]
    KPI_METRIC_POLICY_CONFLICTS: _ClassVar[KpiMetric]
    KPI_METRIC_CORRECTION_RECURRENCE: _ClassVar[KpiMetric]
    KPI_METRIC_QUALITY_COST_SCORE: _ClassVar[KpiMetric]
    KPI_METRIC_FALSE_REJECTS: _ClassVar[KpiMetric]
    KPI_METRIC_FALSE_ACCEPTS: _ClassVar[KpiMetric]
    KPI_METRIC_IDENTITY_PROMPTS: _ClassVar[KpiMetric]
    KPI_METRIC_REPEAT_PROMPT_VIOLATIONS: _ClassVar[KpiMetric]
    KPI_METRIC_PROMPT_CONFIRMATIONS: _ClassVar[KpiMetric]
    KPI_METRIC_IDENTITY_CONFLICTS: _ClassVar[KpiMetric]
    KPI_METRIC_CALL_FAILURES: _ClassVar[KpiMetric]
    KPI_METRIC_CALL_TIMEOUTS: _ClassVar[KpiMetric]
    KPI_METRIC_FALLBACKS: _ClassVar[KpiMetric]
    KPI_METRIC_COST_MICROS: _ClassVar[KpiMetric]

class JudgeVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JUDGE_VERDICT_UNSPECIFIED: _ClassVar[JudgeVerdict]
    JUDGE_VERDICT_PROMOTE: _ClassVar[JudgeVerdict]
    JUDGE_VERDICT_HOLD: _ClassVar[JudgeVerdict]
    JUDGE_VERDICT_ROLLBACK: _ClassVar[JudgeVerdict]

class JudgeReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JUDGE_REASON_UNSPECIFIED: _ClassVar[JudgeReason]
    JUDGE_REASON_PROMOTE_MET: _ClassVar[JudgeReason]
    JUDGE_REASON_BELOW_PROMOTE: _ClassVar[JudgeReason]
    JUDGE_REASON_REGRESSION: _ClassVar[JudgeReason]
    JUDGE_REASON_TOO_FEW_SAMPLES: _ClassVar[JudgeReason]
    JUDGE_REASON_WINDOW_TOO_SHORT: _ClassVar[JudgeReason]
    JUDGE_REASON_NO_TRAFFIC: _ClassVar[JudgeReason]
    JUDGE_REASON_METRIC_MISSING: _ClassVar[JudgeReason]
    JUDGE_REASON_NOT_SIGNIFICANT: _ClassVar[JudgeReason]
    JUDGE_REASON_COHORT_REGRESSION: _ClassVar[JudgeReason]
    JUDGE_REASON_AUTHORITY_VIOLATION: _ClassVar[JudgeReason]
    JUDGE_REASON_DUPLICATE_SIDE_EFFECT: _ClassVar[JudgeReason]
    JUDGE_REASON_PRIVACY_LEAK: _ClassVar[JudgeReason]
    JUDGE_REASON_AUDIT_INCOMPLETE: _ClassVar[JudgeReason]
    JUDGE_REASON_SAFETY_CONFLICT: _ClassVar[JudgeReason]
    JUDGE_REASON_PROMPT_RATE: _ClassVar[JudgeReason]
    JUDGE_REASON_NO_ROW: _ClassVar[JudgeReason]
    JUDGE_REASON_CONSENT_REVOKED: _ClassVar[JudgeReason]
ROLLOUT_STAGE_UNSPECIFIED: RolloutStage
ROLLOUT_STAGE_SHADOW: RolloutStage
ROLLOUT_STAGE_CANARY_1: RolloutStage
ROLLOUT_STAGE_CANARY_2: RolloutStage
ROLLOUT_STAGE_FULL: RolloutStage
ROLLOUT_STATE_UNSPECIFIED: RolloutState
ROLLOUT_STATE_RUNNING: RolloutState
ROLLOUT_STATE_COMPLETED: RolloutState
ROLLOUT_STATE_ROLLED_BACK: RolloutState
JUDGE_DOMAIN_UNSPECIFIED: JudgeDomain
JUDGE_DOMAIN_STT: JudgeDomain
JUDGE_DOMAIN_TTS: JudgeDomain
JUDGE_DOMAIN_NLP: JudgeDomain
JUDGE_DOMAIN_LLM_BOUNDARY: JudgeDomain
JUDGE_DOMAIN_CONTEXT: JudgeDomain
JUDGE_DOMAIN_PAE_ROUTING: JudgeDomain
JUDGE_DOMAIN_VOICE_IDENTITY: JudgeDomain
ARM_UNSPECIFIED: Arm
ARM_BASELINE: Arm
ARM_CANDIDATE: Arm
KPI_METRIC_UNSPECIFIED: KpiMetric
KPI_METRIC_WORD_ERRORS: KpiMetric
KPI_METRIC_REJECTS: KpiMetric
KPI_METRIC_MISPRONUNCIATION_COMPLAINTS: KpiMetric
KPI_METRIC_INTERRUPTION_SUCCESS: KpiMetric
KPI_METRIC_INTERRUPTION_FALSE_POSITIVES: KpiMetric
KPI_METRIC_INTENT_F1: KpiMetric
KPI_METRIC_SLOT_F1: KpiMetric
KPI_METRIC_SCHEMA_VALID: KpiMetric
KPI_METRIC_POLICY_CONFLICTS: KpiMetric
KPI_METRIC_CORRECTION_RECURRENCE: KpiMetric
KPI_METRIC_QUALITY_COST_SCORE: KpiMetric
KPI_METRIC_FALSE_REJECTS: KpiMetric
KPI_METRIC_FALSE_ACCEPTS: KpiMetric
KPI_METRIC_IDENTITY_PROMPTS: KpiMetric
KPI_METRIC_REPEAT_PROMPT_VIOLATIONS: KpiMetric
KPI_METRIC_PROMPT_CONFIRMATIONS: KpiMetric
KPI_METRIC_IDENTITY_CONFLICTS: KpiMetric
KPI_METRIC_CALL_FAILURES: KpiMetric
KPI_METRIC_CALL_TIMEOUTS: KpiMetric
KPI_METRIC_FALLBACKS: KpiMetric
KPI_METRIC_COST_MICROS: KpiMetric
JUDGE_VERDICT_UNSPECIFIED: JudgeVerdict
JUDGE_VERDICT_PROMOTE: JudgeVerdict
JUDGE_VERDICT_HOLD: JudgeVerdict
JUDGE_VERDICT_ROLLBACK: JudgeVerdict
JUDGE_REASON_UNSPECIFIED: JudgeReason
JUDGE_REASON_PROMOTE_MET: JudgeReason
JUDGE_REASON_BELOW_PROMOTE: JudgeReason
JUDGE_REASON_REGRESSION: JudgeReason
JUDGE_REASON_TOO_FEW_SAMPLES: JudgeReason
JUDGE_REASON_WINDOW_TOO_SHORT: JudgeReason
JUDGE_REASON_NO_TRAFFIC: JudgeReason
JUDGE_REASON_METRIC_MISSING: JudgeReason
JUDGE_REASON_NOT_SIGNIFICANT: JudgeReason
JUDGE_REASON_COHORT_REGRESSION: JudgeReason
JUDGE_REASON_AUTHORITY_VIOLATION: JudgeReason
JUDGE_REASON_DUPLICATE_SIDE_EFFECT: JudgeReason
JUDGE_REASON_PRIVACY_LEAK: JudgeReason
JUDGE_REASON_AUDIT_INCOMPLETE: JudgeReason
JUDGE_REASON_SAFETY_CONFLICT: JudgeReason
JUDGE_REASON_PROMPT_RATE: JudgeReason
JUDGE_REASON_NO_ROW: JudgeReason
JUDGE_REASON_CONSENT_REVOKED: JudgeReason

class KpiCount(_message.Message):
    __slots__ = ("metric", "numerator", "denominator")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    metric: KpiMetric
    numerator: int
    denominator: int
    def __init__(self, metric: _Optional[_Union[KpiMetric, str]] = ..., numerator: _Optional[int] = ..., denominator: _Optional[int] = ...) -> None: ...

class LatencyBucket(_message.Message):
    __slots__ = ("index", "turns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    index: int
    turns: int
    def __init__(self, index: _Optional[int] = ..., turns: _Optional[int] = ...) -> None: ...

class SafetyCounts(_message.Message):
    __slots__ = ("authority_violations", "duplicate_side_effects", "privacy_leaks", "safety_conflicts")
    AUTHORITY_VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_SIDE_EFFECTS_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_LEAKS_FIELD_NUMBER: _ClassVar[int]
    SAFETY_CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    authority_violations: int
    duplicate_side_effects: int
    privacy_leaks: int
    safety_conflicts: int
    def __init__(self, authority_violations: _Optional[int] = ..., duplicate_side_effects: _Optional[int] = ..., privacy_leaks: _Optional[int] = ..., safety_conflicts: _Optional[int] = ...) -> None: ...

class KpiWindow(_message.Message):
    __slots__ = ("arm", "cohort", "starts_at", "ends_at", "turns", "counts", "latencies", "safety")
    ARM_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_FIELD_NUMBER: _ClassVar[int]
    SAFETY_FIELD_NUMBER: _ClassVar[int]
    arm: Arm
    cohort: str
    starts_at: _timestamp_pb2.Timestamp
    ends_at: _timestamp_pb2.Timestamp
    turns: int
    counts: _containers.RepeatedCompositeFieldContainer[KpiCount]
    latencies: _containers.RepeatedCompositeFieldContainer[LatencyBucket]
    safety: SafetyCounts
    def __init__(self, arm: _Optional[_Union[Arm, str]] = ..., cohort: _Optional[str] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., turns: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[KpiCount, _Mapping]]] = ..., latencies: _Optional[_Iterable[_Union[LatencyBucket, _Mapping]]] = ..., safety: _Optional[_Union[SafetyCounts, _Mapping]] = ...) -> None: ...

class JudgeFinding(_message.Message):
    __slots__ = ("metric", "cohort", "baseline_ppm", "candidate_ppm", "delta_ppm", "p_value_ppm")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_PPM_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_PPM_FIELD_NUMBER: _ClassVar[int]
    DELTA_PPM_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_PPM_FIELD_NUMBER: _ClassVar[int]
    metric: KpiMetric
    cohort: str
    baseline_ppm: int
    candidate_ppm: int
    delta_ppm: int
    p_value_ppm: int
    def __init__(self, metric: _Optional[_Union[KpiMetric, str]] = ..., cohort: _Optional[str] = ..., baseline_ppm: _Optional[int] = ..., candidate_ppm: _Optional[int] = ..., delta_ppm: _Optional[int] = ..., p_value_ppm: _Optional[int] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("verdict", "reasons", "domain", "candidate_turns", "baseline_turns", "findings", "judged_at")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_TURNS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_TURNS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    JUDGED_AT_FIELD_NUMBER: _ClassVar[int]
    verdict: JudgeVerdict
    reasons: _containers.RepeatedScalarFieldContainer[JudgeReason]
    domain: JudgeDomain
    candidate_turns: int
    baseline_turns: int
    findings: _containers.RepeatedCompositeFieldContainer[JudgeFinding]
    judged_at: _timestamp_pb2.Timestamp
    def __init__(self, verdict: _Optional[_Union[JudgeVerdict, str]] = ..., reasons: _Optional[_Iterable[_Union[JudgeReason, str]]] = ..., domain: _Optional[_Union[JudgeDomain, str]] = ..., candidate_turns: _Optional[int] = ..., baseline_turns: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[JudgeFinding, _Mapping]]] = ..., judged_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StageEntry(_message.Message):
    __slots__ = ("stage", "share_bp", "entered_at", "left_at", "judgement")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SHARE_BP_FIELD_NUMBER: _ClassVar[int]
    ENTERED_AT_FIELD_NUMBER: _ClassVar[int]
    LEFT_AT_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    stage: RolloutStage
    share_bp: int
    entered_at: _timestamp_pb2.Timestamp
    left_at: _timestamp_pb2.Timestamp
    judgement: Judgement
    def __init__(self, stage: _Optional[_Union[RolloutStage, str]] = ..., share_bp: _Optional[int] = ..., entered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., left_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., judgement: _Optional[_Union[Judgement, _Mapping]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("rollout_id", "tenant_id", "subject", "baseline_version", "domain", "state", "stages", "last_judgement", "next_check_at", "rollback_reason", "revision", "started_at", "ended_at", "stable_since")
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    LAST_JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHECK_AT_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STABLE_SINCE_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    tenant_id: str
    subject: _decision_pb2.ArtifactRef
    baseline_version: int
    domain: JudgeDomain
    state: RolloutState
    stages: _containers.RepeatedCompositeFieldContainer[StageEntry]
    last_judgement: Judgement
    next_check_at: _timestamp_pb2.Timestamp
    rollback_reason: _decision_pb2.DecisionReason
    revision: int
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    stable_since: _timestamp_pb2.Timestamp
    def __init__(self, rollout_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., subject: _Optional[_Union[_decision_pb2.ArtifactRef, _Mapping]] = ..., baseline_version: _Optional[int] = ..., domain: _Optional[_Union[JudgeDomain, str]] = ..., state: _Optional[_Union[RolloutState, str]] = ..., stages: _Optional[_Iterable[_Union[StageEntry, _Mapping]]] = ..., last_judgement: _Optional[_Union[Judgement, _Mapping]] = ..., next_check_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rollback_reason: _Optional[_Union[_decision_pb2.DecisionReason, str]] = ..., revision: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stable_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CohortDelta(_message.Message):
    __slots__ = ("cohort", "findings")
    COHORT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    cohort: str
    findings: _containers.RepeatedCompositeFieldContainer[JudgeFinding]
    def __init__(self, cohort: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[JudgeFinding, _Mapping]]] = ...) -> None: ...

class PromotionReport(_message.Message):
    __slots__ = ("rollout", "cohort_deltas", "gate_bundle_hash", "decisions")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    COHORT_DELTAS_FIELD_NUMBER: _ClassVar[int]
    GATE_BUNDLE_HASH_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    cohort_deltas: _containers.RepeatedCompositeFieldContainer[CohortDelta]
    gate_bundle_hash: bytes
    decisions: _containers.RepeatedCompositeFieldContainer[_decision_pb2.DecisionStatement]
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ..., cohort_deltas: _Optional[_Iterable[_Union[CohortDelta, _Mapping]]] = ..., gate_bundle_hash: _Optional[bytes] = ..., decisions: _Optional[_Iterable[_Union[_decision_pb2.DecisionStatement, _Mapping]]] = ...) -> None: ...
