import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from selene.common.v1 import audio_pb2 as _audio_pb2
from selene.common.v1 import paging_pb2 as _paging_pb2
from selene.voiceid.v1 import voiceid_pb2 as _voiceid_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdentifyRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: _voiceid_pb2.StreamConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[_voiceid_pb2.StreamConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("started", "speech", "interim", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: _voiceid_pb2.StreamStarted
    speech: _voiceid_pb2.SpeechEvent
    interim: _voiceid_pb2.InterimConfidence
    final: _voiceid_pb2.VoiceIdDecision
    def __init__(self, started: _Optional[_Union[_voiceid_pb2.StreamStarted, _Mapping]] = ..., speech: _Optional[_Union[_voiceid_pb2.SpeechEvent, _Mapping]] = ..., interim: _Optional[_Union[_voiceid_pb2.InterimConfidence, _Mapping]] = ..., final: _Optional[_Union[_voiceid_pb2.VoiceIdDecision, _Mapping]] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: VerifyConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[VerifyConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class VerifyConfig(_message.Message):
    __slots__ = ("stream", "claimed_user_id")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_USER_ID_FIELD_NUMBER: _ClassVar[int]
    stream: _voiceid_pb2.StreamConfig
    claimed_user_id: str
    def __init__(self, stream: _Optional[_Union[_voiceid_pb2.StreamConfig, _Mapping]] = ..., claimed_user_id: _Optional[str] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("started", "speech", "interim", "final")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    started: _voiceid_pb2.StreamStarted
    speech: _voiceid_pb2.SpeechEvent
    interim: _voiceid_pb2.InterimConfidence
    final: _voiceid_pb2.VoiceIdDecision
    def __init__(self, started: _Optional[_Union[_voiceid_pb2.StreamStarted, _Mapping]] = ..., speech: _Optional[_Union[_voiceid_pb2.SpeechEvent, _Mapping]] = ..., interim: _Optional[_Union[_voiceid_pb2.InterimConfidence, _Mapping]] = ..., final: _Optional[_Union[_voiceid_pb2.VoiceIdDecision, _Mapping]] = ...) -> None: ...

class ConfirmIdentityRequest(_message.Message):
    __slots__ = ("tenant_id", "stream_id", "speaker_user_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    stream_id: str
    speaker_user_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., stream_id: _Optional[str] = ..., speaker_user_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class ConfirmIdentityResponse(_message.Message):
    __slots__ = ("decision_was_right", "cooldown_cleared")
    DECISION_WAS_RIGHT_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_CLEARED_FIELD_NUMBER: _ClassVar[int]
    decision_was_right: bool
    cooldown_cleared: bool
    def __init__(self, decision_was_right: bool = ..., cooldown_cleared: bool = ...) -> None: ...

class CreateEnrollmentRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id", "device_id", "consent_ref", "locale", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CONSENT_REF_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    device_id: str
    consent_ref: str
    locale: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., device_id: _Optional[str] = ..., consent_ref: _Optional[str] = ..., locale: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CreateEnrollmentResponse(_message.Message):
    __slots__ = ("enrollment",)
    ENROLLMENT_FIELD_NUMBER: _ClassVar[int]
    enrollment: _voiceid_pb2.Enrollment
    def __init__(self, enrollment: _Optional[_Union[_voiceid_pb2.Enrollment, _Mapping]] = ...) -> None: ...

class AddClipRequest(_message.Message):
    __slots__ = ("config", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: ClipConfig
    frame: _audio_pb2.AudioFrame
    def __init__(self, config: _Optional[_Union[ClipConfig, _Mapping]] = ..., frame: _Optional[_Union[_audio_pb2.AudioFrame, _Mapping]] = ...) -> None: ...

class ClipConfig(_message.Message):
    __slots__ = ("tenant_id", "enrollment_id", "audio_format", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    enrollment_id: str
    audio_format: _audio_pb2.AudioFormat
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., enrollment_id: _Optional[str] = ..., audio_format: _Optional[_Union[_audio_pb2.AudioFormat, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class AddClipResponse(_message.Message):
    __slots__ = ("accepted", "rejection", "hint", "voiced", "clipped_ratio", "snr_db", "enrollment")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTION_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    VOICED_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_RATIO_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    rejection: _voiceid_pb2.ClipRejection
    hint: str
    voiced: _duration_pb2.Duration
    clipped_ratio: float
    snr_db: float
    enrollment: _voiceid_pb2.Enrollment
    def __init__(self, accepted: bool = ..., rejection: _Optional[_Union[_voiceid_pb2.ClipRejection, str]] = ..., hint: _Optional[str] = ..., voiced: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., clipped_ratio: _Optional[float] = ..., snr_db: _Optional[float] = ..., enrollment: _Optional[_Union[_voiceid_pb2.Enrollment, _Mapping]] = ...) -> None: ...

class CompleteEnrollmentRequest(_message.Message):
    __slots__ = ("tenant_id", "enrollment_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    enrollment_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., enrollment_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CompleteEnrollmentResponse(_message.Message):
    __slots__ = ("enrollment", "profile")
    ENROLLMENT_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    enrollment: _voiceid_pb2.Enrollment
    profile: _voiceid_pb2.Profile
    def __init__(self, enrollment: _Optional[_Union[_voiceid_pb2.Enrollment, _Mapping]] = ..., profile: _Optional[_Union[_voiceid_pb2.Profile, _Mapping]] = ...) -> None: ...

class GetEnrollmentRequest(_message.Message):
    __slots__ = ("tenant_id", "enrollment_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    enrollment_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., enrollment_id: _Optional[str] = ...) -> None: ...

class GetEnrollmentResponse(_message.Message):
    __slots__ = ("enrollment",)
    ENROLLMENT_FIELD_NUMBER: _ClassVar[int]
    enrollment: _voiceid_pb2.Enrollment
    def __init__(self, enrollment: _Optional[_Union[_voiceid_pb2.Enrollment, _Mapping]] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: _voiceid_pb2.Profile
    def __init__(self, profile: _Optional[_Union[_voiceid_pb2.Profile, _Mapping]] = ...) -> None: ...

class ListProfilesRequest(_message.Message):
    __slots__ = ("tenant_id", "page")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    page: _paging_pb2.PageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., page: _Optional[_Union[_paging_pb2.PageRequest, _Mapping]] = ...) -> None: ...

class ListProfilesResponse(_message.Message):
    __slots__ = ("profiles", "page")
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    profiles: _containers.RepeatedCompositeFieldContainer[_voiceid_pb2.Profile]
    page: _paging_pb2.PageInfo
    def __init__(self, profiles: _Optional[_Iterable[_Union[_voiceid_pb2.Profile, _Mapping]]] = ..., page: _Optional[_Union[_paging_pb2.PageInfo, _Mapping]] = ...) -> None: ...

class RevokeProfileRequest(_message.Message):
    __slots__ = ("tenant_id", "user_id", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RevokeProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: _voiceid_pb2.Profile
    def __init__(self, profile: _Optional[_Union[_voiceid_pb2.Profile, _Mapping]] = ...) -> None: ...

class GetGalleryRequest(_message.Message):
    __slots__ = ("tenant_id", "device_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    device_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., device_id: _Optional[str] = ...) -> None: ...

class GetGalleryResponse(_message.Message):
    __slots__ = ("profile_count", "gallery_version", "models", "model_set_hash", "stale_profile_count", "member_user_ids")
    PROFILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    GALLERY_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_HASH_FIELD_NUMBER: _ClassVar[int]
    STALE_PROFILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    profile_count: int
    gallery_version: int
    models: _containers.RepeatedScalarFieldContainer[str]
    model_set_hash: bytes
    stale_profile_count: int
    member_user_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, profile_count: _Optional[int] = ..., gallery_version: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., model_set_hash: _Optional[bytes] = ..., stale_profile_count: _Optional[int] = ..., member_user_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetKpisRequest(_message.Message):
    __slots__ = ("tenant_id", "cohort", "since", "until")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    cohort: _voiceid_pb2.CohortLabels
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., cohort: _Optional[_Union[_voiceid_pb2.CohortLabels, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetKpisResponse(_message.Message):
    __slots__ = ("cohorts",)
    COHORTS_FIELD_NUMBER: _ClassVar[int]
    cohorts: _containers.RepeatedCompositeFieldContainer[_voiceid_pb2.CohortKpi]
    def __init__(self, cohorts: _Optional[_Iterable[_Union[_voiceid_pb2.CohortKpi, _Mapping]]] = ...) -> None: ...

class GetThresholdPackRequest(_message.Message):
    __slots__ = ("tenant_id", "locale", "channel", "user_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    locale: str
    channel: str
    user_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., locale: _Optional[str] = ..., channel: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class GetThresholdPackResponse(_message.Message):
    __slots__ = ("pack", "layer")
    PACK_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    pack: _voiceid_pb2.ThresholdPack
    layer: str
    def __init__(self, pack: _Optional[_Union[_voiceid_pb2.ThresholdPack, _Mapping]] = ..., layer: _Optional[str] = ...) -> None: ...

class GetMigrationStageRequest(_message.Message):
    __slots__ = ("tenant_id",)
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    def __init__(self, tenant_id: _Optional[str] = ...) -> None: ...

class GetMigrationStageResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _voiceid_pb2.MigrationStage
    def __init__(self, stage: _Optional[_Union[_voiceid_pb2.MigrationStage, str]] = ...) -> None: ...

class SetMigrationStageRequest(_message.Message):
    __slots__ = ("tenant_id", "stage", "idempotency_key")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    stage: _voiceid_pb2.MigrationStage
    idempotency_key: str
    def __init__(self, tenant_id: _Optional[str] = ..., stage: _Optional[_Union[_voiceid_pb2.MigrationStage, str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SetMigrationStageResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _voiceid_pb2.MigrationStage
    def __init__(self, stage: _Optional[_Union[_voiceid_pb2.MigrationStage, str]] = ...) -> None: ...
