"""A dispatcher that is killed: what it acknowledged stays, what it held goes to the next, and nothing twice."""

from __future__ import annotations

import signal

import pytest
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_SENT_ACKED

from store import Store
from tests.store.delivery.deliveries import LEASE, accept, intent, lease, swap
from tests.support import crash_dispatcher
from tests.support.killable import forked, told
from tests.support.stores import open_store
from tests.support.time import FakeClock

ROWS = 60


async def sent_in(store: Store) -> list[str]:
    """What the events say was sent, each as often as they say it."""
    events = await store.delivery.events("t1", limit=10 * ROWS)
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    return [event.delivery.message_id for event in events if event.delivery.state == DELIVERY_STATE_SENT_ACKED]


@pytest.mark.parametrize("acknowledged", [1, 13])
async def test_what_a_killed_dispatcher_held_is_sent_by_the_next_and_nothing_twice(
    store_url: str, clock: FakeClock, acknowledged: int
) -> None:
    store = await open_store(store_url, clock, prefix="before")
    await accept(store, *(intent(f"m{number}", clock.now()) for number in range(ROWS)))
    with forked(crash_dispatcher.main, store_url, "killed") as (process, tells):
        names = [tells.recv() for _ in range(acknowledged)]
        process.kill()
        names += told(tells)
    assert process.exitcode == -signal.SIGKILL
    assert len(names) < ROWS
    assert set(names) <= set(await sent_in(store))
    first_round = await lease(store, clock.now(), limit=ROWS)
    held = {row.message_id for row in await store.delivery.page("t1", limit=ROWS) if row.holder == "killed"}
    assert not held & {row.message_id for row in first_round}
    clock.advance(LEASE)
    everything = await lease(store, clock.now(), limit=ROWS)
    assert {row.message_id for row in everything} == {row.message_id for row in first_round} | held
    for row in everything:
        assert row.fence == 2
        assert row.state == DELIVERY_STATE_ACCEPTED
        assert await swap(store, row, DELIVERY_STATE_SENT_ACKED, releases=True)
    assert sorted(await sent_in(store)) == sorted(f"m{number}" for number in range(ROWS))
    await store.close()


async def test_two_dispatchers_share_one_queue_between_processes(store_url: str, clock: FakeClock) -> None:
    store = await open_store(store_url, clock, prefix="before")
    await accept(
        store, *(intent(f"m{number}", clock.now(), recipient_lock=f"r{number % 50}") for number in range(ROWS))
    )
    with (
        forked(crash_dispatcher.main, store_url, "one") as (one, of_one),
        forked(crash_dispatcher.main, store_url, "other") as (other, of_other),
    ):
        names = [*told(of_one), *told(of_other)]
        for process in (one, other):
            process.join(10)
        assert (one.exitcode, other.exitcode) == (0, 0)
    waiting = await store.delivery.page("t1", limit=ROWS, state=DELIVERY_STATE_ACCEPTED)
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(await sent_in(store))
    # Whoever finds every recipient held by the other stops: what is left is not lost.
    assert sorted([*names, *(row.message_id for row in waiting)]) == sorted(f"m{number}" for number in range(ROWS))
    assert names
    await store.close()
