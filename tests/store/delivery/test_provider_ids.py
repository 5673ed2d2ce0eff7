"""What providers call a delivery, and their webhooks: found, and taken once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from store import Store
from store.delivery import ProviderId
from store.retention import Kept
from tests.store.delivery.deliveries import TICK, accept, delivery_id, intent
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

SID = ProviderId("sms/twilio", "message", "SM1")


async def note(store: Store, name: str, *ids: ProviderId, tenant_id: str = "t1") -> None:
    async with store.transaction() as tx:
        await tx.delivery.note_ids({(tenant_id, delivery_id(name)): ids})
        audit(tx)


async def seen(store: Store, event_id: str, provider_ref: str = "sms/twilio") -> bool:
    async with store.transaction() as tx:
        before = await tx.delivery.webhook_seen(provider_ref, event_id)
        audit(tx)
    return before


async def test_a_delivery_is_found_by_each_of_its_ids(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()), intent("m2", clock.now()))
    token = ProviderId("sms/twilio", "token", "SM1")
    await note(store, "m1", SID)
    await note(store, "m1", SID, ProviderId("sms/vonage", "message", "SM9"))
    await note(store, "m2", token)
    first = await store.delivery.by_provider_id("sms/twilio", "message", "SM1")
    assert first == await store.delivery.get("t1", delivery_id("m1"))
    assert first is not None
    assert await store.delivery.by_provider_id("sms/vonage", "message", "SM9") == first
    second = await store.delivery.by_provider_id("sms/twilio", "token", "SM1")
    assert second == await store.delivery.get("t1", delivery_id("m2"))
    assert await store.delivery.by_provider_id("sms/vonage", "message", "SM1") is None


async def test_an_id_of_two_deliveries_is_of_none(store: Store, clock: FakeClock) -> None:
    await accept(store, intent("m1", clock.now()), intent("m2", clock.now(), tenant_id="t2"))
    await note(store, "m1", SID)
    await note(store, "m2", SID, tenant_id="t2")
    assert await store.delivery.by_provider_id("sms/twilio", "message", "SM1") is None


async def test_no_ids_are_no_change(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.delivery.note_ids({("t1", delivery_id("m1")): []})
    assert await store.audit.size("t1") == 0


async def test_a_webhook_is_seen_once_for_a_provider(store: Store) -> None:
    assert not await seen(store, "e1")
    assert await seen(store, "e1")
    assert not await seen(store, "e2")
    assert not await seen(store, "e1", "email/resend")


async def test_of_a_webhook_that_several_servers_get_at_once_one_is_first(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(3)]
    before = await asyncio.gather(*(seen(one, "e1") for one in stores for _ in range(3)))
    assert sorted(before) == [False] + [True] * 8
    for one in stores:
        await one.close()


async def test_a_webhook_whose_transaction_failed_was_not_seen(store: Store) -> None:
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            assert not await tx.delivery.webhook_seen("sms/twilio", "e1")
            audit(tx)
            raise LookupError
    assert not await seen(store, "e1")


async def test_a_webhook_is_forgotten_after_thirty_days(store: Store, clock: FakeClock) -> None:
    assert not await seen(store, "e1")
    clock.advance(timedelta(days=30))
    async with store.transaction() as tx:
        assert await tx.retention.remove(Kept(), clock.now()) == {}
    assert await seen(store, "e1")
    async with store.transaction() as tx:
        assert await tx.retention.remove(Kept(), clock.now() + TICK) == {"delivery_webhooks": 1}
        audit(tx)
    assert not await seen(store, "e1")
