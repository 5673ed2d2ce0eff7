"""The same calls to the same backend by four ways: directly, by our own adapter, through a gateway, through our owner.

Backend, gateway and owner are processes of their own on this machine's cores. What a way adds is its total, at the
caller, without the time that the backend itself had the call.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import aiohttp
from selene.llm.v1 import service_pb2 as wire
from selene.llm.v1 import service_pb2_grpc as rpc
from selene.routing.v1.route_pb2 import RouteScope

from bench.process import Server, cpu_seconds
from bench.routing import gateway
from bench.routing.backend import asked, content_of, own_s
from bench.routing.owner import served
from clients.channel import connect
from servers.llm.adapter import DecisionPacket, LlmEvent, Utterance
from servers.llm.openai import AnswerFormat, OpenAiLlm
from servers.llm.packet import read_packet

DIRECT: Final = "nothing: HTTP to the backend"
ADAPTER: Final = "our adapter alone"
PORTKEY: Final = "Portkey, streamed"
PORTKEY_WHOLE: Final = "Portkey, not streamed"
OWNER: Final = "our owner, gRPC, streamed"

TIMEOUT_S: Final = 60.0
TENANT: Final = "dev"

Ask = Callable[[str], Awaitable[float]]
"""Makes a call with an utterance; how long the backend says that it had it, in seconds. LookupError, ValueError and the
transport's own errors where it failed."""


@dataclass(frozen=True, slots=True)
class Level:
    """A load: callers at once, and how long each is to wait."""

    concurrent: int
    shortest_ms: int
    longest_ms: int

    @property
    def name(self) -> str:
        each = f"{self.shortest_ms} to {self.longest_ms} ms" if self.longest_ms else "no wait"
        return f"{self.concurrent} at once, {each}"

    def waits(self, seconds: float) -> list[int]:
        """Seeded waits, as many as fill so much time."""
        mean_s = (self.shortest_ms + self.longest_ms) / 2000
        chance = Random(self.concurrent)
        calls = max(self.concurrent, math.ceil(self.concurrent * seconds / mean_s))
        return [chance.randint(self.shortest_ms, self.longest_ms) for _ in range(calls)]


@dataclass(slots=True)
class Added:
    """What came of a load by one way. `cpu_s` is of the process in between; None where there is none."""

    added_ms: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How the backend is asked. `server` is the process in between."""

    name: str
    ask: Ask
    server: Server | None = None


async def load(way: Way, each_ms: Sequence[int], concurrent: int) -> Added:
    """Make the calls, so many at a time, each as soon as there is room; callers begin evenly over the first wait."""
    added = Added()
    waiting = iter(each_ms)
    apart_s = sum(each_ms) / 1000 / len(each_ms) / concurrent

    async def one_after_the_other(place: int) -> None:
        await asyncio.sleep(place * apart_s)
        for wait_ms in waiting:
            began = time.perf_counter()
            try:
                had_s = await way.ask(asked(wait_ms))
            except Exception:
                added.failed += 1  # whatever it was: a call that brought no answer
                continue
            added.added_ms.append(1000 * (time.perf_counter() - began - had_s))

    cpu = cpu_seconds(way.server.pid) if way.server is not None else 0.0
    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other(place) for place in range(concurrent)))
    added.wall_s = time.perf_counter() - began
    if way.server is not None:
        added.cpu_s = cpu_seconds(way.server.pid) - cpu
    return added


@asynccontextmanager
async def ways(folder: Path) -> AsyncIterator[tuple[list[Way], str]]:
    """Every way there is, and why the gateway is not among them where it is not."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        backend = stack.enter_context(Server((sys.executable, "-m", "bench.routing.backend"), folder / "backend.log"))
        host = backend.targets["backend"]
        base_url = f"http://{host}/v1"
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        found = [Way(DIRECT, _over_http(session, host, {}, stream=True)), Way(ADAPTER, await _adapter(stack, base_url))]
        missing = ""
        try:
            portkey = stack.enter_context(gateway.served(await asyncio.to_thread(gateway.installed), folder))
        except gateway.GatewayMissing as error:
            missing = str(error)
        else:
            target, headers = portkey.targets[gateway.NAME], gateway.headers(host)
            found.append(Way(PORTKEY_WHOLE, _over_http(session, target, headers, stream=False), portkey))
            found.append(Way(PORTKEY, _over_http(session, target, headers, stream=True), portkey))
        owner = stack.enter_context(served(["llm"], folder / "owner", {"owners.llm.llama.base_url": base_url}))
        found.append(Way(OWNER, await _owner(stack, owner.targets["llm"]), owner))
        yield found, missing


def _over_http(session: aiohttp.ClientSession, target: str, headers: dict[str, str], *, stream: bool) -> Ask:
    async def ask(text: str) -> float:
        body = {
            "model": "bench",
            "stream": stream,
            "max_tokens": 2000,
            "response_format": {"type": "json_object"},
            "messages": [{"role": "user", "content": text}],
        }
        url = f"http://{target}/v1/chat/completions"
        async with session.post(url, json=body, headers=headers) as response:
            answer = await response.read()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return _own_s(read_packet(content_of(answer)).slots)

    return ask


async def _adapter(stack: AsyncExitStack, base_url: str) -> Ask:
    adapter = OpenAiLlm("llama/llm", base_url, None, model="bench", answer_format=AnswerFormat.JSON_OBJECT)
    stack.push_async_callback(adapter.close)
    numbers = count()

    async def ask(text: str) -> float:
        name = f"adapter-{next(numbers)}"
        utterance = Utterance(TENANT, name, name, text, "en-US", datetime.now(UTC))
        events: list[LlmEvent] = [
            event async for event in adapter.respond(utterance, deadline=time.monotonic() + TIMEOUT_S)
        ]
        packet = next(event for event in events if isinstance(event, DecisionPacket))
        return _own_s(packet.slots)

    return ask


async def _owner(stack: AsyncExitStack, target: str) -> Ask:
    connection = await stack.enter_async_context(connect(target))
    stub = rpc.LanguageServiceStub(connection.channel)
    numbers = count()

    async def ask(text: str) -> float:
        request = wire.RespondRequest(
            text=text,
            locale="en-US",
            scope=RouteScope(tenant_id=TENANT),
            idempotency_key=f"beside-{next(numbers)}",
        )
        final = wire.RespondFinal()
        async for response in stub.Respond(request, timeout=TIMEOUT_S):
            if response.WhichOneof("event") == "final":
                final = response.final
        return own_s({slot.name: slot.value for slot in final.packet.slots})

    return ask


def _own_s(slots: Sequence[tuple[str, str]]) -> float:
    return own_s(dict(slots))
