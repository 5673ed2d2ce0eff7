import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Environment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENVIRONMENT_UNSPECIFIED: _ClassVar[Environment]
    ENVIRONMENT_DEV: _ClassVar[Environment]
    ENVIRONMENT_STAGE: _ClassVar[Environment]
    ENVIRONMENT_PROD: _ClassVar[Environment]

class SecretState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SECRET_STATE_UNSPECIFIED: _ClassVar[SecretState]
    SECRET_STATE_ACTIVE: _ClassVar[SecretState]
    SECRET_STATE_OVERLAPPING: _ClassVar[SecretState]
    SECRET_STATE_RETIRED: _ClassVar[SecretState]
    SECRET_STATE_REVOKED: _ClassVar[SecretState]

class AccessOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCESS_OUTCOME_UNSPECIFIED: _ClassVar[AccessOutcome]
    ACCESS_OUTCOME_ALLOW: _ClassVar[AccessOutcome]
    ACCESS_OUTCOME_DENY: _ClassVar[AccessOutcome]

class AccessReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCESS_REASON_UNSPECIFIED: _ClassVar[AccessReason]
    ACCESS_REASON_GRANTED: _ClassVar[AccessReason]
    ACCESS_REASON_NO_GRANT: _ClassVar[AccessReason]
    ACCESS_REASON_HANDLE_UNKNOWN: _ClassVar[AccessReason]
    ACCESS_REASON_SECRET_REVOKED: _ClassVar[AccessReason]
    ACCESS_REASON_ROTATION_OVERDUE: _ClassVar[AccessReason]
    ACCESS_REASON_BACKEND_UNAVAILABLE: _ClassVar[AccessReason]
ENVIRONMENT_UNSPECIFIED: Environment
ENVIRONMENT_DEV: Environment
ENVIRONMENT_STAGE: Environment
ENVIRONMENT_PROD: Environment
SECRET_STATE_UNSPECIFIED: SecretState
SECRET_STATE_ACTIVE: SecretState
SECRET_STATE_OVERLAPPING: SecretState
SECRET_STATE_RETIRED: SecretState
SECRET_STATE_REVOKED: SecretState
ACCESS_OUTCOME_UNSPECIFIED: AccessOutcome
ACCESS_OUTCOME_ALLOW: AccessOutcome
ACCESS_OUTCOME_DENY: AccessOutcome
ACCESS_REASON_UNSPECIFIED: AccessReason
ACCESS_REASON_GRANTED: AccessReason
ACCESS_REASON_NO_GRANT: AccessReason
ACCESS_REASON_HANDLE_UNKNOWN: AccessReason
ACCESS_REASON_SECRET_REVOKED: AccessReason
ACCESS_REASON_ROTATION_OVERDUE: AccessReason
ACCESS_REASON_BACKEND_UNAVAILABLE: AccessReason

class SecretInfo(_message.Message):
    __slots__ = ("handle", "environment", "version", "state", "put_at", "rotate_by", "overlap_until", "granted_owners")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PUT_AT_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BY_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_UNTIL_FIELD_NUMBER: _ClassVar[int]
    GRANTED_OWNERS_FIELD_NUMBER: _ClassVar[int]
    handle: str
    environment: Environment
    version: int
    state: SecretState
    put_at: _timestamp_pb2.Timestamp
    rotate_by: _timestamp_pb2.Timestamp
    overlap_until: _timestamp_pb2.Timestamp
    granted_owners: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, handle: _Optional[str] = ..., environment: _Optional[_Union[Environment, str]] = ..., version: _Optional[int] = ..., state: _Optional[_Union[SecretState, str]] = ..., put_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rotate_by: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., overlap_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., granted_owners: _Optional[_Iterable[str]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("lease_id", "handle", "version", "owner", "issued_at", "expires_at")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    handle: str
    version: int
    owner: str
    issued_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, lease_id: _Optional[str] = ..., handle: _Optional[str] = ..., version: _Optional[int] = ..., owner: _Optional[str] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SealedSecret(_message.Message):
    __slots__ = ("sealing_key_id", "ephemeral_public_key", "ciphertext")
    SEALING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    sealing_key_id: str
    ephemeral_public_key: bytes
    ciphertext: bytes
    def __init__(self, sealing_key_id: _Optional[str] = ..., ephemeral_public_key: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class LeasePolicy(_message.Message):
    __slots__ = ("default_ttl", "max_ttl")
    DEFAULT_TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    default_ttl: _duration_pb2.Duration
    max_ttl: _duration_pb2.Duration
    def __init__(self, default_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
