"""The live side of the gates: slices of budgets and quotas that processes hold, on each of the two databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, DOMAIN_UNSPECIFIED, Domain
from selene.routing.v1.service_pb2 import (
    BUDGET_PERIOD_DAY,
    BUDGET_PERIOD_MONTH,
    POLICY_EFFECT_ALLOW,
    POLICY_EFFECT_DENY,
)

from servers.routing.accounts import Accounts, Ticket
from servers.routing.gates import Request
from store import Store, StoreUnavailable, Transaction, Unavailability
from store.routing import Budget, Key, Quota, Rule, Spending
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock, SeqIds

DAILY = Key("t1", DOMAIN_STT, BUDGET_PERIOD_DAY)
ALLOW = Rule(tenant_id="", rule_id="allow", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED_FOR_ALL")
DENY = Rule(tenant_id="t1", rule_id="deny", effect=POLICY_EFFECT_DENY, reason="SUSPENDED")

Open = Callable[[str], Accounts]


@pytest.fixture
async def process(store: Store, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens the accounts of a process."""

    def opened(name: str) -> Accounts:
        return Accounts(store, clock, SeqIds(name), DOMAIN_STT, owner="PH1.C", holder=name)

    yield opened


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


def quota(clock: FakeClock, *, capacity: float = 10.0, refill_per_s: float = 0.0, tokens: float = 10.0) -> Quota:
    return Quota("t1", DOMAIN_STT, capacity, refill_per_s, tokens, clock.now().timestamp())


def ask(
    accounts: Accounts, clock: FakeClock, cost: int = 0, *, tenant: str = "t1", domain: Domain = DOMAIN_STT
) -> Ticket:
    request = Request(tenant_id=tenant, domain=domain, capability=CAPABILITY_STT, cost_micros=cost)
    return accounts.admit(request, clock.now().timestamp())


async def call(accounts: Accounts, clock: FakeClock, cost: int = 0) -> Ticket:
    await accounts.ready("t1", cost_micros=cost)
    return ask(accounts, clock, cost)


def reason(ticket: Ticket) -> str:
    return ticket.passage.verdicts[-1].reason


async def spending(store: Store, clock: FakeClock, key: Key = DAILY) -> tuple[int, int]:
    start = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    found = await store.routing.grants.spending(key, start)
    return found.spent_micros, found.reserved_micros


async def trail(store: Store, transition: str) -> list[AuditEvent]:
    events = [chained.event async for chained in store.audit.stream("t1")]
    return [event for event in events if event.transition == transition]


def facts(event: AuditEvent) -> dict[str, str]:
    return {fact.name: fact.value for fact in event.facts}


class Breaking:
    """A store whose link breaks: before its work, or after a commit whose answer is lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down = False
        self.lose_answer = False
        self.read = asyncio.Event()
        self.meanwhile: Callable[[], None] = lambda: None

    async def together(self, work: Callable[..., Awaitable[Any]]) -> Any:
        if self.down:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")
        self.read.set()
        return await self._store.together(work)  # type: ignore[arg-type]  # as the caller gave it

    async def perform(self, work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        if self.down:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")
        self.meanwhile()
        result: Any = await self._store.perform(work)  # type: ignore[arg-type]  # as the caller gave it
        if self.lose_answer:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut after the commit")
        return result


def behind(link: Breaking, clock: FakeClock) -> Accounts:
    return Accounts(link, clock, SeqIds("p1"), DOMAIN_STT, owner="PH1.C", holder="p1")  # type: ignore[arg-type]  # the same calls


async def test_of_a_tenant_that_was_not_looked_up_nothing_is_known(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW)
    accounts = process("p1")
    assert reason(ask(accounts, clock)) == "POLICY_UNKNOWN"
    await accounts.ready("t1")
    assert ask(accounts, clock).allowed
    assert reason(ask(accounts, clock, tenant="t2")) == "POLICY_UNKNOWN"
    assert reason(ask(accounts, clock, domain=DOMAIN_LLM)) == "POLICY_UNKNOWN"


async def test_a_tenant_without_budget_and_quota_passes_gates_that_say_they_are_off(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW)
    ticket = await call(process("p1"), clock, 10**12)
    assert [verdict.reason for verdict in ticket.passage.verdicts] == [
        "ALLOWED_FOR_ALL",
        "COST_DISABLED",
        "QUOTA_DISABLED",
    ]


async def test_a_tenants_rule_denies_it_and_nobody_else(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, DENY)
    accounts = process("p1")
    assert reason(await call(accounts, clock)) == "SUSPENDED"
    await accounts.ready("t2")
    assert ask(accounts, clock, tenant="t2").allowed


async def test_a_verdict_tells_the_deployments_rule_from_a_tenants_of_the_same_id(
    store: Store, process: Open, clock: FakeClock
) -> None:
    mine = replace(DENY, rule_id="same")
    await put(store, replace(ALLOW, rule_id="same"))
    accounts = process("p1")
    assert (await call(accounts, clock)).passage.verdicts[0].rule_id == "deployment:same"
    await put(store, mine)
    await accounts.replenish()
    assert ask(accounts, clock).passage.verdicts[0].rule_id == "same"
    async with store.transaction() as tx:
        await tx.routing.rules.delete("t1", "same")
        audit(tx)
    told = set()
    for rule_id in ("deployment:same", "tenant:deployment:same"):
        await put(store, replace(mine, rule_id=rule_id))
        await accounts.replenish()
        told.add(ask(accounts, clock).passage.verdicts[0].rule_id)
        async with store.transaction() as tx:
            await tx.routing.rules.delete("t1", rule_id)
            audit(tx)
    assert told == {"tenant:deployment:same", "tenant:tenant:deployment:same"}


async def test_a_call_is_reserved_then_charged_what_it_cost(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000_000, "EUR"))
    accounts = process("p1")
    ticket = await call(accounts, clock, 600)
    assert reason(ticket) == "QUOTA_DISABLED" and ticket.passage.verdicts[1].reason == "COST_WITHIN_BUDGET"
    spent, reserved = await spending(store, clock)
    assert spent == 0 and 600 <= reserved <= 500_000
    accounts.settle(ticket, 250)
    accounts.settle(ticket, 250)
    await accounts.stop()
    assert await spending(store, clock) == (250, 0)


async def test_a_budget_is_used_to_its_last_call_and_not_beyond(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000, "EUR"))
    accounts = process("p1")
    tickets = [await call(accounts, clock, 300) for _ in range(5)]
    assert [ticket.allowed for ticket in tickets] == [True, True, True, False, False]
    assert reason(tickets[-1]) == "COST_BUDGET_EXCEEDED"
    accounts.settle(tickets[0], 0)
    clock.advance(timedelta(seconds=1))
    assert (await call(accounts, clock, 300)).allowed


async def test_a_call_needs_room_in_every_budget_that_it_falls_under(
    store: Store, process: Open, clock: FakeClock
) -> None:
    everything = Key("t1", DOMAIN_UNSPECIFIED, BUDGET_PERIOD_MONTH)
    other = Key("t1", DOMAIN_LLM, BUDGET_PERIOD_DAY)
    await put(store, ALLOW, Budget(DAILY, 10_000, "EUR"), Budget(everything, 500, "EUR"), Budget(other, 0, "EUR"))
    accounts = process("p1")
    first = await call(accounts, clock, 400)
    assert first.allowed
    assert reason(await call(accounts, clock, 400)) == "COST_BUDGET_EXCEEDED"
    accounts.settle(first, 350)
    await accounts.stop()
    assert await spending(store, clock) == (350, 0)
    assert (await store.routing.grants.spending(everything, clock.now().replace(day=1))).spent_micros == 350


async def test_a_call_that_came_dearer_than_estimated_is_charged_in_full(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000, "EUR"))
    accounts = process("p1")
    accounts.settle(await call(accounts, clock, 900), 1_500)
    await accounts.stop()
    assert await spending(store, clock) == (1_500, 0)


async def test_a_quota_is_granted_to_its_last_token_and_refills(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, quota(clock, capacity=3.0, refill_per_s=1.0, tokens=3.0))
    accounts = process("p1")
    tickets = [await call(accounts, clock) for _ in range(4)]
    assert [ticket.allowed for ticket in tickets] == [True, True, True, False]
    assert reason(tickets[-1]) == "QUOTA_EXHAUSTED"
    assert tickets[-1].passage.verdicts[-1].retry_after_s == 1.0
    clock.advance(timedelta(seconds=2))
    assert [(await call(accounts, clock)).allowed for _ in range(3)] == [True, True, False]


async def test_tokens_that_nobody_used_are_given_back(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, quota(clock))
    accounts = process("p1")
    assert (await call(accounts, clock)).allowed
    held = await store.routing.quotas.get("t1", DOMAIN_STT)
    assert held is not None and held.tokens < 9
    await accounts.stop()
    left = await store.routing.quotas.get("t1", DOMAIN_STT)
    assert left is not None and left.tokens == 9
    assert facts((await trail(store, "quota.returned"))[0])["holder"] == "p1"


async def test_a_change_of_limits_holds_after_the_next_round(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000_000, "EUR"), quota(clock))
    accounts = process("p1")
    open_call = await call(accounts, clock, 500)
    await put(store, Budget(DAILY, 0, "EUR"))
    await accounts.replenish()
    assert reason(ask(accounts, clock, 1)) == "COST_BUDGET_EXCEEDED"
    assert await spending(store, clock) == (0, 500)
    accounts.settle(open_call, 450)
    await put(store, Budget(DAILY, 1_000_000, "EUR"), quota(clock, capacity=0.0, tokens=0.0))
    await accounts.replenish()
    assert reason(ask(accounts, clock, 1)) == "QUOTA_NEVER"
    await put(store, DENY)
    await accounts.replenish()
    assert reason(ask(accounts, clock, 1)) == "SUSPENDED"
    async with store.transaction() as tx:
        await tx.routing.rules.delete("t1", "deny")
        await tx.routing.budgets.delete(DAILY)
        await tx.routing.quotas.delete("t1", DOMAIN_STT)
        audit(tx)
    await accounts.replenish()
    assert [verdict.reason for verdict in ask(accounts, clock, 1).passage.verdicts[1:]] == [
        "COST_DISABLED",
        "QUOTA_DISABLED",
    ]
    assert await spending(store, clock) == (450, 0)


async def test_a_rule_of_the_deployment_that_changes_holds_for_every_tenant(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW)
    accounts = process("p1")
    for tenant in ("t1", "t2"):
        await accounts.ready(tenant)
    await put(store, Rule(tenant_id="", rule_id="no", effect=POLICY_EFFECT_DENY, reason="MAINTENANCE"))
    await accounts.replenish()
    assert [reason(ask(accounts, clock, tenant=tenant)) for tenant in ("t1", "t2")] == ["MAINTENANCE"] * 2


async def test_a_budget_that_is_used_up_is_not_looked_for_before_the_next_round(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 500, "EUR"))
    link = Breaking(store)
    accounts = behind(link, clock)
    assert (await call(accounts, clock, 500)).allowed
    assert not (await call(accounts, clock, 500)).allowed
    link.read.clear()
    assert not (await call(accounts, clock, 500)).allowed
    assert (await call(accounts, clock, 0)).allowed
    assert not link.read.is_set()
    clock.advance(timedelta(milliseconds=250))
    await accounts.ready("t1", cost_micros=500)
    assert link.read.is_set()


async def test_the_background_rounds_learn_a_change_by_themselves(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW)
    link = Breaking(store)
    accounts = behind(link, clock)
    await accounts.ready("t1")
    accounts.start()
    await put(store, DENY)
    async with asyncio.timeout(5):
        while ask(accounts, clock).allowed:
            link.read.clear()
            await link.read.wait()
    await accounts.stop()
    assert reason(ask(accounts, clock)) == "POLICY_UNKNOWN"


async def test_what_a_dead_process_held_counts_as_spent_in_full(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    dead, alive = process("p1"), process("p2")
    assert (await call(dead, clock, 1_000)).allowed
    _, held = await spending(store, clock)
    clock.advance(timedelta(seconds=60))
    await alive.replenish()
    assert await spending(store, clock) == (held, 0)
    expired = facts((await trail(store, "budget.settled"))[-1])
    assert (expired["holder"], expired["spent_micros"]) == ("p1", str(held))


async def test_a_process_that_comes_back_after_its_grant_ran_out_is_not_charged_twice(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    slow, other = process("p1"), process("p2")
    ticket = await call(slow, clock, 1_000)
    _, held = await spending(store, clock)
    clock.advance(timedelta(seconds=60))
    await other.replenish()
    slow.settle(ticket, 700)
    await slow.replenish()
    spent, _ = await spending(store, clock)
    assert spent == held
    slow.settle(await call(slow, clock, held - 700), held - 700)
    dearer = await call(slow, clock, 1_000)
    slow.settle(dearer, 1_234)
    await slow.stop()
    assert await spending(store, clock) == (held + 1_234, 0)


async def test_a_grant_is_renewed_while_its_process_lives(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    accounts, other = process("p1"), process("p2")
    ticket = await call(accounts, clock, 1_000)
    for _ in range(10):
        clock.advance(timedelta(seconds=20))
        await accounts.replenish()
        await other.replenish()
    spent, reserved = await spending(store, clock)
    assert spent == 0 and reserved >= 1_000
    accounts.settle(ticket, 900)
    await accounts.stop()
    assert await spending(store, clock) == (900, 0)


async def test_what_is_held_for_an_idle_tenant_is_given_back(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"), quota(clock))
    accounts = process("p1")
    accounts.settle(await call(accounts, clock, 1_000), 800)
    clock.advance(timedelta(seconds=61))
    await accounts.replenish()
    assert await spending(store, clock) == (800, 0)
    left = await store.routing.quotas.get("t1", DOMAIN_STT)
    assert left is not None and left.tokens == 9
    assert reason(ask(accounts, clock)) == "POLICY_UNKNOWN"
    assert (await call(accounts, clock, 1_000)).allowed


async def test_a_call_is_charged_to_the_period_in_which_it_began(store: Store, process: Open, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000, "EUR"))
    clock.advance(timedelta(hours=23, minutes=59, seconds=50))
    yesterday = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    accounts = process("p1")
    late = await call(accounts, clock, 900)
    assert reason(await call(accounts, clock, 900)) == "COST_BUDGET_EXCEEDED"
    clock.advance(timedelta(seconds=20))
    early = await call(accounts, clock, 900)
    assert early.allowed
    accounts.settle(late, 500)
    accounts.settle(early, 600)
    await accounts.replenish()
    assert await store.routing.grants.spending(DAILY, yesterday) == Spending(DAILY, yesterday, 500, 0)
    await accounts.stop()
    assert await spending(store, clock) == (600, 0)


async def test_two_processes_share_a_budget_and_a_bucket_without_exceeding_either(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 10_000, "EUR"), quota(clock, capacity=30.0, tokens=30.0))
    processes = [process("p1"), process("p2")]
    tickets: list[Ticket] = []
    for _ in range(40):
        tickets += await asyncio.gather(*(call(accounts, clock, 400) for accounts in processes))
        clock.advance(timedelta(milliseconds=300))
    allowed = [ticket for ticket in tickets if ticket.allowed]
    assert len(allowed) == 25
    for ticket in allowed:
        ticket.settle(400)
    await asyncio.gather(*(accounts.stop() for accounts in processes))
    assert await spending(store, clock) == (10_000, 0)
    left = await store.routing.quotas.get("t1", DOMAIN_STT)
    assert left is not None and left.tokens == 5


async def test_calls_under_way_at_the_stop_are_charged_their_estimates(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000, "EUR"))
    accounts = process("p1")
    ticket = await call(accounts, clock, 600)
    await accounts.stop()
    assert await spending(store, clock) == (600, 0)
    accounts.settle(ticket, 100)
    assert reason(await call(accounts, clock, 1)) == "POLICY_UNKNOWN"


async def test_without_the_store_new_tenants_are_refused_and_known_ones_use_up_their_slices(
    store: Store, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    link = Breaking(store)
    accounts = behind(link, clock)
    await accounts.ready("t1", cost_micros=1_000)
    link.down = True
    await accounts.ready("t2")
    assert reason(ask(accounts, clock, tenant="t2")) == "POLICY_UNKNOWN"
    answers = []
    for _ in range(10):
        answers.append(reason(await call(accounts, clock, 1_000)))
        clock.advance(timedelta(seconds=1))
    assert answers[0] == "QUOTA_DISABLED"
    assert answers[-1] == "COST_BUDGET_EXCEEDED"
    clock.advance(timedelta(seconds=60))
    assert reason(ask(accounts, clock)) == "POLICY_UNKNOWN"
    link.down = False
    assert (await call(accounts, clock, 1_000)).allowed


async def test_a_commit_whose_answer_was_lost_is_neither_forgotten_nor_repeated(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000_000, "EUR"))
    link = Breaking(store)
    accounts = behind(link, clock)
    spent = 0
    for number in range(6):
        ticket = await call(accounts, clock, 1_000)
        accounts.settle(ticket, 700 + number)
        spent += 700 + number
        clock.advance(timedelta(seconds=6))
        link.lose_answer = number % 3 != 2
        await accounts.replenish()
        link.lose_answer = False
        clock.advance(timedelta(seconds=1))
    assert spent == 6 * 700 + 15
    await accounts.stop()
    assert await spending(store, clock) == (spent, 0)


async def test_while_a_slice_is_cut_back_no_call_uses_what_goes(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000_000, "EUR"))
    link = Breaking(store)
    accounts = behind(link, clock)
    first = await call(accounts, clock, 500)
    await put(store, Budget(DAILY, 0, "EUR"))
    meanwhile: list[Ticket] = []
    link.meanwhile = lambda: meanwhile.append(ask(accounts, clock, 1))
    await accounts.replenish()
    assert [reason(ticket) for ticket in meanwhile] == ["COST_BUDGET_EXCEEDED"]
    first.settle(500)
    await accounts.stop()
    assert await spending(store, clock) == (500, 0)


async def test_a_call_that_begins_while_its_tenant_is_let_go_is_charged(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 1_000_000, "EUR"))
    link = Breaking(store)
    accounts = behind(link, clock)
    await accounts.ready("t1", cost_micros=500)
    clock.advance(timedelta(seconds=61))
    meanwhile: list[Ticket] = []
    link.meanwhile = lambda: meanwhile.append(ask(accounts, clock, 0))
    await accounts.replenish()
    link.meanwhile = lambda: None
    (ticket,) = meanwhile
    assert ticket.allowed
    ticket.settle(70)
    await accounts.stop()
    assert await spending(store, clock) == (70, 0)


async def test_settled_grants_are_forgotten_after_a_day_and_spending_is_not(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    first = process("p1")
    start = clock.now()
    first.settle(await call(first, clock, 1_000), 900)
    await first.stop()
    settled = facts((await trail(store, "budget.settled"))[-1])["grant_id"]
    assert await store.routing.grants.get(settled) is not None
    clock.advance(timedelta(days=1, seconds=1))
    later = process("p2")
    assert (await call(later, clock, 1_000)).allowed
    assert await store.routing.grants.get(settled) is None
    assert (await store.routing.grants.spending(DAILY, start)).spent_micros == 900
    await later.stop()


async def test_every_settlement_is_in_the_trail_with_what_was_spent(
    store: Store, process: Open, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 100_000, "EUR"))
    accounts = process("p1")
    spent = 0
    for cost in (100, 4_000, 20_000, 30_000):
        accounts.settle(await call(accounts, clock, cost), cost)
        spent += cost
        clock.advance(timedelta(seconds=6))
        await accounts.replenish()
    await accounts.stop()
    settled = await trail(store, "budget.settled")
    assert sum(int(facts(event)["spent_micros"]) for event in settled) == spent
    assert {(event.owner, event.actor) for event in settled} == {("PH1.C", "system")}
    assert await spending(store, clock) == (spent, 0)


async def test_a_steady_tenant_is_admitted_without_a_look_at_the_store(store: Store, clock: FakeClock) -> None:
    await put(store, ALLOW, Budget(DAILY, 10**9, "EUR"), quota(clock, capacity=1e6, tokens=1e6))
    link = Breaking(store)
    accounts = behind(link, clock)
    assert (await call(accounts, clock, 100)).allowed
    link.down = True
    answers = {(await call(accounts, clock, 100)).allowed for _ in range(100)}
    assert answers == {True}


async def test_processes_on_connections_of_their_own_share_a_budget(
    store: Store, store_url: str, clock: FakeClock
) -> None:
    await put(store, ALLOW, Budget(DAILY, 5_000, "EUR"))
    other = await open_store(store_url, clock, prefix="other")
    processes = [
        Accounts(each, clock, SeqIds(name), DOMAIN_STT, owner="PH1.C", holder=name)
        for name, each in (("p1", store), ("p2", other))
    ]
    for accounts in processes:
        accounts.start()
    tickets: list[Ticket] = []
    for _ in range(20):
        tickets += await asyncio.gather(*(call(accounts, clock, 250) for accounts in processes for _ in range(2)))
        clock.advance(timedelta(milliseconds=300))
    allowed = [ticket for ticket in tickets if ticket.allowed]
    for ticket in allowed:
        ticket.settle(250)
    await asyncio.gather(*(accounts.stop() for accounts in processes))
    await other.close()
    assert len(allowed) == 20
    assert await spending(store, clock) == (5_000, 0)


async def test_owners_whose_budget_is_one_share_it_while_limits_change(
    store: Store, store_url: str, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = Key("t1", DOMAIN_UNSPECIFIED, BUDGET_PERIOD_DAY)
    await put(store, ALLOW, Budget(DAILY, 50_000, "EUR"), Budget(everything, 60_000, "EUR"))
    other = await open_store(store_url, clock, prefix="other")
    owners = [
        Accounts(each, clock, SeqIds(f"{name}{domain}"), domain, owner="PH1.C", holder=f"{name}{domain}")
        for name, each in (("p1", store), ("p2", other))
        for domain in (DOMAIN_STT, DOMAIN_LLM)
    ]
    spent = dict.fromkeys((DOMAIN_STT, DOMAIN_LLM), 0)

    async def work(accounts: Accounts, domain: Domain) -> None:
        for number in range(15):
            await accounts.ready("t1", cost_micros=900)
            ticket = ask(accounts, clock, 900, domain=domain)
            ticket.settle(700 + number)
            spent[domain] += 700 + number if ticket.allowed else 0
            clock.advance(timedelta(milliseconds=400))
            await accounts.replenish()

    async def operate() -> None:
        for number in range(10):
            await put(store, Budget(everything, 60_000 + number, "EUR"))

    domains = (DOMAIN_STT, DOMAIN_LLM) * 2
    await asyncio.gather(*(work(each, domain) for each, domain in zip(owners, domains, strict=True)), operate())
    await asyncio.gather(*(each.stop() for each in owners))
    await other.close()
    assert min(spent.values()) > 10_000
    assert await spending(store, clock) == (spent[DOMAIN_STT], 0)
    assert await spending(store, clock, everything) == (sum(spent.values()), 0)
    assert "cannot be read or settled" not in capsys.readouterr().out
