import uuid
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds, UuidV7Ids

START = datetime(2026, 1, 1, tzinfo=UTC)


class SteppingClock(ManualClock):
    """A wall clock that may be set back, as NTP does."""

    def __init__(self) -> None:
        super().__init__(START)
        self.offsets = iter(())

    def now(self) -> datetime:
        return START.fromtimestamp(START.timestamp() + next(self.offsets, 0) / 1000, UTC)


@given(st.lists(st.integers(min_value=-5, max_value=5), min_size=2, max_size=50))
def test_ids_increase_whatever_the_wall_clock_does(offsets: list[int]) -> None:
    clock = SteppingClock()
    clock.offsets = iter(offsets)
    ids = UuidV7Ids(clock)
    made = [ids.new() for _ in offsets]
    assert made == sorted(set(made))


def test_ids_increase_within_one_millisecond_beyond_the_counter() -> None:
    ids = UuidV7Ids(ManualClock(START), entropy=lambda count: b"\xff" * count)
    made = [ids.new() for _ in range(5000)]
    assert made == sorted(set(made))


def test_an_id_is_a_version_7_uuid_that_holds_its_time() -> None:
    made = uuid.UUID(UuidV7Ids(ManualClock(START)).new())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(START.timestamp() * 1000)


def test_seeded_ids_repeat_for_a_seed_and_differ_between_seeds() -> None:
    first, again, other = ([ids.new() for _ in range(100)] for ids in (SeededIds(1), SeededIds(1), SeededIds(2)))
    assert first == again == sorted(set(first))
    assert set(first).isdisjoint(other)
    assert uuid.UUID(first[0]).version == 7
