from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScopeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_TYPE_UNSPECIFIED: _ClassVar[ScopeType]
    SCOPE_TYPE_GLOBAL: _ClassVar[ScopeType]
    SCOPE_TYPE_TENANT: _ClassVar[ScopeType]
    SCOPE_TYPE_LOCALE: _ClassVar[ScopeType]
    SCOPE_TYPE_CHANNEL: _ClassVar[ScopeType]
    SCOPE_TYPE_USER: _ClassVar[ScopeType]
    SCOPE_TYPE_DEVICE: _ClassVar[ScopeType]
SCOPE_TYPE_UNSPECIFIED: ScopeType
SCOPE_TYPE_GLOBAL: ScopeType
SCOPE_TYPE_TENANT: ScopeType
SCOPE_TYPE_LOCALE: ScopeType
SCOPE_TYPE_CHANNEL: ScopeType
SCOPE_TYPE_USER: ScopeType
SCOPE_TYPE_DEVICE: ScopeType

class TurnRef(_message.Message):
    __slots__ = ("correlation_id", "turn_id")
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    turn_id: str
    def __init__(self, correlation_id: _Optional[str] = ..., turn_id: _Optional[str] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("scope_type", "scope_id")
    SCOPE_TYPE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    scope_type: ScopeType
    scope_id: str
    def __init__(self, scope_type: _Optional[_Union[ScopeType, str]] = ..., scope_id: _Optional[str] = ...) -> None: ...
