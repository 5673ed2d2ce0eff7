"""A routing owner, really killed in the middle of calls: its circuits, budgets and quotas hold, and no call is charged
twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.llm.v1 import service_pb2 as messages
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_HALF_OPEN, DOMAIN_LLM, RoutingSubject

from clients.channel import Connection, connect
from clients.errors import from_rpc
from servers.offline import verify_offline
from servers.routing.kept import circuit_of
from servers.runtime.config import load_settings
from store import Store
from store.routing import Key
from tests.support.crash_router import PRICE, PROVIDER, main, owner
from tests.support.keys import RotatingKey
from tests.support.killable import forked
from tests.support.owners import Owners
from tests.support.servers import TENANT, SteppedClock, until
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.openai import OpenAiSimulator

TEXT = "what time is it"
COST = round(PRICE * len(TEXT) / 1_000)
LIMIT, CAPACITY = 100 * COST, 50.0
SERVED = [f"served-{number}" for number in range(6)]
UNDER_WAY = [f"under-way-{number}" for number in range(3)]
AHEAD_S = 120.0
"""Longer than a lease of a probe and a grant of a budget last."""


class Asking:
    """A client of one server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.language = llm_grpc.LanguageServiceStub(connection.channel)
        self.circuits = routing_grpc.CircuitServiceStub(connection.channel)
        self.limits = routing_grpc.LimitsServiceStub(connection.channel)

    async def ask(self, key: str) -> messages.RespondFinal:
        request = messages.RespondRequest(
            text=TEXT, locale="en-US", scope=RouteScope(tenant_id=TENANT), idempotency_key=key
        )
        stream = self.language.Respond(request, timeout=30, metadata=self._connection.metadata())
        return [event async for event in stream][-1].final

    async def refused(self, key: str) -> str:
        try:
            await self.ask(key)
        except grpc.aio.AioRpcError as error:
            return from_rpc(error).reason or error.code().name
        return ""

    async def limit(self) -> None:
        """A budget and a quota that everything fits in."""
        budget = v1.Budget(domain=DOMAIN_LLM, period=v1.BUDGET_PERIOD_DAY, limit_micros=LIMIT, currency="EUR")
        await self.limits.SetBudget(
            v1.SetBudgetRequest(tenant_id=TENANT, budget=budget, idempotency_key="budget"), timeout=20
        )
        quota = v1.Quota(domain=DOMAIN_LLM, capacity=CAPACITY, refill_per_s=0.0)
        await self.limits.SetQuota(
            v1.SetQuotaRequest(tenant_id=TENANT, quota=quota, idempotency_key="quota"), timeout=20
        )

    async def half_open(self) -> None:
        """From now on the provider is probed."""
        subject = RoutingSubject(tenant_id=TENANT)
        shown = await self.circuits.ListProviders(v1.ListProvidersRequest(subject=subject), timeout=20)
        key = v1.CircuitKey(provider_ref=PROVIDER, profile_hash=shown.profile_hash)
        for place, force in enumerate((v1.CIRCUIT_FORCE_OPEN, v1.CIRCUIT_FORCE_RELEASED)):
            request = v1.ForceCircuitRequest(key=key, force=force, reason_code="DRILL", idempotency_key=f"f-{place}")
            await self.circuits.ForceCircuit(request, timeout=20)


async def trail(store: Store, transition: str, tenant: str = TENANT) -> list[AuditEvent]:
    rows = [chained.event async for chained in store.audit.stream(tenant)]
    return [row for row in rows if row.transition == transition]


def fact(row: AuditEvent, name: str) -> str:
    return next((each.value for each in row.facts if each.name == name), "")


async def answered(store: Store) -> Counter[str]:
    """How often each key was charged, as the trail has it."""
    rows = await trail(store, "call.finished")
    return Counter(row.idempotency_key for row in rows if row.reason_code == "ANSWERED" and not fact(row, "repeats"))


async def kept(store: Store, keys: int) -> None:
    async with asyncio.timeout(20):
        while len(await answered(store)) < keys:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.02)


async def test_a_routing_owner_that_is_killed_in_mid_call_leaves_everything_in_order(
    store: Store, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next process begins with what the store holds, however busy the machine.
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 30.0)
    async with OpenAiSimulator({RotatingKey().secret}).serve() as vendor:
        await killed_in_mid_call(store, store_url, tmp_path, vendor)
        (row,) = await store.routing.circuits.all("PH1.D")
        circuit = circuit_of(row.body)
        assert (circuit.state, len(circuit.leases)) == (CIRCUIT_STATE_HALF_OPEN, len(UNDER_WAY))
        assert await answered(store) == Counter(SERVED)
        before = len(vendor.calls)

        clock = SteppedClock()
        clock.skip(AHEAD_S)
        owners: Owners
        async with owner(tmp_path, store_url, vendor.base_url, clock) as owners:
            client = Asking(owners.connection("llm"))
            assert [await client.refused(key) for key in SERVED] == ["CALL_ALREADY_SERVED"] * len(SERVED)
            assert len(vendor.calls) == before
            again = [await client.ask(key) for key in UNDER_WAY]
            assert [each.route.attempts[0].probe for each in again] == [True] * len(UNDER_WAY)
            assert [await client.refused(key) for key in UNDER_WAY] == ["CALL_ALREADY_SERVED"] * len(UNDER_WAY)
        assert len(vendor.calls) == before + len(UNDER_WAY)

    (row,) = await store.routing.circuits.all("PH1.D")
    circuit = circuit_of(row.body)
    assert (circuit.leases, circuit.told) == ((), len(UNDER_WAY))
    assert await answered(store) == Counter([*SERVED, *UNDER_WAY])
    await everything_is_accounted_for(store, clock)
    report = await verify_offline(store_url, load_settings(None, {"data_dir": tmp_path}))
    assert report.ok and report.rows > 0


async def killed_in_mid_call(store: Store, store_url: str, data_dir: Path, vendor: OpenAiSimulator) -> None:
    """A process that has served calls and told of them, and is killed while it probes."""
    with forked(main, data_dir, store_url, vendor.base_url) as (process, told):
        target = await asyncio.to_thread(told.recv)
        async with connected(target) as client:
            await client.limit()
            for key in SERVED:
                await client.ask(key)
            await kept(store, len(SERVED))
            await client.half_open()
            vendor.faults.plan(*[FaultKind.HANG] * len(UNDER_WAY))
            calls = [asyncio.create_task(client.refused(key)) for key in UNDER_WAY]
            await until(lambda: len(vendor.calls) == len(SERVED) + len(UNDER_WAY), 20.0)
            assert await client.refused(UNDER_WAY[0]) == "CALL_UNDER_WAY"
            process.kill()
            await asyncio.to_thread(process.join)
            assert await asyncio.gather(*calls) == ["UNAVAILABLE"] * len(UNDER_WAY)


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Asking]:
    """A client of a server elsewhere."""
    connection = connect(target)
    try:
        yield Asking(connection)
    finally:
        await connection.close()


async def everything_is_accounted_for(store: Store, clock: SteppedClock) -> None:
    """Nothing is reserved any more; what was spent is what the trail says, no less than the calls and no more than what
    processes held.
    """
    key = Key(TENANT, DOMAIN_LLM, v1.BUDGET_PERIOD_DAY)
    settled = await trail(store, "budget.settled")
    spent = reserved = 0
    for start in {fact(row, "period_start") for row in settled}:
        spending = await store.routing.grants.spending(key, datetime.fromisoformat(start))
        spent, reserved = spent + spending.spent_micros, reserved + spending.reserved_micros
    assert reserved == 0
    assert spent == sum(int(fact(row, "spent_micros")) for row in settled)
    assert (len(SERVED) + len(UNDER_WAY)) * COST <= spent <= LIMIT
    assert "GRANT_EXPIRED" in {row.reason_code for row in settled}
    assert await store.routing.grants.overdue(clock.now() + timedelta(days=1)) == []
    quota = await store.routing.quotas.get(TENANT, DOMAIN_LLM)
    assert quota is not None
    assert 0 <= quota.tokens <= CAPACITY - len(SERVED) - len(UNDER_WAY)
