"""What processes hold of budgets (§22): reserved, settled once, in full where nobody came back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from selene.routing.v1.routing_pb2 import DOMAIN_STT
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH

from store import Store
from store.routing import Budget, Grant, Key, Spending
from tests.support.stores import audit
from tests.support.time import FakeClock

MINUTE = timedelta(minutes=1)
KEY = Key("t1", DOMAIN_STT, BUDGET_PERIOD_DAY)
BUDGET = Budget(KEY, 1_000, "EUR")


def grant(clock: FakeClock, name: str = "g1", micros: int = 300) -> Grant:
    return Grant(name, KEY, clock.now(), micros, "p1", clock.now() + MINUTE)


async def take(store: Store, *grants: Grant) -> None:
    async with store.transaction() as tx:
        for one in grants:
            await tx.routing.grants.locked(replace(BUDGET, key=one.key), one.period_start)
            await tx.routing.grants.take(one)
        audit(tx)


async def settle(store: Store, one: Grant, spent: int, clock: FakeClock) -> bool:
    async with store.transaction() as tx:
        done = await tx.routing.grants.settle(one, spent, clock.now())
        audit(tx)
    return done


async def test_a_grant_is_reserved_until_it_is_settled(store: Store, clock: FakeClock) -> None:
    start = clock.now()
    one, other = grant(clock), grant(clock, "g2", 200)
    await take(store, one, other)
    assert await store.routing.grants.spending(KEY, start) == Spending(KEY, start, 0, 500)
    assert await settle(store, one, 120, clock)
    assert await store.routing.grants.spending(KEY, start) == Spending(KEY, start, 120, 200)
    assert await store.routing.grants.get("g1") == replace(one, settled_at=clock.now(), spent_micros=120)
    assert await store.routing.grants.get("g2") == other


async def test_a_second_settlement_changes_nothing(store: Store, clock: FakeClock) -> None:
    start, one = clock.now(), grant(clock)
    await take(store, one)
    await settle(store, one, 120, clock)
    assert not await settle(store, one, 999, clock)
    assert await store.routing.grants.spending(KEY, start) == Spending(KEY, start, 120, 0)


async def test_of_settlements_at_the_same_time_one_counts(store: Store, clock: FakeClock) -> None:
    start, one = clock.now(), grant(clock)
    await take(store, one)
    done = await asyncio.gather(*(settle(store, one, spent, clock) for spent in (100, 101, 102)))
    assert sorted(done) == [False, False, True]
    spending = await store.routing.grants.spending(KEY, start)
    assert spending == Spending(KEY, start, 100 + done.index(True), 0)


async def test_more_than_was_reserved_is_charged_where_more_was_spent(store: Store, clock: FakeClock) -> None:
    start, one = clock.now(), grant(clock)
    await take(store, one)
    await settle(store, one, 450, clock)
    assert await store.routing.grants.spending(KEY, start) == Spending(KEY, start, 450, 0)


async def test_only_what_nobody_settled_in_time_is_overdue(store: Store, clock: FakeClock) -> None:
    one, other = grant(clock), grant(clock, "g2")
    await take(store, other, one, replace(grant(clock, "g3"), expires_at=clock.now() + 2 * MINUTE))
    assert await store.routing.grants.overdue(clock.now() + MINUTE - timedelta(microseconds=1)) == []
    assert await store.routing.grants.overdue(clock.now() + MINUTE) == [one, other]
    assert await store.routing.grants.overdue(clock.now() + MINUTE, limit=1) == [one]
    await settle(store, one, 300, clock)
    assert await store.routing.grants.overdue(clock.now() + MINUTE) == [other]


async def test_periods_of_a_budget_are_kept_apart(store: Store, clock: FakeClock) -> None:
    monthly = replace(grant(clock, "g2"), key=replace(KEY, period=BUDGET_PERIOD_MONTH))
    tomorrow = replace(grant(clock, "g3", 7), period_start=clock.now() + timedelta(days=1))
    await take(store, grant(clock), monthly, tomorrow)
    spending = store.routing.grants.spending
    assert (await spending(KEY, clock.now())).reserved_micros == 300
    assert (await spending(monthly.key, clock.now())).reserved_micros == 300
    assert (await spending(KEY, tomorrow.period_start)).reserved_micros == 7


async def test_first_grants_of_a_period_meet_in_one_row(store: Store, clock: FakeClock) -> None:
    await asyncio.gather(*(take(store, grant(clock, f"g{number}", 10)) for number in range(5)))
    assert (await store.routing.grants.spending(KEY, clock.now())).reserved_micros == 50


async def test_only_settled_grants_are_forgotten_and_cannot_be_settled_again(store: Store, clock: FakeClock) -> None:
    start, one = clock.now(), grant(clock)
    await take(store, one, grant(clock, "g2"))
    await settle(store, one, 120, clock)
    async with store.transaction() as tx:
        assert await tx.routing.grants.forget(clock.now()) == 0
        assert await tx.routing.grants.forget(clock.now() + MINUTE) == 1
        audit(tx)
    assert await store.routing.grants.get("g1") is None
    assert not await settle(store, one, 120, clock)
    assert await store.routing.grants.spending(KEY, start) == Spending(KEY, start, 120, 300)
