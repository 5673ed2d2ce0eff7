"""Keys of calls that were served, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from store import Store
from store.routing import ServedCall, name_of
from tests.support.stores import audit
from tests.support.time import FakeClock

FIRST = ServedCall("t-1", "Respond", "key-1", bytes(32), "r-1")
OTHERS = (
    replace(FIRST, tenant_id="t-2"),
    replace(FIRST, rpc="Transcribe"),
    replace(FIRST, key="key-2"),
)


async def claim(store: Store, *calls: ServedCall) -> list[str]:
    """Of each call's key, the request that it stands for."""
    async with store.transaction() as tx:
        stands_for = await tx.routing.served.claim(calls)
        audit(tx, "t-1")
    return [stands_for[name_of(each)].request_id for each in calls]


async def test_a_key_stands_for_the_first_call_that_was_served(store: Store, clock: FakeClock) -> None:
    again, changed = replace(FIRST, request_id="r-2"), replace(FIRST, request_id="r-3", content=bytes([1] * 32))
    assert await claim(store, FIRST) == ["r-1"]
    assert await claim(store, again, replace(FIRST, key="key-3", request_id="r-4")) == ["r-1", "r-4"]
    assert await claim(store, changed) == ["r-1"]
    noted = await store.routing.served.since("Respond", clock.now(), 100)
    assert sorted(call.request_id for _, call in noted) == ["r-1", "r-4"]


async def test_two_calls_of_one_key_in_one_transaction_are_one(store: Store) -> None:
    first, second = await claim(store, FIRST, replace(FIRST, request_id="r-2"))
    assert first == second


async def test_tenants_rpcs_and_keys_are_told_apart(store: Store) -> None:
    calls = [FIRST, *(replace(each, request_id=f"r-{place}") for place, each in enumerate(OTHERS, 2))]
    assert await claim(store, *calls) == ["r-1", "r-2", "r-3", "r-4"]


async def test_nothing_to_note_is_nothing(store: Store) -> None:
    assert await claim(store) == []


async def test_they_are_read_from_when_they_were_noted(store: Store, clock: FakeClock) -> None:
    began = clock.now()
    for number in range(3):
        await claim(store, replace(FIRST, key=f"key-{number}"))
        clock.advance(timedelta(seconds=10))
    later = await store.routing.served.since("Respond", began + timedelta(seconds=10), 100)
    assert [call.key for _, call in later] == ["key-1", "key-2"]
    assert [at for at, _ in later] == [began + timedelta(seconds=10), began + timedelta(seconds=20)]
    assert [call.key for _, call in await store.routing.served.since("Respond", began, 2)] == ["key-0", "key-1"]
    assert await store.routing.served.since("Transcribe", began, 100) == []
