import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArtifactStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_STATUS_UNSPECIFIED: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_CANDIDATE: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_PROVISIONAL: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_ACTIVE: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_SUPERSEDED: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_REVOKED_PENDING_REBUILD: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_REVERTED: _ClassVar[ArtifactStatus]

class ConsumptionBlockReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSUMPTION_BLOCK_REASON_UNSPECIFIED: _ClassVar[ConsumptionBlockReason]
    CONSUMPTION_BLOCK_REASON_PROOF_MISSING: _ClassVar[ConsumptionBlockReason]
    CONSUMPTION_BLOCK_REASON_REPLAY_MISMATCH: _ClassVar[ConsumptionBlockReason]
    CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION: _ClassVar[ConsumptionBlockReason]
    CONSUMPTION_BLOCK_REASON_ROLLBACK_POINTER_MISSING: _ClassVar[ConsumptionBlockReason]
    CONSUMPTION_BLOCK_REASON_GATE_BUNDLE_INCOMPLETE: _ClassVar[ConsumptionBlockReason]
ARTIFACT_STATUS_UNSPECIFIED: ArtifactStatus
ARTIFACT_STATUS_CANDIDATE: ArtifactStatus
ARTIFACT_STATUS_PROVISIONAL: ArtifactStatus
ARTIFACT_STATUS_ACTIVE: ArtifactStatus
ARTIFACT_STATUS_SUPERSEDED: ArtifactStatus
ARTIFACT_STATUS_REVOKED_PENDING_REBUILD: ArtifactStatus
ARTIFACT_STATUS_REVERTED: ArtifactStatus
CONSUMPTION_BLOCK_REASON_UNSPECIFIED: ConsumptionBlockReason
CONSUMPTION_BLOCK_REASON_PROOF_MISSING: ConsumptionBlockReason
CONSUMPTION_BLOCK_REASON_REPLAY_MISMATCH: ConsumptionBlockReason
CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION: ConsumptionBlockReason
CONSUMPTION_BLOCK_REASON_ROLLBACK_POINTER_MISSING: ConsumptionBlockReason
CONSUMPTION_BLOCK_REASON_GATE_BUNDLE_INCOMPLETE: ConsumptionBlockReason

class ArtifactRow(_message.Message):
    __slots__ = ("artifact_id", "artifact_type", "artifact_version", "tenant_id", "scope", "package_hash", "payload_ref", "provenance_ref", "created_by", "idempotency_key", "created_at", "status", "rollback_pointer_ref", "signature", "signing_key_id", "sequence")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_REF_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_REF_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_POINTER_REF_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    artifact_type: str
    artifact_version: int
    tenant_id: str
    scope: _scope_pb2.Scope
    package_hash: bytes
    payload_ref: str
    provenance_ref: str
    created_by: str
    idempotency_key: str
    created_at: _timestamp_pb2.Timestamp
    status: ArtifactStatus
    rollback_pointer_ref: str
    signature: bytes
    signing_key_id: str
    sequence: int
    def __init__(self, artifact_id: _Optional[str] = ..., artifact_type: _Optional[str] = ..., artifact_version: _Optional[int] = ..., tenant_id: _Optional[str] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., package_hash: _Optional[bytes] = ..., payload_ref: _Optional[str] = ..., provenance_ref: _Optional[str] = ..., created_by: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[ArtifactStatus, str]] = ..., rollback_pointer_ref: _Optional[str] = ..., signature: _Optional[bytes] = ..., signing_key_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class ArtifactPointer(_message.Message):
    __slots__ = ("artifact_type", "tenant_id", "scope", "active_version", "active_package_hash", "rollback_version", "updated_at")
    ARTIFACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PACKAGE_HASH_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    artifact_type: str
    tenant_id: str
    scope: _scope_pb2.Scope
    active_version: int
    active_package_hash: bytes
    rollback_version: int
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, artifact_type: _Optional[str] = ..., tenant_id: _Optional[str] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., active_version: _Optional[int] = ..., active_package_hash: _Optional[bytes] = ..., rollback_version: _Optional[int] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ConsumptionProof(_message.Message):
    __slots__ = ("artifact_id", "artifact_type", "artifact_version", "consumer_engine_id", "consumer_capability_id", "apply_plan_hash", "replay_validation_hash", "shadow_eval_result_ref", "rollback_pointer_ref", "gate_bundle_ref")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_CAPABILITY_ID_FIELD_NUMBER: _ClassVar[int]
    APPLY_PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    REPLAY_VALIDATION_HASH_FIELD_NUMBER: _ClassVar[int]
    SHADOW_EVAL_RESULT_REF_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_POINTER_REF_FIELD_NUMBER: _ClassVar[int]
    GATE_BUNDLE_REF_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    artifact_type: str
    artifact_version: int
    consumer_engine_id: str
    consumer_capability_id: str
    apply_plan_hash: bytes
    replay_validation_hash: bytes
    shadow_eval_result_ref: str
    rollback_pointer_ref: str
    gate_bundle_ref: str
    def __init__(self, artifact_id: _Optional[str] = ..., artifact_type: _Optional[str] = ..., artifact_version: _Optional[int] = ..., consumer_engine_id: _Optional[str] = ..., consumer_capability_id: _Optional[str] = ..., apply_plan_hash: _Optional[bytes] = ..., replay_validation_hash: _Optional[bytes] = ..., shadow_eval_result_ref: _Optional[str] = ..., rollback_pointer_ref: _Optional[str] = ..., gate_bundle_ref: _Optional[str] = ...) -> None: ...
