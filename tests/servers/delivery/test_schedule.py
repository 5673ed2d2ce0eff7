"""When a delivery may go."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_PRIORITY_BULK,
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_PRIORITY_UNSPECIFIED,
    DELIVERY_PRIORITY_URGENT,
)

from servers.delivery.schedule import QuietHours, account_bucket, backoff, free_at, quiet_until, rank, zone
from servers.routing.gates import take

NIGHT = QuietHours(22 * 60, 8 * 60, "UTC")
NOON = QuietHours(12 * 60, 13 * 60, "UTC")


def at(text: str, where: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(where), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("tries", "wait_s"), [(-3, 2.0), (0, 2.0), (1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (10_000, 300.0)]
)
def test_each_wait_is_twice_the_last_up_to_the_longest(tries: int, wait_s: float) -> None:
    assert backoff(tries, 0.0, base_s=2.0, max_s=300.0) == wait_s


@given(st.integers(1, 50), st.floats(allow_nan=True))
def test_jitter_lengthens_a_wait_by_at_most_half(tries: int, jitter: float) -> None:
    plain = backoff(tries, 0.0, base_s=2.0, max_s=300.0)
    assert plain <= backoff(tries, jitter, base_s=2.0, max_s=300.0) <= plain * 1.5


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (NIGHT, "2026-03-10T21:59:59", "2026-03-10T21:59:59"),
        (NIGHT, "2026-03-10T22:00:00", "2026-03-11T08:00:00"),
        (NIGHT, "2026-03-11T00:00:00", "2026-03-11T08:00:00"),
        (NIGHT, "2026-03-11T07:59:59", "2026-03-11T08:00:00"),
        (NIGHT, "2026-03-11T08:00:00", "2026-03-11T08:00:00"),
        (NIGHT, "2026-12-31T23:30:00", "2027-01-01T08:00:00"),
        (NOON, "2026-03-10T11:59:59", "2026-03-10T11:59:59"),
        (NOON, "2026-03-10T12:00:00", "2026-03-10T13:00:00"),
        (NOON, "2026-03-10T12:59:59", "2026-03-10T13:00:00"),
        (NOON, "2026-03-10T13:00:00", "2026-03-10T13:00:00"),
    ],
)
def test_quiet_lasts_from_its_first_minute_to_its_last(hours: QuietHours, now: str, until: str) -> None:
    assert quiet_until(at(now), hours, "") == at(until)


def test_quiet_goes_by_the_clock_of_the_recipient() -> None:
    noon = at("2026-07-10T12:00:00")
    assert quiet_until(noon, NIGHT, "Europe/Berlin") == noon
    assert quiet_until(noon, NIGHT, "Asia/Tokyo") == noon
    assert quiet_until(noon, NIGHT, "America/Los_Angeles") == at("2026-07-10T08:00:00", "America/Los_Angeles")


@pytest.mark.parametrize("name", ["", "Nowhere/Atlantis", "../etc/passwd", "Europe/\x00", "x" * 300])
def test_an_unknown_zone_is_that_of_the_policy(name: str) -> None:
    assert zone(name) is None
    assert quiet_until(at("2026-03-10T23:00:00"), NIGHT, name) == at("2026-03-11T08:00:00")


def test_quiet_ends_with_the_jump_where_clocks_are_put_forward_over_its_end() -> None:
    hours = QuietHours(22 * 60, 2 * 60 + 30, "UTC")
    now = at("2026-03-29T01:10:00", "Europe/Berlin")
    assert quiet_until(now, hours, "Europe/Berlin") == at("2026-03-29T03:00:00", "Europe/Berlin")


def test_quiet_holds_again_where_clocks_are_put_back_over_its_end() -> None:
    hours = QuietHours(22 * 60, 2 * 60 + 30, "UTC")
    first, second = (at("2026-10-25T02:30:00", "Europe/Berlin", fold) for fold in (0, 1))
    assert second - first == 3_600
    assert quiet_until(first - 60, hours, "Europe/Berlin") == first
    assert quiet_until(first + 1_800, hours, "Europe/Berlin") == second


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_quiet_ends_at_the_first_minute_that_is_not_quiet(now: datetime, start: int, end: int, where: str) -> None:
    if start == end:
        return
    hours = QuietHours(start, end, "UTC")
    begins = now.replace(second=0, microsecond=0, tzinfo=UTC)

    def quiet(moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(where))
        minute = local.hour * 60 + local.minute
        return start <= minute < end if start < end else minute >= start or minute < end

    moment = begins
    while quiet(moment):
        moment += timedelta(minutes=1)
    assert quiet_until(begins.timestamp(), hours, where) == moment.timestamp()


@pytest.mark.parametrize(
    ("start", "end", "name"), [(0, 0, "UTC"), (-1, 5, "UTC"), (5, 1440, "UTC"), (5, 6, ""), (5, 6, "Nowhere")]
)
def test_quiet_hours_that_are_none_are_refused(start: int, end: int, name: str) -> None:
    with pytest.raises(ValueError, match="quiet hours"):
        QuietHours(start, end, name)


def test_the_urgent_go_first_and_bulk_last() -> None:
    normal = (DELIVERY_PRIORITY_NORMAL, DELIVERY_PRIORITY_UNSPECIFIED)
    assert {rank(each) for each in normal} == {1}
    assert rank(DELIVERY_PRIORITY_URGENT) < 1 < rank(DELIVERY_PRIORITY_BULK)
    assert rank(99) == 1  # type: ignore[arg-type]  # a value of a later contract


def test_an_account_takes_its_rate_and_no_more() -> None:
    bucket, now, sent = account_bucket(5.0, 10.0, 0.0), 0.0, 0
    while now < 60.0:
        free = free_at(bucket, now)
        assert free is not None
        now = math.nextafter(free, math.inf) if free > now else now
        bucket, wait_s = take(bucket, now, 1.0)
        sent += wait_s == 0
    assert 10 + 5 * 60 - 1 <= sent <= 10 + 5 * 60 + 1


def test_an_account_without_a_rate_never_takes_more_than_its_burst() -> None:
    bucket, _ = take(account_bucket(0.0, 1.0, 0.0), 0.0, 1.0)
    assert free_at(bucket, 5.0) is None
