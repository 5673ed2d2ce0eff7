"""Leases: who may work on a delivery, for how long, and never two at one recipient."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from selene.delivery.v1 import delivery_pb2 as contract

from store import Store
from store.delivery import Delivery
from tests.store.delivery.deliveries import DAY, LEASE, TICK, accept, delivery_id, intent, lease, swap
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

SENDING = contract.DELIVERY_STATE_SENDING
SENT = contract.DELIVERY_STATE_SENT_ACKED
UNKNOWN = contract.DELIVERY_STATE_UNKNOWN


def names(rows: list[Delivery]) -> list[str]:
    return [row.message_id for row in rows]


async def test_what_is_due_is_leased_once_with_a_fence(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now(), holder="d1")
    assert (leased.fence, leased.holder, leased.lease_until) == (1, "d1", clock.now() + LEASE)
    assert (leased.state, leased.revision) == (contract.DELIVERY_STATE_ACCEPTED, 1)
    assert await store.delivery.get("t1", leased.delivery_id) == leased
    assert await lease(store, clock.now(), holder="d2") == []


async def test_the_urgent_go_first_and_then_those_that_waited_longest(store: Store, clock: FakeClock) -> None:
    now = clock.now()
    bulk, urgent = contract.DELIVERY_PRIORITY_BULK, contract.DELIVERY_PRIORITY_URGENT
    await accept(
        store,
        intent("bulk", now - DAY, priority=bulk),
        intent("late", now, priority=urgent),
        intent("early", now - TICK, priority=urgent, channel=contract.DELIVERY_CHANNEL_EMAIL),
        intent("normal", now - 2 * TICK),
    )
    assert names(await lease(store, now, limit=3)) == ["early", "late", "normal"]
    assert names(await lease(store, now, limit=3)) == ["bulk"]


async def test_nothing_is_leased_before_it_is_due(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now() + TICK), intent("never", clock.now(), due_at=None))
    assert await lease(store, clock.now()) == []
    assert names(await lease(store, clock.now() + TICK)) == ["m1"]
    assert await lease(store, clock.now() + DAY * 365, states=[UNKNOWN]) == []


async def test_only_the_channels_and_states_that_were_asked_for(store: Store, clock: FakeClock) -> None:
    email, push = contract.DELIVERY_CHANNEL_EMAIL, contract.DELIVERY_CHANNEL_PUSH
    await accept(
        store,
        intent("sms", clock.now()),
        intent("email", clock.now(), channel=email),
        intent("push", clock.now(), channel=push, state=contract.DELIVERY_STATE_RETRYABLE),
    )
    assert names(await lease(store, clock.now(), channels=[email])) == ["email"]
    assert names(await lease(store, clock.now(), states=[contract.DELIVERY_STATE_RETRYABLE])) == ["push"]
    assert names(await lease(store, clock.now())) == ["sms"]


async def test_unknown_deliveries_are_leased_by_themselves_only(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    assert await swap(store, leased, UNKNOWN, due_at=clock.now(), releases=True)
    assert await lease(store, clock.now()) == []
    assert await lease(store, clock.now() - TICK, states=[UNKNOWN]) == []
    assert await lease(store, clock.now(), states=[UNKNOWN], channels=[contract.DELIVERY_CHANNEL_EMAIL]) == []
    assert names(await lease(store, clock.now(), states=[UNKNOWN])) == ["m1"]
    assert await lease(store, clock.now(), states=[UNKNOWN]) == []
    with pytest.raises(ValueError, match="queue of their own"):
        await lease(store, clock.now(), states=[UNKNOWN, SENDING])


async def test_a_recipient_is_held_by_one_delivery_until_it_is_released(store: Store, clock: FakeClock) -> None:
    now = clock.now()
    await accept(store, *(intent(f"m{number}", now + number * TICK, recipient_lock="r1/1") for number in range(3)))
    later = now + DAY / 24
    (first,) = await lease(store, later)
    assert first.message_id == "m0"
    assert await lease(store, later) == []
    assert await swap(store, first, SENDING)
    assert await lease(store, later) == []
    sending = await store.delivery.get("t1", first.delivery_id)
    assert sending is not None
    assert await swap(store, sending, SENT, releases=True)
    (second,) = await lease(store, later)
    assert second.message_id == "m1"
    async with store.transaction() as tx:
        assert await tx.delivery.release("t1", second.delivery_id, fence=second.fence)
        audit(tx)
    assert names(await lease(store, later)) == ["m1"]


async def test_the_same_lock_of_another_tenant_is_another_lock(store: Store, clock: FakeClock) -> None:
    await accept(store, *(intent(t, clock.now(), tenant_id=t, recipient_lock="r1/1") for t in ("t1", "t2")))
    assert sorted(names(await lease(store, clock.now()))) == ["t1", "t2"]


async def test_a_lease_that_is_over_goes_to_the_next_with_a_higher_fence_and_keeps_the_recipient(
    store: Store, clock: FakeClock
) -> None:
    await accept(
        store,
        intent("m1", clock.now(), recipient_lock="r1/1"),
        intent("m2", clock.now() - TICK, recipient_lock="r2/1"),
        intent("m3", clock.now() + TICK, recipient_lock="r1/1"),
    )
    await lease(store, clock.now(), limit=1)
    (dead,) = await lease(store, clock.now(), holder="dead")
    assert dead.message_id == "m1"
    assert await lease(store, clock.now() + LEASE - TICK) == []
    clock.advance(LEASE)
    again = await lease(store, clock.now(), holder="d2")
    assert names(again) == ["m1", "m2"] or names(again) == ["m2", "m1"]
    taken = next(row for row in again if row.message_id == "m1")
    assert (taken.fence, taken.holder) == (2, "d2")
    assert not await swap(store, dead, SENT, releases=True)
    async with store.transaction() as tx:
        assert not await tx.delivery.release("t1", dead.delivery_id, fence=dead.fence)
        assert not await tx.delivery.extend("t1", dead.delivery_id, fence=dead.fence, until=clock.now() + DAY)
    assert await store.delivery.get("t1", dead.delivery_id) == taken
    assert await lease(store, clock.now()) == []


async def test_an_extended_lease_ends_later(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    async with store.transaction() as tx:
        assert await tx.delivery.extend("t1", leased.delivery_id, fence=1, until=clock.now() + 2 * LEASE)
        audit(tx)
    assert await lease(store, clock.now() + 2 * LEASE - TICK) == []
    assert names(await lease(store, clock.now() + 2 * LEASE)) == ["m1"]


async def test_what_is_not_leased_is_neither_released_nor_extended(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    async with store.transaction() as tx:
        assert not await tx.delivery.release("t1", delivery_id("m1"), fence=0)
        assert not await tx.delivery.extend("t1", delivery_id("m1"), fence=0, until=clock.now() + DAY)
    assert names(await lease(store, clock.now())) == ["m1"]


async def test_dispatchers_that_lease_at_once_share_out_the_queue(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"d{number}") for number in range(4)]
    rows = [intent(f"m{number}", clock.now(), recipient_lock=f"r{number % 30}") for number in range(90)]
    await accept(stores[0], *rows)
    held: set[str] = set()
    done: list[str] = []

    async def drain(number: int) -> None:
        idle = 0
        while idle < 3:
            leased = await lease(stores[number], clock.now(), holder=f"d{number}", limit=7)
            idle = 0 if leased else idle + 1
            locks = {row.recipient_lock for row in leased}
            assert len(locks) == len(leased)
            assert not locks & held
            held.update(locks)
            await asyncio.sleep(0)
            for row in leased:
                # Before the commit: whoever leases the next must not see it as held.
                held.discard(row.recipient_lock)
                assert await swap(stores[number], row, SENT, releases=True)
                done.append(row.message_id)

    await asyncio.gather(*(drain(number) for number in range(4)))
    assert sorted(done) == sorted(row.message_id for row in rows)
    for one in stores:
        await one.close()


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_lease_of_none_or_of_too_many_is_refused(store: Store, clock: FakeClock, limit: int) -> None:
    with pytest.raises(ValueError, match="not one of"):
        await lease(store, clock.now(), limit=limit)


async def test_many_deliveries_to_one_recipient_do_not_keep_others_waiting(store: Store, clock: FakeClock) -> None:
    hot = [intent(f"hot{number}", clock.now() - timedelta(hours=1), recipient_lock="hot") for number in range(40)]
    await accept(store, *hot, intent("m1", clock.now()))
    assert names(await lease(store, clock.now(), limit=10)) == ["hot0"]
    assert names(await lease(store, clock.now(), limit=10)) == ["m1"]
