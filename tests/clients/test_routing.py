"""The clients of routing against real owners: the profile's life, circuits, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
import pytest
from selene.routing.v1 import service_pb2 as wire
from selene.routing.v1 import service_pb2_grpc as rpc
from selene.routing.v1.routing_pb2 import Circuit
from selene_messages.selene.routing import v1

from clients.channel import connect
from clients.cli.routes import as_next
from clients.errors import SeleneError
from clients.language import Language
from clients.retry import RetryPolicy
from clients.routing import Circuits, Limits, Routing
from tests.support.owners import Owners

LOCAL = "selene-local/llm"
SOMEBODY = v1.RoutingSubject(tenant_id="dev", locale="en-US")


def by_ref(reply: v1.ListProvidersResponse) -> dict[str, v1.ProviderStanding]:
    return {each.provider_ref: each for each in reply.providers}


async def answers(language: Language) -> bool:
    try:
        async with language.respond("hello") as reply:
            return (await reply.result()).packet is not None
    except SeleneError as error:
        assert error.reason == "POLICY_REFUSED"
        return False


async def test_a_profile_is_put_activated_and_rolled_back(talking: Owners) -> None:
    routing = Routing(talking.connection("llm"))
    shipped = (await routing.get()).profile
    assert shipped is not None
    second = as_next(shipped, 2, after=1)
    assert (await routing.validate(second)).problems == []
    put = await routing.put(second, idempotency_key="put-2")
    assert (put.profile_version, put.active) == (2, False)
    assert (await routing.put(second, idempotency_key="put-2")).content_hash == put.content_hash
    assert (await routing.activate(2, "ROLLOUT")).active
    assert (await routing.resolve(SOMEBODY)).profile_version == 2
    returned = await routing.rollback("ERRORS_ROSE")
    assert (returned.profile_version, returned.active) == (3, True)
    assert [each.profile_version async for each in routing.list(page_size=1)] == [1, 2, 3]


async def test_a_profile_comes_back_as_it_was_put(talking: Owners) -> None:
    """Presence survives: what is set to nothing is not the same as what is unset."""
    routing = Routing(talking.connection("llm"))
    reply = await routing.get()
    assert reply.profile is not None and reply.version is not None
    assert (await routing.validate(reply.profile)).content_hash == reply.version.content_hash


async def test_a_user_s_exception_decides_and_is_explained(talking: Owners) -> None:
    routing = Routing(talking.connection("llm"))
    shipped = (await routing.get()).profile
    assert shipped is not None
    override = v1.ProviderOverride(domain=v1.Domain.LLM, provider_ref=LOCAL, priority=1, enabled=True)
    openai = v1.ProviderOverride(domain=v1.Domain.LLM, provider_ref="openai/llm", priority=3)
    mira = v1.ScopedOverride("dev", "mira", v1.LayerSection(providers=[override, openai]))
    await routing.put(replace(as_next(shipped, 2, after=1), user_exceptions=[mira]))
    await routing.activate(2, "ROLLOUT")
    subject = replace(SOMEBODY, user_id="mira")
    first = (await Circuits(talking.connection("llm")).providers(subject)).providers[0]
    assert (first.provider_ref, first.priority, first.priority_layer) == (LOCAL, 1, v1.ProfileLayer.USER_EXCEPTION)
    (field,) = (await routing.explain(subject, f"providers[{LOCAL}].priority")).fields
    assert (field.layer, field.scope_id) == (v1.ProfileLayer.USER_EXCEPTION, "mira")
    others = (await routing.explain(SOMEBODY, f"providers[{LOCAL}].priority")).fields
    assert [each.layer for each in others] == [v1.ProfileLayer.GLOBAL_DEFAULT]


async def test_a_forced_circuit_is_watched_stops_calls_and_is_released(talking: Owners) -> None:
    circuits, language = Circuits(talking.connection("llm")), Language(talking.connection("llm"))
    standing = await circuits.providers(SOMEBODY)
    seen: list[v1.CircuitState] = []
    standing_told = asyncio.Event()

    async def follow() -> None:
        async with aclosing(circuits.watch(LOCAL)) as changes:
            async for circuit in changes:
                seen.append(circuit.state)
                standing_told.set()
                if len(seen) == 3:
                    return

    watching = asyncio.create_task(follow())
    await standing_told.wait()
    made = await circuits.force(LOCAL, standing.profile_hash, v1.CircuitForce.OPEN, "VENDOR_INCIDENT")
    assert (made.state, made.reason_code) == (v1.CircuitState.FORCED_OPEN, "VENDOR_INCIDENT")
    assert (await circuits.get(LOCAL, standing.profile_hash)).state is v1.CircuitState.FORCED_OPEN
    with pytest.raises(SeleneError) as refused:
        async with language.respond("hello") as reply:
            await reply.result()
    assert refused.value.reason == "NO_PROVIDER_AVAILABLE"
    refusing = await circuits.providers(SOMEBODY)
    assert refusing.refusal == "NO_PROVIDER_AVAILABLE"
    assert by_ref(refusing)[LOCAL].availability is v1.Availability.CIRCUIT_OPEN
    await circuits.force(LOCAL, standing.profile_hash, v1.CircuitForce.RELEASED, "INCIDENT_OVER")
    await asyncio.wait_for(watching, 10)
    assert seen[:2] == [v1.CircuitState.CLOSED, v1.CircuitState.FORCED_OPEN]
    latest, first = [each async for each in circuits.transitions(LOCAL, page_size=1)]
    assert (first.before, first.after) == (v1.CircuitState.CLOSED, v1.CircuitState.FORCED_OPEN)
    assert latest.before is v1.CircuitState.FORCED_OPEN
    assert latest.after is seen[2]


async def test_a_rule_that_denies_refuses_calls_until_it_is_removed(talking: Owners) -> None:
    limits, language = Limits(talking.connection("tts")), Language(talking.connection("llm"))
    rule = v1.PolicyRule(rule_id="no", effect=v1.PolicyEffect.DENY, reason_code="PAUSED", domains=[v1.Domain.LLM])
    assert await limits.put_rule(rule) is False
    assert await limits.put_rule(rule) is True
    assert {(each.tenant_id, each.rule.rule_id) async for each in limits.rules(page_size=1) if each.rule} == {
        ("", "shipped-allow"),
        ("dev", "no"),
    }
    with pytest.raises(SeleneError) as refused:
        async with language.respond("hello") as reply:
            await reply.result()
    assert (refused.value.reason, refused.value.metadata["cause"]) == ("POLICY_REFUSED", "PAUSED")
    await limits.delete_rule("no")
    async with asyncio.timeout(10):
        while not await answers(language):
            pass  # owners hear of changed limits by and by


async def test_a_quota_of_none_refuses_and_a_budget_stands_as_it_was_set(talking: Owners) -> None:
    limits = Limits(talking.connection("llm"))
    budget = v1.Budget(domain=v1.Domain.LLM, period=v1.BudgetPeriod.DAY, limit_micros=5_000_000, currency="EUR")
    assert (await limits.set_budget(budget)).budget == budget
    assert [each.budget for each in await limits.budgets()] == [budget]
    quota = v1.Quota(domain=v1.Domain.LLM, capacity=0, refill_per_s=0)
    assert (await limits.set_quota(quota)).quota == quota
    assert [each.tokens for each in await limits.quotas()] == [0]
    with pytest.raises(SeleneError) as refused:
        async with Language(talking.connection("llm")).respond("hello") as reply:
            await reply.result()
    assert refused.value.reason == "QUOTA_EXHAUSTED"


class Ending(rpc.CircuitServiceServicer):
    """Ends every watch: before a circuit was told, after one, with an error."""

    def __init__(self) -> None:
        self.watches = 0

    async def WatchCircuits(self, request: Any, context: Any) -> AsyncIterator[wire.WatchCircuitsResponse]:
        self.watches += 1
        if self.watches == 2:
            return
        yield wire.WatchCircuitsResponse(circuit=Circuit(provider_ref=f"told-{self.watches}"))
        if self.watches == 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        if self.watches == 4:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no more")


async def test_a_watch_goes_on_until_it_is_refused() -> None:
    servicer, server = Ending(), grpc.aio.server()
    rpc.add_CircuitServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told = []
    try:
        async with connect(f"127.0.0.1:{port}") as connection:
            with pytest.raises(SeleneError) as refused:
                async for circuit in Circuits(connection, policy=RetryPolicy(first_wait=0.001)).watch():
                    told.append(circuit.provider_ref)
    finally:
        await server.stop(0)
    assert told == ["told-1", "told-3", "told-4"]
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
