from datetime import UTC, datetime, timedelta, timezone

import pytest

from servers.runtime.clock import ManualClock, SystemClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_system_clock_tells_utc() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_manual_clock_stands_still_until_advanced() -> None:
    clock = ManualClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=1.5), 1.5)


def test_manual_clock_refuses_to_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock(START).advance(-1)


@pytest.mark.parametrize("start", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))])
def test_manual_clock_refuses_a_time_that_is_not_utc(start: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        ManualClock(start)
