import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from selene.provider.v1 import provider_pb2 as _provider_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteScope(_message.Message):
    __slots__ = ("tenant_id", "user_id", "channel", "region")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    channel: str
    region: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., channel: _Optional[str] = ..., region: _Optional[str] = ...) -> None: ...

class ProviderSwitched(_message.Message):
    __slots__ = ("from_provider_ref", "to_provider_ref", "reason_code")
    FROM_PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    TO_PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    from_provider_ref: str
    to_provider_ref: str
    reason_code: str
    def __init__(self, from_provider_ref: _Optional[str] = ..., to_provider_ref: _Optional[str] = ..., reason_code: _Optional[str] = ...) -> None: ...

class PassedOver(_message.Message):
    __slots__ = ("provider_ref", "reason_code")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    reason_code: str
    def __init__(self, provider_ref: _Optional[str] = ..., reason_code: _Optional[str] = ...) -> None: ...

class RouteAttempt(_message.Message):
    __slots__ = ("provider_ref", "status", "reason_code", "latency", "probe")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    status: _provider_pb2.ProviderStatus
    reason_code: str
    latency: _duration_pb2.Duration
    probe: bool
    def __init__(self, provider_ref: _Optional[str] = ..., status: _Optional[_Union[_provider_pb2.ProviderStatus, str]] = ..., reason_code: _Optional[str] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., probe: bool = ...) -> None: ...

class RouteTaken(_message.Message):
    __slots__ = ("request_id", "profile_id", "profile_version", "profile_hash", "attempts", "passed_over", "failover")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_HASH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PASSED_OVER_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    profile_id: str
    profile_version: int
    profile_hash: bytes
    attempts: _containers.RepeatedCompositeFieldContainer[RouteAttempt]
    passed_over: _containers.RepeatedCompositeFieldContainer[PassedOver]
    failover: bool
    def __init__(self, request_id: _Optional[str] = ..., profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., profile_hash: _Optional[bytes] = ..., attempts: _Optional[_Iterable[_Union[RouteAttempt, _Mapping]]] = ..., passed_over: _Optional[_Iterable[_Union[PassedOver, _Mapping]]] = ..., failover: bool = ...) -> None: ...
