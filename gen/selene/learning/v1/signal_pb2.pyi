import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.gold.v1 import gold_pb2 as _gold_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignalClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNAL_CLASS_UNSPECIFIED: _ClassVar[SignalClass]
    SIGNAL_CLASS_FALSE_REJECT: _ClassVar[SignalClass]
    SIGNAL_CLASS_FALSE_ACCEPT: _ClassVar[SignalClass]
    SIGNAL_CLASS_SPOOF_RISK: _ClassVar[SignalClass]
    SIGNAL_CLASS_MULTI_SPEAKER: _ClassVar[SignalClass]
    SIGNAL_CLASS_DRIFT_ALERT: _ClassVar[SignalClass]
    SIGNAL_CLASS_REAUTH_FRICTION: _ClassVar[SignalClass]
    SIGNAL_CLASS_LOW_QUALITY_CAPTURE: _ClassVar[SignalClass]
    SIGNAL_CLASS_SPEAKER_SWITCH: _ClassVar[SignalClass]
    SIGNAL_CLASS_CRASH: _ClassVar[SignalClass]
    SIGNAL_CLASS_CONTRACT_VIOLATION: _ClassVar[SignalClass]
    SIGNAL_CLASS_GATE_ORDER_VIOLATION: _ClassVar[SignalClass]
    SIGNAL_CLASS_UNSAFE_OUTPUT: _ClassVar[SignalClass]
    SIGNAL_CLASS_WRONG_BEHAVIOUR: _ClassVar[SignalClass]
    SIGNAL_CLASS_CORRECTION: _ClassVar[SignalClass]
    SIGNAL_CLASS_RATING: _ClassVar[SignalClass]
    SIGNAL_CLASS_FAILOVER: _ClassVar[SignalClass]
    SIGNAL_CLASS_FALLBACK: _ClassVar[SignalClass]
    SIGNAL_CLASS_REJECT: _ClassVar[SignalClass]
    SIGNAL_CLASS_RETRY: _ClassVar[SignalClass]
    SIGNAL_CLASS_INTERRUPT: _ClassVar[SignalClass]
    SIGNAL_CLASS_EVALUATION: _ClassVar[SignalClass]
    SIGNAL_CLASS_TRUTH_EVENT: _ClassVar[SignalClass]

class CaptureSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPTURE_SOURCE_UNSPECIFIED: _ClassVar[CaptureSource]
    CAPTURE_SOURCE_RUNTIME_OUTCOME: _ClassVar[CaptureSource]
    CAPTURE_SOURCE_USER_CORRECTION: _ClassVar[CaptureSource]
    CAPTURE_SOURCE_USER_RATING: _ClassVar[CaptureSource]
    CAPTURE_SOURCE_OFFLINE_EVALUATION: _ClassVar[CaptureSource]
    CAPTURE_SOURCE_TRUTH_EVENT: _ClassVar[CaptureSource]

class IntakePath(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTAKE_PATH_UNSPECIFIED: _ClassVar[IntakePath]
    INTAKE_PATH_DEFECT: _ClassVar[IntakePath]
    INTAKE_PATH_IMPROVEMENT: _ClassVar[IntakePath]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_LOW: _ClassVar[Severity]
    SEVERITY_MEDIUM: _ClassVar[Severity]
    SEVERITY_HIGH: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]

class PrivacyScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIVACY_SCOPE_UNSPECIFIED: _ClassVar[PrivacyScope]
    PRIVACY_SCOPE_USER: _ClassVar[PrivacyScope]
    PRIVACY_SCOPE_TENANT: _ClassVar[PrivacyScope]
    PRIVACY_SCOPE_DEPLOYMENT: _ClassVar[PrivacyScope]

class RetentionClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETENTION_CLASS_UNSPECIFIED: _ClassVar[RetentionClass]
    RETENTION_CLASS_TRANSIENT: _ClassVar[RetentionClass]
    RETENTION_CLASS_STANDARD: _ClassVar[RetentionClass]
    RETENTION_CLASS_EVIDENCE: _ClassVar[RetentionClass]
SIGNAL_CLASS_UNSPECIFIED: SignalClass
SIGNAL_CLASS_FALSE_REJECT: SignalClass
SIGNAL_CLASS_FALSE_ACCEPT: SignalClass
SIGNAL_CLASS_SPOOF_RISK: SignalClass
SIGNAL_CLASS_MULTI_SPEAKER: SignalClass
SIGNAL_CLASS_DRIFT_ALERT: SignalClass
SIGNAL_CLASS_REAUTH_FRICTION: SignalClass
SIGNAL_CLASS_LOW_QUALITY_CAPTURE: SignalClass
SIGNAL_CLASS_SPEAKER_SWITCH: SignalClass
SIGNAL_CLASS_CRASH: SignalClass
SIGNAL_CLASS_CONTRACT_VIOLATION: SignalClass
SIGNAL_CLASS_GATE_ORDER_VIOLATION: SignalClass
SIGNAL_CLASS_UNSAFE_OUTPUT: SignalClass
SIGNAL_CLASS_WRONG_BEHAVIOUR: SignalClass
SIGNAL_CLASS_CORRECTION: SignalClass
SIGNAL_CLASS_RATING: SignalClass
SIGNAL_CLASS_FAILOVER: SignalClass
SIGNAL_CLASS_FALLBACK: SignalClass
SIGNAL_CLASS_REJECT: SignalClass
SIGNAL_CLASS_RETRY: SignalClass
SIGNAL_CLASS_INTERRUPT: SignalClass
SIGNAL_CLASS_EVALUATION: SignalClass
SIGNAL_CLASS_TRUTH_EVENT: SignalClass
CAPTURE_SOURCE_UNSPECIFIED: CaptureSource
CAPTURE_SOURCE_RUNTIME_OUTCOME: CaptureSource
CAPTURE_SOURCE_USER_CORRECTION: CaptureSource
CAPTURE_SOURCE_USER_RATING: CaptureSource
CAPTURE_SOURCE_OFFLINE_EVALUATION: CaptureSource
CAPTURE_SOURCE_TRUTH_EVENT: CaptureSource
INTAKE_PATH_UNSPECIFIED: IntakePath
INTAKE_PATH_DEFECT: IntakePath
INTAKE_PATH_IMPROVEMENT: IntakePath
SEVERITY_UNSPECIFIED: Severity
SEVERITY_LOW: Severity
SEVERITY_MEDIUM: Severity
SEVERITY_HIGH: Severity
SEVERITY_CRITICAL: Severity
PRIVACY_SCOPE_UNSPECIFIED: PrivacyScope
PRIVACY_SCOPE_USER: PrivacyScope
PRIVACY_SCOPE_TENANT: PrivacyScope
PRIVACY_SCOPE_DEPLOYMENT: PrivacyScope
RETENTION_CLASS_UNSPECIFIED: RetentionClass
RETENTION_CLASS_TRANSIENT: RetentionClass
RETENTION_CLASS_STANDARD: RetentionClass
RETENTION_CLASS_EVIDENCE: RetentionClass

class LearningSignal(_message.Message):
    __slots__ = ("signal_id", "correlation_id", "turn_id", "occurred_at", "tenant_id", "user_id", "device_id", "session_id", "source_engine_id", "source_capability_id", "reason_code", "input_ref", "output_ref", "outcome_label", "consent_asserted", "privacy_scope", "retention_class", "severity", "confidence_bp", "impact_estimate_bp", "idempotency_key", "domain", "signal_class", "capture_source")
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_CAPABILITY_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    INPUT_REF_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_REF_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_LABEL_FIELD_NUMBER: _ClassVar[int]
    CONSENT_ASSERTED_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_SCOPE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_BP_FIELD_NUMBER: _ClassVar[int]
    IMPACT_ESTIMATE_BP_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_CLASS_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    signal_id: str
    correlation_id: str
    turn_id: str
    occurred_at: _timestamp_pb2.Timestamp
    tenant_id: str
    user_id: str
    device_id: str
    session_id: str
    source_engine_id: str
    source_capability_id: str
    reason_code: str
    input_ref: str
    output_ref: str
    outcome_label: str
    consent_asserted: bool
    privacy_scope: PrivacyScope
    retention_class: RetentionClass
    severity: Severity
    confidence_bp: int
    impact_estimate_bp: int
    idempotency_key: str
    domain: _gold_pb2.GoldDomain
    signal_class: SignalClass
    capture_source: CaptureSource
    def __init__(self, signal_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., device_id: _Optional[str] = ..., session_id: _Optional[str] = ..., source_engine_id: _Optional[str] = ..., source_capability_id: _Optional[str] = ..., reason_code: _Optional[str] = ..., input_ref: _Optional[str] = ..., output_ref: _Optional[str] = ..., outcome_label: _Optional[str] = ..., consent_asserted: bool = ..., privacy_scope: _Optional[_Union[PrivacyScope, str]] = ..., retention_class: _Optional[_Union[RetentionClass, str]] = ..., severity: _Optional[_Union[Severity, str]] = ..., confidence_bp: _Optional[int] = ..., impact_estimate_bp: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., signal_class: _Optional[_Union[SignalClass, str]] = ..., capture_source: _Optional[_Union[CaptureSource, str]] = ...) -> None: ...

class CapturedSignal(_message.Message):
    __slots__ = ("signal", "intake_path", "priority_bp", "frequency", "sequence", "captured_at", "erased")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    INTAKE_PATH_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_BP_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    signal: LearningSignal
    intake_path: IntakePath
    priority_bp: int
    frequency: int
    sequence: int
    captured_at: _timestamp_pb2.Timestamp
    erased: bool
    def __init__(self, signal: _Optional[_Union[LearningSignal, _Mapping]] = ..., intake_path: _Optional[_Union[IntakePath, str]] = ..., priority_bp: _Optional[int] = ..., frequency: _Optional[int] = ..., sequence: _Optional[int] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., erased: bool = ...) -> None: ...

class SealedSignal(_message.Message):
    __slots__ = ("signal_id", "idempotency_key", "domain", "intake_path", "priority_bp", "frequency", "sequence", "captured_at", "sealed")
    SIGNAL_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    INTAKE_PATH_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_BP_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    signal_id: str
    idempotency_key: str
    domain: _gold_pb2.GoldDomain
    intake_path: IntakePath
    priority_bp: int
    frequency: int
    sequence: int
    captured_at: _timestamp_pb2.Timestamp
    sealed: bytes
    def __init__(self, signal_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., domain: _Optional[_Union[_gold_pb2.GoldDomain, str]] = ..., intake_path: _Optional[_Union[IntakePath, str]] = ..., priority_bp: _Optional[int] = ..., frequency: _Optional[int] = ..., sequence: _Optional[int] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sealed: _Optional[bytes] = ...) -> None: ...
