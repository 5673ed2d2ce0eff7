"""Routing over scripted providers: everything of it is real but the providers, and time where a test wants it to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client import CollectorRegistry
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import TurnRef
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_LLM,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    ProviderResultV1,
    ProviderStatus,
)
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, ProviderRoutingProfileV1
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW

from servers.routing.accounts import Accounts
from servers.routing.board import Board, CircuitMetrics
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.directory import Directory, seed
from servers.routing.envelope import Asked, answered
from servers.routing.gatekeeper import Gatekeeper, NamedGate
from servers.routing.gates import Gate
from servers.routing.profile import Resolved
from servers.routing.recorder import Beside, Recorder
from servers.routing.repeats import Repeats
from servers.routing.router import CallMetrics, Domestic, Finished, Limit, RoutedCall, Router, Switched
from servers.routing.selection import Unconfigured
from store import Store
from store.routing import Budget, Quota, Rule
from tests.support.time import FakeClock, SeqIds

OWNER: Final = "PH1.D"
FIRST, SECOND, THIRD = "openai/llm", "llama/llm", "selene-local/llm"
ALLOW: Final = Rule(tenant_id="", rule_id="allow", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED_FOR_ALL")
UNSERVABLE, UNSERVABLE_HERE, CONTENT_REFUSED = "UTTERANCE_EMPTY", "LOCALE_UNSUPPORTED", "CONTENT_REFUSED"

Said = str | ProviderResultV1
Turn = Callable[[Asked, Limit], AsyncGenerator[Said, None]]


class Provider:
    """Plays its turns one by one, the last of them for ever, and counts who asked and what it let go of."""

    def __init__(self, *turns: Turn) -> None:
        self._turns = list(turns)
        self.asked: list[Asked] = []
        self.let_go = 0

    def now(self, *turns: Turn) -> None:
        """From now on these turns."""
        self._turns = list(turns)

    async def answer(self, asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        """What an owner's work asks of an adapter."""
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        self.asked.append(asked)
        try:
            async with aclosing(turn(asked, limit)) as said:
                async for each in said:
                    yield each
        finally:
            self.let_go += 1


class Asking:
    """Passes on what a provider says."""

    async def begin(self, adapter: Provider, asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        """See `servers.routing.router.Work`."""
        async with aclosing(adapter.answer(asked, limit)) as said:
            async for each in said:
                yield each


def result(asked: Asked, status: ProviderStatus, reason: str, *, latency_s: float = 0.1) -> ProviderResultV1:
    """A sound result."""
    return answered(
        asked,
        provider_ref=asked.provider_ref,
        capability=CAPABILITY_LLM,
        status=status,
        reason_code=reason,
        latency_s=latency_s,
    )


def says(*pieces: str, latency_s: float = 0.1) -> Turn:
    """These pieces, each after a moment, then OK."""

    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece
        yield result(asked, PROVIDER_STATUS_OK, "ANSWERED", latency_s=latency_s)

    return turn


def fails(
    reason: str = "PROVIDER_UNAVAILABLE", status: ProviderStatus = PROVIDER_STATUS_RETRYABLE_FAIL, *pieces: str
) -> Turn:
    """These pieces, then a failure."""

    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        for piece in pieces:
            yield piece
        yield result(asked, status, reason)

    return turn


def hangs(*pieces: str) -> Turn:
    """These pieces, then nothing for ever."""

    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        for piece in pieces:
            yield piece
        await asyncio.Event().wait()

    return turn


class Bench:
    """One process's routing of the LLM domain over a store."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        providers: Mapping[str, Provider],
        *,
        name: str = "p1",
        prices: Mapping[str, int] | None = None,
        unconfigured: Collection[str] = (),
        beside: Beside | None = None,
        named: Mapping[Gate, NamedGate] | None = None,
    ) -> None:
        self.store, self.clock, self.providers = store, clock, providers
        self.registry = CollectorRegistry()
        self.naps: list[float] = []
        self.board = Board(store, clock, SeqIds(f"{name}-circuit"), OWNER, CircuitMetrics(self.registry))
        self.directory = Directory(store, self._known)
        self.accounts = Accounts(store, clock, SeqIds(f"{name}-grant"), DOMAIN_LLM, owner=OWNER, holder=name)
        self.recorder = Recorder(store, OWNER, beside)
        self.repeats = Repeats(store, clock, "Respond")
        domestic = Domestic(
            domain=DOMAIN_LLM,
            capability=CAPABILITY_LLM,
            rpc="Respond",
            adapters=providers,
            caller_faults={UNSERVABLE, UNSERVABLE_HERE, CONTENT_REFUSED},
            elsewhere={UNSERVABLE_HERE, CONTENT_REFUSED},
            prices=prices or {},
        )
        self.router = Router(
            domestic,
            directory=self.directory,
            board=self.board,
            gatekeeper=Gatekeeper(self.accounts, clock, named or {}, timeout_s=0.2),
            recorder=self.recorder,
            repeats=self.repeats,
            clock=clock,
            metrics=CallMetrics(self.registry),
            unconfigured=lambda: dict.fromkeys(unconfigured, Unconfigured.NO_SECRET),
            sleep=self._nap,
        )
        self._calls = 0

    def _known(self, resolved: Resolved) -> None:
        policies = {each.provider_ref: each.circuit for each in resolved.providers(DOMAIN_LLM)}
        self.board.know(resolved.profile_hash, policies)

    async def _nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))

    async def refresh(self) -> None:
        """What a process does every 250 ms."""
        await self.directory.refresh()
        await self.board.tick()

    def key(self, provider_ref: str = FIRST) -> tuple[bytes, str]:
        """The circuit that calls of this bench go by."""
        return self.router.resolve("t1", "", "", "").profile_hash, provider_ref

    def state(self, provider_ref: str = FIRST) -> int:
        """The state of its circuit."""
        return self.board.circuits()[self.key(provider_ref)].state

    def call(self, *, lasts_s: float = 60.0, tenant: str = "t1", **changed: Any) -> RoutedCall:
        """The next call of a tenant."""
        self._calls += 1
        usual: dict[str, Any] = {
            "tenant_id": tenant,
            "subject": "mira",
            "user_id": "mira",
            "channel": "",
            "region": "",
            "locale": "",
            "request_id": f"r-{self._calls}",
            "idempotency_key": f"k-{self._calls}",
            "units": 1.0,
            "ends_at": self.clock.monotonic() + lasts_s,
            "turn": TurnRef(correlation_id="c-1", turn_id="turn-1"),
        }
        return RoutedCall(**{**usual, **changed})

    async def run(self, call: RoutedCall | None = None) -> list[str | Switched | Finished]:
        """Everything that a call says. Refusal."""
        async with aclosing(self.router.run(call or self.call(), Asking())) as events:
            return [event async for event in events]

    async def finished(self, call: RoutedCall | None = None) -> Finished:
        """How a call ended."""
        last = (await self.run(call))[-1]
        assert isinstance(last, Finished)
        return last

    async def trail(self, transition: str = "call.", tenant: str = "t1") -> list[AuditEvent]:
        """Audit rows whose transition begins so, after everything was written."""
        await self.recorder.flush()
        chain = await self.store.audit.page(tenant, limit=1000)
        return [each.event for each in chain if each.event.transition.startswith(transition)]


def facts(event: AuditEvent) -> dict[str, str]:
    """The facts of an audit row by name."""
    return {fact.name: fact.value for fact in event.facts}


def llm_profile(*, timeout_s: float = 5.0, max_retries: int = 0) -> ProviderRoutingProfileV1:
    """The default profile with three providers of language, all beside the owner."""
    seeds = [
        ProviderSeed(provider_ref=ref, region="local", timeout_s=timeout_s, max_retries=max_retries)
        for ref in (FIRST, SECOND, THIRD)
    ]
    return default_profile(
        {DOMAIN_LLM: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="judge-1"
    )


async def put(store: Store, *limits: Rule | Budget | Quota) -> None:
    """Rules, budgets and quotas."""
    async with store.transaction() as tx:
        for limit in limits:
            match limit:
                case Rule():
                    await tx.routing.rules.put(limit)
                case Budget():
                    await tx.routing.budgets.put(limit)
                case Quota():
                    await tx.routing.quotas.put(limit)
        tx.audit(tenant_id="system", owner=OWNER, actor="system", transition="limits.put", reason_code="OK")


async def bench(
    store: Store,
    clock: FakeClock,
    first: Sequence[Turn] = (),
    second: Sequence[Turn] = (),
    *,
    profile: ProviderRoutingProfileV1 | None = None,
    **options: Any,
) -> Bench:
    """A bench of three providers, of which the third answers; its profile is active."""
    providers = {
        FIRST: Provider(*(first or (says("first"),))),
        SECOND: Provider(*(second or (says("second"),))),
        THIRD: Provider(says("third")),
    }
    await seed(store, profile or llm_profile(), ALLOW)
    made = Bench(store, clock, providers, **options)
    await made.refresh()
    made.key()
    return made
