"""What a server says when it has too much to do, and when it stops: the same to every client."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.routing.v1 import service_pb2 as routing
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.voiceid.v1 import service_pb2 as v1
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc

from tests.conformance.case import CONSTANTS, STREAM, filled
from tests.conformance.clients import CLIENTS, Call, Client, Stubs, method_named
from tests.conformance.serving import ROUTING_OWNERS, SETTINGS, Live, serving

TENANT = "crowd"
STREAMS = (
    "selene.voiceid.v1.VoiceIdService/Identify",
    "selene.voiceid.v1.VoiceIdService/Verify",
    "selene.voiceid.v2.VoiceIdService/Identify",
    "selene.voiceid.v2.VoiceIdService/Verify",
    "selene.stt.v1.SpeechToTextService/Transcribe",
    "selene.tts.v1.TextToSpeechService/Synthesize",
    "selene.llm.v1.LanguageService/Respond",
    "selene.delivery.v1.DeliveryService/Send",
    "selene.delivery.v1.DeliveryService/SendBatch",
)
CIRCUITS = "selene.routing.v1.CircuitService"
DELIVERY = "selene.delivery.v1.DeliveryService"
INTENT = {
    "tenant_id": TENANT,
    "message_id": "m-1",
    "recipient": {"recipient_id": "ann", "address": "ann@example.org"},
    "channel": "DELIVERY_CHANNEL_EMAIL",
    "content": {"email": {"subject": "Hello", "text": "It is noon."}},
}
clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that takes two calls at once."""
    with serving(tmp_path_factory.mktemp("narrow"), SETTINGS["narrow"]) as live:
        yield live


@asynccontextmanager
async def _held(live: Live, owner: str, calls: int) -> AsyncIterator[None]:
    """So many streams of an owner open: begun, and not ended."""
    metadata = (("authorization", f"Bearer {live.token(TENANT, {})}"),)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(live.targets[owner]))
        for _ in range(calls):
            begin = _followed if owner in ROUTING_OWNERS else _listening
            stack.callback((await begin(channel, metadata)).cancel)
        yield


async def _listening(channel: grpc.aio.Channel, metadata: Any) -> Any:
    stream: Any = v1_grpc.VoiceIdServiceStub(channel).Identify(metadata=metadata)
    await stream.write(v1.IdentifyRequest(config=filled(STREAM, {**CONSTANTS, "tenant": TENANT})))
    assert (await stream.read()).WhichOneof("event") == "started"
    return stream


async def _followed(channel: grpc.aio.Channel, metadata: Any) -> Any:
    stub = routing_grpc.CircuitServiceStub(channel)
    # There is a circuit to follow as soon as somebody was resolved.
    await stub.ListProviders(routing.ListProvidersRequest(subject={"tenant_id": TENANT}), metadata=metadata)
    stream: Any = stub.WatchCircuits(routing.WatchCircuitsRequest(), metadata=metadata)
    assert (await stream.read()).circuit.provider_ref
    return stream


def _call(live: Live, rpc: str, *send: Any) -> Call:
    token = live.token(TENANT, {})
    return Call(live.target_of(rpc.split("/")[0]), method_named(rpc), token, send, token)


@clients
@pytest.mark.parametrize("rpc", STREAMS)
async def test_one_call_too_many_is_refused_and_told_when_to_come_back(client: Client, rpc: str, narrow: Live) -> None:
    # Reading the contract by reflection is a call, too, and grpcurl is still at it when it makes its own.
    first: dict[str, Any] = {} if rpc.endswith(("/Respond", "/Send", "/SendBatch")) else {"config": {}}
    async with _held(narrow, rpc.split(".")[1], 1 if client.name == "grpcurl" else 2):
        outcome = await client.call(_call(narrow, rpc, first))
    assert (outcome.code, outcome.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert outcome.metadata == {"limit": "2", "retry_after_ms": "1000"}


def _noting(told: asyncio.Event) -> Callable[[Any], None]:
    return lambda _: told.set()


async def test_followers_are_sent_elsewhere_when_the_server_stops(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS["bare"]) as live:
        move = {"tenant_id": TENANT, "stage": "MIGRATION_STAGE_M3", "idempotency_key": "k-1"}
        moved = await Stubs().call(_call(live, "selene.voiceid.v1.PolicyService/SetMigrationStage", move))
        known = await Stubs().call(_call(live, f"{CIRCUITS}/ListProviders", {"subject": {"tenant_id": TENANT}}))
        assert (moved.code, known.code) == ("OK", "OK")
        watch = _call(live, "selene.audit.v1.AuditService/WatchEvents", {"tenant_id": TENANT, "from_sequence": 1})
        follow = _call(live, f"{CIRCUITS}/WatchCircuits", {"provider_ref": "selene-local/llm"})
        handed = await Stubs().call(_call(live, f"{DELIVERY}/Send", {"intent": INTENT}))
        assert handed.code == "OK", handed
        deliveries = _call(live, f"{DELIVERY}/Watch", {"tenant_id": TENANT})
        calls = list(itertools.product((watch, follow, deliveries), CLIENTS))
        told = [asyncio.Event() for _ in calls]
        following = [
            asyncio.create_task(client.call(replace(call, on_reply=_noting(one))))
            for (call, client), one in zip(calls, told, strict=True)
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.wait() for one in told))
        live.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.gather(*following)
    of_each = len(CLIENTS)
    of_events, of_circuits, of_deliveries = outcomes[:of_each], outcomes[of_each : 2 * of_each], outcomes[2 * of_each :]
    for outcome in of_events:
        transitions = [reply["event"]["event"]["transition"] for reply in outcome.replies]
        assert transitions[:2] == ["migration.moved", "delivery.accepted"]
        assert (outcome.code, outcome.reason, outcome.metadata) == ("UNAVAILABLE", "NOT_SERVING", {"owner": "audit"})
    for outcome in of_circuits:
        assert [reply["circuit"]["provider_ref"] for reply in outcome.replies] == ["selene-local/llm"]
        assert (outcome.code, outcome.reason, set(outcome.metadata)) == ("UNAVAILABLE", "NOT_SERVING", {"owner"})
    for outcome in of_deliveries:
        assert {reply["delivery"]["message_id"] for reply in outcome.replies} == {INTENT["message_id"]}
        assert (outcome.code, outcome.reason, outcome.metadata) == ("UNAVAILABLE", "NOT_SERVING", {"owner": "delivery"})
