"""The stream before another one of its session."""

from __future__ import annotations

from datetime import timedelta

from store import Store
from tests.support.time import FakeClock
from tests.support.voices import Turn, heard


async def test_the_one_before_is_the_latest_that_was_decided_earlier_in_the_session(
    store: Store, clock: FakeClock
) -> None:
    minute = timedelta(minutes=1)
    first, second, third = [
        (await heard(store, [Turn(named=name)], clock.now() + number * minute))[0]
        for number, name in enumerate(("mia", "noa", "mia"))
    ]
    await heard(store, [Turn(session="another")], clock.now() + 90 * timedelta(seconds=1))
    await heard(store, [Turn()], clock.now() + 90 * timedelta(seconds=1), tenant_id="another")
    before = store.voiceid.streams.before
    assert await before(third) == second
    assert await before(second) == first
    assert await before(first) is None
