"""Timestamps of requests as times of this process. The wire can say times that no calendar has."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from servers.runtime.errors import FieldViolation, Refusal


def instant(request: Message, field: str) -> datetime | None:
    """The time in a request's Timestamp ``field``, None where it is not set; refuses with FIELD_INVALID."""
    if not request.HasField(field):
        return None
    value: Timestamp = getattr(request, field)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        violation = FieldViolation(field, "timestamp.range", "must be in the years 1 to 9999, nanos in a second")
        raise Refusal.of_fields([violation]) from None
