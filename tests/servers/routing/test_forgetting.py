"""Circuits that only a superseded profile came to are forgotten after a while, with a row of the trail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    DOMAIN_LLM,
    LayerSection,
    ProviderRoutingProfileV1,
    TenantOverride,
)
from selene.routing.v1.routing_pb2 import ProviderOverride as Override

from servers.routing import circuit as rules
from servers.routing.circuit import CONSECUTIVE_FAILURES
from servers.routing.directory import DEPLOYMENT, register
from servers.routing.forgetting import Forgetting
from servers.routing.profile import ARTIFACT_TYPE
from servers.routing.windows import Call, Outcome
from store import Store, StoreUnavailable, Unavailability
from tests.support.routed import FIRST, OWNER, Bench, bench, facts, llm_profile
from tests.support.stores import audit
from tests.support.time import FakeClock

WEEK_S = 7 * 86400.0


def version(number: int, *, timeout_s: float, keeps: str = "") -> ProviderRoutingProfileV1:
    """A version whose first provider has this timeout; for the tenant `keeps` it has that of the first version."""
    profile = llm_profile()
    profile.profile_version, profile.artifact_id = number, f"{ARTIFACT_TYPE}@{number}"
    profile.rollback_pointer_ref = f"{ARTIFACT_TYPE}@{number - 1}"
    before = Override(domain=DOMAIN_LLM, provider_ref=FIRST)
    before.timeout.CopyFrom(profile.llm.providers[0].timeout)
    profile.llm.providers[0].timeout.FromNanoseconds(round(timeout_s * 1e9))
    if keeps:
        profile.tenant_overrides.append(TenantOverride(tenant_id=keeps, section=LayerSection(providers=[before])))
    return profile


async def activate(made: Bench, profile: ProviderRoutingProfileV1) -> None:
    async with made.store.transaction() as tx:
        await register(tx, profile, idempotency_key=str(profile.profile_version), created_by="PH1.GOV")
        await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, profile.profile_version)
        audit(tx, "system")


async def trip(made: Bench) -> tuple[bytes, str]:
    key = made.key()
    for _ in range(CONSECUTIVE_FAILURES):
        ended = Call("t1", Outcome.ERROR, 100.0)
        made.board.record(key, ended, began_at=made.clock.monotonic(), probe=False)
    await made.board.tick()
    assert made.board.circuits()[key].state == CIRCUIT_STATE_OPEN
    return key


def forgetting(made: Bench, store: Any = None) -> Forgetting:
    return Forgetting(store or made.store, made.clock, made.directory, made.board, WEEK_S)


async def superseded(made: Bench, *, keeps: str = "") -> tuple[bytes, str]:
    """A circuit that opened, and another profile since."""
    old = await trip(made)
    await activate(made, version(2, timeout_s=3.0, keeps=keeps))
    await made.refresh()
    assert made.key() != old
    return old


async def kept(made: Bench) -> set[tuple[bytes, str]]:
    return {(each.profile_hash, each.provider_ref) for each in await made.store.routing.circuits.all(OWNER)}


async def test_what_no_active_profile_comes_to_is_forgotten_with_a_row_of_the_trail(
    store: Store, clock: FakeClock
) -> None:
    made = await bench(store, clock)
    old = await superseded(made)
    clock.advance(timedelta(days=8))
    await forgetting(made).forget()
    assert await kept(made) == set()
    assert old not in made.board.circuits() and old[1] not in made.board.view(old[0])
    assert made.key() in made.board.circuits()
    (row,) = await made.trail("circuit.forgotten", tenant="system")
    assert (row.owner, row.reason_code) == (OWNER, "PROFILE_SUPERSEDED")
    told = facts(row)
    assert (told["provider_ref"], told["state"], told["trips"], told["active_version"]) == (FIRST, "OPEN", "1", "2")
    assert [each.reason_code for each in await store.routing.circuits.transitions(OWNER)] == ["CONSECUTIVE_FAILURES"]


@pytest.mark.parametrize("days", [0, 6])
async def test_for_a_week_one_may_return_to_the_profile_before(
    sqlite_store: Store, clock: FakeClock, days: int
) -> None:
    made = await bench(sqlite_store, clock)
    old = await trip(made)
    # However long the circuit has not changed: what counts is for how long its profile is superseded.
    clock.advance(timedelta(days=30))
    await activate(made, version(2, timeout_s=3.0))
    await made.refresh()
    clock.advance(timedelta(days=days))
    await forgetting(made).forget()
    assert await kept(made) == {old} and old in made.board.circuits()


async def test_what_the_active_profile_comes_to_for_one_tenant_only_is_kept(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock)
    old = await superseded(made, keeps="t9")
    clock.advance(timedelta(days=30))
    await forgetting(made).forget()
    assert await kept(made) == {old} and old in made.board.circuits()
    assert made.router.resolve("t9", "", "", "").profile_hash == old[0]


async def test_a_circuit_that_an_operator_holds_is_kept(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    old = await trip(made)
    async with made.store.transaction() as tx:
        await made.board.change(tx, old, lambda circuit, now: rules.force_open(circuit, "DRILL", now), "system")
    await activate(made, version(2, timeout_s=3.0))
    await made.refresh()
    clock.advance(timedelta(days=30))
    await forgetting(made).forget()
    assert await kept(made) == {old}
    assert made.board.circuits()[old].state == CIRCUIT_STATE_FORCED_OPEN


async def test_nothing_is_forgotten_where_another_version_became_active_meanwhile(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock)
    old = await superseded(made)
    clock.advance(timedelta(days=30))
    await activate(made, version(3, timeout_s=5.0))
    await forgetting(made).forget()
    assert await kept(made) == {old}


async def test_another_process_that_knew_it_keeps_it_anew_when_its_profile_returns(
    store: Store, clock: FakeClock
) -> None:
    one, two = await bench(store, clock), await bench(store, clock, name="p2")
    old = await trip(one)
    await two.board.tick()
    await activate(one, version(2, timeout_s=3.0))
    await one.refresh()
    clock.advance(timedelta(days=8))
    await forgetting(one).forget()
    # The other process is late: it goes by the circuit still, and by the old profile.
    await two.board.tick()
    assert two.board.circuits()[old].state == CIRCUIT_STATE_HALF_OPEN
    lease = await two.board.lease(old, 10.0)
    assert lease is not None
    row = await store.routing.circuits.get(OWNER, FIRST, old[0])
    assert row is not None and [each["lease_id"] for each in row.body["leases"]] == [lease]


async def test_a_call_under_way_keeps_what_it_goes_by_in_memory(sqlite_store: Store, clock: FakeClock) -> None:
    class Silent:
        silent_s = None

    made = await bench(sqlite_store, clock)
    old = await superseded(made)
    ended = made.board.under_way(old, "t1", Silent())
    clock.advance(timedelta(days=8))
    await forgetting(made).forget()
    made.board.record(old, Call("t1", Outcome.OK, 20.0), began_at=clock.monotonic(), probe=False)
    ended()
    await forgetting(made).forget()
    assert old not in made.board.circuits()


async def test_a_profile_that_names_too_many_to_go_through_keeps_everything(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.routing.directory.SUBJECTS_GONE_THROUGH", 1)
    made = await bench(sqlite_store, clock)
    old = await superseded(made, keeps="t9")
    clock.advance(timedelta(days=30))
    await forgetting(made).forget()
    assert await kept(made) == {old} and old in made.board.circuits()


async def test_a_circuit_that_says_nothing_understood_is_left_alone(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    old = await superseded(made)
    row = await made.store.routing.circuits.get(OWNER, FIRST, old[0])
    assert row is not None
    async with made.store.transaction() as tx:
        strange = type(row)(row.owner, row.provider_ref, row.profile_hash, row.revision, {"state": "?"})
        assert await tx.routing.circuits.swap(strange)
        audit(tx, "system")
    clock.advance(timedelta(days=30))
    await forgetting(made).forget()
    assert await kept(made) == {old}


async def test_a_store_that_is_gone_only_puts_it_off(sqlite_store: Store, clock: FakeClock) -> None:
    class Gone:
        @property
        def routing(self) -> Any:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")

    made = await bench(sqlite_store, clock)
    old = await superseded(made)
    clock.advance(timedelta(days=30))
    await forgetting(made, Gone()).forget()
    assert old in made.board.circuits()
    await forgetting(made).forget()
    assert old not in made.board.circuits()


async def test_it_is_looked_once_a_minute(sqlite_store: Store, clock: FakeClock) -> None:
    class Counted:
        looks = 0

        @property
        def routing(self) -> Any:
            self.looks += 1
            return sqlite_store.routing

    made, counted = await bench(sqlite_store, clock), Counted()
    clock.advance(timedelta(days=8))
    following = forgetting(made, counted)
    for seconds, looks in ((0, 1), (59, 1), (1, 2), (59, 2)):
        clock.advance(timedelta(seconds=seconds))
        await following.follow()
        assert counted.looks == looks
