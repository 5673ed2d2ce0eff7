"""Language as it is served: real channels, a real store, the real grammar, vendors simulated over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from selene.llm.v1 import service_pb2 as messages
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, PROVIDER_STATUS_OK, ProviderResultV1
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, MEASURE_ERROR_RATE_60S, ProviderRoutingProfileV1

from clients.channel import Connection
from clients.errors import SeleneError, from_rpc
from servers.llm.adapter import DecisionPacket, Delta, LlmEvent, Utterance
from servers.llm.assembly import assemble
from servers.llm.service import Answering, LanguageV1, Said
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.envelope import Asked, answered
from servers.routing.router import Limit
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER, Principal, issue_token
from servers.runtime.clock import SystemClock
from servers.runtime.server import Runtime, Service
from store import Transaction
from tests.support.about_users import deny_mira, spare_mira
from tests.support.keys import RotatingKey
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import PACKET, OpenAiSimulator

OPENAI, LLAMA, LOCAL = "openai/llm", "llama/llm", "selene-local/llm"


@dataclass(slots=True)
class Desk:
    """The owner as it is served, with its vendors."""

    owners: Owners
    openai: OpenAiSimulator
    llama: OpenAiSimulator

    @property
    def service(self) -> LanguageV1:
        servicer: LanguageV1 = self.owners.services["llm"][0].servicer
        return servicer

    def connection(self, subject: str = "", tenant: str = TENANT, roles: Sequence[str] = (ROLE_USER,)) -> Connection:
        """As a subject of a tenant; as the developer where none is named."""
        if not subject:
            return self.owners.connection("llm")
        key = self.owners.running.development_key
        assert key is not None
        asking = Principal(tenant, subject, "", frozenset(roles))
        return self.owners.connection(
            "llm", issue_token(key, asking, now=datetime.now(UTC), lifetime=timedelta(hours=1))
        )

    def call(self, connection: Connection | None = None, timeout: float = 20.0, **fields: Any) -> Any:
        connection = connection or self.connection()
        stub = llm_grpc.LanguageServiceStub(connection.channel)
        return stub.Respond(request(**fields), timeout=timeout, metadata=connection.metadata())

    async def ask(self, **fields: Any) -> list[messages.RespondResponse]:
        return [event async for event in self.call(**fields)]

    async def refused(self, connection: Connection | None = None, **fields: Any) -> SeleneError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in self.call(connection, **fields):
                pass
        return from_rpc(caught.value)


_keys = itertools.count(1)


def request(**fields: Any) -> messages.RespondRequest:
    scope = RouteScope(tenant_id=fields.pop("tenant", TENANT), user_id=fields.pop("user", ""))
    usual = {"text": "what time is it", "locale": "en-US", "scope": scope, "idempotency_key": f"k-{next(_keys)}"}
    return messages.RespondRequest(**{**usual, **fields})


def kinds(events: Sequence[messages.RespondResponse]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def final(events: Sequence[messages.RespondResponse]) -> messages.RespondFinal:
    assert kinds(events)[0] == "started"
    assert kinds(events).count("final") == 1
    assert kinds(events)[-1] == "final"
    return events[-1].final


def reply(events: Sequence[messages.RespondResponse]) -> str:
    """The deltas since the last switch, joined."""
    last = max((place for place, kind in enumerate(kinds(events)) if kind == "switched"), default=0)
    return "".join(event.delta.text for event in events[last:])


def routed(*refs: str, timeout_s: float, retries: int) -> ProviderRoutingProfileV1:
    """A profile of these providers in this order."""
    seeds = [
        ProviderSeed(
            provider_ref=ref, region="local" if ref == LOCAL else "us", timeout_s=timeout_s, max_retries=retries
        )
        for ref in refs
    ]
    profile = default_profile(
        {DOMAIN_LLM: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="test-1"
    )
    for provider in profile.llm.providers:
        provider.priority = 1 + refs.index(provider.provider_ref)
    ordered = sorted(profile.llm.providers, key=lambda each: each.priority)
    del profile.llm.providers[:]
    profile.llm.providers.extend(ordered)
    return profile


@asynccontextmanager
async def desk(
    folder: Path,
    *refs: str,
    timeout_s: float = 5.0,
    retries: int = 0,
    prepare: Callable[[Transaction], Awaitable[None]] | None = None,
    spared: str = "",
) -> AsyncIterator[Desk]:
    """The owner with these providers in this order, without the one that mira is `spared`."""
    key = RotatingKey()
    async with OpenAiSimulator({key.secret}).serve() as openai, OpenAiSimulator(schemas=False).serve() as llama:
        settings = {"owners.llm.openai.base_url": openai.base_url, "owners.llm.llama.base_url": llama.base_url}

        async def build(runtime: Runtime) -> Sequence[Service]:
            return await assemble(runtime, credential_of=lambda provider_ref: key)

        profile = routed(*refs, timeout_s=timeout_s, retries=retries)
        if spared:
            spare_mira(profile, DOMAIN_LLM, spared)
        async with serving(
            ["llm"], folder, settings, profile=profile, builds={"llm": build}, prepare=prepare
        ) as owners:
            yield Desk(owners, openai, llama)


@pytest.mark.parametrize("ref", [OPENAI, LLAMA, LOCAL])
async def test_the_deltas_joined_are_the_packets_reply(tmp_path: Path, ref: str) -> None:
    async with desk(tmp_path, ref) as llm:
        for vendor in (llm.openai, llm.llama):
            vendor.faults.plan(Fault(FaultKind.TRICKLE, seconds=0.01))
        events = await llm.ask()
        said = final(events)
        assert kinds(events).count("delta") > 1
        assert reply(events) == said.packet.reply
        assert said.packet.intent == ("time" if ref == LOCAL else "time.query")
        assert (said.result.provider_ref, said.result.status) == (ref, PROVIDER_STATUS_OK)
        assert said.result.request_id == said.route.request_id == events[0].started.request_id
        assert [attempt.provider_ref for attempt in said.route.attempts] == [ref]


async def test_a_packet_reaches_the_caller_as_the_provider_wrote_it(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as llm:
        packet = final(await llm.ask()).packet
        assert [(slot.name, slot.value) for slot in packet.slots] == [("place", "Zürich")]
        assert (packet.reply, packet.confidence_bp, packet.needs_clarification) == (PACKET["reply"], 9_100, False)


async def test_the_speakers_own_clock_is_what_the_provider_goes_by(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as llm:
        noon = Timestamp()
        noon.FromDatetime(datetime(2026, 7, 1, 12, 0, tzinfo=UTC))
        await llm.ask(said_at=noon, time_zone="Europe/Berlin")
        told = json.loads(llm.openai.calls[0].body["messages"][1]["content"])
        assert told["said_at"] == "2026-07-01T14:00:00+02:00"


INVALID_PACKETS: dict[str, dict[str, Any]] = {
    "no reply": {"reply": ""},
    "an intent that is none": {"intent": "Set Timer!"},
    "a slot twice": {"slots": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]},
    "a slot's name that is none": {"slots": [{"name": "A b", "value": "1"}]},
    "more than sure": {"confidence_bp": 10_001},
    "a field of its own": {"authorised": True},
    "a number for a truth": {"needs_clarification": 1},
    "a reply beyond the longest": {"reply": "x" * 8_001},
}


@pytest.mark.parametrize("wrong", INVALID_PACKETS.values(), ids=INVALID_PACKETS.keys())
async def test_a_packet_that_breaks_the_rules_is_never_passed_on(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as llm:
        llm.openai.answers.content = json.dumps({**PACKET, **wrong})
        events = await llm.ask()
        said = final(events)
        assert [attempt.reason_code for attempt in said.route.attempts] == ["RESPONSE_MALFORMED", "ANSWERED"]
        assert said.packet.intent == "time"
        assert reply(events) == said.packet.reply
        assert said.result.provider_ref == LOCAL
        assert said.route.failover


async def test_what_was_said_before_a_switch_is_void_and_what_is_said_after_it_is_whole(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, timeout_s=2.0) as llm:
        llm.openai.faults.plan(Fault(FaultKind.HANG, after=14))
        events = await llm.ask()
        place = kinds(events).index("switched")
        assert "delta" in kinds(events)[:place]
        moved = events[place].switched
        assert (moved.from_provider_ref, moved.to_provider_ref) == (OPENAI, LOCAL)
        assert reply(events) == final(events).packet.reply


async def test_a_provider_that_hangs_is_given_up_in_its_time(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, timeout_s=0.3) as llm:
        llm.openai.faults.plan(Fault(FaultKind.HANG, after=3))
        said = final(await llm.ask())
        assert [attempt.reason_code for attempt in said.route.attempts] == ["DEADLINE_EXCEEDED", "ANSWERED"]
        await asyncio.wait_for(llm.openai.calls[0].gone.wait(), 5)


async def test_a_busy_provider_is_asked_again_with_the_same_key(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, retries=1) as llm:
        llm.openai.faults.plan(FaultKind.BUSY)
        said = final(await llm.ask())
        assert [attempt.provider_ref for attempt in said.route.attempts] == [OPENAI, OPENAI]
        assert len({call.headers["Idempotency-Key"] for call in llm.openai.calls}) == 1


async def test_a_request_that_nobody_may_answer_is_refused_with_every_reason(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LLAMA) as llm:
        llm.openai.faults.plan(FaultKind.INTERNAL)
        llm.llama.faults.plan(FaultKind.FORBIDDEN)
        refused = await llm.refused()
        assert refused.reason == "PROVIDERS_FAILED"
        assert refused.metadata["providers"] == f"{OPENAI}=PROVIDER_UNAVAILABLE,{LLAMA}=CREDENTIAL_REFUSED"


BEYOND = Timestamp(seconds=253_402_300_799)
"""The last second of the year 9999, which is in the next one in Auckland."""


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"text": ""}, "FIELD_INVALID", "text"),
        ({"text": "x" * 16_001}, "FIELD_INVALID", "text"),
        ({"time_zone": "Europe/Atlantis"}, "FIELD_INVALID", "time_zone"),
        ({"time_zone": "Europe"}, "FIELD_INVALID", "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "FIELD_INVALID", "time_zone"),
        ({"time_zone": "/etc/passwd"}, "FIELD_INVALID", "time_zone"),
        ({"said_at": BEYOND, "time_zone": "Pacific/Auckland"}, "FIELD_INVALID", "said_at"),
        ({"said_at": Timestamp(seconds=1 << 62)}, "FIELD_INVALID", "said_at"),
        ({"said_at": Timestamp(nanos=-1)}, "FIELD_INVALID", "said_at"),
        ({"locale": "e"}, "FIELD_INVALID", "locale"),
        ({"idempotency_key": ""}, "FIELD_INVALID", "idempotency_key"),
        ({"text": " \n "}, "INPUT_UNSERVABLE", ""),
        ({"tenant": "t-other"}, "TENANT_MISMATCH", ""),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_reason(
    tmp_path: Path, fields: dict[str, Any], reason: str, field: str
) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as llm:
        refused = await llm.refused(**fields)
        assert refused.reason == reason
        assert not field or field in str(refused.document())
        assert llm.openai.calls == []


async def test_a_prompt_of_a_hundred_kilobytes_is_told_what_is_wrong_with_it(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as llm:
        assert (await llm.refused(text="x" * 100_000)).reason == "FIELD_INVALID"
        assert llm.openai.calls == []


async def test_a_prompt_of_a_megabyte_is_not_even_read(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as llm:
        assert (await llm.refused(text="x" * (1 << 20))).code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert llm.openai.calls == []
        assert final(await llm.ask()).result.provider_ref == OPENAI


async def test_a_user_speaks_for_no_other(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as llm:
        refused = await llm.refused(llm.connection("mira"), user="otto")
        assert refused.reason == "SUBJECT_MISMATCH"


async def test_a_rule_about_a_user_holds_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL, prepare=deny_mira) as llm:
        mira, gateway = llm.connection("mira"), llm.connection("gateway", roles=(ROLE_SERVICE,))
        for refused in (
            await llm.refused(mira, user="mira"),
            await llm.refused(mira),
            await llm.refused(gateway, user="mira"),
        ):
            assert (refused.reason, refused.metadata["cause"]) == ("POLICY_REFUSED", "NOT_FOR_HER")
        for connection in (gateway, llm.connection("otto")):
            assert final(await llm.ask(connection=connection)).result.status == PROVIDER_STATUS_OK


async def test_a_users_exception_applies_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, spared=OPENAI) as llm:
        mira, otto = llm.connection("mira"), llm.connection("otto")
        assert final(await llm.ask(connection=mira, user="mira")).result.provider_ref == LOCAL
        assert final(await llm.ask(connection=mira)).result.provider_ref == LOCAL
        assert final(await llm.ask(connection=otto)).result.provider_ref == OPENAI


async def test_who_only_reads_the_trail_asks_for_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as llm:
        refused = await llm.refused(llm.connection("ada", roles=("auditor",)))
        assert (refused.reason, refused.metadata) == ("ROLE_REQUIRED", {"any_of": "operator,service,user"})


async def test_what_the_local_grammar_cannot_serve_the_next_may(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL, OPENAI) as llm:
        anywhere = RouteScope(tenant_id=TENANT, region="us")
        said = final(await llm.ask(text="word " * 300, scope=anywhere))
        assert [attempt.reason_code for attempt in said.route.attempts] == ["UTTERANCE_TOO_LONG", "ANSWERED"]
        assert said.result.provider_ref == OPENAI


async def test_a_caller_that_leaves_takes_the_vendors_call_with_it(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, timeout_s=60.0) as llm:
        before = asyncio.all_tasks()
        llm.openai.faults.plan(Fault(FaultKind.HANG, after=3))
        call = llm.call()
        await call.read()
        await llm.openai.hung.wait()
        call.cancel()
        await asyncio.wait_for(llm.openai.calls[0].gone.wait(), 5)
        await until(lambda: not [task for task in asyncio.all_tasks() - before if "Respond" in repr(task)])
        tenant = llm.service._router._gatekeeper.accounts._tenants[TENANT]
        assert all(pool.calls == 0 for pool in tenant.pools.values())
        board = llm.service._router._board
        errors = [board.measures(key).readings[MEASURE_ERROR_RATE_60S] for key in board.circuits()]
        assert all(reading.samples == 0 for reading in errors)


class Scripted:
    """A provider that says what it is told; `tenant_id` is whose its result says that it is."""

    provider_ref = "scripted/llm"

    def __init__(self, *events: LlmEvent, tenant_id: str = TENANT) -> None:
        self._events = events
        self._tenant_id = tenant_id

    async def respond(self, utterance: Utterance, *, deadline: float) -> AsyncGenerator[LlmEvent, None]:
        for event in self._events:
            yield event
        yield answered(
            replace(utterance, tenant_id=self._tenant_id),
            provider_ref=self.provider_ref,
            capability=CAPABILITY_LLM,
            status=PROVIDER_STATUS_OK,
            reason_code="ANSWERED",
        )


WHOLE = DecisionPacket(intent="time.query", slots=(), reply="Noon.", confidence_bp=9_000, needs_clarification=False)


def begun(*events: LlmEvent) -> AsyncGenerator[Said | ProviderResultV1, None]:
    asked = Asked(
        tenant_id=TENANT, provider_ref="scripted/llm", capability=CAPABILITY_LLM, request_id="r-1", idempotency_key="k"
    )
    limit = Limit(SystemClock(), 5.0, float("inf"))
    return Answering(request(), datetime.now(UTC)).begin(Scripted(*events), asked, limit)


@pytest.mark.parametrize(
    "events",
    [
        [Delta("Noon.")],
        [WHOLE],
        [Delta("Mid"), WHOLE],
        [Delta("Noon."), WHOLE, Delta(" Or not.")],
        [Delta("Noon."), WHOLE, WHOLE],
        [Delta("Noon."), replace(WHOLE, confidence_bp=-1)],
    ],
    ids=["no packet", "no deltas", "other deltas", "a delta after it", "two packets", "an invalid packet"],
)
async def test_what_does_not_fit_together_is_malformed(events: list[LlmEvent]) -> None:
    async with aclosing(begun(*events)) as said:
        last = [event async for event in said][-1]
    assert isinstance(last, ProviderResultV1)
    assert last.reason_code == "RESPONSE_MALFORMED"


async def test_a_result_of_another_tenant_is_refused_and_the_next_provider_answers(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as llm:
        astray = Scripted(Delta("Noon."), WHOLE, tenant_id="t-other")
        astray.provider_ref = OPENAI
        router = llm.service._router
        router.domestic = replace(router.domestic, adapters={**router.domestic.adapters, OPENAI: astray})
        events = await llm.ask()
        said = final(events)
        assert [attempt.reason_code for attempt in said.route.attempts] == ["ADAPTER_FOREIGN_PAYLOAD", "ANSWERED"]
        assert said.packet.reply != WHOLE.reply
        assert reply(events) == said.packet.reply
