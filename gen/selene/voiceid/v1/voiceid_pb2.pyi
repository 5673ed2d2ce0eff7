import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_OK: _ClassVar[Decision]
    DECISION_UNKNOWN: _ClassVar[Decision]

class VoiceIdReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOICE_ID_REASON_UNSPECIFIED: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MATCH_HIGH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MATCH_MID: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_PACK_PROVISIONAL: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_SCORE_LOW: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_GRAY_ZONE_MARGIN: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_NOT_ENROLLED: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_INSUFFICIENT_SPEECH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_NO_SPEECH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_QUALITY_LOW: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_SPOOF_RISK: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_DEVICE_OWNER_MISMATCH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_PROFILE_MISMATCH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_CONFLICT_UNRESOLVED: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_NO_THRESHOLD_PACK: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_SETTING_AMBIGUOUS: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_PACK_MODEL_MISMATCH: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MODEL_UNAVAILABLE: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MODEL_FAILED: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_MODEL_SLOW: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_BREAKER_OPEN: _ClassVar[VoiceIdReason]
    VOICE_ID_REASON_STORE_UNAVAILABLE: _ClassVar[VoiceIdReason]

class SpoofLivenessStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPOOF_LIVENESS_STATUS_UNSPECIFIED: _ClassVar[SpoofLivenessStatus]
    SPOOF_LIVENESS_STATUS_LOW: _ClassVar[SpoofLivenessStatus]
    SPOOF_LIVENESS_STATUS_MEDIUM: _ClassVar[SpoofLivenessStatus]
    SPOOF_LIVENESS_STATUS_HIGH: _ClassVar[SpoofLivenessStatus]
    SPOOF_LIVENESS_STATUS_NOT_CHECKED: _ClassVar[SpoofLivenessStatus]

class ConflictState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_STATE_UNSPECIFIED: _ClassVar[ConflictState]
    CONFLICT_STATE_SPOOF_RISK: _ClassVar[ConflictState]
    CONFLICT_STATE_MULTI_SPEAKER_OVERLAP: _ClassVar[ConflictState]
    CONFLICT_STATE_DEVICE_OWNER_MISMATCH: _ClassVar[ConflictState]
    CONFLICT_STATE_PROFILE_MISMATCH: _ClassVar[ConflictState]

class NextAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NEXT_ACTION_UNSPECIFIED: _ClassVar[NextAction]
    NEXT_ACTION_PROCEED: _ClassVar[NextAction]
    NEXT_ACTION_PROCEED_GENERIC: _ClassVar[NextAction]
    NEXT_ACTION_RETRY_CHALLENGE_PHRASE: _ClassVar[NextAction]
    NEXT_ACTION_RETRY_SINGLE_SPEAKER: _ClassVar[NextAction]
    NEXT_ACTION_CONFIRM_OWNERSHIP: _ClassVar[NextAction]
    NEXT_ACTION_STEP_UP: _ClassVar[NextAction]
    NEXT_ACTION_LOCK_AND_REVIEW: _ClassVar[NextAction]
    NEXT_ACTION_OWNERSHIP_DISPUTE: _ClassVar[NextAction]
    NEXT_ACTION_RE_ENROLL: _ClassVar[NextAction]
    NEXT_ACTION_NON_PERSONALIZED: _ClassVar[NextAction]

class MigrationStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MIGRATION_STAGE_UNSPECIFIED: _ClassVar[MigrationStage]
    MIGRATION_STAGE_M0: _ClassVar[MigrationStage]
    MIGRATION_STAGE_M1: _ClassVar[MigrationStage]
    MIGRATION_STAGE_M2: _ClassVar[MigrationStage]
    MIGRATION_STAGE_M3: _ClassVar[MigrationStage]

class EnrollmentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENROLLMENT_STATE_UNSPECIFIED: _ClassVar[EnrollmentState]
    ENROLLMENT_STATE_PENDING: _ClassVar[EnrollmentState]
    ENROLLMENT_STATE_LOCKED: _ClassVar[EnrollmentState]
    ENROLLMENT_STATE_ABANDONED: _ClassVar[EnrollmentState]

class ClipRejection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIP_REJECTION_UNSPECIFIED: _ClassVar[ClipRejection]
    CLIP_REJECTION_TOO_LITTLE_SPEECH: _ClassVar[ClipRejection]
    CLIP_REJECTION_CLIPPED: _ClassVar[ClipRejection]
    CLIP_REJECTION_DUPLICATE: _ClassVar[ClipRejection]
    CLIP_REJECTION_OTHER_VOICE: _ClassVar[ClipRejection]
    CLIP_REJECTION_TOO_NOISY: _ClassVar[ClipRejection]
    CLIP_REJECTION_OVERLAP: _ClassVar[ClipRejection]

class ProfileState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROFILE_STATE_UNSPECIFIED: _ClassVar[ProfileState]
    PROFILE_STATE_LOCKED: _ClassVar[ProfileState]
    PROFILE_STATE_SUPERSEDED: _ClassVar[ProfileState]
    PROFILE_STATE_REVOKED: _ClassVar[ProfileState]
DECISION_UNSPECIFIED: Decision
DECISION_OK: Decision
DECISION_UNKNOWN: Decision
VOICE_ID_REASON_UNSPECIFIED: VoiceIdReason
VOICE_ID_REASON_MATCH_HIGH: VoiceIdReason
VOICE_ID_REASON_MATCH_MID: VoiceIdReason
VOICE_ID_REASON_PACK_PROVISIONAL: VoiceIdReason
VOICE_ID_REASON_SCORE_LOW: VoiceIdReason
VOICE_ID_REASON_GRAY_ZONE_MARGIN: VoiceIdReason
VOICE_ID_REASON_NOT_ENROLLED: VoiceIdReason
VOICE_ID_REASON_INSUFFICIENT_SPEECH: VoiceIdReason
VOICE_ID_REASON_NO_SPEECH: VoiceIdReason
VOICE_ID_REASON_QUALITY_LOW: VoiceIdReason
VOICE_ID_REASON_SPOOF_RISK: VoiceIdReason
VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP: VoiceIdReason
VOICE_ID_REASON_DEVICE_OWNER_MISMATCH: VoiceIdReason
VOICE_ID_REASON_PROFILE_MISMATCH: VoiceIdReason
VOICE_ID_REASON_CONFLICT_UNRESOLVED: VoiceIdReason
VOICE_ID_REASON_NO_THRESHOLD_PACK: VoiceIdReason
VOICE_ID_REASON_SETTING_AMBIGUOUS: VoiceIdReason
VOICE_ID_REASON_PACK_MODEL_MISMATCH: VoiceIdReason
VOICE_ID_REASON_MODEL_UNAVAILABLE: VoiceIdReason
VOICE_ID_REASON_MODEL_FAILED: VoiceIdReason
VOICE_ID_REASON_MODEL_SLOW: VoiceIdReason
VOICE_ID_REASON_BREAKER_OPEN: VoiceIdReason
VOICE_ID_REASON_STORE_UNAVAILABLE: VoiceIdReason
SPOOF_LIVENESS_STATUS_UNSPECIFIED: SpoofLivenessStatus
SPOOF_LIVENESS_STATUS_LOW: SpoofLivenessStatus
SPOOF_LIVENESS_STATUS_MEDIUM: SpoofLivenessStatus
SPOOF_LIVENESS_STATUS_HIGH: SpoofLivenessStatus
SPOOF_LIVENESS_STATUS_NOT_CHECKED: SpoofLivenessStatus
CONFLICT_STATE_UNSPECIFIED: ConflictState
CONFLICT_STATE_SPOOF_RISK: ConflictState
CONFLICT_STATE_MULTI_SPEAKER_OVERLAP: ConflictState
CONFLICT_STATE_DEVICE_OWNER_MISMATCH: ConflictState
CONFLICT_STATE_PROFILE_MISMATCH: ConflictState
NEXT_ACTION_UNSPECIFIED: NextAction
NEXT_ACTION_PROCEED: NextAction
NEXT_ACTION_PROCEED_GENERIC: NextAction
NEXT_ACTION_RETRY_CHALLENGE_PHRASE: NextAction
NEXT_ACTION_RETRY_SINGLE_SPEAKER: NextAction
NEXT_ACTION_CONFIRM_OWNERSHIP: NextAction
NEXT_ACTION_STEP_UP: NextAction
NEXT_ACTION_LOCK_AND_REVIEW: NextAction
NEXT_ACTION_OWNERSHIP_DISPUTE: NextAction
NEXT_ACTION_RE_ENROLL: NextAction
NEXT_ACTION_NON_PERSONALIZED: NextAction
MIGRATION_STAGE_UNSPECIFIED: MigrationStage
MIGRATION_STAGE_M0: MigrationStage
MIGRATION_STAGE_M1: MigrationStage
MIGRATION_STAGE_M2: MigrationStage
MIGRATION_STAGE_M3: MigrationStage
ENROLLMENT_STATE_UNSPECIFIED: EnrollmentState
ENROLLMENT_STATE_PENDING: EnrollmentState
ENROLLMENT_STATE_LOCKED: EnrollmentState
ENROLLMENT_STATE_ABANDONED: EnrollmentState
CLIP_REJECTION_UNSPECIFIED: ClipRejection
CLIP_REJECTION_TOO_LITTLE_SPEECH: ClipRejection
CLIP_REJECTION_CLIPPED: ClipRejection
CLIP_REJECTION_DUPLICATE: ClipRejection
CLIP_REJECTION_OTHER_VOICE: ClipRejection
CLIP_REJECTION_TOO_NOISY: ClipRejection
CLIP_REJECTION_OVERLAP: ClipRejection
PROFILE_STATE_UNSPECIFIED: ProfileState
PROFILE_STATE_LOCKED: ProfileState
PROFILE_STATE_SUPERSEDED: ProfileState
PROFILE_STATE_REVOKED: ProfileState

class Candidate(_message.Message):
    __slots__ = ("user_id", "score_bp", "llr", "cosines", "profile_version")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_BP_FIELD_NUMBER: _ClassVar[int]
    LLR_FIELD_NUMBER: _ClassVar[int]
    COSINES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    score_bp: int
    llr: float
    cosines: _containers.RepeatedScalarFieldContainer[float]
    profile_version: int
    def __init__(self, user_id: _Optional[str] = ..., score_bp: _Optional[int] = ..., llr: _Optional[float] = ..., cosines: _Optional[_Iterable[float]] = ..., profile_version: _Optional[int] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("models", "model_set_hash", "threshold_pack", "cohort", "provisional", "conf_high_bp", "conf_mid_bp")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_HASH_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PACK_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    CONF_HIGH_BP_FIELD_NUMBER: _ClassVar[int]
    CONF_MID_BP_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedScalarFieldContainer[str]
    model_set_hash: bytes
    threshold_pack: str
    cohort: str
    provisional: bool
    conf_high_bp: int
    conf_mid_bp: int
    def __init__(self, models: _Optional[_Iterable[str]] = ..., model_set_hash: _Optional[bytes] = ..., threshold_pack: _Optional[str] = ..., cohort: _Optional[str] = ..., provisional: bool = ..., conf_high_bp: _Optional[int] = ..., conf_mid_bp: _Optional[int] = ...) -> None: ...

class Telemetry(_message.Message):
    __slots__ = ("audio", "voiced", "snr_db", "clipped_ratio", "overlap_ratio", "lost", "replay_similarity", "decision_latency", "candidates_after_prune", "stage2_skipped", "countermeasure_score")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    VOICED_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_RATIO_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_RATIO_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    REPLAY_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DECISION_LATENCY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_AFTER_PRUNE_FIELD_NUMBER: _ClassVar[int]
    STAGE2_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    COUNTERMEASURE_SCORE_FIELD_NUMBER: _ClassVar[int]
    audio: _duration_pb2.Duration
    voiced: _duration_pb2.Duration
    snr_db: float
    clipped_ratio: float
    overlap_ratio: float
    lost: _duration_pb2.Duration
    replay_similarity: float
    decision_latency: _duration_pb2.Duration
    candidates_after_prune: int
    stage2_skipped: bool
    countermeasure_score: float
    def __init__(self, audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., voiced: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., snr_db: _Optional[float] = ..., clipped_ratio: _Optional[float] = ..., overlap_ratio: _Optional[float] = ..., lost: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., replay_similarity: _Optional[float] = ..., decision_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., candidates_after_prune: _Optional[int] = ..., stage2_skipped: bool = ..., countermeasure_score: _Optional[float] = ...) -> None: ...

class VoiceIdDecision(_message.Message):
    __slots__ = ("decision", "score_bp", "reason_code", "margin_to_next_bp", "spoof_liveness_status", "candidate_set", "provenance", "telemetry", "conflict_state", "next_action", "retries_left")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SCORE_BP_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_TO_NEXT_BP_FIELD_NUMBER: _ClassVar[int]
    SPOOF_LIVENESS_STATUS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_SET_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_STATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRIES_LEFT_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    score_bp: int
    reason_code: VoiceIdReason
    margin_to_next_bp: int
    spoof_liveness_status: SpoofLivenessStatus
    candidate_set: _containers.RepeatedCompositeFieldContainer[Candidate]
    provenance: Provenance
    telemetry: Telemetry
    conflict_state: ConflictState
    next_action: NextAction
    retries_left: int
    def __init__(self, decision: _Optional[_Union[Decision, str]] = ..., score_bp: _Optional[int] = ..., reason_code: _Optional[_Union[VoiceIdReason, str]] = ..., margin_to_next_bp: _Optional[int] = ..., spoof_liveness_status: _Optional[_Union[SpoofLivenessStatus, str]] = ..., candidate_set: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., telemetry: _Optional[_Union[Telemetry, _Mapping]] = ..., conflict_state: _Optional[_Union[ConflictState, str]] = ..., next_action: _Optional[_Union[NextAction, str]] = ..., retries_left: _Optional[int] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("audio_format", "tenant_id", "device_id", "session_id", "turn", "device_owner_user_id", "device_members_only", "voice_branch_id", "step_up_pending", "locale", "channel", "cohort", "interim_interval", "resume_stream_id")
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    DEVICE_OWNER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MEMBERS_ONLY_FIELD_NUMBER: _ClassVar[int]
    VOICE_BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_UP_PENDING_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    INTERIM_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RESUME_STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    audio_format: _audio_pb2.AudioFormat
    tenant_id: str
    device_id: str
    session_id: str
    turn: _scope_pb2.TurnRef
    device_owner_user_id: str
    device_members_only: bool
    voice_branch_id: str
    step_up_pending: bool
    locale: str
    channel: str
    cohort: CohortLabels
    interim_interval: _duration_pb2.Duration
    resume_stream_id: str
    def __init__(self, audio_format: _Optional[_Union[_audio_pb2.AudioFormat, _Mapping]] = ..., tenant_id: _Optional[str] = ..., device_id: _Optional[str] = ..., session_id: _Optional[str] = ..., turn: _Optional[_Union[_scope_pb2.TurnRef, _Mapping]] = ..., device_owner_user_id: _Optional[str] = ..., device_members_only: bool = ..., voice_branch_id: _Optional[str] = ..., step_up_pending: bool = ..., locale: _Optional[str] = ..., channel: _Optional[str] = ..., cohort: _Optional[_Union[CohortLabels, _Mapping]] = ..., interim_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resume_stream_id: _Optional[str] = ...) -> None: ...

class CohortLabels(_message.Message):
    __slots__ = ("language", "accent_band", "device_class", "noise_class")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    ACCENT_BAND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    NOISE_CLASS_FIELD_NUMBER: _ClassVar[int]
    language: str
    accent_band: str
    device_class: str
    noise_class: str
    def __init__(self, language: _Optional[str] = ..., accent_band: _Optional[str] = ..., device_class: _Optional[str] = ..., noise_class: _Optional[str] = ...) -> None: ...

class StreamStarted(_message.Message):
    __slots__ = ("stream_id", "config", "next_sequence", "resume_window", "stage")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESUME_WINDOW_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    config: StreamConfig
    next_sequence: int
    resume_window: _duration_pb2.Duration
    stage: MigrationStage
    def __init__(self, stream_id: _Optional[str] = ..., config: _Optional[_Union[StreamConfig, _Mapping]] = ..., next_sequence: _Optional[int] = ..., resume_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stage: _Optional[_Union[MigrationStage, str]] = ...) -> None: ...

class SpeechEvent(_message.Message):
    __slots__ = ("kind", "offset")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[SpeechEvent.Kind]
        KIND_SPEECH_BEGIN: _ClassVar[SpeechEvent.Kind]
        KIND_SPEECH_END: _ClassVar[SpeechEvent.Kind]
    KIND_UNSPECIFIED: SpeechEvent.Kind
    KIND_SPEECH_BEGIN: SpeechEvent.Kind
    KIND_SPEECH_END: SpeechEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    kind: SpeechEvent.Kind
    offset: _duration_pb2.Duration
    def __init__(self, kind: _Optional[_Union[SpeechEvent.Kind, str]] = ..., offset: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class InterimConfidence(_message.Message):
    __slots__ = ("score_bp", "margin_to_next_bp", "voiced", "audio", "stage")
    SCORE_BP_FIELD_NUMBER: _ClassVar[int]
    MARGIN_TO_NEXT_BP_FIELD_NUMBER: _ClassVar[int]
    VOICED_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    score_bp: int
    margin_to_next_bp: int
    voiced: _duration_pb2.Duration
    audio: _duration_pb2.Duration
    stage: int
    def __init__(self, score_bp: _Optional[int] = ..., margin_to_next_bp: _Optional[int] = ..., voiced: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stage: _Optional[int] = ...) -> None: ...

class Enrollment(_message.Message):
    __slots__ = ("enrollment_id", "user_id", "device_id", "state", "consent_ref", "accepted_clips", "accepted_voiced", "clips_missing", "voiced_missing", "profile_version", "created_at")
    ENROLLMENT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONSENT_REF_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_CLIPS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_VOICED_FIELD_NUMBER: _ClassVar[int]
    CLIPS_MISSING_FIELD_NUMBER: _ClassVar[int]
    VOICED_MISSING_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    enrollment_id: str
    user_id: str
    device_id: str
    state: EnrollmentState
    consent_ref: str
    accepted_clips: int
    accepted_voiced: _duration_pb2.Duration
    clips_missing: int
    voiced_missing: _duration_pb2.Duration
    profile_version: int
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, enrollment_id: _Optional[str] = ..., user_id: _Optional[str] = ..., device_id: _Optional[str] = ..., state: _Optional[_Union[EnrollmentState, str]] = ..., consent_ref: _Optional[str] = ..., accepted_clips: _Optional[int] = ..., accepted_voiced: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., clips_missing: _Optional[int] = ..., voiced_missing: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., profile_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("user_id", "profile_version", "state", "model_set_hash", "clip_count", "voiced", "created_at", "expires_at", "consent_ref")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_HASH_FIELD_NUMBER: _ClassVar[int]
    CLIP_COUNT_FIELD_NUMBER: _ClassVar[int]
    VOICED_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_REF_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    profile_version: int
    state: ProfileState
    model_set_hash: bytes
    clip_count: int
    voiced: _duration_pb2.Duration
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    consent_ref: str
    def __init__(self, user_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., state: _Optional[_Union[ProfileState, str]] = ..., model_set_hash: _Optional[bytes] = ..., clip_count: _Optional[int] = ..., voiced: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., consent_ref: _Optional[str] = ...) -> None: ...

class CohortKpi(_message.Message):
    __slots__ = ("cohort", "decisions", "named", "genuine", "impostor", "tar_bp", "frr_bp", "far_bp", "latency_p50", "latency_p95", "latency_p99")
    COHORT_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    GENUINE_FIELD_NUMBER: _ClassVar[int]
    IMPOSTOR_FIELD_NUMBER: _ClassVar[int]
    TAR_BP_FIELD_NUMBER: _ClassVar[int]
    FRR_BP_FIELD_NUMBER: _ClassVar[int]
    FAR_BP_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P99_FIELD_NUMBER: _ClassVar[int]
    cohort: CohortLabels
    decisions: int
    named: int
    genuine: int
    impostor: int
    tar_bp: int
    frr_bp: int
    far_bp: int
    latency_p50: _duration_pb2.Duration
    latency_p95: _duration_pb2.Duration
    latency_p99: _duration_pb2.Duration
    def __init__(self, cohort: _Optional[_Union[CohortLabels, _Mapping]] = ..., decisions: _Optional[int] = ..., named: _Optional[int] = ..., genuine: _Optional[int] = ..., impostor: _Optional[int] = ..., tar_bp: _Optional[int] = ..., frr_bp: _Optional[int] = ..., far_bp: _Optional[int] = ..., latency_p50: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., latency_p95: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., latency_p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ThresholdPack(_message.Message):
    __slots__ = ("pack_ref", "package_hash", "cohort", "provisional", "conf_high_bp", "conf_mid_bp", "min_margin_bp", "genuine_trials", "impostor_trials", "canonical_json", "signing_key_id", "signature")
    PACK_REF_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    CONF_HIGH_BP_FIELD_NUMBER: _ClassVar[int]
    CONF_MID_BP_FIELD_NUMBER: _ClassVar[int]
    MIN_MARGIN_BP_FIELD_NUMBER: _ClassVar[int]
    GENUINE_TRIALS_FIELD_NUMBER: _ClassVar[int]
    IMPOSTOR_TRIALS_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_JSON_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    pack_ref: str
    package_hash: bytes
    cohort: str
    provisional: bool
    conf_high_bp: int
    conf_mid_bp: int
    min_margin_bp: int
    genuine_trials: int
    impostor_trials: int
    canonical_json: str
    signing_key_id: str
    signature: bytes
    def __init__(self, pack_ref: _Optional[str] = ..., package_hash: _Optional[bytes] = ..., cohort: _Optional[str] = ..., provisional: bool = ..., conf_high_bp: _Optional[int] = ..., conf_mid_bp: _Optional[int] = ..., min_margin_bp: _Optional[int] = ..., genuine_trials: _Optional[int] = ..., impostor_trials: _Optional[int] = ..., canonical_json: _Optional[str] = ..., signing_key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...
