"""Changing a delivery: one change for a revision, and none by whoever lost the lease."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from selene.delivery.v1 import delivery_pb2 as contract

from store import Store, UnauditedChange
from store.delivery import Depth, Standing, Swap
from tests.store.delivery.deliveries import DAY, LEASE, TICK, accept, change, delivery_id, intent, lease, swap
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

ACCEPTED = contract.DELIVERY_STATE_ACCEPTED
SENDING = contract.DELIVERY_STATE_SENDING
SENT = contract.DELIVERY_STATE_SENT_ACKED
RETRYABLE = contract.DELIVERY_STATE_RETRYABLE
UNKNOWN = contract.DELIVERY_STATE_UNKNOWN
CANCELLED = contract.DELIVERY_STATE_CANCELLED
SMS, EMAIL = contract.DELIVERY_CHANNEL_SMS, contract.DELIVERY_CHANNEL_EMAIL


async def test_a_change_is_kept_with_the_next_revision(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now(), provider_account="first"))
    (leased,) = await lease(store, clock.now())
    clock.advance(TICK)
    body = {"attempts": [{"number": 1}]}
    assert await swap(store, leased, SENDING, due_at=clock.now() + DAY, body=body, provider_account="second")
    assert await store.delivery.get("t1", leased.delivery_id) == replace(
        leased,
        state=SENDING,
        due_at=clock.now() + DAY,
        body=body,
        provider_account="second",
        revision=2,
        updated_at=clock.now(),
    )


async def test_a_change_of_an_older_revision_changes_nothing(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    assert await swap(store, leased, SENDING)
    after = await store.delivery.get("t1", leased.delivery_id)
    async with store.transaction() as tx:
        stale = change(leased, CANCELLED)
        assert not await tx.delivery.swap(stale, revision=1, fence=1)
        assert not await tx.delivery.swap(stale, revision=2, fence=0)
        assert not await tx.delivery.swap(replace(stale, tenant_id="t2"), revision=2, fence=1)
    assert await store.delivery.get("t1", leased.delivery_id) == after
    assert await store.delivery.cursor("t1") == 2


async def test_a_change_by_somebody_without_the_lease_leaves_it_in_place(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    assert await swap(store, leased, SENT)
    after = await store.delivery.get("t1", leased.delivery_id)
    assert after is not None
    assert (after.holder, after.lease_until, after.fence) == ("d1", leased.lease_until, 1)
    assert await lease(store, clock.now() + LEASE - TICK) == []
    assert [row.fence for row in await lease(store, clock.now() + LEASE)] == [2]


async def test_what_is_released_is_due_when_the_change_says_so(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    assert await swap(store, leased, RETRYABLE, due_at=clock.now() + 2 * LEASE, releases=True)
    after = await store.delivery.get("t1", leased.delivery_id)
    assert after is not None
    assert (after.holder, after.lease_until, after.fence) == ("", None, 1)
    assert await lease(store, clock.now() + 2 * LEASE - TICK) == []
    assert [row.fence for row in await lease(store, clock.now() + 2 * LEASE)] == [2]


async def test_what_was_never_leased_can_be_changed_and_is_due_then(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()), intent("m2", clock.now()))
    first = await store.delivery.get("t1", delivery_id("m1"))
    second = await store.delivery.get("t1", delivery_id("m2"))
    assert first is not None
    assert second is not None
    assert await swap(store, first, CANCELLED)
    assert await swap(store, second, ACCEPTED, due_at=clock.now() + DAY)
    assert await lease(store, clock.now()) == []
    assert [row.message_id for row in await lease(store, clock.now() + DAY)] == ["m2"]


async def test_changes_of_many_are_each_kept_or_not_on_their_own(store: Store, clock: FakeClock) -> None:
    await accept(store, *(intent(name, clock.now(), provider_account="first") for name in ("m1", "m2", "m3", "m4")))
    leased = {row.message_id: row for row in await lease(store, clock.now())}
    assert await swap(store, leased["m2"], SENDING)
    foreign = replace(leased["m4"], tenant_id="t2")
    body = {"said": 'it\'s "ünïcode" \\ ☂', "at": 1767225600.123456, "none": None}
    swaps = [
        Swap(change(leased["m3"], RETRYABLE, due_at=clock.now() + DAY, body=body, releases=True), 1, 1),
        Swap(change(leased["m2"], SENT, releases=True), 1, 1),
        Swap(change(foreign, SENT, releases=True), 1, 1),
        Swap(change(leased["m1"], SENDING, provider_account="second"), 1, 1),
    ]
    async with store.transaction() as tx:
        assert await tx.delivery.swap_all(swaps) == [True, False, False, True]
        assert await tx.delivery.swap_all([]) == []
        audit(tx)
    there = {row.message_id: row for row in await store.delivery.page("t1")}
    assert there["m1"] == replace(
        leased["m1"], state=SENDING, due_at=None, body={"reason": "CHANGED"}, provider_account="second", revision=2
    )
    assert there["m3"] == replace(
        leased["m3"], state=RETRYABLE, due_at=clock.now() + DAY, body=body, revision=2, holder="", lease_until=None
    )
    assert (there["m2"].state, there["m4"]) == (SENDING, leased["m4"])
    told = [(event.delivery.message_id, event.delivery.state) for event in await store.delivery.events("t1", after=5)]
    assert told == [("m3", RETRYABLE), ("m1", SENDING)]
    # Only the one that was released is free for another delivery to the same person.
    await accept(store, *(intent(f"{name}'", clock.now(), recipient_lock=f"r-{name}/1") for name in ("m1", "m3")))
    assert [row.message_id for row in await lease(store, clock.now())] == ["m3'"]


async def test_one_delivery_cannot_become_two_things_at_once(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    (leased,) = await lease(store, clock.now())
    swaps = [Swap(change(leased, state), 1, 1) for state in (SENDING, SENT)]
    with pytest.raises(ValueError, match="one thing"):
        async with store.transaction() as tx:
            await tx.delivery.swap_all(swaps)
    assert await store.delivery.get("t1", leased.delivery_id) == leased


async def test_of_changes_at_the_same_moment_one_is_kept(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(4)]
    await accept(stores[0], intent("m1", clock.now()))
    (leased,) = await lease(stores[0], clock.now())
    done = await asyncio.gather(
        *(swap(one, leased, SENT, body={"by": number}) for number, one in enumerate(stores)),
        *(swap(one, leased, UNKNOWN, body={"by": 4 + number}) for number, one in enumerate(stores)),
    )
    assert sorted(done) == [False] * 7 + [True]
    row = await stores[0].delivery.get("t1", leased.delivery_id)
    assert row is not None
    assert row.revision == 2
    assert row.body == {"by": done.index(True)}
    assert await stores[0].delivery.cursor("t1") == 2
    for one in stores:
        await one.close()


async def test_a_cancellation_and_a_lease_at_the_same_moment_do_not_both_win(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    for number in range(10):
        name = f"m{number}"
        ((accepted),) = await accept(stores[0], intent(name, clock.now()))
        cancelled, leased = await asyncio.gather(
            swap(stores[0], accepted.row, CANCELLED), lease(stores[1], clock.now())
        )
        assert cancelled == (not leased)
        if leased:
            assert await swap(stores[1], leased[0], SENT, releases=True)
    for one in stores:
        await one.close()


async def test_no_change_is_kept_without_an_audit_row(store: Store, clock: FakeClock) -> None:
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.delivery.accept([intent("m1", clock.now())])
    await accept(store, intent("m2", clock.now()))
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.delivery.lease_due(clock.now(), holder="d1", until=clock.now() + LEASE, limit=1)
    row = await store.delivery.get("t1", delivery_id("m2"))
    assert row is not None
    assert row.fence == 0
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.delivery.swap(change(row, CANCELLED), revision=1, fence=0)
    assert await store.delivery.get("t1", delivery_id("m2")) == row
    assert await store.delivery.get("t1", delivery_id("m1")) is None
    assert await store.delivery.cursor("t1") == 1


async def test_a_page_is_latest_first_and_goes_on_where_the_last_one_ended(store: Store, clock: FakeClock) -> None:
    for number in range(3):
        await accept(store, *(intent(f"m{number}{letter}", clock.now()) for letter in "ab"))
        clock.advance(DAY)
    await accept(store, intent("other", clock.now(), tenant_id="t2"))
    everything = await store.delivery.page("t1")
    assert [row.message_id[:2] for row in everything] == ["m2", "m2", "m1", "m1", "m0", "m0"]
    first = await store.delivery.page("t1", limit=3)
    last = (first[-1].accepted_at, first[-1].delivery_id)
    assert first + await store.delivery.page("t1", limit=3, before=last) == everything


async def test_a_page_has_only_the_state_and_channel_that_were_asked_for(store: Store, clock: FakeClock) -> None:
    await accept(
        store,
        intent("sms", clock.now()),
        intent("email", clock.now(), channel=EMAIL),
        intent("sent", clock.now(), channel=EMAIL, state=SENT),
    )

    async def found(state: int = 0, channel: int = 0) -> set[str]:
        far = (clock.now() + DAY, "")
        page = await store.delivery.page("t1", state=state, channel=channel)
        assert await store.delivery.page("t1", state=state, channel=channel, before=far) == page
        return {row.message_id for row in page}

    assert await found() == {"sms", "email", "sent"}
    assert await found(state=ACCEPTED) == {"sms", "email"}
    assert await found(channel=EMAIL) == {"email", "sent"}
    assert await found(state=SENT, channel=EMAIL) == {"sent"}
    assert await found(state=SENT, channel=SMS) == set()


async def test_stats_count_a_tenants_deliveries_by_channel_and_state(store: Store, clock: FakeClock) -> None:
    assert await store.delivery.stats("t1") == []
    await accept(
        store,
        intent("m1", clock.now()),
        intent("m2", clock.now()),
        intent("m3", clock.now(), channel=EMAIL),
        intent("m4", clock.now(), channel=EMAIL, state=SENT),
        intent("m5", clock.now(), tenant_id="t2"),
    )
    assert await store.delivery.stats("t1") == [
        Standing(SMS, ACCEPTED, 2),
        Standing(EMAIL, ACCEPTED, 1),
        Standing(EMAIL, SENT, 1),
    ]


async def test_the_depth_of_a_queue_tells_what_waits_from_what_is_held_or_scheduled(
    store: Store, clock: FakeClock
) -> None:
    now = clock.now()
    assert await store.delivery.queue_depth(now) == []
    await accept(
        store,
        intent("held", now - DAY),
        intent("due", now - TICK),
        intent("later", now + DAY),
        intent("done", now, due_at=None),
        intent("unknown", now, state=UNKNOWN),
        intent("mail", now + TICK, channel=EMAIL, tenant_id="t2"),
    )
    assert len(await lease(store, now, limit=1)) == 1
    assert await store.delivery.queue_depth(now) == [Depth(SMS, 1, 2, now - TICK), Depth(EMAIL, 0, 1, None)]
