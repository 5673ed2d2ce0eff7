import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.voiceid.v1 import voiceid_pb2 as _voiceid_pb2
from selene.voiceid.v2 import voiceid_pb2 as _voiceid_pb2_1
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReEnrollmentCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RE_ENROLLMENT_CAUSE_UNSPECIFIED: _ClassVar[ReEnrollmentCause]
    RE_ENROLLMENT_CAUSE_QUALITY_DECAY: _ClassVar[ReEnrollmentCause]
    RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION: _ClassVar[ReEnrollmentCause]
RE_ENROLLMENT_CAUSE_UNSPECIFIED: ReEnrollmentCause
RE_ENROLLMENT_CAUSE_QUALITY_DECAY: ReEnrollmentCause
RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION: ReEnrollmentCause

class IdentifyRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: _voiceid_pb2.StreamConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[_voiceid_pb2.StreamConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class ReEnrollmentPrompt(_message.Message):
    __slots__ = ("user_id", "cause", "asked_at")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    ASKED_AT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    cause: ReEnrollmentCause
    asked_at: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., cause: _Optional[_Union[ReEnrollmentCause, str]] = ..., asked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FinalDecision(_message.Message):
    __slots__ = ("v2", "v1", "re_enrollment")
    V2_FIELD_NUMBER: _ClassVar[int]
    V1_FIELD_NUMBER: _ClassVar[int]
    RE_ENROLLMENT_FIELD_NUMBER: _ClassVar[int]
    v2: _voiceid_pb2_1.VoiceIdDecision
    v1: _voiceid_pb2.VoiceIdDecision
    re_enrollment: ReEnrollmentPrompt
    def __init__(self, v2: _Optional[_Union[_voiceid_pb2_1.VoiceIdDecision, _Mapping]] = ..., v1: _Optional[_Union[_voiceid_pb2.VoiceIdDecision, _Mapping]] = ..., re_enrollment: _Optional[_Union[ReEnrollmentPrompt, _Mapping]] = ...) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("started", "speech", "interim", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: _voiceid_pb2.StreamStarted
    speech: _voiceid_pb2.SpeechEvent
    interim: _voiceid_pb2.InterimConfidence
    final: FinalDecision
    def __init__(self, started: _Optional[_Union[_voiceid_pb2.StreamStarted, _Mapping]] = ..., speech: _Optional[_Union[_voiceid_pb2.SpeechEvent, _Mapping]] = ..., interim: _Optional[_Union[_voiceid_pb2.InterimConfidence, _Mapping]] = ..., final: _Optional[_Union[FinalDecision, _Mapping]] = ...) -> None: ...

class VerifyConfig(_message.Message):
    __slots__ = ("stream", "claimed_user_id")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_USER_ID_FIELD_NUMBER: _ClassVar[int]
    stream: _voiceid_pb2.StreamConfig
    claimed_user_id: str
    def __init__(self, stream: _Optional[_Union[_voiceid_pb2.StreamConfig, _Mapping]] = ..., claimed_user_id: _Optional[str] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: VerifyConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[VerifyConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("started", "speech", "interim", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: _voiceid_pb2.StreamStarted
    speech: _voiceid_pb2.SpeechEvent
    interim: _voiceid_pb2.InterimConfidence
    final: FinalDecision
    def __init__(self, started: _Optional[_Union[_voiceid_pb2.StreamStarted, _Mapping]] = ..., speech: _Optional[_Union[_voiceid_pb2.SpeechEvent, _Mapping]] = ..., interim: _Optional[_Union[_voiceid_pb2.InterimConfidence, _Mapping]] = ..., final: _Optional[_Union[FinalDecision, _Mapping]] = ...) -> None: ...
