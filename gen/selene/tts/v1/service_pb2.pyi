import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.provider.v1 import provider_pb2 as _provider_pb2
from selene.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TextMarkup(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT_MARKUP_UNSPECIFIED: _ClassVar[TextMarkup]
    TEXT_MARKUP_PLAIN: _ClassVar[TextMarkup]
    TEXT_MARKUP_SSML: _ClassVar[TextMarkup]

class SpeechMarkKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPEECH_MARK_KIND_UNSPECIFIED: _ClassVar[SpeechMarkKind]
    SPEECH_MARK_KIND_SENTENCE: _ClassVar[SpeechMarkKind]
    SPEECH_MARK_KIND_WORD: _ClassVar[SpeechMarkKind]
    SPEECH_MARK_KIND_NAMED: _ClassVar[SpeechMarkKind]

class SynthesizeOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYNTHESIZE_OUTCOME_UNSPECIFIED: _ClassVar[SynthesizeOutcome]
    SYNTHESIZE_OUTCOME_COMPLETED: _ClassVar[SynthesizeOutcome]
    SYNTHESIZE_OUTCOME_INTERRUPTED: _ClassVar[SynthesizeOutcome]
TEXT_MARKUP_UNSPECIFIED: TextMarkup
TEXT_MARKUP_PLAIN: TextMarkup
TEXT_MARKUP_SSML: TextMarkup
SPEECH_MARK_KIND_UNSPECIFIED: SpeechMarkKind
SPEECH_MARK_KIND_SENTENCE: SpeechMarkKind
SPEECH_MARK_KIND_WORD: SpeechMarkKind
SPEECH_MARK_KIND_NAMED: SpeechMarkKind
SYNTHESIZE_OUTCOME_UNSPECIFIED: SynthesizeOutcome
SYNTHESIZE_OUTCOME_COMPLETED: SynthesizeOutcome
SYNTHESIZE_OUTCOME_INTERRUPTED: SynthesizeOutcome

class SynthesizeRequest(_message.Message):
    __slots__ = ("config", "interrupt")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    config: SynthesizeConfig
    interrupt: SynthesizeInterrupt
    def __init__(self, config: _Optional[_Union[SynthesizeConfig, _Mapping]] = ..., interrupt: _Optional[_Union[SynthesizeInterrupt, _Mapping]] = ...) -> None: ...

class SynthesizeConfig(_message.Message):
    __slots__ = ("text", "markup", "locale", "rate_percent", "audio_format", "scope", "idempotency_key")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MARKUP_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    RATE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    text: str
    markup: TextMarkup
    locale: str
    rate_percent: int
    audio_format: _audio_pb2.AudioFormat
    scope: _route_pb2.RouteScope
    idempotency_key: str
    def __init__(self, text: _Optional[str] = ..., markup: _Optional[_Union[TextMarkup, str]] = ..., locale: _Optional[str] = ..., rate_percent: _Optional[int] = ..., audio_format: _Optional[_Union[_audio_pb2.AudioFormat, _Mapping]] = ..., scope: _Optional[_Union[_route_pb2.RouteScope, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SynthesizeInterrupt(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SynthesizeResponse(_message.Message):
    __slots__ = ("started", "mark", "chunk", "switched", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: SynthesizeStarted
    mark: SpeechMark
    chunk: SpeechChunk
    switched: SpeechSwitched
    final: SynthesizeFinal
    def __init__(self, started: _Optional[_Union[SynthesizeStarted, _Mapping]] = ..., mark: _Optional[_Union[SpeechMark, _Mapping]] = ..., chunk: _Optional[_Union[SpeechChunk, _Mapping]] = ..., switched: _Optional[_Union[SpeechSwitched, _Mapping]] = ..., final: _Optional[_Union[SynthesizeFinal, _Mapping]] = ...) -> None: ...

class SynthesizeStarted(_message.Message):
    __slots__ = ("request_id", "config")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    config: SynthesizeConfig
    def __init__(self, request_id: _Optional[str] = ..., config: _Optional[_Union[SynthesizeConfig, _Mapping]] = ...) -> None: ...

class SpeechMark(_message.Message):
    __slots__ = ("kind", "sample_offset", "text_offset", "text_length", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: SpeechMarkKind
    sample_offset: int
    text_offset: int
    text_length: int
    name: str
    def __init__(self, kind: _Optional[_Union[SpeechMarkKind, str]] = ..., sample_offset: _Optional[int] = ..., text_offset: _Optional[int] = ..., text_length: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class SpeechChunk(_message.Message):
    __slots__ = ("sequence", "sample_offset", "audio")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    sample_offset: int
    audio: bytes
    def __init__(self, sequence: _Optional[int] = ..., sample_offset: _Optional[int] = ..., audio: _Optional[bytes] = ...) -> None: ...

class SpeechSwitched(_message.Message):
    __slots__ = ("provider", "resumed_at", "void_from_sample")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    RESUMED_AT_FIELD_NUMBER: _ClassVar[int]
    VOID_FROM_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    provider: _route_pb2.ProviderSwitched
    resumed_at: int
    void_from_sample: int
    def __init__(self, provider: _Optional[_Union[_route_pb2.ProviderSwitched, _Mapping]] = ..., resumed_at: _Optional[int] = ..., void_from_sample: _Optional[int] = ...) -> None: ...

class SynthesizeFinal(_message.Message):
    __slots__ = ("outcome", "audio", "result", "route")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    outcome: SynthesizeOutcome
    audio: _duration_pb2.Duration
    result: _provider_pb2.ProviderResultV1
    route: _route_pb2.RouteTaken
    def __init__(self, outcome: _Optional[_Union[SynthesizeOutcome, str]] = ..., audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., result: _Optional[_Union[_provider_pb2.ProviderResultV1, _Mapping]] = ..., route: _Optional[_Union[_route_pb2.RouteTaken, _Mapping]] = ...) -> None: ...

class ReportComplaintRequest(_message.Message):
    __slots__ = ("tenant_id", "request_id", "reason_code", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    request_id: str
    reason_code: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason_code: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ReportComplaintResponse(_message.Message):
    __slots__ = ("provider_ref", "counted")
    PROVIDER_REF_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    provider_ref: str
    counted: bool
    def __init__(self, provider_ref: _Optional[str] = ..., counted: bool = ...) -> None: ...
