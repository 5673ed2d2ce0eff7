"""A clock and ids that a test controls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still until told otherwise."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds; unlike `now`, never moved backwards."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Let time pass; a negative step sets the wall clock back only."""
        self._now += by
        self._elapsed += max(by.total_seconds(), 0.0)


class SeqIds:
    """id-000001, id-000002, …"""

    def __init__(self, prefix: str = "id") -> None:
        self._prefix = prefix
        self._last = 0

    def new(self) -> str:
        """The next id."""
        self._last += 1
        return f"{self._prefix}-{self._last:06d}"
