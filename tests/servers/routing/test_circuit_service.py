"""Circuits through a real channel (§24): the live table, an operator's hand, what changes and what happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.common.v1.paging_pb2 import PageRequest
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    DOMAIN_LLM,
    PROFILE_LAYER_GLOBAL_DEFAULT,
)

from clients.errors import from_rpc
from clients.language import Language
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_OPERATOR, ROLE_SERVICE, ROLE_USER
from tests.support.governed import SUBJECT, Desk, governed
from tests.support.routed import facts

LOCAL = "selene-local/llm"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A running owner."""
    async with governed(tmp_path) as made:
        yield made


async def key(desk: Desk, provider_ref: str = LOCAL) -> v1.CircuitKey:
    listed = await desk.call("ListProviders", subject=SUBJECT)
    return v1.CircuitKey(provider_ref=provider_ref, profile_hash=listed.profile_hash)


async def force(desk: Desk, to: v1.CircuitForce, reason: str = "DRILL", provider_ref: str = LOCAL) -> Any:
    which = await key(desk, provider_ref)
    return (await desk.call("ForceCircuit", key=which, force=to, reason_code=reason)).circuit


async def test_the_table_tells_who_is_next_and_why_others_are_not(desk: Desk) -> None:
    listed = await desk.call("ListProviders", ROLE_OPERATOR, subject=SUBJECT)
    assert (listed.domain, listed.refusal) == (DOMAIN_LLM, "")
    assert [(each.provider_ref, each.availability, each.reason_code, each.next) for each in listed.providers] == [
        ("openai/llm", v1.AVAILABILITY_NOT_CONFIGURED, "NO_SECRET", False),
        ("llama/llm", v1.AVAILABILITY_NOT_CONFIGURED, "NO_ADAPTER", False),
        (LOCAL, v1.AVAILABILITY_READY, "", True),
    ]
    local = listed.providers[2]
    assert (local.priority, local.priority_layer) == (3, PROFILE_LAYER_GLOBAL_DEFAULT)
    assert (local.circuit.state, local.circuit.owner) == (CIRCUIT_STATE_CLOSED, "PH1.D")
    assert {reading.samples for reading in local.readings} == {0} and len(local.readings) == 10


async def test_the_table_tells_when_a_provider_last_worked_and_nothing_of_who_was_not_asked(desk: Desk) -> None:
    before = await desk.call("ListProviders", subject=SUBJECT)
    assert not any(each.HasField("last_succeeded_at") for each in before.providers)
    asked_at = desk.owners.clock.now()
    async with Language(desk.owners.connection("llm")).respond("what time is it") as reply:
        _ = [event async for event in reply.events()]
    (openai, _, local) = (await desk.call("ListProviders", subject=SUBJECT)).providers
    assert asked_at <= local.last_succeeded_at.ToDatetime(UTC) <= desk.owners.clock.now()
    assert (local.HasField("last_failed_at"), local.last_failure) == (False, "")
    assert not openai.HasField("last_succeeded_at") and not openai.HasField("last_failed_at")


async def test_a_circuit_that_is_forced_open_leaves_nobody_to_ask(desk: Desk) -> None:
    forced = await force(desk, v1.CIRCUIT_FORCE_OPEN, "MAINTENANCE")
    assert (forced.state, forced.reason_code) == (CIRCUIT_STATE_FORCED_OPEN, "MAINTENANCE")
    listed = await desk.call("ListProviders", subject=SUBJECT)
    local = listed.providers[2]
    assert (local.availability, local.reason_code, local.next) == (
        v1.AVAILABILITY_CIRCUIT_OPEN,
        "CIRCUIT_FORCED_OPEN",
        False,
    )
    assert listed.refusal == "NO_PROVIDER_AVAILABLE"
    assert (await desk.call("GetCircuit", key=await key(desk))).circuit == forced
    (row,) = await desk.trail("circuit.")
    assert (row.transition, row.reason_code, row.owner) == ("circuit.forced_open", "MAINTENANCE", "PH1.D")
    assert facts(row)["provider_ref"] == LOCAL and len(row.actor) == 64


async def test_a_force_lasts_until_it_is_released(desk: Desk) -> None:
    assert (await force(desk, v1.CIRCUIT_FORCE_CLOSED)).state == CIRCUIT_STATE_FORCED_CLOSED
    assert (await force(desk, v1.CIRCUIT_FORCE_RELEASED, "DRILL_OVER")).state == CIRCUIT_STATE_CLOSED
    assert (await force(desk, v1.CIRCUIT_FORCE_OPEN)).state == CIRCUIT_STATE_FORCED_OPEN
    assert (await force(desk, v1.CIRCUIT_FORCE_RELEASED, "DRILL_OVER")).state == CIRCUIT_STATE_HALF_OPEN
    assert [row.transition for row in await desk.trail("circuit.")] == [
        "circuit.forced_closed",
        "circuit.closed",
        "circuit.forced_open",
        "circuit.half_open",
    ]


async def test_releasing_what_nobody_forced_changes_nothing(desk: Desk) -> None:
    assert (await force(desk, v1.CIRCUIT_FORCE_RELEASED)).state == CIRCUIT_STATE_CLOSED
    assert (await desk.call("ListTransitions")).transitions == []


async def test_the_same_key_forces_once(desk: Desk) -> None:
    request = v1.ForceCircuitRequest(
        key=await key(desk), force=v1.CIRCUIT_FORCE_OPEN, reason_code="DRILL", idempotency_key="same"
    )
    assert await desk.call("ForceCircuit", request=request) == await desk.call("ForceCircuit", request=request)
    assert len(await desk.trail("circuit.")) == 1
    request.reason_code = "OTHER"
    assert (await desk.refused("ForceCircuit", request=request)).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_circuit_of_nobody_is_not_found(desk: Desk) -> None:
    nobody = v1.CircuitKey(provider_ref="nobody/llm", profile_hash=b"p" * 32)
    assert (await desk.refused("GetCircuit", key=nobody)).reason == "RESOURCE_NOT_FOUND"
    refused = await desk.refused("ForceCircuit", key=nobody, force=v1.CIRCUIT_FORCE_OPEN, reason_code="DRILL")
    assert (refused.reason, refused.metadata["id"]) == ("RESOURCE_NOT_FOUND", "nobody/llm")


async def test_transitions_are_listed_latest_first_a_page_at_a_time(desk: Desk) -> None:
    await force(desk, v1.CIRCUIT_FORCE_OPEN, "FIRST")
    await force(desk, v1.CIRCUIT_FORCE_CLOSED, "SECOND")
    await force(desk, v1.CIRCUIT_FORCE_OPEN, "THIRD", provider_ref="llama/llm")
    seen, token = [], ""
    while True:
        page = await desk.call("ListTransitions", page=PageRequest(page_size=1, page_token=token))
        seen += [(each.provider_ref, each.before, each.after, each.reason_code) for each in page.transitions]
        token = page.page.next_page_token
        if not token:
            break
    assert seen == [
        ("llama/llm", CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_OPEN, "THIRD"),
        (LOCAL, CIRCUIT_STATE_FORCED_OPEN, CIRCUIT_STATE_FORCED_CLOSED, "SECOND"),
        (LOCAL, CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_OPEN, "FIRST"),
    ]
    local = (await desk.call("ListTransitions", ROLE_SERVICE, provider_ref=LOCAL)).transitions
    assert [each.reason_code for each in local] == ["SECOND", "FIRST"]
    foreign = PageRequest(page_token="cG9saWN5LXJ1bGVzOng=")
    assert (await desk.refused("ListTransitions", page=foreign)).reason == "PAGE_TOKEN_INVALID"


async def test_a_watcher_sees_every_circuit_and_then_what_changes(desk: Desk) -> None:
    await key(desk)
    watching = desk.begin("WatchCircuits")
    first = [(await watching.read()).circuit for _ in range(3)]
    assert {each.provider_ref for each in first} == {"openai/llm", "llama/llm", LOCAL}
    assert {each.state for each in first} == {CIRCUIT_STATE_CLOSED}
    await force(desk, v1.CIRCUIT_FORCE_OPEN)
    changed = (await watching.read()).circuit
    assert (changed.provider_ref, changed.state, changed.reason_code) == (LOCAL, CIRCUIT_STATE_FORCED_OPEN, "DRILL")
    watching.cancel()


async def test_a_watcher_of_one_provider_hears_of_no_other(desk: Desk) -> None:
    await key(desk)
    watching = desk.begin("WatchCircuits", provider_ref="llama/llm")
    assert (await watching.read()).circuit.provider_ref == "llama/llm"
    await force(desk, v1.CIRCUIT_FORCE_OPEN)
    await force(desk, v1.CIRCUIT_FORCE_OPEN, provider_ref="llama/llm")
    changed = (await watching.read()).circuit
    assert (changed.provider_ref, changed.state) == ("llama/llm", CIRCUIT_STATE_FORCED_OPEN)
    watching.cancel()


async def test_a_watcher_is_sent_elsewhere_when_the_server_stops(desk: Desk) -> None:
    await key(desk)
    watching = desk.begin("WatchCircuits")
    for _ in range(3):
        await watching.read()
    await desk.owners.running.stop(5.0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watching.read()
    assert from_rpc(caught.value).reason == "NOT_SERVING"


FORCED: dict[str, Any] = {
    "key": v1.CircuitKey(provider_ref=LOCAL, profile_hash=b"p" * 32),
    "force": v1.CIRCUIT_FORCE_OPEN,
    "reason_code": "DRILL",
}


async def test_circuits_are_seen_by_servers_and_moved_by_the_deployments_operators(desk: Desk) -> None:
    which = FORCED["key"]
    for role in (ROLE_OPERATOR, ROLE_USER):
        assert (await desk.refused("GetCircuit", role, key=which)).reason == "ROLE_REQUIRED"
        assert (await desk.refused("ListTransitions", role)).reason == "ROLE_REQUIRED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.begin("WatchCircuits", role).read()
        assert from_rpc(caught.value).reason == "ROLE_REQUIRED"
    for role in (ROLE_OPERATOR, ROLE_USER, ROLE_SERVICE):
        assert (await desk.refused("ForceCircuit", role, **FORCED)).reason == "ROLE_REQUIRED"


async def test_the_table_is_of_the_callers_tenant(desk: Desk) -> None:
    for role in (ROLE_OPERATOR, ROLE_SERVICE, ROLE_DEPLOYMENT_OPERATOR):
        refused = await desk.refused("ListProviders", role, tenant="t-2", subject=SUBJECT)
        assert refused.reason == "TENANT_MISMATCH"
    assert (await desk.refused("ListProviders", ROLE_USER, subject=SUBJECT)).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GetCircuit", {}),
        ("GetCircuit", {"key": v1.CircuitKey(provider_ref=LOCAL, profile_hash=b"short")}),
        ("ForceCircuit", {**FORCED, "reason_code": "because"}),
        ("ForceCircuit", {**FORCED, "force": v1.CIRCUIT_FORCE_UNSPECIFIED}),
        ("ForceCircuit", {**FORCED, "force": 9}),
        ("ForceCircuit", {**FORCED, "idempotency_key": ""}),
        ("ListProviders", {}),
        ("ListTransitions", {"provider_ref": "p" * 129}),
    ],
)
async def test_what_the_contract_forbids_is_refused(desk: Desk, method: str, fields: dict[str, Any]) -> None:
    assert (await desk.refused(method, **fields)).reason == "FIELD_INVALID"


async def test_without_its_store_the_table_is_shown_and_nothing_is_forced(desk: Desk) -> None:
    which = await key(desk)
    await desk.owners.store.close()
    assert (await desk.call("ListProviders", subject=SUBJECT)).providers[2].next
    assert (await desk.call("GetCircuit", key=which)).circuit.state == CIRCUIT_STATE_CLOSED
    refused = await desk.refused("ForceCircuit", key=which, force=v1.CIRCUIT_FORCE_OPEN, reason_code="DRILL")
    assert refused.reason == "STORE_UNAVAILABLE"
    assert (await desk.refused("ListTransitions")).reason == "STORE_UNAVAILABLE"
