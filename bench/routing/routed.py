"""What routing adds to a call: the router of an owner in this process, over an adapter that only waits.

Router, gates, budgets and quotas, circuits and the audit trail are the real ones, on a real store that is as durable as
it always is. Every call is made twice, at the same concurrency and with the same seeded wait: of the adapter alone, and
through `Router.run` with the owner's normalisation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.llm.v1.service_pb2 import RespondRequest
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, PROVIDER_STATUS_OK
from selene.routing.v1.routing_pb2 import DOMAIN_LLM
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH

from servers.llm import ENGINE_ID, NAME
from servers.llm.adapter import CALLER_FAULTS, DecisionPacket, Delta, LlmAdapter, LlmEvent, LlmReason, Utterance
from servers.llm.service import Answering
from servers.llm.settings import LLAMA, OPENAI
from servers.routing.assembly import Routing, open_routing
from servers.routing.envelope import answered
from servers.routing.router import Domestic, Finished, RoutedCall
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Owner, Parts, Runtime, Service, prefer_latency, serve
from servers.runtime.storage import LedgerSink, open_store, turn
from store import Transaction
from store.routing import Budget, Key, Quota

TENANTS: Final = tuple(f"tenant-{number}" for number in range(8))
PLENTY: Final = 10**15
DEADLINE_S: Final = 60.0


class Waiting:
    """A provider that waits as long as the utterance says, and knows afterwards how long it really had each call."""

    def __init__(self, provider_ref: str) -> None:
        self.provider_ref = provider_ref
        self.had_s: dict[str, float] = {}

    async def respond(self, utterance: Utterance, *, deadline: float) -> AsyncGenerator[LlmEvent, None]:
        """See `servers.llm.adapter.LlmAdapter`."""
        began = time.perf_counter()
        wait_s = float(utterance.text)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        packet = DecisionPacket("time.query", (("place", "Zürich"),), "It is noon in Zürich.", 9_100, False)
        result = answered(
            utterance,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_LLM,
            status=PROVIDER_STATUS_OK,
            reason_code=LlmReason.ANSWERED,
            latency_s=wait_s,
            quality_score_bp=9_100,
        )
        self.had_s[utterance.request_id] = time.perf_counter() - began
        yield Delta(packet.reply)
        yield packet
        yield result


@dataclass(frozen=True, slots=True)
class Timed:
    """One call, in seconds: what it was to wait, in all, and how long the adapter had it."""

    wait_s: float
    total_s: float
    had_s: float

    @property
    def added_ms(self) -> float:
        """What was not the adapter's."""
        return 1000 * (self.total_s - self.had_s)

    @property
    def late_ms(self) -> float:
        """How much later than told the adapter woke: the interpreter was at something else."""
        return 1000 * (self.had_s - self.wait_s)

    @property
    def beyond_ms(self) -> float:
        """Everything that was not the wait."""
        return 1000 * (self.total_s - self.wait_s)


@dataclass(slots=True)
class Load:
    """What came of a load. `cpu_s` is of this process, `told_s` until the trail of the last call was on disk."""

    calls: list[Timed] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    told_s: float = 0.0
    waiting: int = 0


Way = Callable[[int, float], Awaitable[Timed]]
"""Makes the call of a number with a wait."""


async def drive(way: Way, each_s: Sequence[float], concurrent: int) -> Load:
    """Make the calls, so many at a time, each as soon as there is room; callers begin evenly over the first wait."""
    numbered: Iterator[tuple[int, float]] = iter(enumerate(each_s))
    apart_s = sum(each_s) / len(each_s) / concurrent
    load = Load()

    async def one_after_the_other(place: int) -> None:
        await asyncio.sleep(place * apart_s)
        for number, wait_s in numbered:
            load.calls.append(await way(number, wait_s))

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one_after_the_other(place) for place in range(concurrent)))
    load.wall_s, load.cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return load


class Bench:
    """A router at work."""

    def __init__(self, routing: Routing[LlmAdapter], adapter: Waiting) -> None:
        self.routing = routing
        self._adapter = adapter
        self._now = datetime.now(UTC)
        self._runs = 0

    async def direct(self, each_s: Sequence[float], concurrent: int) -> Load:
        """The adapter alone."""
        self._runs += 1
        return await drive(self._call_directly, each_s, concurrent)

    async def routed(self, each_s: Sequence[float], concurrent: int) -> Load:
        """Through the router; CPU and time until every call was told of in the audit trail."""
        self._runs += 1
        cpu, began = time.process_time(), time.perf_counter()
        load = await drive(self._call_routed, each_s, concurrent)
        await self.routing.recorder.flush()
        load.told_s = time.perf_counter() - began - load.wall_s
        load.cpu_s = time.process_time() - cpu
        return load

    async def _call_directly(self, number: int, wait_s: float) -> Timed:
        request_id = f"direct-{self._runs}-{number}"
        utterance = Utterance(TENANTS[number % len(TENANTS)], request_id, request_id, str(wait_s), "en-US", self._now)
        began = time.perf_counter()
        async for _ in self._adapter.respond(utterance, deadline=time.monotonic() + DEADLINE_S):
            pass
        return Timed(wait_s, time.perf_counter() - began, self._adapter.had_s.pop(request_id))

    async def _call_routed(self, number: int, wait_s: float) -> Timed:
        request_id = f"routed-{self._runs}-{number}"
        request = RespondRequest(text=str(wait_s), locale="en-US")
        done = False
        began = time.perf_counter()
        call = RoutedCall(
            tenant_id=TENANTS[number % len(TENANTS)],
            subject="bench",
            user_id="",
            channel="",
            region="",
            locale="en-US",
            request_id=request_id,
            idempotency_key=request_id,
            units=1.0,
            ends_at=time.monotonic() + DEADLINE_S,
            turn=TurnRef(),
        )
        async for event in self.routing.router.run(call, Answering(request, self._now)):
            done = done or (isinstance(event, Finished) and event.done)
        total_s = time.perf_counter() - began
        if not done:
            raise RuntimeError("a call that was to go well has failed")
        return Timed(wait_s, total_s, self._adapter.had_s.pop(request_id))


@asynccontextmanager
async def routing(data_dir: Path, store_url: str = "") -> AsyncIterator[Bench]:
    """The LLM owner's routing over an adapter that waits, with every gate on: a rule of policy, two budgets and a quota
    a tenant, all of them larger than what is used.
    """
    flags: dict[str, Any] = {"data_dir": data_dir, "development.enabled": True, f"listen.ports.{NAME}": 0}
    settings = load_settings(None, flags | {"store.url": store_url or None})
    clock = SystemClock()
    ids = UuidV7Ids(clock)
    store = await open_store(settings, clock, ids)
    async with store.transaction() as tx:
        await _limits(tx, clock.now().timestamp())
    adapter = Waiting(OPENAI)
    opened: list[Routing[LlmAdapter]] = []

    async def build(runtime: Runtime) -> Sequence[Service]:
        domestic: Domestic[LlmAdapter] = Domestic(
            domain=DOMAIN_LLM,
            capability=CAPABILITY_LLM,
            rpc="Respond",
            adapters={OPENAI: adapter, LLAMA: Waiting(LLAMA)},
            caller_faults=CALLER_FAULTS,
            prices={OPENAI: 1_000},
        )
        opened.append(await open_routing(runtime, ENGINE_ID, domestic))
        return opened[0].services(runtime)

    parts = Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
    async with await serve([Owner(NAME, ENGINE_ID, build)], settings, parts):
        prefer_latency()
        yield Bench(opened[0], adapter)


async def _limits(tx: Transaction, now: float) -> None:
    for tenant_id in TENANTS:
        for period in (BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH):
            await tx.routing.budgets.put(Budget(Key(tenant_id, DOMAIN_LLM, period), PLENTY, "EUR"))
        quota = Quota(tenant_id, DOMAIN_LLM, capacity=100_000.0, refill_per_s=10_000.0, tokens=100_000.0, at=now)
        await tx.routing.quotas.put(quota)
        tx.audit(
            tenant_id=tenant_id,
            owner=ENGINE_ID,
            actor="system",
            transition="bench.limited",
            reason_code="BENCH",
            turn=turn(),
        )
