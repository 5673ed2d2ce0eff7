"""What was sent and what happened to it goes a while after a delivery became final; the delivery itself stays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from selene.delivery.v1 import delivery_pb2 as contract
from sqlalchemy import func, select

from store import NotFound, Store
from store.delivery import Accepted, Change, ProviderId
from store.retention import BATCH, Kept
from store.schema import delivery_events, delivery_ids, delivery_intents
from tests.store.delivery.deliveries import accept, intent
from tests.support.stores import audit
from tests.support.time import FakeClock

KEPT = Kept(deliveries=timedelta(days=90))
TICK = timedelta(microseconds=1)
FINAL = (
    contract.DELIVERY_STATE_SENT_ACKED,
    contract.DELIVERY_STATE_FAILED_DEFINITE,
    contract.DELIVERY_STATE_CANCELLED,
    contract.DELIVERY_STATE_EXPIRED,
)


async def become(store: Store, delivery_id: str, state: int) -> None:
    async with store.transaction() as tx:
        row = await tx.delivery.get("t1", delivery_id)
        assert row is not None
        change = Change(tenant_id="t1", delivery_id=delivery_id, state=state, due_at=None, body={})
        assert await tx.delivery.swap(change, revision=row.revision, fence=row.fence)
        await tx.delivery.note_ids({("t1", delivery_id): [ProviderId("sms/main", "message", delivery_id)]})
        audit(tx)


async def sweep(store: Store, clock: FakeClock, at_most: int = BATCH) -> Mapping[str, int]:
    async with store.transaction() as tx:
        removed = await tx.retention.remove(KEPT, clock.now(), at_most)
        if removed:
            audit(tx)
    return removed


async def left(store: Store) -> tuple[int, int, int]:
    async def count(table: object) -> int:
        async with store.transaction() as tx:
            rows = await tx.delivery._writes.rows(select(func.count().label("many")).select_from(table), {})  # type: ignore[arg-type]  # any table
        return int(rows[0].many)

    return await count(delivery_intents), await count(delivery_ids), await count(delivery_events)


@pytest.mark.parametrize("state", FINAL)
async def test_what_was_sent_goes_when_a_final_delivery_was_kept_long_enough(
    store: Store, clock: FakeClock, state: int
) -> None:
    (taken,) = await accept(store, intent("m1", clock.now()))
    await become(store, taken.row.delivery_id, state)
    clock.advance(timedelta(days=90))
    assert await sweep(store, clock) == {}
    clock.advance(TICK)
    assert await sweep(store, clock) == {"deliveries": 1}
    assert await left(store) == (0, 0, 0)
    assert await sweep(store, clock) == {}
    with pytest.raises(NotFound):
        await store.delivery.open("t1", taken.row.delivery_id)


@pytest.mark.parametrize("state", [state for state in contract.DeliveryState.values() if state and state not in FINAL])
async def test_what_is_not_final_stays_however_old_it_is(store: Store, clock: FakeClock, state: int) -> None:
    (taken,) = await accept(store, intent("m1", clock.now()))
    await become(store, taken.row.delivery_id, state)
    clock.advance(timedelta(days=3000))
    assert await sweep(store, clock) == {}
    assert await store.delivery.open("t1", taken.row.delivery_id) == b"hello"
    assert await left(store) == (1, 1, 2)


async def test_a_delivery_without_its_content_still_blocks_every_other_of_its_key(
    store: Store, clock: FakeClock
) -> None:
    (taken,) = await accept(store, intent("m1", clock.now()))
    await become(store, taken.row.delivery_id, contract.DELIVERY_STATE_SENT_ACKED)
    clock.advance(timedelta(days=91))
    await sweep(store, clock)
    (again,) = await accept(store, intent("m1", clock.now()))
    assert isinstance(again, Accepted) and again.repeated
    assert again.row.state == contract.DELIVERY_STATE_SENT_ACKED


async def test_cursors_go_on_and_what_is_left_has_its_own(store: Store, clock: FakeClock) -> None:
    old, young = [
        outcome.row.delivery_id for outcome in await accept(store, intent("m1", clock.now()), intent("m2", clock.now()))
    ]
    await become(store, old, contract.DELIVERY_STATE_CANCELLED)
    clock.advance(timedelta(days=91))
    await become(store, young, contract.DELIVERY_STATE_CANCELLED)
    assert await sweep(store, clock) == {"deliveries": 1}
    assert await store.delivery.cursor("t1") == 4
    assert [(event.cursor, event.delivery.delivery_id) for event in await store.delivery.events("t1")] == [
        (2, young),
        (4, young),
    ]
    (new,) = await accept(store, intent("m3", clock.now()))
    assert [event.cursor for event in await store.delivery.events("t1", after=4)] == [5]
    assert isinstance(new, Accepted)


async def test_a_report_that_came_later_is_kept_as_long(store: Store, clock: FakeClock) -> None:
    (taken,) = await accept(store, intent("m1", clock.now()))
    await become(store, taken.row.delivery_id, contract.DELIVERY_STATE_SENT_ACKED)
    clock.advance(timedelta(days=60))
    await become(store, taken.row.delivery_id, contract.DELIVERY_STATE_SENT_ACKED)
    clock.advance(timedelta(days=31))
    assert await sweep(store, clock) == {"deliveries": 1}
    assert [event.cursor for event in await store.delivery.events("t1")] == [3]
    clock.advance(timedelta(days=60))
    assert await sweep(store, clock) == {"deliveries": 1}
    assert await left(store) == (0, 0, 0)


async def test_as_many_go_at_once_as_were_asked_for(store: Store, clock: FakeClock) -> None:
    for outcome in await accept(store, *(intent(f"m{number}", clock.now()) for number in range(5))):
        await become(store, outcome.row.delivery_id, contract.DELIVERY_STATE_CANCELLED)
    clock.advance(timedelta(days=91))
    assert [await sweep(store, clock, 2) for _ in range(4)] == [
        {"deliveries": 2},
        {"deliveries": 2},
        {"deliveries": 1},
        {},
    ]
