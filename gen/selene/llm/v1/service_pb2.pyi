import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.provider.v1 import provider_pb2 as _provider_pb2
from selene.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RespondRequest(_message.Message):
    __slots__ = ("text", "locale", "said_at", "time_zone", "scope", "idempotency_key")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    SAID_AT_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    text: str
    locale: str
    said_at: _timestamp_pb2.Timestamp
    time_zone: str
    scope: _route_pb2.RouteScope
    idempotency_key: str
    def __init__(self, text: _Optional[str] = ..., locale: _Optional[str] = ..., said_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ..., scope: _Optional[_Union[_route_pb2.RouteScope, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RespondResponse(_message.Message):
    __slots__ = ("started", "delta", "switched", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: RespondStarted
    delta: ReplyDelta
    switched: _route_pb2.ProviderSwitched
    final: RespondFinal
    def __init__(self, started: _Optional[_Union[RespondStarted, _Mapping]] = ..., delta: _Optional[_Union[ReplyDelta, _Mapping]] = ..., switched: _Optional[_Union[_route_pb2.ProviderSwitched, _Mapping]] = ..., final: _Optional[_Union[RespondFinal, _Mapping]] = ...) -> None: ...

class RespondStarted(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class ReplyDelta(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class DecisionPacket(_message.Message):
    __slots__ = ("intent", "slots", "reply", "confidence_bp", "needs_clarification")
    INTENT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_BP_FIELD_NUMBER: _ClassVar[int]
    NEEDS_CLARIFICATION_FIELD_NUMBER: _ClassVar[int]
    intent: str
    slots: _containers.RepeatedCompositeFieldContainer[Slot]
    reply: str
    confidence_bp: int
    needs_clarification: bool
    def __init__(self, intent: _Optional[str] = ..., slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., reply: _Optional[str] = ..., confidence_bp: _Optional[int] = ..., needs_clarification: bool = ...) -> None: ...

class RespondFinal(_message.Message):
    __slots__ = ("packet", "result", "route")
    PACKET_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    packet: DecisionPacket
    result: _provider_pb2.ProviderResultV1
    route: _route_pb2.RouteTaken
    def __init__(self, packet: _Optional[_Union[DecisionPacket, _Mapping]] = ..., result: _Optional[_Union[_provider_pb2.ProviderResultV1, _Mapping]] = ..., route: _Optional[_Union[_route_pb2.RouteTaken, _Mapping]] = ...) -> None: ...
