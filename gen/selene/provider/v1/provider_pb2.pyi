import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Capability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPABILITY_UNSPECIFIED: _ClassVar[Capability]
    CAPABILITY_STT: _ClassVar[Capability]
    CAPABILITY_TTS: _ClassVar[Capability]
    CAPABILITY_LLM: _ClassVar[Capability]
    CAPABILITY_DELIVERY_SEND: _ClassVar[Capability]
    CAPABILITY_DELIVERY_STATUS: _ClassVar[Capability]
    CAPABILITY_DELIVERY_CANCEL: _ClassVar[Capability]

class ProviderStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_STATUS_UNSPECIFIED: _ClassVar[ProviderStatus]
    PROVIDER_STATUS_OK: _ClassVar[ProviderStatus]
    PROVIDER_STATUS_RETRYABLE_FAIL: _ClassVar[ProviderStatus]
    PROVIDER_STATUS_TERMINAL_FAIL: _ClassVar[ProviderStatus]
CAPABILITY_UNSPECIFIED: Capability
CAPABILITY_STT: Capability
CAPABILITY_TTS: Capability
CAPABILITY_LLM: Capability
CAPABILITY_DELIVERY_SEND: Capability
CAPABILITY_DELIVERY_STATUS: Capability
CAPABILITY_DELIVERY_CANCEL: Capability
PROVIDER_STATUS_UNSPECIFIED: ProviderStatus
PROVIDER_STATUS_OK: ProviderStatus
PROVIDER_STATUS_RETRYABLE_FAIL: ProviderStatus
PROVIDER_STATUS_TERMINAL_FAIL: ProviderStatus

class ProviderResultV1(_message.Message):
    __slots__ = ("provider_ref", "capability", "request_id", "idempotency_key", "simulation_context_ref", "status", "reason_code", "latency", "quality_score_bp", "raw_ref", "normalized_payload_ref")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_CONTEXT_REF_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_SCORE_BP_FIELD_NUMBER: _ClassVar[int]
    RAW_REF_FIELD_NUMBER: _ClassVar[int]
    NORMALIZED_PAYLOAD_REF_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    capability: Capability
    request_id: str
    idempotency_key: str
    simulation_context_ref: str
    status: ProviderStatus
    reason_code: str
    latency: _duration_pb2.Duration
    quality_score_bp: int
    raw_ref: str
    normalized_payload_ref: str
    def __init__(self, provider_ref: _Optional[str] = ..., capability: _Optional[_Union[Capability, str]] = ..., request_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., simulation_context_ref: _Optional[str] = ..., status: _Optional[_Union[ProviderStatus, str]] = ..., reason_code: _Optional[str] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., quality_score_bp: _Optional[int] = ..., raw_ref: _Optional[str] = ..., normalized_payload_ref: _Optional[str] = ...) -> None: ...
