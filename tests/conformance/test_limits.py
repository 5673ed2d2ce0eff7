"""What a server says when it has too much to do, and when it stops: the same to every client."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.voiceid.v1 import service_pb2 as v1
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc

from tests.conformance.case import CONSTANTS, STREAM, filled
from tests.conformance.clients import CLIENTS, Call, Client, Stubs, method_named
from tests.conformance.serving import SETTINGS, Live, serving

TENANT = "crowd"
STREAMS = (
    "selene.voiceid.v1.VoiceIdService/Identify",
    "selene.voiceid.v1.VoiceIdService/Verify",
    "selene.voiceid.v2.VoiceIdService/Identify",
    "selene.voiceid.v2.VoiceIdService/Verify",
)
clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that takes two calls at once."""
    with serving(tmp_path_factory.mktemp("narrow"), SETTINGS["narrow"]) as live:
        yield live


@asynccontextmanager
async def _held(live: Live, calls: int) -> AsyncIterator[None]:
    """So many streams open: begun, and neither ended nor decided."""
    config = filled(STREAM, {**CONSTANTS, "tenant": TENANT})
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(live.targets["voiceid"]))
        for _ in range(calls):
            stream = v1_grpc.VoiceIdServiceStub(channel).Identify(
                metadata=(("authorization", f"Bearer {live.token(TENANT, {})}"),)
            )
            stack.callback(stream.cancel)
            await stream.write(v1.IdentifyRequest(config=config))
            assert (await stream.read()).WhichOneof("event") == "started"
        yield


def _call(live: Live, rpc: str, *send: Any) -> Call:
    token = live.token(TENANT, {})
    return Call(live.target_of(rpc.split("/")[0]), method_named(rpc), token, send, token)


@clients
@pytest.mark.parametrize("rpc", STREAMS)
async def test_one_call_too_many_is_refused_and_told_when_to_come_back(client: Client, rpc: str, narrow: Live) -> None:
    # Reading the contract by reflection is a call, too, and grpcurl is still at it when it makes its own.
    async with _held(narrow, 1 if client.name == "grpcurl" else 2):
        outcome = await client.call(_call(narrow, rpc, {"config": {}}))
    assert (outcome.code, outcome.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert outcome.metadata == {"limit": "2", "retry_after_ms": "1000"}


async def test_followers_are_sent_elsewhere_when_the_server_stops(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS["bare"]) as live:
        move = {"tenant_id": TENANT, "stage": "MIGRATION_STAGE_M3", "idempotency_key": "k-1"}
        moved = await Stubs().call(_call(live, "selene.voiceid.v1.PolicyService/SetMigrationStage", move))
        assert moved.code == "OK"
        watch = _call(live, "selene.audit.v1.AuditService/WatchEvents", {"tenant_id": TENANT, "from_sequence": 1})
        told = [asyncio.Event() for _ in CLIENTS]
        following = [
            asyncio.create_task(client.call(replace(watch, on_reply=lambda _, one=one: one.set())))
            for client, one in zip(CLIENTS, told, strict=True)
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.wait() for one in told))
        live.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.gather(*following)
    for outcome in outcomes:
        assert [reply["event"]["event"]["transition"] for reply in outcome.replies] == ["migration.moved"]
        assert (outcome.code, outcome.reason, outcome.metadata) == ("UNAVAILABLE", "NOT_SERVING", {"owner": "audit"})
