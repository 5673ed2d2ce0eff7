"""What is over is destroyed although nobody touches it again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from selene.kms.v1 import kms_pb2 as kms

from servers.kms.assembly import Sweeper
from servers.kms.backend import LocalKeystore
from servers.kms.sweep import LEASES_KEPT, sweep, wrap_anew
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreUnavailable, Unavailability, WrongMasterKey
from store.kms import Lease
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit
from tests.support.time import FakeClock, SeqIds

HANDLE = "kms://providers/openai/stt"
NEW_MASTER_KEY = bytes(range(64, 96))
HOUR = timedelta(hours=1)


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


async def leased(store: Store, clock: FakeClock, *lease_ids: str) -> None:
    async with store.transaction() as tx:
        for lease_id in lease_ids:
            await tx.kms.leases.issue(Lease(lease_id, HANDLE, 2, "PH1.C", clock.now(), clock.now() + HOUR))
        await tx.kms.leases.end(lease_ids[0], clock.now())
        audit(tx)


async def test_leases_are_forgotten_thirty_days_after_they_ran_out_with_one_row_a_sweep(
    store: Store, clock: FakeClock
) -> None:
    await rotated(store, clock, 2 * LEASES_KEPT)
    await leased(store, clock, "ended", "expired")
    clock.advance(timedelta(days=1))
    await leased(store, clock, "later")
    clock.advance(LEASES_KEPT + HOUR - timedelta(days=1, microseconds=1))
    await sweep(store, LocalKeystore(), clock.now())
    assert await store.audit.size(SYSTEM_TENANT) == 0
    clock.advance(timedelta(microseconds=1))
    for _ in range(2):
        await sweep(store, LocalKeystore(), clock.now())
    kept = {lease_id: await store.kms.leases.get(lease_id) is not None for lease_id in ("ended", "expired", "later")}
    assert kept == {"ended": False, "expired": False, "later": True}
    (event,) = [chained.event async for chained in store.audit.stream(SYSTEM_TENANT)]
    assert (event.transition, event.reason_code) == ("leases.purged", "KEPT_LONG_ENOUGH")
    assert [(fact.name, fact.value) for fact in event.facts] == [("count", "2")]


async def with_new_master_key(url: str, clock: FakeClock, *retired: bytes) -> Store:
    return await Store.open(
        url,
        clock=clock,
        ids=SeqIds("new"),
        signing_key=SIGNING_KEY,
        master_key=NEW_MASTER_KEY,
        retired_master_keys=retired,
    )


async def test_the_owner_wraps_anew_what_a_retired_master_key_wrapped(
    store: Store, store_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.kms.sweep.WRAPPED_AT_ONCE", 1)
    await rotated(store, clock, HOUR)
    await leased(store, clock, "ended", "running")
    without = await with_new_master_key(store_url, clock)
    with pytest.raises(WrongMasterKey):
        await without.migrate()
    changing = await with_new_master_key(store_url, clock, MASTER_KEY)
    sweeper = Sweeper(changing, clock, LocalKeystore(), wraps_anew=True)
    async with asyncio.timeout(10):
        while await refuses(without):
            continue
    await sweeper.stop()
    assert await wrap_anew(changing) == 0
    events = [chained.event async for chained in changing.audit.stream(SYSTEM_TENANT)]
    assert [(event.transition, event.reason_code) for event in events] == [
        ("master_key.wrapped_anew", "MASTER_KEY_RETIRED")
    ] * len(events)
    assert len(events) >= 2
    assert await without.kms.redeem(without.kms.lease_ref("running"), clock.now()) == b"second"
    for one in (changing, without):
        await one.close()


async def refuses(store: Store) -> bool:
    """Whether a store without the retired key still lacks it."""
    try:
        await store.migrate()
    except WrongMasterKey:
        return True
    return False


async def test_nothing_is_wrapped_anew_without_a_retired_key(sqlite_store: Store) -> None:
    assert await wrap_anew(sqlite_store) == 0
    assert await sqlite_store.audit.size(SYSTEM_TENANT) == 0
