"""Dispatchers that stop dead, or stand still for a while, at a chosen boundary of commits and calls.

Every change of the store and every call of a provider has a boundary before it and one after it. A process that is
killed there does nothing more; one that is stopped there goes on later as if no time had passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from prometheus_client import CollectorRegistry
from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_UNKNOWN, DeliveryState, Intent
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1

from servers.delivery import ENGINE_ID
from servers.delivery.accepting import Acceptor, Offer, delivery_id_of, new_delivery
from servers.delivery.adapter import Declares, DeliveryAdapter, Message, Sent, Trace
from servers.delivery.assembly import DOMAINS
from servers.delivery.dispatcher import Dispatcher
from servers.delivery.keeping import Keeper, known_of
from servers.delivery.machine import Delivery, Rules
from servers.delivery.routes import Routes
from servers.delivery.settings import DispatchSettings
from servers.delivery.shares import Shares
from servers.routing.board import Board, CircuitMetrics
from servers.routing.directory import Directory, seed
from servers.routing.profile import Resolved
from servers.routing.shipped import RULE_EFFECT, RULE_ID, RULE_REASON
from servers.runtime.auth import DEVELOPMENT_PRINCIPAL
from servers.runtime.clock import Clock, ManualClock
from servers.runtime.ids import SeededIds
from store import Store
from store.delivery import Accepted
from store.routing import Rule

SETTINGS = DispatchSettings(lease_s=60.0, grace_s=0.0)
ROUNDS = 60


class Fate:
    """What befalls one process: nothing, or that it stands still at its boundary number `at`, from 1."""

    def __init__(self, at: int = 0) -> None:
        self.passed = 0
        self.stopped = asyncio.Event()
        self._at = at
        self._goes_on = asyncio.Event()

    def go_on(self) -> None:
        """It wakes up again."""
        self._goes_on.set()

    async def boundary(self) -> None:
        """Here it may stop."""
        self.passed += 1
        if self.passed == self._at:
            self.stopped.set()
        if self.stopped.is_set():
            await self._goes_on.wait()


class FatefulStore:
    """The store as one process has it."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store = store
        self._fate = fate
        self.delivery = store.delivery

    async def perform(self, work: Callable[[Any], Any]) -> Any:
        await self._fate.boundary()
        result = await self._store.perform(work)
        await self._fate.boundary()
        return result

    async def together(self, work: Callable[[Any], Any]) -> Any:
        return await self._store.together(work)


class FatefulAdapter:
    """A provider as one process has it. What it is asked to send after the deadline is noted in `late`."""

    def __init__(self, inner: DeliveryAdapter, fate: Fate, clock: Clock, late: list[str]) -> None:
        self._inner = inner
        self._fate = fate
        self._clock = clock
        self._late = late
        self.provider_ref = inner.provider_ref
        self.declares: Declares = inner.declares
        self.token = inner.token
        self.close = inner.close

    async def send(self, message: Message, *, deadline: float) -> Sent:
        if self._clock.monotonic() >= deadline:
            self._late.append(message.idempotency_key)
        return await self._between(lambda: self._inner.send(message, deadline=deadline))

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        return await self._between(lambda: self._inner.find(message, trace, deadline=deadline))

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        return await self._between(lambda: self._inner.cancel(message, trace, deadline=deadline))

    async def _between(self, call: Callable[[], Awaitable[Sent]]) -> Sent:
        await self._fate.boundary()
        sent = await call()
        await self._fate.boundary()
        return sent


class House:
    """A store, its clock, and the processes that dispatch from it, one after the other or at once."""

    def __init__(self, store: Store, clock: ManualClock, adapters: Sequence[DeliveryAdapter], rules: Rules) -> None:
        self.store = store
        self.clock = clock
        self.rules = rules
        self.late: list[str] = []
        self.boards: list[Board] = []
        """Of the processes, in their order."""
        self._adapters = adapters
        self._ids = SeededIds(7)
        self._processes: list[Dispatcher] = []
        self._fates: list[Fate] = []

    async def process(
        self,
        fate: Fate | None = None,
        *,
        rates: Mapping[str, tuple[float, float]] | None = None,
        settings: DispatchSettings = SETTINGS,
    ) -> Dispatcher:
        """A process that has just come up; its rounds are called by the test."""
        fate = fate or Fate()
        board = Board(self.store, self.clock, self._ids, ENGINE_ID, CircuitMetrics(CollectorRegistry()))
        self.boards.append(board)

        def known(resolved: Resolved) -> None:
            each = {one.provider_ref: one.circuit for domain in DOMAINS for one in resolved.providers(domain)}
            board.know(resolved.profile_hash, each)

        directory = Directory(self.store, known)
        await directory.refresh()
        store = cast(Store, FatefulStore(self.store, fate))
        adapters: dict[str, DeliveryAdapter] = {
            each.provider_ref: FatefulAdapter(each, fate, self.clock, self.late) for each in self._adapters
        }
        holder = f"process-{len(self._processes) + 1}"
        shares = Shares(store, self.clock, rates or {}, holder=holder)
        routes = Routes(
            directory=directory, board=board, adapters=adapters, shares=shares, missing=tuple, clock=self.clock
        )
        keeper = Keeper(store, self.clock, self.rules)
        dispatcher = Dispatcher(
            store, self.clock, routes, keeper, self.rules, settings, holder=holder, jitter=lambda: 0.0
        )
        self._processes.append(dispatcher)
        self._fates.append(fate)
        return dispatcher

    async def accept(self, *intents: Intent) -> list[str]:
        """Take on; the ids."""
        ids = []
        for intent in intents:
            delivery_id, payload = delivery_id_of(intent)
            offer = Offer(
                intent=intent,
                delivery=new_delivery(intent, delivery_id, self.clock.now().timestamp()),
                payload=payload,
                caller=DEVELOPMENT_PRINCIPAL,
                turn=TurnRef(),
                gates={},
            )
            assert isinstance(await Acceptor(self.store).take_on(offer), Accepted)
            ids.append(delivery_id)
        return ids

    async def delivery(self, tenant_id: str, delivery_id: str) -> Delivery:
        """As the store has it."""
        row = await self.store.delivery.get(tenant_id, delivery_id)
        assert row is not None
        return known_of(row).delivery

    async def settle(self, process: Dispatcher, tenant_id: str, ids: Sequence[str]) -> list[Delivery]:
        """Let it work, and time pass, until every delivery is final or nothing more happens to it by itself."""
        for _ in range(ROUNDS):
            while await process.round():
                await process.quiet()
            there = [await self.delivery(tenant_id, each) for each in ids]
            if all(each.final or (each.state == DELIVERY_STATE_UNKNOWN and each.due_at is None) for each in there):
                return there
            self.clock.advance(61.0)
        raise AssertionError([DeliveryState.Name(each.state) for each in there])

    async def run_until(self, process: Dispatcher, fate: Fate, rounds: int = 20) -> bool:
        """Let it work until it stands still; False where it came to the end of what there is to do."""
        stopped = asyncio.ensure_future(fate.stopped.wait())
        try:
            for _ in range(rounds):
                step = asyncio.ensure_future(_whole(process))
                await asyncio.wait((step, stopped), return_when=asyncio.FIRST_COMPLETED)
                if fate.stopped.is_set():
                    return True
                if not step.result():
                    return False
            return False
        finally:
            stopped.cancel()

    async def end(self) -> None:
        """Nobody goes on."""
        for process in self._processes:
            await process.stop()


async def _whole(process: Dispatcher) -> int:
    found = await process.round()
    await process.quiet()
    return found


async def seed_profile(store: Store, profile: ProviderRoutingProfileV1) -> None:
    """Let it be the active one, where there is none."""
    await seed(store, profile, Rule(tenant_id="", rule_id=RULE_ID, effect=RULE_EFFECT, reason=RULE_REASON))


@asynccontextmanager
async def house(
    store: Store,
    clock: ManualClock,
    adapters: Sequence[DeliveryAdapter],
    profile: ProviderRoutingProfileV1,
    rules: Rules,
) -> AsyncIterator[House]:
    """With these providers, by this profile."""
    await seed_profile(store, profile)
    made = House(store, clock, adapters, rules)
    try:
        yield made
    finally:
        await made.end()
