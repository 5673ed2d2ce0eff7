"""Gates that a deployment names: in the place of those that ship, in their order, and closed where they fail."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.llm.v1 import service_pb2 as messages
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import DOMAIN_LLM
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, POLICY_EFFECT_DENY

from clients.errors import SeleneError, from_rpc
from servers.routing.gatekeeper import Decision, NamedGate
from servers.routing.gates import Gate
from servers.runtime.config import ConfigError
from servers.runtime.errors import Refusal, reason_name
from store import Store
from store.routing import Budget, Key, Quota, Rule
from tests.support.owners import Owners, serving
from tests.support.plugged import NightRest, Scripted, Stubborn
from tests.support.routed import FIRST, Bench, bench, facts, put
from tests.support.servers import TENANT
from tests.support.time import FakeClock

BUDGET = Budget(Key("t1", DOMAIN_LLM, BUDGET_PERIOD_DAY), 1_000, "EUR")
QUOTA = Quota("t1", DOMAIN_LLM, 10.0, 0.0, 10.0, datetime(2026, 1, 1, tzinfo=UTC).timestamp())
DENY = Rule(tenant_id="t1", rule_id="deny", effect=POLICY_EFFECT_DENY, reason="SUSPENDED")
ALLOWED = "POLICY pass ALLOWED_FOR_ALL by deployment:allow"
NO = Decision(allowed=False, reason="HOUSE_SAYS_NO", retry_after_s=2.5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def refused(made: Bench) -> tuple[str, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        await made.run()
    assert not any(provider.asked for provider in made.providers.values())
    return reason_name(caught.value.reason), dict(caught.value.metadata)


async def said(made: Bench) -> list[str]:
    """What the gates of the last call said, in the order of its audit row."""
    gated = [row for row in await made.trail() if row.transition == "call.gated"][-1]
    told = facts(gated)
    return [told[name] for name in sorted(told) if name.startswith("gate_")]


async def spent(made: Bench) -> tuple[int, float]:
    await made.recorder.flush()
    await made.accounts.stop()
    start = made.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    quota = await made.store.routing.quotas.get("t1", DOMAIN_LLM)
    assert quota is not None
    return (await made.store.routing.grants.spending(BUDGET.key, start)).spent_micros, 10.0 - quota.tokens


@pytest.mark.parametrize(
    ("gate", "rows", "charged"),
    [
        (Gate.POLICY, ["POLICY pass HOUSE_RULE", "COST pass COST_WITHIN_BUDGET", "QUOTA pass QUOTA_GRANTED"], (50, 1)),
        (Gate.COST, [ALLOWED, "COST pass HOUSE_RULE", "QUOTA pass QUOTA_GRANTED"], (0, 1)),
        (Gate.QUOTA, [ALLOWED, "COST pass COST_WITHIN_BUDGET", "QUOTA pass HOUSE_RULE"], (50, 0)),
    ],
)
async def test_a_named_gate_stands_in_the_place_of_the_one_that_ships(
    store: Store, clock: FakeClock, gate: Gate, rows: list[str], charged: tuple[int, float]
) -> None:
    named = Scripted()
    made = await bench(store, clock, prices={FIRST: 50}, named={gate: named})
    await put(store, BUDGET, QUOTA)
    assert (await made.finished()).done
    assert await said(made) == rows
    assert [(each.tenant_id, each.request_id, each.cost_micros) for each in named.asked] == [("t1", "r-1", 50)]
    assert await spent(made) == charged
    assert named.told == [("r-1", 50)]


async def test_three_named_gates_are_asked_in_the_order_of_the_chain(sqlite_store: Store, clock: FakeClock) -> None:
    order: list[Gate] = []

    class Noting(Scripted):
        def __init__(self, gate: Gate) -> None:
            super().__init__(Decision(allowed=True, reason=f"{gate.value}_ASKED"))
            self._gate = gate

        async def decide(self, request: Any) -> Decision:
            order.append(self._gate)
            return await super().decide(request)

    named = {gate: Noting(gate) for gate in (Gate.QUOTA, Gate.POLICY, Gate.COST)}
    made = await bench(sqlite_store, clock, named=named)
    await made.finished()
    assert order == [Gate.POLICY, Gate.COST, Gate.QUOTA]
    assert await said(made) == ["POLICY pass POLICY_ASKED", "COST pass COST_ASKED", "QUOTA pass QUOTA_ASKED"]
    named[Gate.COST].says = NO
    assert (await refused_again(made))[0] == "BUDGET_EXCEEDED"
    assert await said(made) == ["POLICY pass POLICY_ASKED", "COST refuse HOUSE_SAYS_NO"]
    assert order[3:] == [Gate.POLICY, Gate.COST]
    await made.recorder.flush()
    assert named[Gate.POLICY].told == named[Gate.COST].told == [("r-1", 0), ("r-2", 0)]
    assert named[Gate.QUOTA].told == [("r-1", 0)]


async def refused_again(made: Bench) -> tuple[str, dict[str, str]]:
    for provider in made.providers.values():
        provider.asked.clear()
    return await refused(made)


@pytest.mark.parametrize(
    ("gate", "reason", "metadata"),
    [
        (Gate.POLICY, "POLICY_REFUSED", {"cause": "HOUSE_SAYS_NO", "rule_id": ""}),
        (Gate.COST, "BUDGET_EXCEEDED", {"cause": "HOUSE_SAYS_NO"}),
        (Gate.QUOTA, "QUOTA_EXHAUSTED", {"cause": "HOUSE_SAYS_NO", "retry_after_ms": "2500"}),
    ],
)
async def test_what_a_named_gate_refuses_is_refused_and_takes_nothing(
    store: Store, clock: FakeClock, gate: Gate, reason: str, metadata: dict[str, str]
) -> None:
    made = await bench(store, clock, prices={FIRST: 50}, named={gate: Scripted(NO)})
    await put(store, BUDGET, QUOTA)
    assert await refused(made) == (reason, metadata)
    assert await spent(made) == (0, 0)


@pytest.mark.parametrize("gate", list(Gate))
@pytest.mark.parametrize(
    ("named", "cause"),
    [
        (lambda: Scripted(RuntimeError("no")), "GATE_RAISED"),
        (lambda: Scripted(asyncio.CancelledError()), "GATE_RAISED"),
        (lambda: Scripted(asyncio.Event()), "GATE_TIMED_OUT"),
        (Stubborn, "GATE_TIMED_OUT"),
        (lambda: Scripted("yes"), "GATE_MALFORMED"),
        (lambda: Scripted(Decision(allowed=True, reason="said in a sentence")), "GATE_MALFORMED"),
        (lambda: Scripted(Decision(allowed=True, reason="FINE", retry_after_s=float("nan"))), "GATE_MALFORMED"),
    ],
)
async def test_a_named_gate_that_does_not_work_has_refused(
    sqlite_store: Store, clock: FakeClock, gate: Gate, named: Any, cause: str
) -> None:
    broken = named()
    made = await bench(sqlite_store, clock, prices={FIRST: 50}, named={gate: broken})
    await put(sqlite_store, BUDGET, QUOTA)
    assert await refused(made) == ("GATE_UNAVAILABLE", {"gate": gate.value, "cause": cause})
    assert (await said(made))[-1] == f"{gate.value} refuse {cause}"
    assert await spent(made) == (0, 0)
    assert broken.told == [("r-1", 0)]
    if isinstance(broken, Stubborn):
        broken.go_on.set()


async def test_a_named_gate_behind_one_that_refuses_is_not_asked(sqlite_store: Store, clock: FakeClock) -> None:
    named = Scripted()
    made = await bench(sqlite_store, clock, named={Gate.QUOTA: named})
    await put(sqlite_store, DENY)
    assert (await refused(made))[0] == "POLICY_REFUSED"
    assert (named.asked, named.told) == ([], [])


async def served(owners: Owners, channel: str, key: str) -> messages.RespondFinal:
    connection = owners.connection("llm")
    stub = llm_grpc.LanguageServiceStub(connection.channel)
    scope = RouteScope(tenant_id=TENANT, channel=channel)
    request = messages.RespondRequest(text="what time is it", locale="en-US", scope=scope, idempotency_key=key)
    events = [event async for event in stub.Respond(request, timeout=20, metadata=connection.metadata())]
    return events[-1].final


async def test_an_owner_asks_the_gate_that_its_settings_name(tmp_path: Path) -> None:
    flags = {"owners.routing.gates.policy": "tests.support.plugged:NightRest", "owners.routing.gates.timeout_ms": 1000}
    async with serving(["llm"], tmp_path, flags) as owners:
        assert (await served(owners, "kitchen", "k-1")).packet.intent == "time"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served(owners, "bedroom", "k-2")
        refusal: SeleneError = from_rpc(caught.value)
        assert (refusal.reason, refusal.metadata) == ("POLICY_REFUSED", {"cause": "NIGHT_REST", "rule_id": ""})

        async def gated() -> list[dict[str, str]]:
            return [facts(row) for row in await owners.trail() if row.transition == "call.gated"]

        async with asyncio.timeout(10):
            while len(await gated()) < 2:  # noqa: ASYNC110  # what is waited for lies in another task
                await asyncio.sleep(0.02)
        passed, stopped = await gated()
        assert [passed[f"gate_{place}"] for place in (1, 2, 3)] == [
            "POLICY pass HOUSE_AWAKE",
            "COST pass COST_DISABLED",
            "QUOTA pass QUOTA_DISABLED",
        ]
        assert {name: told for name, told in stopped.items() if name.startswith("gate_")} == {
            "gate_1": "POLICY refuse NIGHT_REST"
        }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tests.support.plugged:Missing", "cannot be had: AttributeError"),
        ("tests.support.missing:Gate", "cannot be had: ModuleNotFoundError"),
        ("tests.support.plugged:NoGate", "is no gate"),
        ("not a name", "pattern"),
    ],
)
async def test_an_owner_does_not_start_with_a_gate_that_is_none(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        async with serving(["llm"], tmp_path, {"owners.routing.gates.cost": name}):
            pass


def test_a_gate_needs_two_methods_only() -> None:
    assert isinstance(NightRest(), NamedGate)
