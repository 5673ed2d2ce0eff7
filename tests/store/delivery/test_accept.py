"""Taking on deliveries: once for an intent, whoever asks how often, and sealed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from selene.delivery.v1 import delivery_pb2 as contract
from sqlalchemy import text

from store import Conflict, KeyDestroyed, NotFound, Store
from store.delivery import Accepted, ContentChanged
from tests.store.delivery.deliveries import DAY, accept, delivery_id, intent
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock


async def test_an_accepted_delivery_is_there_as_it_was_given(store: Store, clock: FakeClock) -> None:
    new = intent("m1", clock.now(), provider_account="sms/main", body={"attempts": []})
    (outcome,) = await accept(store, new)
    assert isinstance(outcome, Accepted)
    assert not outcome.repeated
    row = await store.delivery.get("t1", new.delivery_id)
    assert row == outcome.row
    assert row is not None
    for name in ("identity", "payload_hash", "state", "priority", "due_at", "expires_at", "provider_account", "body"):
        assert getattr(row, name) == getattr(new, name)
    assert (row.revision, row.fence, row.holder, row.lease_until) == (1, 0, "", None)
    assert (row.accepted_at, row.updated_at) == (clock.now(), clock.now())
    assert await store.delivery.get("t2", new.delivery_id) is None


async def test_a_repetition_gets_the_delivery_as_it_stands_and_writes_nothing(store: Store, clock: FakeClock) -> None:
    (first,) = await accept(store, intent("m1", clock.now()))
    clock.advance(DAY)
    async with store.transaction() as tx:
        (again,) = await tx.delivery.accept([intent("m1", clock.now())])
    assert again == Accepted(first.row, repeated=True)
    assert await store.delivery.cursor("t1") == 1
    assert await store.delivery.tenants() == ["t1"]


@pytest.mark.parametrize("hours", [0, 1])
async def test_the_same_identity_with_other_content_is_not_taken(store: Store, clock: FakeClock, hours: int) -> None:
    (first,) = await accept(store, intent("m1", clock.now()))
    clock.advance(hours * DAY / 24)
    other = replace(intent("m1", clock.now()), payload_hash=bytes(32), delivery_id=delivery_id("other"), intent=b"no")
    assert await accept(store, other) == [ContentChanged(first.row)]
    assert await store.delivery.get("t1", other.delivery_id) is None
    assert await store.delivery.open("t1", first.row.delivery_id) == b"hello"


async def test_every_part_of_the_identity_makes_another_delivery(store: Store, clock: FakeClock) -> None:
    one = intent("m1", clock.now())
    others = [
        replace(one, tenant_id="t2"),
        replace(one, message_id="m2", delivery_id=delivery_id("a")),
        replace(one, recipient_id="r2", delivery_id=delivery_id("b")),
        replace(one, channel=contract.DELIVERY_CHANNEL_PUSH, delivery_id=delivery_id("c")),
        replace(one, simulation_id="s1", delivery_id=delivery_id("d")),
    ]
    outcomes = await accept(store, one, *others)
    assert [isinstance(outcome, Accepted) and not outcome.repeated for outcome in outcomes] == [True] * 6
    assert [outcome.row.identity for outcome in outcomes] == [row.identity for row in (one, *others)]


async def test_a_batch_is_answered_in_its_order_and_may_repeat_itself(store: Store, clock: FakeClock) -> None:
    (known,) = await accept(store, intent("m2", clock.now()))
    new = intent("m1", clock.now())
    changed = replace(new, payload_hash=bytes(32), delivery_id=delivery_id("other"))
    first, again, before, other, last = await accept(
        store, new, new, intent("m2", clock.now()), changed, intent("m0", clock.now())
    )
    assert (first, again, other) == (
        Accepted(first.row, repeated=False),
        Accepted(first.row, repeated=True),
        ContentChanged(first.row),
    )
    assert before == Accepted(known.row, repeated=True)
    assert last.row.message_id == "m0"
    assert await store.delivery.cursor("t1") == 3


async def test_an_id_of_another_identity_is_refused_and_nothing_is_kept(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()))
    with pytest.raises(Conflict):
        await accept(store, intent("m0", clock.now()), intent("m2", clock.now(), delivery_id=delivery_id("m1")))
    assert await store.delivery.get("t1", delivery_id("m0")) is None


async def test_a_priority_that_nobody_would_lease_is_refused(store: Store, clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="priority"):
        await accept(store, intent("m1", clock.now(), priority=0))


async def test_five_hundred_are_taken_at_once(store: Store, clock: FakeClock) -> None:
    rows = [intent(f"m{number}", clock.now()) for number in range(500)]
    outcomes = await accept(store, *rows)
    assert [outcome.row.delivery_id for outcome in outcomes] == [row.delivery_id for row in rows]
    assert await store.delivery.open("t1", rows[499].delivery_id) == b"hello"
    again = await accept(store, *rows)
    assert all(isinstance(outcome, Accepted) and outcome.repeated for outcome in again)
    assert await store.delivery.cursor("t1") == 500


async def test_of_the_same_intents_accepted_at_once_by_several_servers_each_is_kept_once(
    store_url: str, clock: FakeClock
) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(4)]
    rows = [intent(f"m{number}", clock.now()) for number in range(20)]
    # Each in an order of its own.
    batches = [rows, rows[::-1], rows[10:] + rows[:10], rows[::2] + rows[1::2]]
    answers = await asyncio.gather(*(accept(one, *batch) for one, batch in zip(stores, batches, strict=True)))
    outcomes = [outcome for answer in answers for outcome in answer]
    fresh = [outcome for outcome in outcomes if isinstance(outcome, Accepted) and not outcome.repeated]
    assert sorted(outcome.row.message_id for outcome in fresh) == sorted(row.message_id for row in rows)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert await stores[0].delivery.cursor("t1") == 20
    for one in stores:
        await one.close()


async def test_the_intent_is_sealed_and_opens_only_for_its_tenant(store: Store, clock: FakeClock) -> None:
    secret = b"+4915112345678 your code is 123456"
    await accept(store, intent("m1", clock.now(), intent=secret))
    assert await store.delivery.open("t1", delivery_id("m1")) == secret
    with pytest.raises(NotFound):
        await store.delivery.open("t2", delivery_id("m1"))
    async with store.transaction() as tx:
        (row,) = await tx.rows(text("SELECT sealed FROM delivery_intents"))
    assert secret not in bytes(row.sealed)
    assert b"123456" not in bytes(row.sealed)
    assert "123456" not in repr(intent("m1", clock.now(), intent=secret))


async def test_an_erased_recipient_cannot_be_written_to_by_what_was_accepted_before(
    store: Store, clock: FakeClock
) -> None:
    await accept(store, intent("m1", clock.now()), intent("m2", clock.now()))
    async with store.transaction() as tx:
        assert await tx.delivery.erase("t1", "r-m1")
        audit(tx)
    with pytest.raises(KeyDestroyed):
        await store.delivery.open("t1", delivery_id("m1"))
    assert await store.delivery.open("t1", delivery_id("m2")) == b"hello"
    later = intent("m3", clock.now(), recipient_id="r-m1")
    await accept(store, later)
    assert await store.delivery.open("t1", later.delivery_id) == b"hello"
    with pytest.raises(KeyDestroyed):
        await store.delivery.open("t1", delivery_id("m1"))


async def test_intents_are_opened_together_and_each_that_cannot_be_says_why(store: Store, clock: FakeClock) -> None:
    rows = [intent(f"m{number}", clock.now(), intent=f"said {number}".encode()) for number in range(5)]
    await accept(store, *rows)
    async with store.transaction() as tx:
        await tx.delivery.erase("t1", rows[1].recipient_id)
        audit(tx)
    wanted = [rows[4].delivery_id, rows[1].delivery_id, delivery_id("nobody"), rows[0].delivery_id, rows[4].delivery_id]
    opened = await store.delivery.open_all("t1", wanted)
    assert [each if isinstance(each, bytes) else type(each) for each in opened] == [
        b"said 4",
        KeyDestroyed,
        NotFound,
        b"said 0",
        b"said 4",
    ]
    assert [type(each) for each in await store.delivery.open_all("t2", wanted[:1])] == [NotFound]
    assert await store.delivery.open_all("t1", []) == []


async def test_what_intents_weigh_is_known_without_opening_them(store: Store, clock: FakeClock) -> None:
    small, large = intent("m1", clock.now(), intent=b"hello"), intent("m2", clock.now(), intent=bytes(10_000))
    await accept(store, small, large)
    sizes = await store.delivery.intent_sizes("t1", [small.delivery_id, large.delivery_id, delivery_id("nobody")])
    assert sizes.keys() == {small.delivery_id, large.delivery_id}
    assert 5 < sizes[small.delivery_id] < 200 and 10_000 < sizes[large.delivery_id] < 10_200
    assert await store.delivery.intent_sizes("t2", [small.delivery_id]) == {}
    assert await store.delivery.intent_sizes("t1", []) == {}
