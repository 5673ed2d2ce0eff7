"""Secrets in the store (KMS-1): versions, overlap, revocation, what is left of a destroyed one."""

from __future__ import annotations

import asyncio
import base64
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from selene.kms.v1 import kms_pb2 as kms

from store import KeyDestroyed, NotFound, Store, UnauditedChange, WrongMasterKey
from store.kms import Lease, LeaseFault, LeaseRefused, Secret
from store.kms.lease import Leased, proved, reference, refused
from store.kms.secret import key_name
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit, open_store
from tests.support.time import FakeClock, SeqIds

HANDLE = "kms://providers/openai/stt"
OTHER = "kms://providers/google/stt"
OWNER = "PH1.C"
SECRET = b"canary-Zk9qT4-first"
NEXT = b"canary-Zk9qT4-second"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NEW_MASTER_KEY = bytes(range(64, 96))


async def put(
    store: Store, secret: bytes = SECRET, *, now: datetime, handle: str = HANDLE, overlap: timedelta = HOUR
) -> Secret:
    async with store.transaction() as tx:
        made = await tx.kms.secrets.put(
            handle,
            secret,
            environment=kms.ENVIRONMENT_PROD,
            granted_owners=[OWNER, "PH1.A"],
            now=now,
            rotate_by=now + timedelta(days=30),
            overlap_until=now + overlap,
        )
        await tx.kms.secrets.retire_due(now, handle)
        audit(tx)
    return made


async def lease(store: Store, lease_id: str, *, now: datetime, ttl: timedelta = HOUR, version: int = 1) -> str:
    async with store.transaction() as tx:
        await tx.kms.leases.issue(Lease(lease_id, HANDLE, version, OWNER, now, now + ttl))
        audit(tx)
    return store.kms.lease_ref(lease_id)


async def revoke(store: Store, now: datetime, handle: str = HANDLE) -> int:
    async with store.transaction() as tx:
        _, ended = await tx.kms.secrets.revoke(handle, now)
        audit(tx)
    return ended


async def fault(store: Store, lease_ref: str, now: datetime) -> LeaseFault:
    with pytest.raises(LeaseRefused) as caught:
        await store.kms.redeem(lease_ref, now)
    return caught.value.fault


async def test_a_lease_redeems_the_secret_that_was_put(store: Store, clock: FakeClock) -> None:
    made = await put(store, now=clock.now())
    ref = await lease(store, "lease-1", now=clock.now())
    assert await store.kms.redeem(ref, clock.now()) == SECRET
    assert made == Secret(
        handle=HANDLE,
        environment=kms.ENVIRONMENT_PROD,
        version=1,
        state=kms.SECRET_STATE_ACTIVE,
        put_at=clock.now(),
        rotate_by=clock.now() + timedelta(days=30),
        overlap_until=None,
        granted_owners=("PH1.A", OWNER),
    )
    assert await store.kms.secrets.get(HANDLE) == made
    assert await store.kms.secrets.get(OTHER) is None


async def test_secrets_are_listed_by_handle_a_page_at_a_time(store: Store, clock: FakeClock) -> None:
    for handle in (HANDLE, OTHER):
        await put(store, now=clock.now(), handle=handle)
    first = await store.kms.secrets.page(limit=1)
    assert [secret.handle for secret in first] == [OTHER]
    assert [secret.handle for secret in await store.kms.secrets.page(after=OTHER)] == [HANDLE]


async def test_after_a_rotation_old_leases_live_out_the_overlap_and_new_ones_get_the_new_version(
    store: Store, clock: FakeClock
) -> None:
    start = clock.now()
    await put(store, now=start)
    old = await lease(store, "lease-1", now=start)
    rotated = await put(store, NEXT, now=start, overlap=10 * MINUTE)
    new = await lease(store, "lease-2", now=start, version=2)
    assert (rotated.version, rotated.state, rotated.overlap_until) == (
        2,
        kms.SECRET_STATE_ACTIVE,
        start + 10 * MINUTE,
    )
    almost = start + 10 * MINUTE - timedelta(microseconds=1)
    assert await store.kms.redeem(old, almost) == SECRET
    assert await fault(store, old, start + 10 * MINUTE) is LeaseFault.VERSION_GONE
    assert await store.kms.redeem(new, start + 10 * MINUTE) == NEXT


async def test_a_rotation_without_overlap_ends_the_leases_of_the_version_before(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    old = await lease(store, "lease-1", now=clock.now())
    await put(store, NEXT, now=clock.now(), overlap=timedelta(0))
    assert await fault(store, old, clock.now()) is LeaseFault.ENDED
    assert (await store.kms.secrets.get(HANDLE)).overlap_until is None  # type: ignore[union-attr]  # it was put


async def test_sweeping_retires_only_what_is_due(store: Store, clock: FakeClock) -> None:
    start = clock.now()
    for handle, overlap in ((HANDLE, MINUTE), (OTHER, HOUR)):
        await put(store, now=start, handle=handle)
        await put(store, NEXT, now=start, handle=handle, overlap=overlap)
    async with store.transaction() as tx:
        assert await tx.kms.secrets.retire_due(start + MINUTE - timedelta(microseconds=1)) == []
        due = await tx.kms.secrets.retire_due(start + MINUTE)
        assert [(version.handle, version.version) for version in due] == [(HANDLE, 1)]
        assert await tx.kms.secrets.retire_due(start + MINUTE) == []
        audit(tx)


async def test_revoking_ends_every_lease_of_every_version_at_once(store: Store, clock: FakeClock) -> None:
    start = clock.now()
    await put(store, now=start)
    old = await lease(store, "lease-1", now=start)
    await put(store, NEXT, now=start)
    new = await lease(store, "lease-2", now=start, version=2)
    over = await lease(store, "lease-3", now=start - HOUR, ttl=MINUTE, version=2)
    assert await revoke(store, start) == 2
    for ref in (old, new, over):
        assert await fault(store, ref, start) is LeaseFault.REVOKED
    known = await store.kms.secrets.get(HANDLE)
    assert known is not None
    assert (known.state, known.overlap_until) == (kms.SECRET_STATE_REVOKED, None)
    for version in (1, 2):
        with pytest.raises(KeyDestroyed):
            await store.vault.key("", key_name(HANDLE, version))
    assert await revoke(store, start) == 0


async def test_revoking_one_secret_leaves_the_others(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    await put(store, NEXT, now=clock.now(), handle=OTHER)
    ref = await lease(store, "lease-1", now=clock.now())
    await revoke(store, clock.now(), OTHER)
    assert await store.kms.redeem(ref, clock.now()) == SECRET


async def test_a_secret_put_after_a_revocation_replaces_it_and_revives_no_lease(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    old = await lease(store, "lease-1", now=clock.now())
    await revoke(store, clock.now())
    replaced = await put(store, NEXT, now=clock.now())
    assert (replaced.version, replaced.state, replaced.overlap_until) == (2, kms.SECRET_STATE_ACTIVE, None)
    assert await fault(store, old, clock.now()) is LeaseFault.REVOKED
    assert await store.kms.redeem(await lease(store, "lease-2", now=clock.now(), version=2), clock.now()) == NEXT


async def test_revoking_what_was_never_put_is_not_found(store: Store, clock: FakeClock) -> None:
    with pytest.raises(NotFound):
        await revoke(store, clock.now())


async def test_a_lease_ends_once(store: Store, clock: FakeClock) -> None:
    start = clock.now()
    await put(store, now=start)
    ref = await lease(store, "lease-1", now=start)
    async with store.transaction() as tx:
        ended = await tx.kms.leases.end("lease-1", start + MINUTE)
        again = await tx.kms.leases.end("lease-1", start + 2 * MINUTE)
        assert await tx.kms.leases.end("lease-9", start) is None
        audit(tx)
    assert ended is not None and again is not None
    assert (ended[0].ends_at, ended[1]) == (start + MINUTE, True)
    assert (again[0].ends_at, again[1]) == (start + MINUTE, False)
    assert await fault(store, ref, start + MINUTE) is LeaseFault.ENDED


async def test_a_lease_expires_on_time(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    ref = await lease(store, "lease-1", now=clock.now(), ttl=MINUTE)
    assert await store.kms.redeem(ref, clock.now() + MINUTE - timedelta(microseconds=1)) == SECRET
    assert await fault(store, ref, clock.now() + MINUTE) is LeaseFault.EXPIRED


async def test_only_the_reference_of_this_very_lease_redeems_it(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    ref = await lease(store, "lease-1", now=clock.now())
    other = await lease(store, "lease-2", now=clock.now())
    token = other.rpartition("/")[2]
    for forged in (f"lease://lease-1/{token}", ref[:-1], ref + "A", ref.upper(), "lease-1", "", f"lease:///{token}"):
        assert await fault(store, forged, clock.now()) is LeaseFault.NOT_A_LEASE


async def test_a_reference_to_a_lease_that_was_never_made_is_none(store: Store, clock: FakeClock) -> None:
    assert await fault(store, store.kms.lease_ref("lease-1"), clock.now()) is LeaseFault.NOT_A_LEASE


async def test_every_change_needs_an_audit_row(store: Store, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.kms.secrets.revoke(HANDLE, clock.now())
    known = await store.kms.secrets.get(HANDLE)
    assert known is not None and known.state == kms.SECRET_STATE_ACTIVE


async def opened(url: str, clock: FakeClock, master_key: bytes, *retired: bytes) -> Store:
    return await Store.open(
        url,
        clock=clock,
        ids=SeqIds("rotated"),
        signing_key=SIGNING_KEY,
        master_key=master_key,
        retired_master_keys=retired,
    )


async def test_secrets_and_leases_survive_a_change_of_the_master_key(
    store: Store, store_url: str, clock: FakeClock
) -> None:
    await put(store, now=clock.now())
    ref = await lease(store, "lease-1", now=clock.now())
    changing = await opened(store_url, clock, NEW_MASTER_KEY, MASTER_KEY)
    assert await changing.kms.redeem(ref, clock.now()) == SECRET
    async with changing.transaction() as tx:
        assert await tx.vault.rewrap(10) == 1
        audit(tx)
    assert changing.kms.sealing_seeds()[1:] == store.kms.sealing_seeds()
    await changing.close()
    changed = await opened(store_url, clock, NEW_MASTER_KEY)
    assert await changed.kms.redeem(changed.kms.lease_ref("lease-1"), clock.now()) == SECRET
    assert await fault(changed, ref, clock.now()) is LeaseFault.NOT_A_LEASE
    await changed.close()


async def test_a_store_with_another_master_key_refuses_to_start(store: Store, store_url: str, clock: FakeClock) -> None:
    await put(store, now=clock.now())
    wrong = await opened(store_url, clock, NEW_MASTER_KEY)
    with pytest.raises(WrongMasterKey):
        await wrong.migrate()
    await wrong.close()


async def test_two_servers_that_put_at_once_make_two_versions(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    made = await asyncio.gather(
        *(put(one, secret, now=clock.now()) for one, secret in zip(stores, (SECRET, NEXT), strict=True))
    )
    assert sorted(secret.version for secret in made) == [1, 2]
    for one in stores:
        await one.close()


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("selene.db*")))


async def test_nothing_of_a_secret_lies_in_the_database_file_and_nothing_sealed_is_left_of_a_destroyed_one(
    sqlite_store: Store, sqlite_url: str, clock: FakeClock
) -> None:
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    await put(sqlite_store, now=clock.now())
    ref = await lease(sqlite_store, "lease-1", now=clock.now())
    leased = await sqlite_store.kms.leases.leased("lease-1")
    assert leased is not None
    assert leased.sealed in everything(folder)
    for form in (
        SECRET,
        base64.b64encode(SECRET),
        SECRET.hex().encode(),
        ref.encode(),
        ref.rpartition("/")[2].encode(),
    ):
        assert form not in everything(folder)
    await revoke(sqlite_store, clock.now())
    # The commit returns before the scrub that follows it; the next transaction waits for both.
    async with sqlite_store.transaction() as tx:
        audit(tx)
    assert leased.sealed not in everything(folder)
    assert (await sqlite_store.kms.leases.leased("lease-1")).sealed == b""  # type: ignore[union-attr]  # it was made


NOW = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


def leased(**fields: object) -> Leased:
    usual: dict[str, object] = {
        "lease_id": "lease-1",
        "handle": HANDLE,
        "version": 1,
        "owner": OWNER,
        "expires_at": NOW + MINUTE,
        "ended_at": None,
        "state": kms.SECRET_STATE_ACTIVE,
        "overlap_until": None,
        "backend_version": None,
        "sealed": b"sealed",
    }
    return Leased(**{**usual, **fields})  # type: ignore[arg-type]  # fields of a test


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (leased(), None),
        (None, LeaseFault.NOT_A_LEASE),
        (leased(state=kms.SECRET_STATE_REVOKED, ended_at=NOW), LeaseFault.REVOKED),
        (leased(ended_at=NOW), LeaseFault.ENDED),
        (leased(ended_at=NOW, expires_at=NOW), LeaseFault.ENDED),
        (leased(expires_at=NOW), LeaseFault.EXPIRED),
        (leased(state=kms.SECRET_STATE_OVERLAPPING, overlap_until=NOW + MINUTE), None),
        (leased(state=kms.SECRET_STATE_OVERLAPPING, overlap_until=NOW), LeaseFault.VERSION_GONE),
        (leased(state=kms.SECRET_STATE_OVERLAPPING), LeaseFault.VERSION_GONE),
        (leased(state=kms.SECRET_STATE_RETIRED), LeaseFault.VERSION_GONE),
        (leased(state=kms.SECRET_STATE_UNSPECIFIED), LeaseFault.VERSION_GONE),
    ],
)
def test_a_lease_is_redeemed_only_while_nothing_speaks_against_it(
    found: Leased | None, expected: LeaseFault | None
) -> None:
    assert refused(found, NOW) is expected


def test_a_reference_is_the_same_each_time_and_another_for_another_key() -> None:
    key, other = b"k" * 32, b"o" * 32
    ref = reference("lease-1", key)
    assert reference("lease-1", key) == ref != reference("lease-1", other)
    assert len(ref.rpartition("/")[2]) == 43
    assert proved(ref, (other, key)) == "lease-1"
    with pytest.raises(LeaseRefused, match=r"^NOT_A_LEASE$"):
        proved(ref, (other,))


def test_sealed_bytes_are_not_printed() -> None:
    assert "sealed" not in repr(leased())
