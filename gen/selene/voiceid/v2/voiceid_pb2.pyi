from buf.validate import validate_pb2 as _validate_pb2
from selene.voiceid.v1 import voiceid_pb2 as _voiceid_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdentityTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDENTITY_TIER_UNSPECIFIED: _ClassVar[IdentityTier]
    IDENTITY_TIER_CONFIRMED: _ClassVar[IdentityTier]
    IDENTITY_TIER_PROBABLE: _ClassVar[IdentityTier]
    IDENTITY_TIER_UNKNOWN: _ClassVar[IdentityTier]
IDENTITY_TIER_UNSPECIFIED: IdentityTier
IDENTITY_TIER_CONFIRMED: IdentityTier
IDENTITY_TIER_PROBABLE: IdentityTier
IDENTITY_TIER_UNKNOWN: IdentityTier

class VoiceIdDecision(_message.Message):
    __slots__ = ("identity_tier", "score_bp", "reason_code", "margin_to_next_bp", "spoof_liveness_status", "candidate_set", "may_prompt_identity", "provenance", "telemetry", "conflict_state", "next_action", "retries_left")
    IDENTITY_TIER_FIELD_NUMBER: _ClassVar[int]
    SCORE_BP_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_TO_NEXT_BP_FIELD_NUMBER: _ClassVar[int]
    SPOOF_LIVENESS_STATUS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_SET_FIELD_NUMBER: _ClassVar[int]
    MAY_PROMPT_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_STATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRIES_LEFT_FIELD_NUMBER: _ClassVar[int]
    identity_tier: IdentityTier
    score_bp: int
    reason_code: _voiceid_pb2.VoiceIdReason
    margin_to_next_bp: int
    spoof_liveness_status: _voiceid_pb2.SpoofLivenessStatus
    candidate_set: _containers.RepeatedCompositeFieldContainer[_voiceid_pb2.Candidate]
    may_prompt_identity: bool
    provenance: _voiceid_pb2.Provenance
    telemetry: _voiceid_pb2.Telemetry
    conflict_state: _voiceid_pb2.ConflictState
    next_action: _voiceid_pb2.NextAction
    retries_left: int
    def __init__(self, identity_tier: _Optional[_Union[IdentityTier, str]] = ..., score_bp: _Optional[int] = ..., reason_code: _Optional[_Union[_voiceid_pb2.VoiceIdReason, str]] = ..., margin_to_next_bp: _Optional[int] = ..., spoof_liveness_status: _Optional[_Union[_voiceid_pb2.SpoofLivenessStatus, str]] = ..., candidate_set: _Optional[_Iterable[_Union[_voiceid_pb2.Candidate, _Mapping]]] = ..., may_prompt_identity: bool = ..., provenance: _Optional[_Union[_voiceid_pb2.Provenance, _Mapping]] = ..., telemetry: _Optional[_Union[_voiceid_pb2.Telemetry, _Mapping]] = ..., conflict_state: _Optional[_Union[_voiceid_pb2.ConflictState, str]] = ..., next_action: _Optional[_Union[_voiceid_pb2.NextAction, str]] = ..., retries_left: _Optional[int] = ...) -> None: ...
