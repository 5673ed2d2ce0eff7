"""Versions that another backend keeps, and what leases remember of being redeemed (KMS-1)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from selene.kms.v1 import kms_pb2 as kms

from store import KeyDestroyed, Store
from store.kms import KeptElsewhere, Lease, LeaseFault, LeaseRefused
from store.kms.secret import Version, key_name
from tests.support.stores import audit
from tests.support.time import FakeClock

HANDLE = "kms://providers/openai/stt"
OTHER = "kms://providers/google/stt"
HOUR = timedelta(hours=1)


async def put(store: Store, clock: FakeClock, number: int, handle: str = HANDLE, overlap: timedelta = HOUR) -> None:
    async with store.transaction() as tx:
        await tx.kms.secrets.put(
            handle,
            KeptElsewhere(number),
            environment=kms.ENVIRONMENT_PROD,
            granted_owners=["PH1.C"],
            now=clock.now(),
            rotate_by=clock.now() + timedelta(days=30),
            overlap_until=clock.now() + overlap,
        )
        audit(tx)


async def leased(store: Store, clock: FakeClock, lease_id: str = "lease-1", ttl: timedelta = HOUR) -> str:
    async with store.transaction() as tx:
        await tx.kms.leases.issue(Lease(lease_id, HANDLE, 1, "PH1.C", clock.now(), clock.now() + ttl))
        audit(tx)
    return store.kms.lease_ref(lease_id)


async def test_of_a_version_kept_elsewhere_the_store_has_its_number_and_no_key(store: Store, clock: FakeClock) -> None:
    await put(store, clock, 7)
    ref = await leased(store, clock)
    presented = await store.kms.presented(ref, clock.now())
    assert (presented.handle, presented.version, presented.owner) == (HANDLE, 1, "PH1.C")
    assert (presented.lease_id, presented.backend_version, presented.sealed) == ("lease-1", 7, b"")
    with pytest.raises(KeyDestroyed):
        await store.vault.key("", key_name(HANDLE, 1))
    with pytest.raises(LeaseRefused) as refused:
        await store.kms.opened(presented)
    assert refused.value.fault is LeaseFault.KEPT_ELSEWHERE
    assert refused.value.leased == presented


async def test_what_ended_is_to_be_destroyed_until_it_is(store: Store, clock: FakeClock) -> None:
    await put(store, clock, 3)
    await put(store, clock, 4, overlap=timedelta(0))
    await put(store, clock, 1, OTHER)
    assert await store.kms.secrets.undestroyed() == []
    async with store.transaction() as tx:
        await tx.kms.secrets.retire_due(clock.now())
        await tx.kms.secrets.revoke(OTHER, clock.now())
        audit(tx)
    of_other, of_handle = Version(OTHER, 1, 1), Version(HANDLE, 1, 3)
    assert await store.kms.secrets.undestroyed() == [of_other, of_handle]
    assert await store.kms.secrets.undestroyed(HANDLE) == [of_handle]
    assert await store.kms.secrets.undestroyed(limit=1) == [of_other]
    async with store.transaction() as tx:
        assert await tx.kms.secrets.destroyed(of_handle)
        assert not await tx.kms.secrets.destroyed(of_handle)
        audit(tx)
    assert await store.kms.secrets.undestroyed() == [of_other]
    ref = await leased(store, clock)
    with pytest.raises(LeaseRefused, match=r"^VERSION_GONE$"):
        await store.kms.presented(ref, clock.now())


async def test_a_lease_knows_its_first_redemption_and_how_many_there_were(store: Store, clock: FakeClock) -> None:
    await put(store, clock, 1)
    await leased(store, clock)
    first = clock.now()
    async with store.transaction() as tx:
        assert await tx.kms.leases.first_redeemed("lease-1", first)
        clock.advance(timedelta(minutes=1))
        assert not await tx.kms.leases.first_redeemed("lease-1", clock.now())
        assert not await tx.kms.leases.first_redeemed("lease-9", clock.now())
        await tx.kms.leases.count_redemptions({"lease-1": 4, "lease-9": 2})
        audit(tx)
    lease = await store.kms.leases.get("lease-1")
    assert lease is not None
    assert (lease.redeemed_at, lease.redemptions) == (first, 5)


async def test_leases_that_had_run_out_are_forgotten_and_no_others(store: Store, clock: FakeClock) -> None:
    await put(store, clock, 1)
    await leased(store, clock, "lease-1", ttl=HOUR)
    await leased(store, clock, "lease-2", ttl=HOUR + timedelta(microseconds=1))
    async with store.transaction() as tx:
        assert await tx.kms.leases.purge(clock.now() + HOUR) == 1
        audit(tx)
    assert await store.kms.leases.get("lease-1") is None
    assert await store.kms.leases.get("lease-2") is not None
