"""The process removes what was kept long enough: in batches, audited, and again and again while it runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from servers import retention
from servers.retention import Retention, sweep
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, UnansweredClaim
from store.retention import Kept
from tests.support.stores import audit
from tests.support.time import FakeClock

HASH = bytes(32)


async def use_keys(store: Store, *keys: str) -> None:
    async with store.transaction() as tx:
        for key in keys:
            if await tx.idempotent("t1", "/m", key, HASH) is None:
                await tx.remember("t1", "/m", key, b"reply")
        audit(tx)


async def kept(store: Store, key: str) -> bool:
    """Whether the key still answers; a key that does not is left as it was."""
    try:
        async with store.transaction() as tx:
            return await tx.idempotent("t1", "/m", key, HASH) is not None
    except UnansweredClaim:
        return False


async def removals(store: Store) -> list[dict[str, str]]:
    trail = [chained.event async for chained in store.audit.stream(SYSTEM_TENANT)]
    assert {event.actor for event in trail} <= {"system"}
    return [
        {fact.name: fact.value for fact in event.facts}
        for event in trail
        if event.transition == "retention.removed" and event.reason_code == "KEPT_LONG_ENOUGH"
    ]


async def test_a_sweep_removes_all_that_is_over_in_batches_that_are_audited(store: Store, clock: FakeClock) -> None:
    await use_keys(store, *(f"k{number}" for number in range(5)))
    clock.advance(timedelta(days=7, seconds=1))
    await use_keys(store, "young")
    assert await sweep(store, clock, Kept(), batch=2) == {"idempotency": 5}
    assert await removals(store) == [{"idempotency": "2"}, {"idempotency": "2"}, {"idempotency": "1"}]
    assert await kept(store, "young")


async def test_a_sweep_that_finds_nothing_leaves_no_trace(store: Store, clock: FakeClock) -> None:
    await use_keys(store, "k1")
    assert await sweep(store, clock, Kept()) == {}
    assert await removals(store) == []
    assert await kept(store, "k1")


async def test_the_retention_of_keys_is_what_the_deployment_says(store: Store, clock: FakeClock) -> None:
    await use_keys(store, "k1")
    clock.advance(timedelta(days=2))
    assert await sweep(store, clock, Kept(idempotency=timedelta(days=30))) == {}
    assert await sweep(store, clock, Kept(idempotency=timedelta(days=1))) == {"idempotency": 1}


async def test_a_process_sweeps_when_it_starts_and_again_until_it_stops(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_EVERY_S", 0.01)
    await use_keys(sqlite_store, "k1")
    clock.advance(timedelta(days=8))
    running = Retention(sqlite_store, clock, Kept())
    await _until_removed(sqlite_store, 1)
    await use_keys(sqlite_store, "k2")
    clock.advance(timedelta(days=8))
    await _until_removed(sqlite_store, 2)
    assert sweeping()
    await running.stop()
    assert not sweeping()


def sweeping() -> bool:
    """Whether a task is left that would sweep again."""
    return any(getattr(task.get_coro(), "__qualname__", "") == "Retention._repeat" for task in asyncio.all_tasks())


async def _until_removed(store: Store, sweeps: int) -> None:
    for _ in range(500):
        if len(await removals(store)) >= sweeps:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was removed")
