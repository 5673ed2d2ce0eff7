"""Processes that share budgets and buckets, in any order of what they do: nothing is granted twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_STT
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, POLICY_EFFECT_ALLOW

from servers.routing.accounts import Accounts, Ticket
from servers.routing.gates import Request
from store.routing import Budget, Key, Quota, Rule
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock, SeqIds

KEY = Key("t1", DOMAIN_STT, BUDGET_PERIOD_DAY)
LIMIT = 2_000
CAPACITY, REFILL_PER_S = 12.0, 0.5

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 1), st.integers(0, 700)),
        st.tuples(st.just("end"), st.integers(0, 1), st.integers(0, 100)),
        st.tuples(st.just("round"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("both"), st.just(0), st.integers(1, 300)),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([300, 6_000, 20_000])),
        st.tuples(st.just("die"), st.integers(0, 1), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_budget_and_bucket_hold_whatever_two_processes_do_and_whoever_dies(
    sqlite_template: Path, steps: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "selene.db"
        shutil.copy(sqlite_template, database)
        asyncio.run(_play(f"sqlite:///{database}", steps))


async def _play(url: str, steps: list[tuple[str, int, int]]) -> None:
    clock = FakeClock()
    store = await open_store(url, clock)
    start, began = clock.now(), clock.now().timestamp()
    async with store.transaction() as tx:
        await tx.routing.rules.put(Rule(tenant_id="", rule_id="all", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED"))
        await tx.routing.budgets.put(Budget(KEY, LIMIT, "EUR"))
        await tx.routing.quotas.put(Quota("t1", DOMAIN_STT, CAPACITY, REFILL_PER_S, CAPACITY, began))
        audit(tx)
    lives = 0

    def born() -> Accounts:
        nonlocal lives
        lives += 1
        return Accounts(store, clock, SeqIds(f"p{lives}"), DOMAIN_STT, owner="PH1.C", holder=f"p{lives}")

    processes = [born(), born()]
    running: list[list[tuple[Ticket, int]]] = [[], []]
    spent = calls = estimated = 0
    for step, who, number in steps:
        if step in ("call", "both"):
            asking = [who] if step == "call" else [0, 1]
            await asyncio.gather(*(processes[each].ready("t1", cost_micros=number) for each in asking))
            for each in asking:
                request = Request(tenant_id="t1", domain=DOMAIN_STT, capability=CAPABILITY_STT, cost_micros=number)
                ticket = processes[each].admit(request, clock.now().timestamp())
                if ticket.allowed:
                    running[each].append((ticket, number))
                    calls += 1
                    estimated += number
        elif step == "end" and running[who]:
            ticket, cost = running[who].pop(0)
            ticket.settle(cost * number // 100)
            spent += cost * number // 100
            estimated -= cost - cost * number // 100
        elif step == "round":
            await processes[who].replenish()
        elif step == "wait":
            clock.advance(timedelta(milliseconds=number))
        elif step == "die":
            processes[who] = born()
            running[who] = []
        found = await store.routing.grants.spending(KEY, start)
        assert found.spent_micros + found.reserved_micros <= LIMIT
        assert estimated <= LIMIT
        assert calls <= CAPACITY + REFILL_PER_S * (clock.now().timestamp() - began) + 1e-6
    await asyncio.gather(*(each.stop() for each in processes))
    clock.advance(timedelta(minutes=2))
    survivor = born()
    await survivor.replenish()
    found = await store.routing.grants.spending(KEY, start)
    assert found.reserved_micros == 0
    assert spent <= found.spent_micros <= LIMIT
    await survivor.stop()
    await store.close()
