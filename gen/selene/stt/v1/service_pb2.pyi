import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.provider.v1 import provider_pb2 as _provider_pb2
from selene.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TranscriptVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSCRIPT_VERDICT_UNSPECIFIED: _ClassVar[TranscriptVerdict]
    TRANSCRIPT_VERDICT_ACCEPTED: _ClassVar[TranscriptVerdict]
    TRANSCRIPT_VERDICT_REJECTED: _ClassVar[TranscriptVerdict]
TRANSCRIPT_VERDICT_UNSPECIFIED: TranscriptVerdict
TRANSCRIPT_VERDICT_ACCEPTED: TranscriptVerdict
TRANSCRIPT_VERDICT_REJECTED: TranscriptVerdict

class TranscribeRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: TranscribeConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[TranscribeConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class TranscribeConfig(_message.Message):
    __slots__ = ("audio_format", "scope", "locale", "idempotency_key")
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    audio_format: _audio_pb2.AudioFormat
    scope: _route_pb2.RouteScope
    locale: str
    idempotency_key: str
    def __init__(self, audio_format: _Optional[_Union[_audio_pb2.AudioFormat, _Mapping]] = ..., scope: _Optional[_Union[_route_pb2.RouteScope, _Mapping]] = ..., locale: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class TranscribeResponse(_message.Message):
    __slots__ = ("started", "interim", "switched", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    SWITCHED_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: TranscribeStarted
    interim: InterimTranscript
    switched: _route_pb2.ProviderSwitched
    final: FinalTranscript
    def __init__(self, started: _Optional[_Union[TranscribeStarted, _Mapping]] = ..., interim: _Optional[_Union[InterimTranscript, _Mapping]] = ..., switched: _Optional[_Union[_route_pb2.ProviderSwitched, _Mapping]] = ..., final: _Optional[_Union[FinalTranscript, _Mapping]] = ...) -> None: ...

class TranscribeStarted(_message.Message):
    __slots__ = ("request_id", "config")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    config: TranscribeConfig
    def __init__(self, request_id: _Optional[str] = ..., config: _Optional[_Union[TranscribeConfig, _Mapping]] = ...) -> None: ...

class InterimTranscript(_message.Message):
    __slots__ = ("text", "audio_end")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_END_FIELD_NUMBER: _ClassVar[int]
    text: str
    audio_end: _duration_pb2.Duration
    def __init__(self, text: _Optional[str] = ..., audio_end: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TranscribedWord(_message.Message):
    __slots__ = ("text", "start", "end", "confidence_bp")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_BP_FIELD_NUMBER: _ClassVar[int]
    text: str
    start: _duration_pb2.Duration
    end: _duration_pb2.Duration
    confidence_bp: int
    def __init__(self, text: _Optional[str] = ..., start: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., end: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., confidence_bp: _Optional[int] = ...) -> None: ...

class Transcript(_message.Message):
    __slots__ = ("text", "words", "audio")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    text: str
    words: _containers.RepeatedCompositeFieldContainer[TranscribedWord]
    audio: _duration_pb2.Duration
    def __init__(self, text: _Optional[str] = ..., words: _Optional[_Iterable[_Union[TranscribedWord, _Mapping]]] = ..., audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FinalTranscript(_message.Message):
    __slots__ = ("transcript", "verdict", "reason_code", "result", "route")
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    transcript: Transcript
    verdict: TranscriptVerdict
    reason_code: str
    result: _provider_pb2.ProviderResultV1
    route: _route_pb2.RouteTaken
    def __init__(self, transcript: _Optional[_Union[Transcript, _Mapping]] = ..., verdict: _Optional[_Union[TranscriptVerdict, str]] = ..., reason_code: _Optional[str] = ..., result: _Optional[_Union[_provider_pb2.ProviderResultV1, _Mapping]] = ..., route: _Optional[_Union[_route_pb2.RouteTaken, _Mapping]] = ...) -> None: ...
