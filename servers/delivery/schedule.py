"""When a delivery may go: backoff, quiet hours where the recipient lives, priorities, rates of accounts (§25). Pure.

Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_PRIORITY_BULK,
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_PRIORITY_UNSPECIFIED,
    DELIVERY_PRIORITY_URGENT,
    DeliveryPriority,
)

from servers.routing.gates import Bucket, take

MINUTES_OF_DAY: Final = 1440
# Backoff is at most so much longer than its doubling says, by the jitter.
JITTER_SHARE: Final = 0.5

_RANKS: Final[Mapping[DeliveryPriority, int]] = MappingProxyType(
    {
        DELIVERY_PRIORITY_URGENT: 0,
        DELIVERY_PRIORITY_NORMAL: 1,
        DELIVERY_PRIORITY_UNSPECIFIED: 1,
        DELIVERY_PRIORITY_BULK: 2,
    }
)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Nothing goes out from minute ``start`` of the recipient's day until minute ``end``, across midnight where ``end``
    is smaller. ``time_zone`` (IANA) holds for recipients without one, and for those whose zone is unknown. ValueError
    for minutes outside a day, an empty span, or an unknown zone.
    """

    start: int
    end: int
    time_zone: str

    def __post_init__(self) -> None:
        if not (0 <= self.start < MINUTES_OF_DAY and 0 <= self.end < MINUTES_OF_DAY) or self.start == self.end:
            raise ValueError("quiet hours are two different minutes of a day, each 0 to 1439")
        if zone(self.time_zone) is None:
            raise ValueError("quiet hours name a time zone that is not known here")


def zone(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name; None where it is empty or not known here."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def rank(priority: DeliveryPriority) -> int:
    """In which order deliveries go that are due together: the smallest first."""
    return _RANKS.get(priority, _RANKS[DELIVERY_PRIORITY_NORMAL])


def backoff(tries: int, jitter: float, *, base_s: float, max_s: float) -> float:
    """Seconds to wait after so many tries: ``base_s``, doubled by each further try, at most ``max_s``; ``jitter`` in
    [0, 1] lengthens it by up to half.
    """
    doublings = min(max(0, tries - 1), 64)
    return min(max_s, base_s * 2.0**doublings) * (1 + JITTER_SHARE * min(1.0, max(0.0, jitter)))


def quiet_until(now: float, hours: QuietHours | None, time_zone: str) -> float:
    """When the quiet that holds now is over, ``now`` itself where none holds."""
    if hours is None:
        return now
    where = zone(time_zone) or ZoneInfo(hours.time_zone)
    local = datetime.fromtimestamp(now, where)
    if not _quiet(local, hours):
        return now
    hour, minute = divmod(hours.end, 60)
    wall = local.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    days = (wall, wall + timedelta(days=1))
    ends = (day.replace(tzinfo=where, fold=fold).timestamp() for day in days for fold in (0, 1))
    end = min(each for each in ends if each > now and not _quiet(datetime.fromtimestamp(each, where), hours))
    return _first_loud(now, end, hours, where)


def _first_loud(quiet: float, loud: float, hours: QuietHours, where: ZoneInfo) -> float:
    """Where clocks are put forward over the end, quiet ends with the jump, which is at a whole minute."""
    if _quiet(datetime.fromtimestamp(loud - 1, where), hours):
        return loud
    while loud - quiet > 1:
        middle = (quiet + loud) / 2
        if _quiet(datetime.fromtimestamp(middle, where), hours):
            quiet = middle
        else:
            loud = middle
    return loud // 60 * 60


def _quiet(local: datetime, hours: QuietHours) -> bool:
    minute = local.hour * 60 + local.minute
    if hours.start < hours.end:
        return hours.start <= minute < hours.end
    return minute >= hours.start or minute < hours.end


def account_bucket(per_s: float, burst: float, now: float) -> Bucket:
    """The full bucket of a provider account that takes ``per_s`` messages a second and ``burst`` at once."""
    return Bucket(capacity=burst, refill_per_s=per_s, tokens=burst, at=now)


def free_at(bucket: Bucket, now: float) -> float | None:
    """When the account takes another message, ``now`` where it does already; None where it never will."""
    _, wait_s = take(bucket, now, 1.0)
    return None if wait_s is None else now + wait_s


def instant(at: float) -> datetime:
    """Seconds since the epoch as a time of UTC."""
    return datetime.fromtimestamp(at, UTC)
