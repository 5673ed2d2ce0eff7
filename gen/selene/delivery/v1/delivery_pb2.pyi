import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryChannel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_CHANNEL_UNSPECIFIED: _ClassVar[DeliveryChannel]
    DELIVERY_CHANNEL_SMS: _ClassVar[DeliveryChannel]
    DELIVERY_CHANNEL_EMAIL: _ClassVar[DeliveryChannel]
    DELIVERY_CHANNEL_WHATSAPP: _ClassVar[DeliveryChannel]
    DELIVERY_CHANNEL_WECHAT: _ClassVar[DeliveryChannel]
    DELIVERY_CHANNEL_PUSH: _ClassVar[DeliveryChannel]

class DeliveryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_STATE_UNSPECIFIED: _ClassVar[DeliveryState]
    DELIVERY_STATE_ACCEPTED: _ClassVar[DeliveryState]
    DELIVERY_STATE_LEASED: _ClassVar[DeliveryState]
    DELIVERY_STATE_SENDING: _ClassVar[DeliveryState]
    DELIVERY_STATE_SENT_ACKED: _ClassVar[DeliveryState]
    DELIVERY_STATE_RETRYABLE: _ClassVar[DeliveryState]
    DELIVERY_STATE_UNKNOWN: _ClassVar[DeliveryState]
    DELIVERY_STATE_FAILED_DEFINITE: _ClassVar[DeliveryState]
    DELIVERY_STATE_CANCELLED: _ClassVar[DeliveryState]
    DELIVERY_STATE_EXPIRED: _ClassVar[DeliveryState]

class DeliveryReceipt(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_RECEIPT_UNSPECIFIED: _ClassVar[DeliveryReceipt]
    DELIVERY_RECEIPT_DELIVERED: _ClassVar[DeliveryReceipt]
    DELIVERY_RECEIPT_READ: _ClassVar[DeliveryReceipt]
    DELIVERY_RECEIPT_FAILED: _ClassVar[DeliveryReceipt]

class DeliveryPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_PRIORITY_UNSPECIFIED: _ClassVar[DeliveryPriority]
    DELIVERY_PRIORITY_BULK: _ClassVar[DeliveryPriority]
    DELIVERY_PRIORITY_NORMAL: _ClassVar[DeliveryPriority]
    DELIVERY_PRIORITY_URGENT: _ClassVar[DeliveryPriority]

class DeliveryAttemptKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_ATTEMPT_KIND_UNSPECIFIED: _ClassVar[DeliveryAttemptKind]
    DELIVERY_ATTEMPT_KIND_FRESH: _ClassVar[DeliveryAttemptKind]
    DELIVERY_ATTEMPT_KIND_RESEND: _ClassVar[DeliveryAttemptKind]
    DELIVERY_ATTEMPT_KIND_FALLBACK: _ClassVar[DeliveryAttemptKind]
DELIVERY_CHANNEL_UNSPECIFIED: DeliveryChannel
DELIVERY_CHANNEL_SMS: DeliveryChannel
DELIVERY_CHANNEL_EMAIL: DeliveryChannel
DELIVERY_CHANNEL_WHATSAPP: DeliveryChannel
DELIVERY_CHANNEL_WECHAT: DeliveryChannel
DELIVERY_CHANNEL_PUSH: DeliveryChannel
DELIVERY_STATE_UNSPECIFIED: DeliveryState
DELIVERY_STATE_ACCEPTED: DeliveryState
DELIVERY_STATE_LEASED: DeliveryState
DELIVERY_STATE_SENDING: DeliveryState
DELIVERY_STATE_SENT_ACKED: DeliveryState
DELIVERY_STATE_RETRYABLE: DeliveryState
DELIVERY_STATE_UNKNOWN: DeliveryState
DELIVERY_STATE_FAILED_DEFINITE: DeliveryState
DELIVERY_STATE_CANCELLED: DeliveryState
DELIVERY_STATE_EXPIRED: DeliveryState
DELIVERY_RECEIPT_UNSPECIFIED: DeliveryReceipt
DELIVERY_RECEIPT_DELIVERED: DeliveryReceipt
DELIVERY_RECEIPT_READ: DeliveryReceipt
DELIVERY_RECEIPT_FAILED: DeliveryReceipt
DELIVERY_PRIORITY_UNSPECIFIED: DeliveryPriority
DELIVERY_PRIORITY_BULK: DeliveryPriority
DELIVERY_PRIORITY_NORMAL: DeliveryPriority
DELIVERY_PRIORITY_URGENT: DeliveryPriority
DELIVERY_ATTEMPT_KIND_UNSPECIFIED: DeliveryAttemptKind
DELIVERY_ATTEMPT_KIND_FRESH: DeliveryAttemptKind
DELIVERY_ATTEMPT_KIND_RESEND: DeliveryAttemptKind
DELIVERY_ATTEMPT_KIND_FALLBACK: DeliveryAttemptKind

class Recipient(_message.Message):
    __slots__ = ("recipient_id", "address", "time_zone")
    RECIPIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    recipient_id: str
    address: str
    time_zone: str
    def __init__(self, recipient_id: _Optional[str] = ..., address: _Optional[str] = ..., time_zone: _Optional[str] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("filename", "media_type", "content")
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    filename: str
    media_type: str
    content: bytes
    def __init__(self, filename: _Optional[str] = ..., media_type: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class TextContent(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class TemplateContent(_message.Message):
    __slots__ = ("template", "locale", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    template: str
    locale: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, template: _Optional[str] = ..., locale: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EmailContent(_message.Message):
    __slots__ = ("subject", "text", "html", "attachments")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    HTML_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    subject: str
    text: str
    html: str
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    def __init__(self, subject: _Optional[str] = ..., text: _Optional[str] = ..., html: _Optional[str] = ..., attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ...) -> None: ...

class PushContent(_message.Message):
    __slots__ = ("title", "text", "data")
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    title: str
    text: str
    data: _containers.ScalarMap[str, str]
    def __init__(self, title: _Optional[str] = ..., text: _Optional[str] = ..., data: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("text", "template", "email", "push")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    text: TextContent
    template: TemplateContent
    email: EmailContent
    push: PushContent
    def __init__(self, text: _Optional[_Union[TextContent, _Mapping]] = ..., template: _Optional[_Union[TemplateContent, _Mapping]] = ..., email: _Optional[_Union[EmailContent, _Mapping]] = ..., push: _Optional[_Union[PushContent, _Mapping]] = ...) -> None: ...

class Intent(_message.Message):
    __slots__ = ("tenant_id", "message_id", "recipient", "channel", "content", "sender", "simulation_id", "priority", "not_before", "expires_at", "routing_channel")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    message_id: str
    recipient: Recipient
    channel: DeliveryChannel
    content: Content
    sender: str
    simulation_id: str
    priority: DeliveryPriority
    not_before: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    routing_channel: str
    def __init__(self, tenant_id: _Optional[str] = ..., message_id: _Optional[str] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ..., channel: _Optional[_Union[DeliveryChannel, str]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., sender: _Optional[str] = ..., simulation_id: _Optional[str] = ..., priority: _Optional[_Union[DeliveryPriority, str]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., routing_channel: _Optional[str] = ...) -> None: ...

class DeliveryAttempt(_message.Message):
    __slots__ = ("number", "provider_ref", "sent_at", "ended_at", "reason_code", "provider_idempotency_token_sent", "provider_request_id", "provider_message_id", "provider_ack_ref", "kind")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_IDEMPOTENCY_TOKEN_SENT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ACK_REF_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    number: int
    provider_ref: str
    sent_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    reason_code: str
    provider_idempotency_token_sent: str
    provider_request_id: str
    provider_message_id: str
    provider_ack_ref: str
    kind: DeliveryAttemptKind
    def __init__(self, number: _Optional[int] = ..., provider_ref: _Optional[str] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason_code: _Optional[str] = ..., provider_idempotency_token_sent: _Optional[str] = ..., provider_request_id: _Optional[str] = ..., provider_message_id: _Optional[str] = ..., provider_ack_ref: _Optional[str] = ..., kind: _Optional[_Union[DeliveryAttemptKind, str]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("delivery_id", "tenant_id", "message_id", "recipient_id", "channel", "state", "reason_code", "receipt", "accepted_at", "since", "next_at", "expires_at", "attempts", "revision", "cancel_reason_code")
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    delivery_id: str
    tenant_id: str
    message_id: str
    recipient_id: str
    channel: DeliveryChannel
    state: DeliveryState
    reason_code: str
    receipt: DeliveryReceipt
    accepted_at: _timestamp_pb2.Timestamp
    since: _timestamp_pb2.Timestamp
    next_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    attempts: _containers.RepeatedCompositeFieldContainer[DeliveryAttempt]
    revision: int
    cancel_reason_code: str
    def __init__(self, delivery_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., message_id: _Optional[str] = ..., recipient_id: _Optional[str] = ..., channel: _Optional[_Union[DeliveryChannel, str]] = ..., state: _Optional[_Union[DeliveryState, str]] = ..., reason_code: _Optional[str] = ..., receipt: _Optional[_Union[DeliveryReceipt, str]] = ..., accepted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[DeliveryAttempt, _Mapping]]] = ..., revision: _Optional[int] = ..., cancel_reason_code: _Optional[str] = ...) -> None: ...
