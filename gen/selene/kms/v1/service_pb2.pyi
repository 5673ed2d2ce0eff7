import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.kms.v1 import kms_pb2 as _kms_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetSealingKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSealingKeyResponse(_message.Message):
    __slots__ = ("sealing_key_id", "public_key", "policy", "backend")
    SEALING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    sealing_key_id: str
    public_key: bytes
    policy: _kms_pb2.LeasePolicy
    backend: str
    def __init__(self, sealing_key_id: _Optional[str] = ..., public_key: _Optional[bytes] = ..., policy: _Optional[_Union[_kms_pb2.LeasePolicy, _Mapping]] = ..., backend: _Optional[str] = ...) -> None: ...

class PutSecretRequest(_message.Message):
    __slots__ = ("handle", "environment", "secret", "granted_owners", "overlap", "idempotency_key")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    GRANTED_OWNERS_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    handle: str
    environment: _kms_pb2.Environment
    secret: _kms_pb2.SealedSecret
    granted_owners: _containers.RepeatedScalarFieldContainer[str]
    overlap: _duration_pb2.Duration
    idempotency_key: str
    def __init__(self, handle: _Optional[str] = ..., environment: _Optional[_Union[_kms_pb2.Environment, str]] = ..., secret: _Optional[_Union[_kms_pb2.SealedSecret, _Mapping]] = ..., granted_owners: _Optional[_Iterable[str]] = ..., overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PutSecretResponse(_message.Message):
    __slots__ = ("secret",)
    SECRET_FIELD_NUMBER: _ClassVar[int]
    secret: _kms_pb2.SecretInfo
    def __init__(self, secret: _Optional[_Union[_kms_pb2.SecretInfo, _Mapping]] = ...) -> None: ...

class GetSecretRequest(_message.Message):
    __slots__ = ("handle",)
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    handle: str
    def __init__(self, handle: _Optional[str] = ...) -> None: ...

class GetSecretResponse(_message.Message):
    __slots__ = ("secret",)
    SECRET_FIELD_NUMBER: _ClassVar[int]
    secret: _kms_pb2.SecretInfo
    def __init__(self, secret: _Optional[_Union[_kms_pb2.SecretInfo, _Mapping]] = ...) -> None: ...

class ListSecretsRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _paging_pb2.PageRequest
    def __init__(self, page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListSecretsResponse(_message.Message):
    __slots__ = ("secrets", "page")
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[_kms_pb2.SecretInfo]
    page: _paging_pb2.PageInfo
    def __init__(self, secrets: _Optional[_Iterable[_Union[_kms_pb2.SecretInfo, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class RevokeSecretRequest(_message.Message):
    __slots__ = ("handle", "reason", "idempotency_key")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    handle: str
    reason: str
    idempotency_key: str
    def __init__(self, handle: _Optional[str] = ..., reason: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RevokeSecretResponse(_message.Message):
    __slots__ = ("secret", "leases_ended")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    LEASES_ENDED_FIELD_NUMBER: _ClassVar[int]
    secret: _kms_pb2.SecretInfo
    leases_ended: int
    def __init__(self, secret: _Optional[_Union[_kms_pb2.SecretInfo, _Mapping]] = ..., leases_ended: _Optional[int] = ...) -> None: ...

class EvaluateAccessRequest(_message.Message):
    __slots__ = ("handle", "owner")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    handle: str
    owner: str
    def __init__(self, handle: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class EvaluateAccessResponse(_message.Message):
    __slots__ = ("outcome", "reason")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    outcome: _kms_pb2.AccessOutcome
    reason: _kms_pb2.AccessReason
    def __init__(self, outcome: _Optional[_Union[_kms_pb2.AccessOutcome, str]] = ..., reason: _Optional[_Union[_kms_pb2.AccessReason, str]] = ...) -> None: ...

class IssueLeaseRequest(_message.Message):
    __slots__ = ("handle", "owner", "ttl", "idempotency_key")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    handle: str
    owner: str
    ttl: _duration_pb2.Duration
    idempotency_key: str
    def __init__(self, handle: _Optional[str] = ..., owner: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class IssueLeaseResponse(_message.Message):
    __slots__ = ("lease", "lease_ref")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_REF_FIELD_NUMBER: _ClassVar[int]
    lease: _kms_pb2.Lease
    lease_ref: str
    def __init__(self, lease: _Optional[_Union[_kms_pb2.Lease, _Mapping]] = ..., lease_ref: _Optional[str] = ...) -> None: ...

class EndLeaseRequest(_message.Message):
    __slots__ = ("lease_id", "idempotency_key")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    idempotency_key: str
    def __init__(self, lease_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class EndLeaseResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: _kms_pb2.Lease
    def __init__(self, lease: _Optional[_Union[_kms_pb2.Lease, _Mapping]] = ...) -> None: ...
