"""What the gates go by, in the store (§22): rules, budgets, quotas, and the revisions of their changes."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, DOMAIN_UNSPECIFIED
from selene.routing.v1.service_pb2 import (
    BUDGET_PERIOD_DAY,
    BUDGET_PERIOD_MONTH,
    POLICY_EFFECT_ALLOW,
    POLICY_EFFECT_DENY,
)

from store import Conflict, Store, UnauditedChange
from store.routing import Budget, Key, Quota, Rule
from tests.support.stores import audit
from tests.support.time import FakeClock

ALLOW = Rule(tenant_id="", rule_id="b-allow", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED_FOR_ALL")
NARROW = Rule(
    tenant_id="t1",
    rule_id="a-deny",
    effect=POLICY_EFFECT_DENY,
    reason="NOT_LICENSED",
    domains=frozenset({DOMAIN_LLM, DOMAIN_STT}),
    capabilities=frozenset({CAPABILITY_LLM}),
    channels=frozenset({"ios", "web"}),
    users=frozenset({"ann"}),
)
DAILY = Key("t1", DOMAIN_STT, BUDGET_PERIOD_DAY)
BUDGET = Budget(DAILY, 1_000, "EUR")
QUOTA = Quota("t1", DOMAIN_STT, capacity=10.0, refill_per_s=0.1, tokens=2.5, at=1_767_225_600.123_456_7)


async def put(store: Store, *limits: Rule | Budget | Quota) -> None:
    async with store.transaction() as tx:
        for limit in limits:
            match limit:
                case Rule():
                    await tx.routing.rules.put(limit)
                case Budget():
                    await tx.routing.budgets.put(limit)
                case Quota():
                    await tx.routing.quotas.put(limit)
        audit(tx)


async def test_a_tenant_is_held_by_the_rules_of_the_deployment_and_by_its_own(store: Store) -> None:
    await put(store, NARROW, ALLOW, replace(NARROW, tenant_id="t2"))
    assert await store.routing.rules.holding("t1") == [ALLOW, NARROW]
    assert await store.routing.rules.holding("t3") == [ALLOW]


async def test_a_rule_is_replaced_by_one_of_its_id_and_deleted_once(store: Store) -> None:
    changed = replace(NARROW, effect=POLICY_EFFECT_ALLOW, users=frozenset())
    async with store.transaction() as tx:
        assert not await tx.routing.rules.put(NARROW)
        assert await tx.routing.rules.put(changed)
        audit(tx)
    assert await store.routing.rules.holding("t1") == [changed]
    async with store.transaction() as tx:
        assert await tx.routing.rules.delete("t1", NARROW.rule_id)
        assert not await tx.routing.rules.delete("t1", NARROW.rule_id)
        audit(tx)
    assert await store.routing.rules.holding("t1") == []


async def test_rules_are_listed_a_page_at_a_time_in_the_order_of_holding(store: Store) -> None:
    rules = [ALLOW, replace(ALLOW, rule_id="c-allow"), NARROW, replace(NARROW, rule_id="d-deny")]
    await put(store, *reversed(rules))
    seen: list[Rule] = []
    while page := await store.routing.rules.page("t1", after=_place(seen), limit=1):
        seen += page
    assert seen == rules


def _place(seen: list[Rule]) -> tuple[str, str]:
    return (seen[-1].tenant_id, seen[-1].rule_id) if seen else ("", "")


async def test_budgets_belong_to_a_tenant_a_domain_and_a_period(store: Store) -> None:
    monthly = Budget(Key("t1", DOMAIN_UNSPECIFIED, BUDGET_PERIOD_MONTH), 9_000, "EUR")
    await put(store, BUDGET, monthly, Budget(replace(DAILY, tenant_id="t2"), 5, "USD"))
    assert await store.routing.budgets.of("t1") == [monthly, BUDGET]
    raised = replace(BUDGET, limit_micros=2_000)
    await put(store, raised)
    assert await store.routing.budgets.get(DAILY) == raised
    async with store.transaction() as tx:
        assert await tx.routing.budgets.delete(DAILY)
        assert not await tx.routing.budgets.delete(DAILY)
        audit(tx)
    assert await store.routing.budgets.of("t1") == [monthly]


async def test_a_tenants_budgets_are_all_in_one_currency(store: Store, clock: FakeClock) -> None:
    await put(store, BUDGET)
    with pytest.raises(Conflict):
        await put(store, Budget(replace(DAILY, domain=DOMAIN_LLM), 1, "USD"))
    await put(store, replace(BUDGET, currency="USD"))
    async with store.transaction() as tx:
        await tx.routing.grants.locked(replace(BUDGET, currency="USD"), clock.now())
        audit(tx)
    with pytest.raises(Conflict):
        await put(store, BUDGET)


async def test_a_quota_keeps_what_its_bucket_holds_to_the_last_bit(store: Store) -> None:
    await put(store, QUOTA, replace(QUOTA, domain=DOMAIN_LLM, tokens=1 / 3))
    assert await store.routing.quotas.of("t1") == [QUOTA, replace(QUOTA, domain=DOMAIN_LLM, tokens=1 / 3)]
    async with store.transaction() as tx:
        assert await tx.routing.quotas.locked("t1", DOMAIN_STT) == QUOTA
        await tx.routing.quotas.fill("t1", DOMAIN_STT, tokens=0.7, at=QUOTA.at + 0.1)
        audit(tx)
    assert await store.routing.quotas.get("t1", DOMAIN_STT) == replace(QUOTA, tokens=0.7, at=QUOTA.at + 0.1)
    assert await store.routing.quotas.get("t2", DOMAIN_STT) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"domain": DOMAIN_UNSPECIFIED},
        {"capacity": math.nan},
        {"capacity": math.inf},
        {"refill_per_s": -1.0},
        {"tokens": -0.5},
    ],
)
async def test_what_is_no_bucket_is_refused(sqlite_store: Store, wrong: dict[str, Any]) -> None:
    numbers: dict[str, Any] = {"capacity": 10.0, "refill_per_s": 0.1, "tokens": 2.5, "at": 0.0, "domain": DOMAIN_STT}
    with pytest.raises(ValueError, match=r"domain|finite"):
        await put(sqlite_store, Quota("t1", **{**numbers, **wrong}))


async def test_filling_a_bucket_is_no_change_of_limits(store: Store) -> None:
    await put(store, QUOTA)
    before = await store.routing.revisions.after(0)
    async with store.transaction() as tx:
        await tx.routing.quotas.fill("t1", DOMAIN_STT, tokens=0.0, at=QUOTA.at)
        audit(tx)
    assert await store.routing.revisions.after(0) == before


async def test_every_change_of_limits_is_seen_once_by_who_asks_what_changed(store: Store) -> None:
    seen = 0
    changes: list[tuple[str, Rule | Budget | Quota]] = [("t1", NARROW), ("", ALLOW), ("t1", BUDGET), ("t1", QUOTA)]
    for tenant, change in changes:
        await put(store, change)
        changed = await store.routing.revisions.after(seen)
        assert list(changed) == [tenant]
        seen = changed[tenant]
        assert await store.routing.revisions.of(tenant) == seen
    assert await store.routing.revisions.after(seen) == {}
    assert set(await store.routing.revisions.after(0)) == {"", "t1"}
    assert await store.routing.revisions.of("t2") == 0


async def test_changes_at_the_same_time_have_revisions_of_their_own(store: Store) -> None:
    await asyncio.gather(*(put(store, replace(ALLOW, rule_id=f"r{number}")) for number in range(4)))
    await asyncio.gather(*(put(store, replace(NARROW, tenant_id=f"t{number}")) for number in range(4)))
    revisions = await store.routing.revisions.after(0)
    assert sorted(revisions.values()) == [4, 5, 6, 7, 8]


async def test_a_change_of_limits_needs_an_audit_row(sqlite_store: Store) -> None:
    with pytest.raises(UnauditedChange):
        async with sqlite_store.transaction() as tx:
            await tx.routing.budgets.put(BUDGET)
    assert await sqlite_store.routing.budgets.of("t1") == []
