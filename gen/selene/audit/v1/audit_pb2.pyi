import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import scope_pb2 as _scope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrailRowState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAIL_ROW_STATE_UNSPECIFIED: _ClassVar[TrailRowState]
    TRAIL_ROW_STATE_FOUND: _ClassVar[TrailRowState]
    TRAIL_ROW_STATE_MISSING: _ClassVar[TrailRowState]
    TRAIL_ROW_STATE_MISPLACED: _ClassVar[TrailRowState]
TRAIL_ROW_STATE_UNSPECIFIED: TrailRowState
TRAIL_ROW_STATE_FOUND: TrailRowState
TRAIL_ROW_STATE_MISSING: TrailRowState
TRAIL_ROW_STATE_MISPLACED: TrailRowState

class AuditEvent(_message.Message):
    __slots__ = ("event_id", "sequence", "occurred_at", "tenant_id", "owner", "actor", "transition", "reason_code", "scope", "turn", "session_id", "device_id", "idempotency_key", "hashes", "facts")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    sequence: int
    occurred_at: _timestamp_pb2.Timestamp
    tenant_id: str
    owner: str
    actor: str
    transition: str
    reason_code: str
    scope: _scope_pb2.Scope
    turn: _scope_pb2.TurnRef
    session_id: str
    device_id: str
    idempotency_key: str
    hashes: _containers.RepeatedCompositeFieldContainer[NamedHash]
    facts: _containers.RepeatedCompositeFieldContainer[NamedFact]
    def __init__(self, event_id: _Optional[str] = ..., sequence: _Optional[int] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tenant_id: _Optional[str] = ..., owner: _Optional[str] = ..., actor: _Optional[str] = ..., transition: _Optional[str] = ..., reason_code: _Optional[str] = ..., scope: _Optional[_Union[_scope_pb2.Scope, _Mapping]] = ..., turn: _Optional[_Union[_scope_pb2.TurnRef, _Mapping]] = ..., session_id: _Optional[str] = ..., device_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., hashes: _Optional[_Iterable[_Union[NamedHash, _Mapping]]] = ..., facts: _Optional[_Iterable[_Union[NamedFact, _Mapping]]] = ...) -> None: ...

class NamedHash(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class NamedFact(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class ChainedEvent(_message.Message):
    __slots__ = ("event", "prev_hash", "row_hash")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PREV_HASH_FIELD_NUMBER: _ClassVar[int]
    ROW_HASH_FIELD_NUMBER: _ClassVar[int]
    event: AuditEvent
    prev_hash: bytes
    row_hash: bytes
    def __init__(self, event: _Optional[_Union[AuditEvent, _Mapping]] = ..., prev_hash: _Optional[bytes] = ..., row_hash: _Optional[bytes] = ...) -> None: ...

class TrailRow(_message.Message):
    __slots__ = ("transition", "facts", "state", "event")
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    transition: str
    facts: _containers.RepeatedCompositeFieldContainer[NamedFact]
    state: TrailRowState
    event: AuditEvent
    def __init__(self, transition: _Optional[str] = ..., facts: _Optional[_Iterable[_Union[NamedFact, _Mapping]]] = ..., state: _Optional[_Union[TrailRowState, str]] = ..., event: _Optional[_Union[AuditEvent, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("ledger", "tenant_id", "tree_size", "root_hash", "signed_at", "key_id", "signature")
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    ROOT_HASH_FIELD_NUMBER: _ClassVar[int]
    SIGNED_AT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ledger: str
    tenant_id: str
    tree_size: int
    root_hash: bytes
    signed_at: _timestamp_pb2.Timestamp
    key_id: str
    signature: bytes
    def __init__(self, ledger: _Optional[str] = ..., tenant_id: _Optional[str] = ..., tree_size: _Optional[int] = ..., root_hash: _Optional[bytes] = ..., signed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class InclusionProof(_message.Message):
    __slots__ = ("leaf_index", "tree_size", "path")
    LEAF_INDEX_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    leaf_index: int
    tree_size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, leaf_index: _Optional[int] = ..., tree_size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ConsistencyProof(_message.Message):
    __slots__ = ("first_size", "second_size", "path")
    FIRST_SIZE_FIELD_NUMBER: _ClassVar[int]
    SECOND_SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    first_size: int
    second_size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, first_size: _Optional[int] = ..., second_size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...
