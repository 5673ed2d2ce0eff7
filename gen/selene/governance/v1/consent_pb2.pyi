import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.governance.v1 import decision_pb2 as _decision_pb2
from selene.governance.v1 import rollout_pb2 as _rollout_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RevocationTrigger(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_TRIGGER_UNSPECIFIED: _ClassVar[RevocationTrigger]
    REVOCATION_TRIGGER_USER_REQUEST: _ClassVar[RevocationTrigger]
    REVOCATION_TRIGGER_TENANT_POLICY: _ClassVar[RevocationTrigger]
    REVOCATION_TRIGGER_EXPIRED_TTL: _ClassVar[RevocationTrigger]

class RevocationStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_STEP_UNSPECIFIED: _ClassVar[RevocationStep]
    REVOCATION_STEP_CAPTURE: _ClassVar[RevocationStep]
    REVOCATION_STEP_FREEZE: _ClassVar[RevocationStep]
    REVOCATION_STEP_IMPACT_GRAPH: _ClassVar[RevocationStep]
    REVOCATION_STEP_INVALIDATE: _ClassVar[RevocationStep]
    REVOCATION_STEP_REBUILD: _ClassVar[RevocationStep]
    REVOCATION_STEP_GOV_ROLLBACK: _ClassVar[RevocationStep]
    REVOCATION_STEP_REACTIVATE: _ClassVar[RevocationStep]

class BoardActor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOARD_ACTOR_UNSPECIFIED: _ClassVar[BoardActor]
    BOARD_ACTOR_PROPOSER: _ClassVar[BoardActor]
    BOARD_ACTOR_BUILDER: _ClassVar[BoardActor]
    BOARD_ACTOR_APPROVER: _ClassVar[BoardActor]
    BOARD_ACTOR_CONSUMER: _ClassVar[BoardActor]
    BOARD_ACTOR_OPERATOR: _ClassVar[BoardActor]
    BOARD_ACTOR_CONTROLLER: _ClassVar[BoardActor]
REVOCATION_TRIGGER_UNSPECIFIED: RevocationTrigger
REVOCATION_TRIGGER_USER_REQUEST: RevocationTrigger
REVOCATION_TRIGGER_TENANT_POLICY: RevocationTrigger
REVOCATION_TRIGGER_EXPIRED_TTL: RevocationTrigger
REVOCATION_STEP_UNSPECIFIED: RevocationStep
REVOCATION_STEP_CAPTURE: RevocationStep
REVOCATION_STEP_FREEZE: RevocationStep
REVOCATION_STEP_IMPACT_GRAPH: RevocationStep
REVOCATION_STEP_INVALIDATE: RevocationStep
REVOCATION_STEP_REBUILD: RevocationStep
REVOCATION_STEP_GOV_ROLLBACK: RevocationStep
REVOCATION_STEP_REACTIVATE: RevocationStep
BOARD_ACTOR_UNSPECIFIED: BoardActor
BOARD_ACTOR_PROPOSER: BoardActor
BOARD_ACTOR_BUILDER: BoardActor
BOARD_ACTOR_APPROVER: BoardActor
BOARD_ACTOR_CONSUMER: BoardActor
BOARD_ACTOR_OPERATOR: BoardActor
BOARD_ACTOR_CONTROLLER: BoardActor

class Consent(_message.Message):
    __slots__ = ("user_id", "granted_at", "expires_at", "ended_at")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    GRANTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    granted_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., granted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RevocationStepRecord(_message.Message):
    __slots__ = ("step", "done_at", "due_at", "late", "affected")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DONE_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_FIELD_NUMBER: _ClassVar[int]
    step: RevocationStep
    done_at: _timestamp_pb2.Timestamp
    due_at: _timestamp_pb2.Timestamp
    late: bool
    affected: int
    def __init__(self, step: _Optional[_Union[RevocationStep, str]] = ..., done_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., late: bool = ..., affected: _Optional[int] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("revocation_id", "tenant_id", "user_id", "trigger", "captured_at", "steps", "next_step", "affected_artifacts", "affected_gold_set_ids", "receipt", "revision", "erasure")
    REVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_GOLD_SET_IDS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    revocation_id: str
    tenant_id: str
    user_id: str
    trigger: RevocationTrigger
    captured_at: _timestamp_pb2.Timestamp
    steps: _containers.RepeatedCompositeFieldContainer[RevocationStepRecord]
    next_step: RevocationStep
    affected_artifacts: _containers.RepeatedCompositeFieldContainer[_decision_pb2.ArtifactRef]
    affected_gold_set_ids: _containers.RepeatedScalarFieldContainer[str]
    receipt: _decision_pb2.SignedStatement
    revision: int
    erasure: Erasure
    def __init__(self, revocation_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., trigger: _Optional[_Union[RevocationTrigger, str]] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[RevocationStepRecord, _Mapping]]] = ..., next_step: _Optional[_Union[RevocationStep, str]] = ..., affected_artifacts: _Optional[_Iterable[_Union[_decision_pb2.ArtifactRef, _Mapping]]] = ..., affected_gold_set_ids: _Optional[_Iterable[str]] = ..., receipt: _Optional[_Union[_decision_pb2.SignedStatement, _Mapping]] = ..., revision: _Optional[int] = ..., erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("erased_at", "subject", "keys", "key_ids", "key_ids_sha256", "signals", "gold_items", "gold_labels", "voice_profiles", "voice_clips", "voice_fingerprints", "unsealed_signals")
    ERASED_AT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_IDS_FIELD_NUMBER: _ClassVar[int]
    KEY_IDS_SHA256_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    GOLD_ITEMS_FIELD_NUMBER: _ClassVar[int]
    GOLD_LABELS_FIELD_NUMBER: _ClassVar[int]
    VOICE_PROFILES_FIELD_NUMBER: _ClassVar[int]
    VOICE_CLIPS_FIELD_NUMBER: _ClassVar[int]
    VOICE_FINGERPRINTS_FIELD_NUMBER: _ClassVar[int]
    UNSEALED_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    erased_at: _timestamp_pb2.Timestamp
    subject: str
    keys: int
    key_ids: _containers.RepeatedScalarFieldContainer[str]
    key_ids_sha256: bytes
    signals: int
    gold_items: int
    gold_labels: int
    voice_profiles: int
    voice_clips: int
    voice_fingerprints: int
    unsealed_signals: int
    def __init__(self, erased_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., subject: _Optional[str] = ..., keys: _Optional[int] = ..., key_ids: _Optional[_Iterable[str]] = ..., key_ids_sha256: _Optional[bytes] = ..., signals: _Optional[int] = ..., gold_items: _Optional[int] = ..., gold_labels: _Optional[int] = ..., voice_profiles: _Optional[int] = ..., voice_clips: _Optional[int] = ..., voice_fingerprints: _Optional[int] = ..., unsealed_signals: _Optional[int] = ...) -> None: ...

class ErasureReceipt(_message.Message):
    __slots__ = ("revocation_id", "tenant_id", "subject", "trigger", "captured_at", "completed_at", "invalidated", "replaced_by", "signals", "erasure")
    REVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    revocation_id: str
    tenant_id: str
    subject: str
    trigger: RevocationTrigger
    captured_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    invalidated: _containers.RepeatedCompositeFieldContainer[_decision_pb2.ArtifactRef]
    replaced_by: _containers.RepeatedCompositeFieldContainer[_decision_pb2.ArtifactRef]
    signals: int
    erasure: Erasure
    def __init__(self, revocation_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., subject: _Optional[str] = ..., trigger: _Optional[_Union[RevocationTrigger, str]] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., invalidated: _Optional[_Iterable[_Union[_decision_pb2.ArtifactRef, _Mapping]]] = ..., replaced_by: _Optional[_Iterable[_Union[_decision_pb2.ArtifactRef, _Mapping]]] = ..., signals: _Optional[int] = ..., erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Unmeasured(_message.Message):
    __slots__ = ("metric", "arm")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    metric: _rollout_pb2.KpiMetric
    arm: _rollout_pb2.Arm
    def __init__(self, metric: _Optional[_Union[_rollout_pb2.KpiMetric, str]] = ..., arm: _Optional[_Union[_rollout_pb2.Arm, str]] = ...) -> None: ...

class BoardRow(_message.Message):
    __slots__ = ("subject", "decision", "reasons", "missing", "rollout_id", "next_actor", "frozen_by", "stage", "held_by", "unmeasured", "open_defects")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_ACTOR_FIELD_NUMBER: _ClassVar[int]
    FROZEN_BY_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_FIELD_NUMBER: _ClassVar[int]
    UNMEASURED_FIELD_NUMBER: _ClassVar[int]
    OPEN_DEFECTS_FIELD_NUMBER: _ClassVar[int]
    subject: _decision_pb2.ArtifactRef
    decision: _decision_pb2.Decision
    reasons: _containers.RepeatedScalarFieldContainer[_decision_pb2.DecisionReason]
    missing: _containers.RepeatedScalarFieldContainer[_decision_pb2.Gate]
    rollout_id: str
    next_actor: BoardActor
    frozen_by: str
    stage: _rollout_pb2.RolloutStage
    held_by: _containers.RepeatedScalarFieldContainer[_rollout_pb2.JudgeReason]
    unmeasured: _containers.RepeatedCompositeFieldContainer[Unmeasured]
    open_defects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, subject: _Optional[_Union[_decision_pb2.ArtifactRef, _Mapping]] = ..., decision: _Optional[_Union[_decision_pb2.Decision, str]] = ..., reasons: _Optional[_Iterable[_Union[_decision_pb2.DecisionReason, str]]] = ..., missing: _Optional[_Iterable[_Union[_decision_pb2.Gate, str]]] = ..., rollout_id: _Optional[str] = ..., next_actor: _Optional[_Union[BoardActor, str]] = ..., frozen_by: _Optional[str] = ..., stage: _Optional[_Union[_rollout_pb2.RolloutStage, str]] = ..., held_by: _Optional[_Iterable[_Union[_rollout_pb2.JudgeReason, str]]] = ..., unmeasured: _Optional[_Iterable[_Union[Unmeasured, _Mapping]]] = ..., open_defects: _Optional[_Iterable[str]] = ...) -> None: ...
