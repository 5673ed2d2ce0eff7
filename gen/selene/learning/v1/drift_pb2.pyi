import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DriftDetector(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_DETECTOR_UNSPECIFIED: _ClassVar[DriftDetector]
    DRIFT_DETECTOR_QUALITY_DECAY: _ClassVar[DriftDetector]
    DRIFT_DETECTOR_FALSE_REJECTS: _ClassVar[DriftDetector]
    DRIFT_DETECTOR_FALSE_ACCEPTS: _ClassVar[DriftDetector]
    DRIFT_DETECTOR_MARGIN_COMPRESSION: _ClassVar[DriftDetector]
    DRIFT_DETECTOR_COHORT_REGRESSION: _ClassVar[DriftDetector]

class DriftRecovery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_RECOVERY_UNSPECIFIED: _ClassVar[DriftRecovery]
    DRIFT_RECOVERY_ADAPTATION: _ClassVar[DriftRecovery]
    DRIFT_RECOVERY_REENROLMENT: _ClassVar[DriftRecovery]

class DriftOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_OUTCOME_UNSPECIFIED: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_STARTED: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_REENROLMENT_RATE_LIMITED: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_FROZEN: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_ADAPTATION_ALLOWED: _ClassVar[DriftOutcome]
    DRIFT_OUTCOME_NOTHING_TO_LEARN: _ClassVar[DriftOutcome]
DRIFT_DETECTOR_UNSPECIFIED: DriftDetector
DRIFT_DETECTOR_QUALITY_DECAY: DriftDetector
DRIFT_DETECTOR_FALSE_REJECTS: DriftDetector
DRIFT_DETECTOR_FALSE_ACCEPTS: DriftDetector
DRIFT_DETECTOR_MARGIN_COMPRESSION: DriftDetector
DRIFT_DETECTOR_COHORT_REGRESSION: DriftDetector
DRIFT_RECOVERY_UNSPECIFIED: DriftRecovery
DRIFT_RECOVERY_ADAPTATION: DriftRecovery
DRIFT_RECOVERY_REENROLMENT: DriftRecovery
DRIFT_OUTCOME_UNSPECIFIED: DriftOutcome
DRIFT_OUTCOME_STARTED: DriftOutcome
DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED: DriftOutcome
DRIFT_OUTCOME_REENROLMENT_RATE_LIMITED: DriftOutcome
DRIFT_OUTCOME_FROZEN: DriftOutcome
DRIFT_OUTCOME_ADAPTATION_ALLOWED: DriftOutcome
DRIFT_OUTCOME_NOTHING_TO_LEARN: DriftOutcome

class DriftBreach(_message.Message):
    __slots__ = ("subject", "detector", "window_ends_at", "recent", "reference", "samples", "recovery", "outcome", "gold_set_id")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    WINDOW_ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    GOLD_SET_ID_FIELD_NUMBER: _ClassVar[int]
    subject: str
    detector: DriftDetector
    window_ends_at: _timestamp_pb2.Timestamp
    recent: float
    reference: float
    samples: int
    recovery: DriftRecovery
    outcome: DriftOutcome
    gold_set_id: str
    def __init__(self, subject: _Optional[str] = ..., detector: _Optional[_Union[DriftDetector, str]] = ..., window_ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recent: _Optional[float] = ..., reference: _Optional[float] = ..., samples: _Optional[int] = ..., recovery: _Optional[_Union[DriftRecovery, str]] = ..., outcome: _Optional[_Union[DriftOutcome, str]] = ..., gold_set_id: _Optional[str] = ...) -> None: ...

class ConfusionPair(_message.Message):
    __slots__ = ("first_user_id", "second_user_id", "collisions", "close_calls", "last_at")
    FIRST_USER_ID_FIELD_NUMBER: _ClassVar[int]
    SECOND_USER_ID_FIELD_NUMBER: _ClassVar[int]
    COLLISIONS_FIELD_NUMBER: _ClassVar[int]
    CLOSE_CALLS_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    first_user_id: str
    second_user_id: str
    collisions: int
    close_calls: int
    last_at: _timestamp_pb2.Timestamp
    def __init__(self, first_user_id: _Optional[str] = ..., second_user_id: _Optional[str] = ..., collisions: _Optional[int] = ..., close_calls: _Optional[int] = ..., last_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
