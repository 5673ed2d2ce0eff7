"""What is over is destroyed although nobody touches it again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from selene.kms.v1 import kms_pb2 as kms

from servers.kms.assembly import Sweeper
from servers.kms.backend import LocalKeystore
from servers.kms.sweep import sweep
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreUnavailable, Unavailability
from tests.support.stores import audit
from tests.support.time import FakeClock

HANDLE = "kms://providers/openai/stt"


async def rotated(store: Store, clock: FakeClock, overlap: timedelta) -> None:
    """A secret of two versions."""
    for secret in (b"first", b"second"):
        async with store.transaction() as tx:
            await tx.kms.secrets.put(
                HANDLE,
                secret,
                environment=kms.ENVIRONMENT_DEV,
                granted_owners=["PH1.C"],
                now=clock.now(),
                rotate_by=clock.now() + timedelta(days=7),
                overlap_until=clock.now() + overlap,
            )
            audit(tx)


async def retired(store: Store) -> list[str]:
    events = [chained.event async for chained in store.audit.stream(SYSTEM_TENANT)]
    return [fact.value for event in events for fact in event.facts if fact.name == "version"]


async def test_the_owner_sweeps_as_soon_as_it_runs(sqlite_store: Store, clock: FakeClock) -> None:
    await rotated(sqlite_store, clock, timedelta(minutes=1))
    clock.advance(timedelta(minutes=1))
    sweeper = Sweeper(sqlite_store, clock, LocalKeystore())
    async with asyncio.timeout(10):
        while not await retired(sqlite_store):
            continue
    await sweeper.stop()
    assert await retired(sqlite_store) == ["1"]


async def test_a_store_that_refuses_does_not_end_the_sweeping(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.kms.assembly.SWEEP_EVERY_S", 0.0)
    await rotated(sqlite_store, clock, timedelta(0))
    begin, refused = sqlite_store.transaction, asyncio.Event()

    def locked() -> object:
        monkeypatch.setattr(sqlite_store, "transaction", begin)
        refused.set()
        raise StoreUnavailable(Unavailability.LOCKED)

    monkeypatch.setattr(sqlite_store, "transaction", locked)
    sweeper = Sweeper(sqlite_store, clock, LocalKeystore())
    async with asyncio.timeout(10):
        await refused.wait()
        while not await retired(sqlite_store):
            continue
    await sweeper.stop()
    assert await retired(sqlite_store) == ["1"]


async def test_nothing_is_written_where_nothing_is_due(store: Store, clock: FakeClock) -> None:
    await rotated(store, clock, timedelta(minutes=1))
    await sweep(store, LocalKeystore(), clock.now())
    assert await store.audit.size(SYSTEM_TENANT) == 0
