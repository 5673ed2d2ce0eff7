from buf.validate import validate_pb2 as _validate_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.voiceid.v1 import voiceid_pb2 as _voiceid_pb2
from selene.voiceid.v2 import voiceid_pb2 as _voiceid_pb2_1
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdentifyRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: _voiceid_pb2.StreamConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[_voiceid_pb2.StreamConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class FinalDecision(_message.Message):
    __slots__ = ("v2", "v1")
    V2_FIELD_NUMBER: _ClassVar[int]
    V1_FIELD_NUMBER: _ClassVar[int]
    v2: _voiceid_pb2_1.VoiceIdDecision
    v1: _voiceid_pb2.VoiceIdDecision
    def __init__(self, v2: _Optional[_Union[_voiceid_pb2_1.VoiceIdDecision, _Mapping]] = ..., v1: _Optional[_Union[_voiceid_pb2.VoiceIdDecision, _Mapping]] = ...) -> None: ...

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
