"""The client of language against the real owner, and against one that drops calls before they began."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.llm.v1 import service_pb2 as wire
from selene.llm.v1 import service_pb2_grpc as rpc
from selene_messages.selene.llm import v1
from selene_messages.selene.routing.v1 import ProviderSwitched, RouteScope

from clients.channel import Connection, connect
from clients.errors import SeleneError
from clients.language import Language
from clients.retry import RetryPolicy
from tests.support.owners import Owners, serving
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import OpenAiSimulator

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
IMPATIENT = RetryPolicy(first_wait=0.001, longest_wait=0.002)


async def test_deltas_joined_are_the_reply_of_the_packet(talking: Owners) -> None:
    async with Language(talking.connection("llm")).respond("what time is it", said_at=AT) as reply:
        events = [event async for event in reply.events()]
    deltas = "".join(event.text for event in events if isinstance(event, v1.ReplyDelta))
    final = events[-1]
    assert isinstance(final, v1.RespondFinal) and final.packet is not None
    assert (final.packet.intent, final.packet.reply) == ("time", "It is 12:30.")
    assert deltas == final.packet.reply
    assert final.route is not None and final.route.request_id == reply.request_id


async def test_the_clock_of_the_speaker_is_where_the_speaker_is(talking: Owners) -> None:
    asked = Language(talking.connection("llm")).respond("what time is it", said_at=AT, time_zone="Asia/Tokyo")
    async with asked as reply:
        final = await reply.result()
    assert final.packet is not None and final.packet.reply == "It is 21:30."


async def test_a_switch_of_providers_is_told_and_the_packet_is_whole(quiet_log: None, tmp_path: Path) -> None:
    async with OpenAiSimulator().serve() as llama:
        llama.faults.plan(*[Fault(FaultKind.RESET, after=8)] * 2)
        flags = {"owners.llm.llama.base_url": llama.base_url}
        async with (
            serving(["llm"], tmp_path, flags) as owners,
            Language(owners.connection("llm")).respond("what time is it", said_at=AT) as reply,
        ):
            events = [event async for event in reply.events()]
    switches = [event.to_provider_ref for event in events if isinstance(event, ProviderSwitched)]
    assert switches == ["llama/llm", "selene-local/llm"]
    final = events[-1]
    assert isinstance(final, v1.RespondFinal) and final.packet is not None
    last_switch = max(index for index, event in enumerate(events) if isinstance(event, ProviderSwitched))
    deltas = "".join(event.text for event in events[last_switch:] if isinstance(event, v1.ReplyDelta))
    assert deltas == final.packet.reply == "It is 12:30."


async def test_a_tenant_that_is_not_the_token_s_is_refused(talking: Owners) -> None:
    with pytest.raises(SeleneError) as refused:
        async with Language(talking.connection("llm"), scope=RouteScope(tenant_id="other")).respond("hello") as reply:
            await reply.result()
    assert refused.value.reason == "TENANT_MISMATCH"


class Dropping(rpc.LanguageServiceServicer):
    """Drops the first calls before or after they began, as a server does that is restarted."""

    def __init__(self, *, before: int = 0, after: int = 0, without_final: bool = False) -> None:
        self.keys: list[str] = []
        self._before = before
        self._after = after
        self._without_final = without_final

    async def Respond(self, request: Any, context: Any) -> AsyncIterator[wire.RespondResponse]:
        self.keys.append(request.idempotency_key)
        if len(self.keys) <= self._before:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        yield wire.RespondResponse(started=wire.RespondStarted(request_id="r-1"))
        if len(self.keys) <= self._before + self._after:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        if not self._without_final:
            yield wire.RespondResponse(final=wire.RespondFinal(packet=wire.DecisionPacket(reply="done")))


@asynccontextmanager
async def dropping(servicer: Dropping) -> AsyncIterator[Connection]:
    server = grpc.aio.server()
    rpc.add_LanguageServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as connection:
            yield connection
    finally:
        await server.stop(0)


async def test_a_call_that_never_began_is_made_again_under_the_same_key() -> None:
    servicer = Dropping(before=2)
    async with dropping(servicer) as connection, Language(connection, policy=IMPATIENT).respond("hello") as reply:
        final = await reply.result()
    assert final.packet is not None and final.packet.reply == "done"
    assert len(servicer.keys) == 3
    assert len(set(servicer.keys)) == 1


async def test_a_call_that_began_is_not_made_again() -> None:
    servicer = Dropping(after=1)
    async with dropping(servicer) as connection:
        with pytest.raises(SeleneError) as dropped:
            async with Language(connection, policy=IMPATIENT).respond("hello") as reply:
                await reply.result()
    assert dropped.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(servicer.keys) == 1


async def test_attempts_end_with_the_policy() -> None:
    servicer = Dropping(before=99)
    async with dropping(servicer) as connection:
        with pytest.raises(SeleneError):
            async with Language(connection, policy=IMPATIENT).respond("hello"):
                pass
    assert len(servicer.keys) == IMPATIENT.attempts


async def test_a_stream_that_ends_without_a_final_is_an_error() -> None:
    async with dropping(Dropping(without_final=True)) as connection:
        with pytest.raises(SeleneError) as lost:
            async with Language(connection).respond("hello") as reply:
                await reply.result()
    assert lost.value.code is grpc.StatusCode.DATA_LOSS
