"""What happened, in the order in which it became true: whoever follows misses nothing."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from selene.delivery.v1 import delivery_pb2 as contract

from store import Store
from store.delivery import Accepted
from tests.store.delivery.deliveries import DAY, TICK, accept, change, delivery_id, intent, lease, swap
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

SENDING = contract.DELIVERY_STATE_SENDING
SENT = contract.DELIVERY_STATE_SENT_ACKED


async def test_events_tell_the_delivery_as_it_was_after_each(store: Store, clock: FakeClock) -> None:
    (outcome,) = await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    clock.advance(TICK)
    assert await swap(store, leased, SENDING, due_at=clock.now() + DAY, body={"n": 1}, provider_account="a")
    clock.advance(TICK)
    sending = await store.delivery.get("t1", leased.delivery_id)
    assert sending is not None
    assert await swap(store, sending, SENT, body={"n": 2}, releases=True)
    events = await store.delivery.events("t1")
    assert [event.cursor for event in events] == [1, 2, 3]
    accepted = outcome.row
    assert [event.delivery for event in events] == [
        accepted,
        replace(
            accepted,
            revision=2,
            state=SENDING,
            due_at=clock.now() - TICK + DAY,
            body={"n": 1},
            provider_account="a",
            updated_at=clock.now() - TICK,
        ),
        replace(
            accepted,
            revision=3,
            state=SENT,
            due_at=None,
            body={"n": 2},
            provider_account="a",
            updated_at=clock.now(),
        ),
    ]


async def test_events_go_on_after_a_cursor_for_a_tenant_or_one_delivery(store: Store, clock: FakeClock) -> None:
    await accept(store, *(intent(f"m{number}", clock.now()) for number in range(3)))
    await accept(store, intent("other", clock.now(), tenant_id="t2"))
    for row in await lease(store, clock.now(), limit=4):
        assert await swap(store, row, SENT, releases=True)
    everything = await store.delivery.events("t1")
    assert [event.cursor for event in everything] == [1, 2, 3, 4, 5, 6]
    assert await store.delivery.events("t1", after=2, limit=3) == everything[2:5]
    assert await store.delivery.events("t1", after=6) == []
    one = await store.delivery.events("t1", delivery_id=delivery_id("m1"))
    assert [event.delivery.revision for event in one] == [1, 2]
    assert one == [event for event in everything if event.delivery.message_id == "m1"]
    assert await store.delivery.events("t1", after=one[0].cursor, delivery_id=delivery_id("m1")) == one[1:]
    assert [event.cursor for event in await store.delivery.events("t2")] == [1, 2]


async def test_a_transaction_that_fails_leaves_neither_an_event_nor_a_gap(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    row = await store.delivery.get("t1", delivery_id("m1"))
    assert row is not None
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            assert await tx.delivery.swap(change(row, SENT), revision=1, fence=0)
            audit(tx)
            raise LookupError
    await accept(store, intent("m2", clock.now()))
    assert [event.delivery.message_id for event in await store.delivery.events("t1")] == ["m1", "m2"]
    assert [event.cursor for event in await store.delivery.events("t1")] == [1, 2]


async def test_a_follower_misses_nothing_while_several_servers_write(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(4)]
    chance = random.Random(7)
    writing = True

    async def write(number: int) -> None:
        for step in range(6):
            rows = [intent(f"m{number}-{step}-{one}", clock.now(), tenant_id=f"t{one % 2}") for one in range(4)]
            chance.shuffle(rows)
            async with stores[number].transaction() as tx:
                outcomes = await tx.delivery.accept(rows)
                for outcome in sorted(outcomes, key=lambda outcome: outcome.row.delivery_id):
                    assert isinstance(outcome, Accepted)
                    row = outcome.row
                    assert await tx.delivery.swap(change(row, SENT), revision=1, fence=0)
                    # Others write while this one is not committed.
                    await asyncio.sleep(0)
                audit(tx)

    async def follow(tenant_id: str) -> list[int]:
        seen: list[int] = []
        while True:
            last_round = not writing
            events = await stores[0].delivery.events(tenant_id, after=seen[-1] if seen else 0, limit=5)
            seen += [event.cursor for event in events]
            if last_round and not events:
                return seen
            await asyncio.sleep(0)

    followers = [asyncio.create_task(follow(tenant_id)) for tenant_id in ("t0", "t1")]
    await asyncio.gather(*(write(number) for number in range(4)))
    writing = False
    seen = await asyncio.gather(*followers)
    # 4 servers, 6 transactions, 2 deliveries a tenant, 2 events a delivery.
    assert seen == [list(range(1, 4 * 6 * 2 * 2 + 1))] * 2
    for one in stores:
        await one.close()
