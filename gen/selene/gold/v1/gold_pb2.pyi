import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GoldDomain(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOLD_DOMAIN_UNSPECIFIED: _ClassVar[GoldDomain]
    GOLD_DOMAIN_WAKE_ENDPOINT: _ClassVar[GoldDomain]
    GOLD_DOMAIN_STT_TRANSCRIPT: _ClassVar[GoldDomain]
    GOLD_DOMAIN_VOCABULARY: _ClassVar[GoldDomain]
    GOLD_DOMAIN_TTS_PRONUNCIATION: _ClassVar[GoldDomain]
    GOLD_DOMAIN_TTS_ROUTE: _ClassVar[GoldDomain]
    GOLD_DOMAIN_NLP_INTENT_SLOT: _ClassVar[GoldDomain]
    GOLD_DOMAIN_LLM_BOUNDARY: _ClassVar[GoldDomain]
    GOLD_DOMAIN_CONTEXT_RANK: _ClassVar[GoldDomain]
    GOLD_DOMAIN_PAE_ROUTE: _ClassVar[GoldDomain]
    GOLD_DOMAIN_PERSONA_TONE: _ClassVar[GoldDomain]
    GOLD_DOMAIN_SEARCH_EVIDENCE: _ClassVar[GoldDomain]
    GOLD_DOMAIN_MULTIMODAL_FUSION: _ClassVar[GoldDomain]
    GOLD_DOMAIN_VOICE_IDENTITY: _ClassVar[GoldDomain]

class GoldTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOLD_TIER_UNSPECIFIED: _ClassVar[GoldTier]
    GOLD_TIER_1_HARD_TRUTH: _ClassVar[GoldTier]
    GOLD_TIER_2_HUMAN_VERIFIED: _ClassVar[GoldTier]
    GOLD_TIER_3_CONSENSUS: _ClassVar[GoldTier]
    GOLD_TIER_NON_GOLD_PROXY: _ClassVar[GoldTier]

class GoldState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOLD_STATE_UNSPECIFIED: _ClassVar[GoldState]
    GOLD_STATE_CANDIDATE: _ClassVar[GoldState]
    GOLD_STATE_VALIDATING: _ClassVar[GoldState]
    GOLD_STATE_AWAITING_REVIEW: _ClassVar[GoldState]
    GOLD_STATE_GOLD_APPROVED: _ClassVar[GoldState]
    GOLD_STATE_GOLD_DEFERRED: _ClassVar[GoldState]
    GOLD_STATE_GOLD_REJECTED: _ClassVar[GoldState]
    GOLD_STATE_PACKAGED: _ClassVar[GoldState]
    GOLD_STATE_ACTIVATED: _ClassVar[GoldState]
    GOLD_STATE_REVERTED: _ClassVar[GoldState]

class GoldReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOLD_REASON_UNSPECIFIED: _ClassVar[GoldReason]
    GOLD_REASON_INPUT_SCHEMA_INVALID: _ClassVar[GoldReason]
    GOLD_REASON_POLICY_SCOPE_VIOLATION: _ClassVar[GoldReason]
    GOLD_REASON_THRESHOLD_NOT_MET: _ClassVar[GoldReason]
    GOLD_REASON_INSUFFICIENT_EVIDENCE: _ClassVar[GoldReason]
    GOLD_REASON_HARD_RULE_VIOLATION: _ClassVar[GoldReason]
    GOLD_REASON_PACKAGE_BUILD_FAILED: _ClassVar[GoldReason]
    GOLD_REASON_ACTIVATION_GATE_BLOCKED: _ClassVar[GoldReason]
    GOLD_REASON_POST_DEPLOY_REGRESSION: _ClassVar[GoldReason]
    GOLD_REASON_STATE_TRANSITION_INVALID: _ClassVar[GoldReason]
GOLD_DOMAIN_UNSPECIFIED: GoldDomain
GOLD_DOMAIN_WAKE_ENDPOINT: GoldDomain
GOLD_DOMAIN_STT_TRANSCRIPT: GoldDomain
GOLD_DOMAIN_VOCABULARY: GoldDomain
GOLD_DOMAIN_TTS_PRONUNCIATION: GoldDomain
GOLD_DOMAIN_TTS_ROUTE: GoldDomain
GOLD_DOMAIN_NLP_INTENT_SLOT: GoldDomain
GOLD_DOMAIN_LLM_BOUNDARY: GoldDomain
GOLD_DOMAIN_CONTEXT_RANK: GoldDomain
GOLD_DOMAIN_PAE_ROUTE: GoldDomain
GOLD_DOMAIN_PERSONA_TONE: GoldDomain
GOLD_DOMAIN_SEARCH_EVIDENCE: GoldDomain
GOLD_DOMAIN_MULTIMODAL_FUSION: GoldDomain
GOLD_DOMAIN_VOICE_IDENTITY: GoldDomain
GOLD_TIER_UNSPECIFIED: GoldTier
GOLD_TIER_1_HARD_TRUTH: GoldTier
GOLD_TIER_2_HUMAN_VERIFIED: GoldTier
GOLD_TIER_3_CONSENSUS: GoldTier
GOLD_TIER_NON_GOLD_PROXY: GoldTier
GOLD_STATE_UNSPECIFIED: GoldState
GOLD_STATE_CANDIDATE: GoldState
GOLD_STATE_VALIDATING: GoldState
GOLD_STATE_AWAITING_REVIEW: GoldState
GOLD_STATE_GOLD_APPROVED: GoldState
GOLD_STATE_GOLD_DEFERRED: GoldState
GOLD_STATE_GOLD_REJECTED: GoldState
GOLD_STATE_PACKAGED: GoldState
GOLD_STATE_ACTIVATED: GoldState
GOLD_STATE_REVERTED: GoldState
GOLD_REASON_UNSPECIFIED: GoldReason
GOLD_REASON_INPUT_SCHEMA_INVALID: GoldReason
GOLD_REASON_POLICY_SCOPE_VIOLATION: GoldReason
GOLD_REASON_THRESHOLD_NOT_MET: GoldReason
GOLD_REASON_INSUFFICIENT_EVIDENCE: GoldReason
GOLD_REASON_HARD_RULE_VIOLATION: GoldReason
GOLD_REASON_PACKAGE_BUILD_FAILED: GoldReason
GOLD_REASON_ACTIVATION_GATE_BLOCKED: GoldReason
GOLD_REASON_POST_DEPLOY_REGRESSION: GoldReason
GOLD_REASON_STATE_TRANSITION_INVALID: GoldReason

class GoldSet(_message.Message):
    __slots__ = ("gold_set_id", "domain", "tier", "version", "package_hash", "scope", "tenant_id", "artifact_type", "policy_version", "provenance_ref", "payload_ref", "evidence_refs", "signal_ids", "created_by", "idempotency_key", "created_at", "state")
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_REF_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_REF_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_REFS_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    gold_set_id: str
    domain: GoldDomain
    tier: GoldTier
    version: int
    package_hash: bytes
    scope: _scope_pb2.Scope
    tenant_id: str
    artifact_type: str
    policy_version: str
    provenance_ref: str
    payload_ref: str
    evidence_refs: _containers.RepeatedScalarFieldContainer[str]
    signal_ids: _containers.RepeatedScalarFieldContainer[str]
    created_by: str
    idempotency_key: str
    created_at: _timestamp_pb2.Timestamp
    state: GoldState
    def __init__(self, gold_set_id: _Optional[str] = ..., domain: _Optional[_Union[GoldDomain, str]] = ..., tier: _Optional[_Union[GoldTier, str]] = ..., version: _Optional[int] = ..., package_hash: _Optional[bytes] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., tenant_id: _Optional[str] = ..., artifact_type: _Optional[str] = ..., policy_version: _Optional[str] = ..., provenance_ref: _Optional[str] = ..., payload_ref: _Optional[str] = ..., evidence_refs: _Optional[_Iterable[str]] = ..., signal_ids: _Optional[_Iterable[str]] = ..., created_by: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[GoldState, str]] = ...) -> None: ...

class GoldTransition(_message.Message):
    __slots__ = ("gold_set_id", "from_state", "to_state", "applied", "reason_code", "occurred_at", "actor")
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_STATE_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    gold_set_id: str
    from_state: GoldState
    to_state: GoldState
    applied: bool
    reason_code: GoldReason
    occurred_at: _timestamp_pb2.Timestamp
    actor: str
    def __init__(self, gold_set_id: _Optional[str] = ..., from_state: _Optional[_Union[GoldState, str]] = ..., to_state: _Optional[_Union[GoldState, str]] = ..., applied: bool = ..., reason_code: _Optional[_Union[GoldReason, str]] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ...) -> None: ...
