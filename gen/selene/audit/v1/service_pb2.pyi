import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.audit.v1 import audit_pb2 as _audit_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.governance.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListEventsRequest(_message.Message):
    __slots__ = ("tenant_id", "owner", "transition", "correlation_id", "session_id", "since", "until", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    owner: str
    transition: str
    correlation_id: str
    session_id: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., owner: _Optional[str] = ..., transition: _Optional[str] = ..., correlation_id: _Optional[str] = ..., session_id: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "page")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_audit_pb2.ChainedEvent]
    page: _paging_pb2.PageInfo
    def __init__(self, events: _Optional[_Iterable[_Union[_audit_pb2.ChainedEvent, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("tenant_id", "from_sequence")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    from_sequence: int
    def __init__(self, tenant_id: _Optional[str] = ..., from_sequence: _Optional[int] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _audit_pb2.ChainedEvent
    def __init__(self, event: _Optional[_Union[_audit_pb2.ChainedEvent, _Mapping]] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ("tenant_id", "ledger")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    ledger: str
    def __init__(self, tenant_id: _Optional[str] = ..., ledger: _Optional[str] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "public_key")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    checkpoint: _audit_pb2.Checkpoint
    public_key: bytes
    def __init__(self, checkpoint: _Optional[_Union[_audit_pb2.Checkpoint, _Mapping]] = ..., public_key: _Optional[bytes] = ...) -> None: ...

class GetInclusionProofRequest(_message.Message):
    __slots__ = ("tenant_id", "sequence", "tree_size")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    sequence: int
    tree_size: int
    def __init__(self, tenant_id: _Optional[str] = ..., sequence: _Optional[int] = ..., tree_size: _Optional[int] = ...) -> None: ...

class GetInclusionProofResponse(_message.Message):
    __slots__ = ("event", "proof", "root_hash")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    ROOT_HASH_FIELD_NUMBER: _ClassVar[int]
    event: _audit_pb2.ChainedEvent
    proof: _audit_pb2.InclusionProof
    root_hash: bytes
    def __init__(self, event: _Optional[_Union[_audit_pb2.ChainedEvent, _Mapping]] = ..., proof: _Optional[_Union[_audit_pb2.InclusionProof, _Mapping]] = ..., root_hash: _Optional[bytes] = ...) -> None: ...

class GetConsistencyProofRequest(_message.Message):
    __slots__ = ("tenant_id", "first_size", "second_size")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SIZE_FIELD_NUMBER: _ClassVar[int]
    SECOND_SIZE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    first_size: int
    second_size: int
    def __init__(self, tenant_id: _Optional[str] = ..., first_size: _Optional[int] = ..., second_size: _Optional[int] = ...) -> None: ...

class GetConsistencyProofResponse(_message.Message):
    __slots__ = ("proof", "first_root", "second_root")
    PROOF_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROOT_FIELD_NUMBER: _ClassVar[int]
    SECOND_ROOT_FIELD_NUMBER: _ClassVar[int]
    proof: _audit_pb2.ConsistencyProof
    first_root: bytes
    second_root: bytes
    def __init__(self, proof: _Optional[_Union[_audit_pb2.ConsistencyProof, _Mapping]] = ..., first_root: _Optional[bytes] = ..., second_root: _Optional[bytes] = ...) -> None: ...

class VerifyLedgerRequest(_message.Message):
    __slots__ = ("tenant_id",)
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    def __init__(self, tenant_id: _Optional[str] = ...) -> None: ...

class VerifyLedgerResponse(_message.Message):
    __slots__ = ("whole", "rows", "checkpoints", "findings")
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    whole: bool
    rows: int
    checkpoints: int
    findings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, whole: bool = ..., rows: _Optional[int] = ..., checkpoints: _Optional[int] = ..., findings: _Optional[_Iterable[str]] = ...) -> None: ...

class CheckTrailRequest(_message.Message):
    __slots__ = ("tenant_id", "artifact_id", "rollout_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    artifact_id: str
    rollout_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., rollout_id: _Optional[str] = ...) -> None: ...

class CheckTrailResponse(_message.Message):
    __slots__ = ("subject", "rollout_id", "complete", "expected", "found", "rows")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    subject: _decision_pb2.ArtifactRef
    rollout_id: str
    complete: bool
    expected: int
    found: int
    rows: _containers.RepeatedCompositeFieldContainer[_audit_pb2.TrailRow]
    def __init__(self, subject: _Optional[_Union[_decision_pb2.ArtifactRef, _Mapping]] = ..., rollout_id: _Optional[str] = ..., complete: bool = ..., expected: _Optional[int] = ..., found: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[_audit_pb2.TrailRow, _Mapping]]] = ...) -> None: ...
