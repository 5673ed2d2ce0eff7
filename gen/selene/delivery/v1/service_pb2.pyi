import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.delivery.v1 import delivery_pb2 as _delivery_pb2
from selene.routing.v1 import routing_pb2 as _routing_pb2
from selene.routing.v1 import service_pb2 as _service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CancelOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_OUTCOME_UNSPECIFIED: _ClassVar[CancelOutcome]
    CANCEL_OUTCOME_TAKEN_BACK: _ClassVar[CancelOutcome]
    CANCEL_OUTCOME_PROVIDER_ASKED: _ClassVar[CancelOutcome]
    CANCEL_OUTCOME_NOTHING_MORE_SENT: _ClassVar[CancelOutcome]

class Resolution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESOLUTION_UNSPECIFIED: _ClassVar[Resolution]
    RESOLUTION_SENT: _ClassVar[Resolution]
    RESOLUTION_NOT_SENT_RETRY: _ClassVar[Resolution]
    RESOLUTION_NOT_SENT_GIVE_UP: _ClassVar[Resolution]
CANCEL_OUTCOME_UNSPECIFIED: CancelOutcome
CANCEL_OUTCOME_TAKEN_BACK: CancelOutcome
CANCEL_OUTCOME_PROVIDER_ASKED: CancelOutcome
CANCEL_OUTCOME_NOTHING_MORE_SENT: CancelOutcome
RESOLUTION_UNSPECIFIED: Resolution
RESOLUTION_SENT: Resolution
RESOLUTION_NOT_SENT_RETRY: Resolution
RESOLUTION_NOT_SENT_GIVE_UP: Resolution

class SendRequest(_message.Message):
    __slots__ = ("intent",)
    INTENT_FIELD_NUMBER: _ClassVar[int]
    intent: _delivery_pb2.Intent
    def __init__(self, intent: _Optional[_Union[_delivery_pb2.Intent, _Mapping]] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("delivery", "repeated")
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    repeated: bool
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ..., repeated: bool = ...) -> None: ...

class SendBatchRequest(_message.Message):
    __slots__ = ("tenant_id", "intents")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    intents: _containers.RepeatedCompositeFieldContainer[_delivery_pb2.Intent]
    def __init__(self, tenant_id: _Optional[str] = ..., intents: _Optional[_Iterable[_Union[_delivery_pb2.Intent, _Mapping]]] = ...) -> None: ...

class SendBatchItem(_message.Message):
    __slots__ = ("delivery", "repeated", "refusal", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    repeated: bool
    refusal: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ..., repeated: bool = ..., refusal: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SendBatchResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SendBatchItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SendBatchItem, _Mapping]]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("tenant_id", "delivery_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    delivery_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., delivery_id: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("tenant_id", "state", "channel", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    state: _delivery_pb2.DeliveryState
    channel: _delivery_pb2.DeliveryChannel
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., state: _Optional[_Union[_delivery_pb2.DeliveryState, str]] = ..., channel: _Optional[_Union[_delivery_pb2.DeliveryChannel, str]] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("deliveries", "page")
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[_delivery_pb2.Delivery]
    page: _paging_pb2.PageInfo
    def __init__(self, deliveries: _Optional[_Iterable[_Union[_delivery_pb2.Delivery, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("tenant_id", "delivery_id", "after", "from_now")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    delivery_id: str
    after: int
    from_now: bool
    def __init__(self, tenant_id: _Optional[str] = ..., delivery_id: _Optional[str] = ..., after: _Optional[int] = ..., from_now: bool = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("cursor", "delivery")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    delivery: _delivery_pb2.Delivery
    def __init__(self, cursor: _Optional[int] = ..., delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("tenant_id", "delivery_id", "reason_code", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    delivery_id: str
    reason_code: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., delivery_id: _Optional[str] = ..., reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("delivery", "outcome")
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    outcome: CancelOutcome
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ..., outcome: _Optional[_Union[CancelOutcome, str]] = ...) -> None: ...

class ResolveRequest(_message.Message):
    __slots__ = ("tenant_id", "delivery_id", "resolution", "reason_code", "evidence_ref", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_REF_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    delivery_id: str
    resolution: Resolution
    reason_code: str
    evidence_ref: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., delivery_id: _Optional[str] = ..., resolution: _Optional[_Union[Resolution, str]] = ..., reason_code: _Optional[str] = ..., evidence_ref: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ...) -> None: ...

class ReconcileRequest(_message.Message):
    __slots__ = ("tenant_id", "delivery_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    delivery_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., delivery_id: _Optional[str] = ...) -> None: ...

class ReconcileResponse(_message.Message):
    __slots__ = ("due",)
    DUE_FIELD_NUMBER: _ClassVar[int]
    due: int
    def __init__(self, due: _Optional[int] = ...) -> None: ...

class ListChannelsRequest(_message.Message):
    __slots__ = ("subject", "channel")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    subject: _routing_pb2.RoutingSubject
    channel: _delivery_pb2.DeliveryChannel
    def __init__(self, subject: _Optional[_Union[_routing_pb2.RoutingSubject, _Mapping]] = ..., channel: _Optional[_Union[_delivery_pb2.DeliveryChannel, str]] = ...) -> None: ...

class ProviderPromise(_message.Message):
    __slots__ = ("key_window", "looks_up", "reports", "takes_back")
    KEY_WINDOW_FIELD_NUMBER: _ClassVar[int]
    LOOKS_UP_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    TAKES_BACK_FIELD_NUMBER: _ClassVar[int]
    key_window: _duration_pb2.Duration
    looks_up: bool
    reports: bool
    takes_back: bool
    def __init__(self, key_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., looks_up: bool = ..., reports: bool = ..., takes_back: bool = ...) -> None: ...

class ChannelProvider(_message.Message):
    __slots__ = ("standing", "promise")
    STANDING_FIELD_NUMBER: _ClassVar[int]
    PROMISE_FIELD_NUMBER: _ClassVar[int]
    standing: _service_pb2.ProviderStanding
    promise: ProviderPromise
    def __init__(self, standing: _Optional[_Union[_service_pb2.ProviderStanding, _Mapping]] = ..., promise: _Optional[_Union[ProviderPromise, _Mapping]] = ...) -> None: ...

class ChannelStanding(_message.Message):
    __slots__ = ("channel", "providers", "refusal")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    channel: _delivery_pb2.DeliveryChannel
    providers: _containers.RepeatedCompositeFieldContainer[ChannelProvider]
    refusal: str
    def __init__(self, channel: _Optional[_Union[_delivery_pb2.DeliveryChannel, str]] = ..., providers: _Optional[_Iterable[_Union[ChannelProvider, _Mapping]]] = ..., refusal: _Optional[str] = ...) -> None: ...

class ListChannelsResponse(_message.Message):
    __slots__ = ("channels",)
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[ChannelStanding]
    def __init__(self, channels: _Optional[_Iterable[_Union[ChannelStanding, _Mapping]]] = ...) -> None: ...
