"""The limits service through a real channel (§22): what it keeps, what it refuses, what it writes down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.paging_pb2 import PageRequest
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, DOMAIN_UNSPECIFIED

from clients.channel import connect
from clients.errors import SeleneError, from_rpc
from servers.routing.accounts import Accounts
from servers.routing.buckets import Buckets, Change, Changed, ValkeySettings, open_buckets
from servers.routing.gates import Request
from servers.routing.limits_service import limits_service
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_OPERATOR, ROLE_SERVICE, ROLE_USER
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Owner, Parts, Runtime, Service, serve
from servers.runtime.storage import SYSTEM_TENANT, LedgerSink
from store import Store
from store.routing import Quota
from tests.support.identity import Issuer
from tests.support.servers import SteppedClock, settings_of
from tests.support.stores import MASTER_KEY, SIGNING_KEY
from tests.support.valkey import ValkeyServer

ENGINE_ID = "PH1.C"
EVERYBODY = v1.PolicyRule(rule_id="everybody", effect=v1.POLICY_EFFECT_ALLOW, reason_code="ALLOWED_FOR_ALL")
NOT_ANN = v1.PolicyRule(
    rule_id="not-ann",
    effect=v1.POLICY_EFFECT_DENY,
    reason_code="SUSPENDED",
    domains=[DOMAIN_STT, DOMAIN_LLM],
    capabilities=[CAPABILITY_STT],
    channels=["ios"],
    users=["ann"],
)
DAILY = v1.Budget(domain=DOMAIN_STT, period=v1.BUDGET_PERIOD_DAY, limit_micros=5_000, currency="EUR")


class Desk:
    """A served limits service: calls by role, its store, its clock, its trail."""

    def __init__(self, target: str, store: Store, clock: SteppedClock, issuer: Issuer, parts: AsyncExitStack) -> None:
        self.store = store
        self.clock = clock
        self._target = target
        self._issuer = issuer
        self._parts = parts
        self._keys = 0

    async def call(self, method: str, *roles: str, tenant: str = "t-1", request: Any = None, **fields: Any) -> Any:
        """One call of an operator, or of who has other roles; with a key of its own."""
        kind = getattr(v1, f"{method}Request")
        if request is None:
            usual: dict[str, Any] = {"tenant_id": "t-1"}
            if "idempotency_key" in kind.DESCRIPTOR.fields_by_name:
                self._keys += 1
                usual["idempotency_key"] = f"k-{self._keys}"
            request = kind(**{**usual, **fields})
        token = self._issuer.token("ops", tenant=tenant, roles=roles or (ROLE_OPERATOR,), now=self.clock.now())
        connection = connect(self._target, token=token, options=(("grpc.use_local_subchannel_pool", 1),))
        self._parts.push_async_callback(connection.close)
        stub = routing_grpc.LimitsServiceStub(connection.channel)
        return await getattr(stub, method)(request, timeout=10, metadata=connection.metadata())

    async def trail(self, transition: str, tenant: str = "t-1") -> list[AuditEvent]:
        """Events of a tenant's trail."""
        events = [chained.event async for chained in self.store.audit.stream(tenant)]
        return [event for event in events if event.transition == transition]


@pytest.fixture
async def desk(store_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """The service on each of the two databases, on loopback."""
    async with opened_desk(store_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def desk_beside_valkey(sqlite_url: str, tmp_path: Path, valkey: ValkeyServer) -> AsyncIterator[Desk]:
    """The service where Valkey keeps the tokens of quotas."""
    async with opened_desk(sqlite_url, tmp_path, buckets_of(valkey)) as opened:
        yield opened


def buckets_of(valkey: ValkeyServer) -> Buckets:
    """Those of a process of its own."""
    buckets = open_buckets(ValkeySettings(url=valkey.url, timeout_s=5.0), time.monotonic)
    assert buckets is not None
    return buckets


@asynccontextmanager
async def opened_desk(store_url: str, tmp_path: Path, buckets: Buckets | None = None) -> AsyncIterator[Desk]:
    clock = SteppedClock()
    ids = UuidV7Ids(clock)
    issuer = Issuer(tmp_path)
    store = await Store.open(store_url, clock=clock, ids=ids, signing_key=SIGNING_KEY, master_key=MASTER_KEY)

    async def build(runtime: Runtime) -> Sequence[Service]:
        return (limits_service(runtime.store, runtime.clock, ENGINE_ID, buckets),)

    flags = {"development.enabled": False, "auth.keys_file": issuer.keys_file, "master_key.file": tmp_path / "unused"}
    parts = Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
    async with AsyncExitStack() as stack:
        running = await serve([Owner("stt", ENGINE_ID, build)], settings_of(tmp_path, flags), parts)
        if buckets is not None:
            stack.push_async_callback(buckets.close)
        stack.push_async_callback(running.stop, 0)
        yield Desk(running.target("stt"), store, clock, issuer, stack)


async def refusal(call: Awaitable[Any]) -> SeleneError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc(caught.value)


def facts(event: AuditEvent) -> dict[str, str]:
    return {fact.name: fact.value for fact in event.facts}


async def test_a_rule_is_put_listed_replaced_and_deleted(desk: Desk) -> None:
    assert not (await desk.call("PutPolicyRule", rule=NOT_ANN)).replaced
    await desk.call("PutPolicyRule", ROLE_DEPLOYMENT_OPERATOR, tenant_id="", rule=EVERYBODY)
    listed = await desk.call("ListPolicyRules")
    assert [(each.tenant_id, each.rule) for each in listed.rules] == [("", EVERYBODY), ("t-1", NOT_ANN)]
    assert (await desk.call("PutPolicyRule", rule=NOT_ANN)).replaced
    await desk.call("DeletePolicyRule", rule_id="not-ann")
    assert [each.rule for each in (await desk.call("ListPolicyRules")).rules] == [EVERYBODY]
    assert (await refusal(desk.call("DeletePolicyRule", rule_id="not-ann"))).reason == "RESOURCE_NOT_FOUND"


async def test_rules_are_listed_a_page_at_a_time(desk: Desk) -> None:
    for rule_id in ("b", "a"):
        await desk.call(
            "PutPolicyRule",
            rule=v1.PolicyRule(rule_id=rule_id, effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW"),
        )
        await desk.call(
            "PutPolicyRule",
            ROLE_DEPLOYMENT_OPERATOR,
            tenant_id="",
            rule=v1.PolicyRule(rule_id=rule_id, effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW"),
        )
    seen, token = [], ""
    while True:
        page = await desk.call("ListPolicyRules", page=PageRequest(page_size=1, page_token=token))
        seen += [(each.tenant_id, each.rule.rule_id) for each in page.rules]
        token = page.page.next_page_token
        if not token:
            break
    assert seen == [("", "a"), ("", "b"), ("t-1", "a"), ("t-1", "b")]
    foreign = PageRequest(page_token="cG9saWN5LXJ1bGVzOng=")
    assert (await refusal(desk.call("ListPolicyRules", page=foreign))).reason == "PAGE_TOKEN_INVALID"


async def test_a_budget_is_set_and_stands_with_what_was_spent(desk: Desk) -> None:
    made = await desk.call("SetBudget", budget=DAILY)
    assert (made.budget.budget, made.budget.spent_micros) == (DAILY, 0)
    start = made.budget.period_start.ToDatetime()
    assert (start.hour, start.minute, start.second) == (0, 0, 0)
    await desk.call(
        "PutPolicyRule", rule=v1.PolicyRule(rule_id="all", effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW")
    )
    accounts = Accounts(desk.store, desk.clock, UuidV7Ids(desk.clock), DOMAIN_STT, owner=ENGINE_ID)
    await accounts.ready("t-1", cost_micros=1_200)
    request = Request(tenant_id="t-1", domain=DOMAIN_STT, capability=CAPABILITY_STT, cost_micros=1_200)
    ticket = accounts.admit(request, desk.clock.now().timestamp())
    assert ticket.allowed
    (standing,) = (await desk.call("ListBudgets")).budgets
    assert standing.reserved_micros >= 1_200
    accounts.settle(ticket, 1_100)
    await accounts.stop()
    everything = v1.Budget(domain=DOMAIN_UNSPECIFIED, period=v1.BUDGET_PERIOD_MONTH, limit_micros=1, currency="EUR")
    await desk.call("SetBudget", budget=everything)
    listed = (await desk.call("ListBudgets", ROLE_SERVICE)).budgets
    assert [(each.budget, each.spent_micros, each.reserved_micros) for each in listed] == [
        (everything, 0, 0),
        (DAILY, 1_100, 0),
    ]


async def test_a_budget_in_another_currency_is_refused(desk: Desk) -> None:
    await desk.call("SetBudget", budget=DAILY)
    monthly = v1.Budget(domain=DOMAIN_STT, period=v1.BUDGET_PERIOD_MONTH, limit_micros=1, currency="USD")
    refused = await refusal(desk.call("SetBudget", budget=monthly))
    assert refused.reason == "FIELD_INVALID"
    assert [violation.field for violation in refused.violations] == ["budget.currency"]
    assert len((await desk.call("ListBudgets")).budgets) == 1


async def test_a_quota_begins_full_and_a_smaller_one_holds_no_more_than_fits(desk: Desk) -> None:
    made = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=8.0))
    assert made.quota.tokens == 8.0
    async with desk.store.transaction() as tx:
        await tx.routing.quotas.fill("t-1", DOMAIN_STT, tokens=5.0, at=desk.clock.now().timestamp())
        tx.audit(tenant_id="t-1", owner=ENGINE_ID, actor="system", transition="test", reason_code="OK")
    larger = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=20.0))
    assert larger.quota.tokens == 5.0
    smaller = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=3.0))
    assert smaller.quota.tokens == 3.0
    assert list((await desk.call("ListQuotas")).quotas) == [smaller.quota]


async def test_a_deleted_budget_limits_nothing_and_what_was_spent_of_it_is_kept(desk: Desk) -> None:
    everything = v1.Budget(domain=DOMAIN_UNSPECIFIED, period=v1.BUDGET_PERIOD_DAY, limit_micros=7, currency="EUR")
    await desk.call("SetBudget", budget=DAILY)
    await desk.call("SetBudget", budget=everything)
    await desk.call(
        "PutPolicyRule", rule=v1.PolicyRule(rule_id="all", effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW")
    )
    await desk.call("DeleteBudget", domain=DOMAIN_UNSPECIFIED, period=v1.BUDGET_PERIOD_DAY)
    assert [each.budget for each in (await desk.call("ListBudgets")).budgets] == [DAILY]
    accounts = Accounts(desk.store, desk.clock, UuidV7Ids(desk.clock), DOMAIN_STT, owner=ENGINE_ID)
    await accounts.ready("t-1", cost_micros=4_000)
    request = Request(tenant_id="t-1", domain=DOMAIN_STT, capability=CAPABILITY_STT, cost_micros=4_000)
    accounts.settle(accounts.admit(request, desk.clock.now().timestamp()), 4_000)
    await accounts.replenish()
    assert accounts.admit(request, desk.clock.now().timestamp()).passage.verdicts[-1].reason == "COST_BUDGET_EXCEEDED"
    await desk.call("DeleteBudget", domain=DOMAIN_STT, period=v1.BUDGET_PERIOD_DAY)
    await accounts.replenish()
    freed = accounts.admit(request, desk.clock.now().timestamp())
    assert [verdict.reason for verdict in freed.passage.verdicts][1] == "COST_DISABLED"
    await accounts.stop()
    assert (await desk.call("SetBudget", budget=DAILY)).budget.spent_micros == 4_000
    first, second = await desk.trail("budget.deleted")
    assert facts(first) == {"domain": "DOMAIN_UNSPECIFIED", "period": "DAY", "before_micros": "7"}
    assert facts(second) == {"domain": "DOMAIN_STT", "period": "DAY", "before_micros": "5000"}
    assert second.reason_code == "OPERATOR_REQUEST" and len(second.actor) == 64


async def test_a_deleted_quota_limits_nothing_and_one_set_later_begins_full(desk: Desk) -> None:
    await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=8.0))
    await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_LLM, capacity=2.0))
    async with desk.store.transaction() as tx:
        await tx.routing.quotas.fill("t-1", DOMAIN_STT, tokens=0.0, at=desk.clock.now().timestamp())
        tx.audit(tenant_id="t-1", owner=ENGINE_ID, actor="system", transition="test", reason_code="OK")
    await desk.call("DeleteQuota", domain=DOMAIN_STT)
    assert [each.quota.domain for each in (await desk.call("ListQuotas")).quotas] == [DOMAIN_LLM]
    assert (await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=8.0))).quota.tokens == 8.0
    (event,) = await desk.trail("quota.deleted")
    assert facts(event) == {"domain": "DOMAIN_STT"} and len(event.actor) == 64


@pytest.mark.parametrize(
    ("made", "method", "fields", "transition"),
    [
        (
            ("SetBudget", {"budget": DAILY}),
            "DeleteBudget",
            {"domain": DOMAIN_STT, "period": v1.BUDGET_PERIOD_DAY},
            "budget.deleted",
        ),
        (
            ("SetQuota", {"quota": v1.Quota(domain=DOMAIN_STT, capacity=1.0)}),
            "DeleteQuota",
            {"domain": DOMAIN_STT},
            "quota.deleted",
        ),
    ],
)
async def test_a_limit_is_deleted_once_and_what_is_not_there_is_not_found(
    desk: Desk, made: tuple[str, dict[str, Any]], method: str, fields: dict[str, Any], transition: str
) -> None:
    assert (await refusal(desk.call(method, **fields))).reason == "RESOURCE_NOT_FOUND"
    await desk.call(made[0], **made[1])
    kind = getattr(v1, f"{method}Request")
    first = kind(tenant_id="t-1", idempotency_key="same", **fields)
    await desk.call(method, request=first)
    await desk.call(made[0], **made[1])
    await desk.call(method, request=first)
    assert len(await desk.trail(transition)) == 1
    other = kind(tenant_id="t-1", idempotency_key="same", **{**fields, "domain": DOMAIN_LLM})
    assert (await refusal(desk.call(method, request=other))).reason == "IDEMPOTENCY_KEY_REUSED"
    await desk.call(method, **fields)
    assert (await refusal(desk.call(method, **fields))).reason == "RESOURCE_NOT_FOUND"


async def test_the_same_key_changes_limits_once(desk: Desk) -> None:
    first = v1.PutPolicyRuleRequest(tenant_id="t-1", rule=NOT_ANN, idempotency_key="same")
    assert await desk.call("PutPolicyRule", request=first) == await desk.call("PutPolicyRule", request=first)
    assert len(await desk.trail("policy_rule.put")) == 1
    other = v1.PutPolicyRuleRequest(tenant_id="t-1", rule=EVERYBODY, idempotency_key="same")
    assert (await refusal(desk.call("PutPolicyRule", request=other))).reason == "IDEMPOTENCY_KEY_REUSED"


async def granted(desk: Desk, valkey: ValkeyServer) -> int:
    """How many calls a process of its own makes until the quota refuses."""
    buckets = buckets_of(valkey)
    accounts = Accounts(desk.store, desk.clock, UuidV7Ids(desk.clock), DOMAIN_STT, owner=ENGINE_ID, buckets=buckets)
    request, calls = Request(tenant_id="t-1", domain=DOMAIN_STT, capability=CAPABILITY_STT), 0
    while True:
        await accounts.ready("t-1")
        if not accounts.admit(request, desk.clock.now().timestamp()).allowed:
            break
        calls += 1
        desk.clock.skip(0.3)
    await accounts.stop()
    await buckets.close()
    return calls


async def test_beside_valkey_a_quota_begins_full_once_and_is_listed_with_what_is_left_there(
    desk_beside_valkey: Desk, valkey: ValkeyServer
) -> None:
    desk = desk_beside_valkey
    await desk.call(
        "PutPolicyRule", rule=v1.PolicyRule(rule_id="all", effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW")
    )
    first = v1.SetQuotaRequest(tenant_id="t-1", quota=v1.Quota(domain=DOMAIN_STT, capacity=8.0), idempotency_key="same")
    made = await desk.call("SetQuota", request=first)
    assert made.quota.tokens == 8.0
    assert list((await desk.call("ListQuotas")).quotas) == [made.quota]
    assert await granted(desk, valkey) == 8
    assert (await desk.call("SetQuota", request=first)) == made
    larger = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=20.0))
    assert larger.quota.tokens == 0.0
    assert list((await desk.call("ListQuotas")).quotas) == [larger.quota]
    assert await granted(desk, valkey) == 0
    await desk.call("DeleteQuota", domain=DOMAIN_STT)
    again = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=12.0))
    assert again.quota.tokens == 12.0
    smaller = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=5.0))
    assert smaller.quota.tokens == 5.0
    assert await granted(desk, valkey) == 5


async def test_a_quota_of_before_valkey_is_listed_and_set_with_what_the_store_holds(
    desk_beside_valkey: Desk, valkey: ValkeyServer
) -> None:
    desk = desk_beside_valkey
    await desk.call(
        "PutPolicyRule", rule=v1.PolicyRule(rule_id="all", effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW")
    )
    async with desk.store.transaction() as tx:
        await tx.routing.quotas.put(Quota("t-1", DOMAIN_STT, 8.0, 0.0, 3.0, desk.clock.now().timestamp()))
        tx.audit(tenant_id="t-1", owner=ENGINE_ID, actor="system", transition="quota.set", reason_code="NEW")
    assert [each.tokens for each in (await desk.call("ListQuotas")).quotas] == [3.0]
    larger = await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=20.0))
    assert larger.quota.tokens == 3.0
    assert list((await desk.call("ListQuotas")).quotas) == [larger.quota]
    assert len(await desk.trail("quota.moved")) == 1
    assert await granted(desk, valkey) == 3
    assert [each.tokens for each in (await desk.call("ListQuotas")).quotas] == [0.0]


class Waiting:
    """Buckets that are slow for the first who asks."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._asked = False
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def change(self, changes: Sequence[Change]) -> list[Changed | None]:
        first, self._asked = not self._asked, True
        if first:
            self.asked.set()
            await self.go_on.wait()
        return await self._buckets.change(changes)

    async def close(self) -> None:
        await self._buckets.close()


async def test_two_operators_who_set_a_new_quota_beside_valkey_fill_its_bucket_once(
    sqlite_url: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    waiting = Waiting(buckets_of(valkey))
    quota = v1.Quota(domain=DOMAIN_STT, capacity=8.0)
    async with opened_desk(sqlite_url, tmp_path, waiting) as desk:
        await desk.call(
            "PutPolicyRule", rule=v1.PolicyRule(rule_id="all", effect=v1.POLICY_EFFECT_ALLOW, reason_code="OK_FOR_NOW")
        )
        slow = asyncio.ensure_future(desk.call("SetQuota", quota=quota))
        await waiting.asked.wait()
        assert (await desk.call("SetQuota", quota=quota)).quota.tokens == 8.0
        assert await granted(desk, valkey) == 8
        waiting.go_on.set()
        assert (await slow).quota.tokens == 0.0
        assert await granted(desk, valkey) == 0


async def test_beside_a_silent_valkey_a_quota_is_deleted_and_neither_set_nor_told(
    desk_beside_valkey: Desk, valkey: ValkeyServer
) -> None:
    desk = desk_beside_valkey
    quota = v1.Quota(domain=DOMAIN_STT, capacity=8.0)
    await desk.call("SetQuota", quota=quota)
    valkey.kill()
    for call in (
        desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=9.0)),
        desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_LLM, capacity=9.0)),
        desk.call("ListQuotas"),
    ):
        refused = await refusal(call)
        assert (refused.reason, refused.metadata["cause"]) == ("STORE_UNAVAILABLE", "BUCKETS_SILENT")
    assert [each.capacity for each in await desk.store.routing.quotas.of("t-1")] == [8.0]
    assert len(await desk.trail("quota.set")) == 1
    await desk.call("DeleteQuota", domain=DOMAIN_STT)
    assert await desk.store.routing.quotas.of("t-1") == []


WRITES = [
    ("PutPolicyRule", {"rule": NOT_ANN}),
    ("DeletePolicyRule", {"rule_id": "r"}),
    ("SetBudget", {"budget": DAILY}),
    ("DeleteBudget", {"domain": DOMAIN_STT, "period": v1.BUDGET_PERIOD_DAY}),
    ("SetQuota", {"quota": v1.Quota(domain=DOMAIN_STT, capacity=1.0)}),
    ("DeleteQuota", {"domain": DOMAIN_STT}),
]
READS: list[tuple[str, dict[str, Any]]] = [("ListPolicyRules", {}), ("ListBudgets", {}), ("ListQuotas", {})]


@pytest.mark.parametrize(("method", "fields"), [*WRITES, *READS])
async def test_limits_are_a_matter_of_the_tenants_own_operators(
    desk: Desk, method: str, fields: dict[str, Any]
) -> None:
    assert (await refusal(desk.call(method, tenant="t-2", **fields))).reason == "TENANT_MISMATCH"
    assert (await refusal(desk.call(method, ROLE_USER, **fields))).reason == "ROLE_REQUIRED"
    assert (await refusal(desk.call(method, ROLE_DEPLOYMENT_OPERATOR, **fields))).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize(("method", "fields"), WRITES)
async def test_servers_read_limits_and_do_not_change_them(desk: Desk, method: str, fields: dict[str, Any]) -> None:
    assert (await refusal(desk.call(method, ROLE_SERVICE, **fields))).reason == "ROLE_REQUIRED"


async def test_rules_of_the_deployment_need_an_operator_of_it(desk: Desk) -> None:
    assert (await refusal(desk.call("PutPolicyRule", tenant_id="", rule=EVERYBODY))).reason == "ROLE_REQUIRED"
    assert (await refusal(desk.call("DeletePolicyRule", tenant_id="", rule_id="everybody"))).reason == "ROLE_REQUIRED"
    await desk.call("PutPolicyRule", ROLE_DEPLOYMENT_OPERATOR, tenant_id="", rule=EVERYBODY)
    (event,) = await desk.trail("policy_rule.put", SYSTEM_TENANT)
    assert facts(event) == {"rule_id": "everybody", "effect": "ALLOW", "reason": "ALLOWED_FOR_ALL"}


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutPolicyRule", {"rule": v1.PolicyRule(rule_id="r", effect=v1.POLICY_EFFECT_ALLOW, reason_code="lower")}),
        ("PutPolicyRule", {"rule": v1.PolicyRule(rule_id="r", reason_code="NO_EFFECT")}),
        ("SetBudget", {"budget": v1.Budget(period=v1.BUDGET_PERIOD_DAY, limit_micros=-1, currency="EUR")}),
        ("SetBudget", {"budget": v1.Budget(limit_micros=1, currency="EUR")}),
        ("SetQuota", {"quota": v1.Quota(domain=DOMAIN_STT, capacity=float("nan"))}),
        ("SetQuota", {"quota": v1.Quota(capacity=1.0)}),
        ("DeleteBudget", {"domain": DOMAIN_STT}),
        ("DeleteBudget", {"domain": DOMAIN_STT, "period": v1.BUDGET_PERIOD_DAY, "idempotency_key": ""}),
        ("DeleteQuota", {}),
    ],
)
async def test_what_the_contract_forbids_changes_nothing(desk: Desk, method: str, fields: dict[str, Any]) -> None:
    assert (await refusal(desk.call(method, **fields))).reason == "FIELD_INVALID"
    assert await desk.store.routing.revisions.after(0) == {}


async def test_every_change_is_in_the_trail_with_who_made_it(desk: Desk) -> None:
    await desk.call("SetBudget", budget=DAILY)
    await desk.call(
        "SetBudget",
        budget=v1.Budget(domain=DOMAIN_STT, period=v1.BUDGET_PERIOD_DAY, limit_micros=9_000, currency="EUR"),
    )
    await desk.call("SetQuota", quota=v1.Quota(domain=DOMAIN_STT, capacity=2.5, refill_per_s=0.5))
    first, second = await desk.trail("budget.set")
    assert facts(first) == {
        "domain": "DOMAIN_STT",
        "period": "DAY",
        "limit_micros": "5000",
        "currency": "EUR",
        "before_micros": "",
    }
    assert (second.reason_code, facts(second)["before_micros"]) == ("REPLACED", "5000")
    (quota,) = await desk.trail("quota.set")
    assert facts(quota) == {"domain": "DOMAIN_STT", "capacity": "2.5", "refill_per_s": "0.5"}
    assert quota.owner == ENGINE_ID and len(quota.actor) == 64 and quota.idempotency_key
