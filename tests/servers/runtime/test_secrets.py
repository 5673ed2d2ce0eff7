"""Redeeming leases where a provider is called: what it gives, what it refuses, what it writes down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.kms.v1 import kms_pb2 as kms

from servers.runtime.config import ConfigError, load_settings
from servers.runtime.openbao import OpenBao
from servers.runtime.secrets import (
    BackendUnavailable,
    OpenBaoSettings,
    Redeemer,
    SecretsSettings,
    Silence,
    VersionGone,
    keeper,
    redeemer,
)
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreUnavailable, Unavailability, WrongMasterKey
from store.kms import KeptElsewhere, Lease, LeaseFault, LeaseRefused
from tests.support.openbao import Folder
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.openbao import Front
from tests.support.stores import SIGNING_KEY, audit
from tests.support.time import FakeClock, SeqIds

HANDLE = "kms://providers/openai/stt"
SECRET = b"canary-Nb27Rs"
HOUR = timedelta(hours=1)


async def put(store: Store, clock: FakeClock, secret: bytes | KeptElsewhere = SECRET) -> None:
    async with store.transaction() as tx:
        await tx.kms.secrets.put(
            HANDLE,
            secret,
            environment=kms.ENVIRONMENT_DEV,
            granted_owners=["PH1.C"],
            now=clock.now(),
            rotate_by=clock.now() + timedelta(days=7),
            overlap_until=clock.now() + HOUR,
        )
        audit(tx)


async def leased(store: Store, clock: FakeClock, lease_id: str = "lease-1") -> str:
    async with store.transaction() as tx:
        await tx.kms.leases.issue(Lease(lease_id, HANDLE, 1, "PH1.C", clock.now(), clock.now() + HOUR))
        audit(tx)
    return store.kms.lease_ref(lease_id)


async def revoke(store: Store, clock: FakeClock) -> None:
    async with store.transaction() as tx:
        await tx.kms.secrets.revoke(HANDLE, clock.now())
        audit(tx)


async def trail(store: Store) -> list[AuditEvent]:
    return [chained.event async for chained in store.audit.stream(SYSTEM_TENANT)]


async def told(store: Store) -> list[tuple[str, str]]:
    return [(event.transition, event.reason_code) for event in await trail(store)]


def facts(event: AuditEvent) -> dict[str, str]:
    return {fact.name: fact.value for fact in event.facts}


async def count(store: Store, lease_id: str = "lease-1") -> int:
    lease = await store.kms.leases.get(lease_id)
    assert lease is not None
    return lease.redemptions


async def test_the_first_redemption_is_audited_and_the_others_are_counted(store: Store, clock: FakeClock) -> None:
    await put(store, clock)
    ref, other = await leased(store, clock), await leased(store, clock, "lease-2")
    redeeming = Redeemer(store, clock, None)
    assert [await redeeming.redeem(ref) for _ in range(5)] == [SECRET] * 5
    assert await redeeming.redeem(other) == SECRET
    assert await told(store) == [("lease.redeemed", "FIRST_USE")] * 2
    first = (await trail(store))[0]
    assert facts(first) == {"handle": HANDLE, "owner": "PH1.C", "version": "1", "lease_id": "lease-1"}
    assert (first.owner, first.actor) == ("PH1.KMS", "system")
    await redeeming.flush()
    await redeeming.flush()
    assert (await count(store), await count(store, "lease-2")) == (5, 1)
    counted = (await trail(store))[2:]
    assert [(event.transition, facts(event)) for event in counted] == [
        ("leases.counted", {"leases": "1", "redemptions": "4"})
    ]
    await redeeming.close()


async def test_processes_that_redeem_one_lease_audit_its_first_use_once(store: Store, clock: FakeClock) -> None:
    await put(store, clock)
    ref = await leased(store, clock)
    several = [Redeemer(store, clock, None) for _ in range(3)]
    given = await asyncio.gather(*(one.redeem(ref) for one in several for _ in range(4)))
    assert given == [SECRET] * 12
    assert await told(store) == [("lease.redeemed", "FIRST_USE")]
    for one in several:
        await one.close()
    assert await count(store) == 12


async def test_counts_that_could_not_be_written_are_written_later(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(sqlite_store, clock)
    ref = await leased(sqlite_store, clock)
    redeeming = Redeemer(sqlite_store, clock, None)
    for _ in range(3):
        await redeeming.redeem(ref)

    def locked() -> object:
        raise StoreUnavailable(Unavailability.LOCKED)

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_store, "transaction", locked)
        with pytest.raises(StoreUnavailable):
            await redeeming.flush()
        assert await redeeming.redeem(ref) == SECRET
    await redeeming.close()
    assert await count(sqlite_store) == 4


async def test_counts_are_written_while_it_runs(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.runtime.secrets.COUNTED_EVERY_S", 0.0)
    await put(sqlite_store, clock)
    ref = await leased(sqlite_store, clock)
    redeeming = Redeemer(sqlite_store, clock, None)
    for _ in range(2):
        await redeeming.redeem(ref)
    async with asyncio.timeout(10):
        while await count(sqlite_store) < 2:
            continue
    await redeeming.close()


async def test_nothing_is_given_where_its_use_cannot_be_written_down(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(sqlite_store, clock)
    ref = await leased(sqlite_store, clock)

    def locked() -> object:
        raise StoreUnavailable(Unavailability.LOCKED)

    redeeming = Redeemer(sqlite_store, clock, None)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_store, "transaction", locked)
        with pytest.raises(StoreUnavailable):
            await redeeming.redeem(ref)
    assert await redeeming.redeem(ref) == SECRET
    assert await told(sqlite_store) == [("lease.redeemed", "FIRST_USE")]


async def end(store: Store, clock: FakeClock) -> None:
    async with store.transaction() as tx:
        await tx.kms.leases.end("lease-1", clock.now())
        audit(tx)


async def expire(store: Store, clock: FakeClock) -> None:
    clock.advance(HOUR)


@pytest.mark.parametrize(
    ("happens", "fault"), [(end, LeaseFault.ENDED), (expire, LeaseFault.EXPIRED), (revoke, LeaseFault.REVOKED)]
)
async def test_every_refused_redemption_is_audited_also_after_the_first_use(
    store: Store, clock: FakeClock, happens: Callable[[Store, FakeClock], Awaitable[None]], fault: LeaseFault
) -> None:
    await put(store, clock)
    ref = await leased(store, clock)
    redeeming = Redeemer(store, clock, None)
    assert await redeeming.redeem(ref) == SECRET
    await happens(store, clock)
    for _ in range(2):
        with pytest.raises(LeaseRefused) as refused:
            await redeeming.redeem(ref)
        assert refused.value.fault is fault
    assert await told(store) == [("lease.redeemed", "FIRST_USE")] + [("lease.refused", fault.value)] * 2
    assert facts((await trail(store))[-1])["lease_id"] == "lease-1"


async def test_of_a_reference_that_is_none_nothing_is_written_but_the_refusal(store: Store, clock: FakeClock) -> None:
    redeeming = Redeemer(store, clock, None)
    for wrong in ("sk-canary-in-the-wrong-place", "lease://canary/" + "A" * 43, ""):
        with pytest.raises(LeaseRefused, match=r"^NOT_A_LEASE$"):
            await redeeming.redeem(wrong)
    events = await trail(store)
    assert [(event.transition, event.reason_code) for event in events] == [("lease.refused", "NOT_A_LEASE")] * 3
    assert not any("canary" in str(event) for event in events)


async def test_a_version_kept_elsewhere_is_not_given_without_its_backend(store: Store, clock: FakeClock) -> None:
    await put(store, clock, KeptElsewhere(1))
    ref = await leased(store, clock)
    with pytest.raises(BackendUnavailable) as silent:
        await Redeemer(store, clock, None).redeem(ref)
    assert silent.value.cause is Silence.NOT_CONFIGURED
    (event,) = await trail(store)
    assert (event.transition, event.reason_code) == ("lease.refused", "SECRET_BACKEND_UNAVAILABLE")
    assert facts(event)["cause"] == "NOT_CONFIGURED"
    with pytest.raises(LeaseRefused, match=r"^KEPT_ELSEWHERE$"):
        await store.kms.redeem(ref, clock.now())


async def test_a_secret_that_cannot_be_opened_is_refused_and_audited(
    store: Store, store_url: str, clock: FakeClock
) -> None:
    await put(store, clock)
    ref = await leased(store, clock)
    other = await Store.open(
        store_url,
        clock=clock,
        ids=SeqIds("other"),
        signing_key=SIGNING_KEY,
        master_key=bytes(32),
    )
    # The reference is made as that process would: what it lacks is the key that wraps the secret's own.
    with pytest.raises(WrongMasterKey):
        await Redeemer(other, clock, None).redeem(other.kms.lease_ref("lease-1"))
    await other.close()
    with pytest.raises(LeaseRefused, match=r"^NOT_A_LEASE$"):
        await Redeemer(store, clock, None).redeem(ref[:-4] + "AAAA")
    events = await trail(store)
    assert [(event.transition, event.reason_code, facts(event).get("cause", "")) for event in events] == [
        ("lease.refused", "SECRET_UNREADABLE", "WrongMasterKey"),
        ("lease.refused", "NOT_A_LEASE", ""),
    ]


class Slow:
    """A keeper during whose answer something happens."""

    def __init__(self, meanwhile: Awaitable[None]) -> None:
        self._meanwhile = meanwhile

    async def read(self, handle: str, version: int) -> bytes:
        await self._meanwhile
        return SECRET

    async def close(self) -> None:
        pass


async def test_a_revocation_while_the_backend_answers_holds(store: Store, clock: FakeClock) -> None:
    await put(store, clock, KeptElsewhere(1))
    ref = await leased(store, clock)
    with pytest.raises(LeaseRefused, match=r"^REVOKED$"):
        await Redeemer(store, clock, Slow(revoke(store, clock))).redeem(ref)
    assert await told(store) == [("lease.refused", "REVOKED")]


@pytest.fixture
async def reader(bao_folder: Folder, bao_front: Front) -> AsyncIterator[OpenBao]:
    """What redeems, through the front."""
    settings = OpenBaoSettings(**bao_folder.settings("redeemer", address=bao_front.address))
    made = keeper(SecretsSettings(openbao=settings))
    assert isinstance(made, OpenBao)
    yield made
    await made.close()


async def test_a_version_in_openbao_is_redeemed_and_read_anew_each_time(
    sqlite_store: Store, clock: FakeClock, bao_folder: Folder, bao_front: Front, reader: OpenBao
) -> None:
    owner = OpenBao(OpenBaoSettings(**bao_folder.settings()))
    await put(sqlite_store, clock, KeptElsewhere(await owner.write(HANDLE, SECRET)))
    ref = await leased(sqlite_store, clock)
    redeeming = Redeemer(sqlite_store, clock, reader)
    assert [await redeeming.redeem(ref) for _ in range(3)] == [SECRET] * 3
    assert len(bao_front.asked("GET", "/data/")) == 3
    bao_front.script.plan(FaultKind.UNAVAILABLE)
    with pytest.raises(BackendUnavailable):
        await redeeming.redeem(ref)
    await owner.destroy(HANDLE, [1])
    with pytest.raises(LeaseRefused, match=r"^VERSION_GONE$"):
        await redeeming.redeem(ref)
    with pytest.raises(VersionGone):
        await reader.read(HANDLE, 1)
    assert await told(sqlite_store) == [
        ("lease.redeemed", "FIRST_USE"),
        ("lease.refused", "SECRET_BACKEND_UNAVAILABLE"),
        ("lease.refused", "VERSION_GONE"),
    ]
    await owner.close()


async def test_a_lease_that_gives_nothing_is_not_asked_for(
    sqlite_store: Store, clock: FakeClock, bao_front: Front, reader: OpenBao
) -> None:
    await put(sqlite_store, clock, KeptElsewhere(1))
    ref = await leased(sqlite_store, clock)
    await revoke(sqlite_store, clock)
    with pytest.raises(LeaseRefused):
        await Redeemer(sqlite_store, clock, reader).redeem(ref)
    assert bao_front.ledger == []


async def test_it_is_made_of_the_settings_of_the_secrets_owner(
    sqlite_store: Store, clock: FakeClock, bao_folder: Folder, tmp_path: Path
) -> None:
    owner = OpenBao(OpenBaoSettings(**bao_folder.settings()))
    await put(sqlite_store, clock, KeptElsewhere(await owner.write(HANDLE, SECRET)))
    await owner.close()
    ref = await leased(sqlite_store, clock)
    section = {"kms": {"backend": "openbao", "openbao": bao_folder.settings("redeemer")}}
    made = redeemer(load_settings(flags={"owners": section}), sqlite_store, clock)
    assert await made.redeem(ref) == SECRET
    await made.close()
    with pytest.raises(ConfigError, match=r"owners\.kms"):
        redeemer(load_settings(flags={"owners": {"kms": {"backend": "openbao"}}}), sqlite_store, clock)
