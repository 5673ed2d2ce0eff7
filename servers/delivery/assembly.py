"""Puts the owner together: its providers, their routing, the dispatcher, the service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from pydantic import ValidationError
from selene.delivery.v1 import service_pb2_grpc as delivery_grpc
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_SEND
from selene.routing.v1 import service_pb2 as routing_messages
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import DOMAIN_UNSPECIFIED, Domain

from servers.delivery import ENGINE_ID, NAME
from servers.delivery.adapter import CALLER_FAULTS, DeliveryAdapter
from servers.delivery.dispatcher import Dispatcher
from servers.delivery.keeping import Keeper
from servers.delivery.providers import ADAPTERS, READERS
from servers.delivery.reports import Reports
from servers.delivery.routes import DOMAIN_OF, Routes
from servers.delivery.service import DeliveryV1, Gates
from servers.delivery.settings import DeliverySettings
from servers.delivery.shares import Shares
from servers.delivery.wakeups import WakeUps
from servers.delivery.webhooks import Source, serve_webhooks
from servers.routing.accounts import Accounts
from servers.routing.assembly import (
    EVALUATE_EVERY_S,
    SETTINGS,
    CredentialOf,
    Prewarming,
    RoutingSettings,
    gatekeeper,
    left_out,
    open_leases,
    prices,
)
from servers.routing.board import Board, CircuitMetrics
from servers.routing.buckets import open_buckets
from servers.routing.circuit_service import CircuitsV1
from servers.routing.directory import Directory, seed
from servers.routing.forgetting import Forgetting
from servers.routing.gatekeeper import Gatekeeper
from servers.routing.leases import Leases
from servers.routing.limits_service import LimitsV1
from servers.routing.profile import Resolved, section_of
from servers.routing.profile_service import RoutingV1
from servers.routing.recorder import Recorder
from servers.routing.repeats import Repeats
from servers.routing.router import CallMetrics, Domestic, Router
from servers.routing.selection import Unconfigured
from servers.routing.shipped import RULE_EFFECT, RULE_ID, RULE_REASON, shipped_profile
from servers.runtime.clock import Clock
from servers.runtime.config import ConfigError
from servers.runtime.server import Runtime, Service
from servers.runtime.signals import producer
from servers.runtime.tls import TlsFiles
from store import StoreError
from store.routing import Rule

_log = structlog.get_logger("selene.delivery")

DOMAINS: Final = tuple(DOMAIN_OF.values())
REPORTS_OF: Final = "#webhook"
"""After the name of a provider, the name of the secret that its webhooks are signed with."""

Adapters = Callable[[DeliverySettings, CredentialOf, Clock], Mapping[str, DeliveryAdapter]]


async def assemble(
    runtime: Runtime, adapters_of: Adapters | None = None, credential_of: CredentialOf | None = None
) -> Sequence[Service]:
    """The services. Adapters are of the configured accounts, unless `adapters_of` makes them; their secrets are under
    leases of the secrets owner's, unless `credential_of` gives them. ConfigError, StoreError.
    """
    settings = runtime.settings.owner_settings(NAME, DeliverySettings)
    leases = None
    if credential_of is None:
        leases = open_leases(runtime, ENGINE_ID)
        leases.overlap([ref + REPORTS_OF for ref in settings.accounts])
        credential_of = leases.credential
    adapters = (adapters_of or accounts)(settings, credential_of, runtime.clock)
    for adapter in adapters.values():
        runtime.on_stop(adapter.close)
    routing = await _open_routing(runtime, adapters, _Secrets(settings), leases)
    rules = settings.rules.rules()
    holder = runtime.ids.new()
    limits = {
        ref: (account.rate_per_s, account.burst) for ref, account in settings.accounts.items() if account.rate_per_s
    }
    shares = Shares(runtime.store, runtime.clock, limits, holder=holder)
    runtime.on_stop(shares.stop)
    routes = Routes(
        directory=routing.directory,
        board=routing.board,
        adapters=adapters,
        shares=shares,
        missing=routing.missing,
        clock=runtime.clock,
    )
    signals = producer(runtime.settings, ENGINE_ID)
    keeper = Keeper(runtime.store, runtime.clock, rules, signals)
    dispatcher = Dispatcher(
        runtime.store,
        runtime.clock,
        routes,
        keeper,
        rules,
        settings.dispatch,
        holder=holder,
        jitter=random.random,
    )
    if settings.dispatch.enabled:
        dispatcher.start()
        runtime.on_stop(dispatcher.stop)
    if settings.webhooks is not None:
        endpoint = await serve_webhooks(
            settings.webhooks,
            sources(settings, credential_of),
            Reports(runtime.store, runtime.clock, rules, producer=signals).take,
            runtime.store,
            runtime.clock,
            tls=_tls(runtime),
            shares_port=runtime.settings.workers > 1,
        )
        runtime.on_stop(endpoint.stop)
    gates = Gates(routing.directory, routing.keepers, routing.recorder, prices(runtime))
    accepted = _woken(runtime, settings, dispatcher)
    circuits = routing.circuits(runtime)
    servicer = DeliveryV1(
        runtime.store, runtime.clock, gates, rules, runtime.stopping, accepted, circuits=circuits, adapters=adapters
    )
    return (
        Service(
            delivery_grpc.add_DeliveryServiceServicer_to_server,
            servicer,
            "selene.delivery.v1.DeliveryService",
            watches=("Watch",),
        ),
        *routing.services(runtime, circuits),
    )


def _tls(runtime: Runtime) -> TlsFiles | None:
    """The certificate of the calls; vendors show none of their own."""
    tls = runtime.settings.tls
    if tls.certificate is None or tls.private_key is None:
        return None
    return TlsFiles(tls.certificate, tls.private_key)


def _woken(runtime: Runtime, settings: DeliverySettings, dispatcher: Dispatcher) -> Callable[[], None]:
    """What is to be called when something was accepted: it wakes the dispatcher here, and those of other processes."""
    if settings.nats is None:
        return dispatcher.wake
    wakeups = WakeUps(settings.nats, dispatcher.wake)
    wakeups.start()
    runtime.on_stop(wakeups.stop)

    def accepted() -> None:
        dispatcher.wake()
        wakeups.say()

    return accepted


def accounts(settings: DeliverySettings, credential_of: CredentialOf, clock: Clock) -> Mapping[str, DeliveryAdapter]:
    """The adapters of the configured accounts, without those whose client is not installed. ConfigError."""
    made: dict[str, DeliveryAdapter] = {}
    for provider_ref, account in settings.accounts.items():
        make = ADAPTERS.get(provider_ref)
        if make is None:
            raise ConfigError(f"owners.delivery.accounts: there is no provider {provider_ref!r}")
        try:
            with _account_of(provider_ref):
                made[provider_ref] = make(provider_ref, account.own, credential_of(provider_ref), clock)
        except ImportError as error:
            left_out(provider_ref, error)
    return made


def sources(settings: DeliverySettings, credential_of: CredentialOf) -> list[Source]:
    """Who reports, of the configured accounts whose webhooks have a secret. ConfigError."""
    found: list[Source] = []
    for provider_ref, account in settings.accounts.items():
        read = READERS.get(provider_ref)
        if read is None or not account.webhook_secret:
            continue
        try:
            with _account_of(provider_ref):
                found.append(Source(read(provider_ref, account.own), credential_of(provider_ref + REPORTS_OF)))
        except ImportError as error:
            left_out(provider_ref, error)
    return found


@contextmanager
def _account_of(provider_ref: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        # Without the values: one may be a secret that does not belong there.
        wrong = ", ".join(".".join(map(str, each["loc"])) or each["type"] for each in error.errors())
        raise ConfigError(f"owners.delivery.accounts.{provider_ref}: {wrong}") from None


@dataclass(frozen=True, slots=True)
class _Routing:
    """One profile, one board of circuits and one trail for five domains; the limits of tenants are of each domain."""

    directory: Directory
    board: Board
    recorder: Recorder
    keepers: Mapping[Domain, Gatekeeper]
    routers: Mapping[Domain, Router[DeliveryAdapter]]
    missing: Callable[[], Collection[str]]
    limits: LimitsV1
    forgetting: Forgetting
    leases: Leases | None

    def circuits(self, runtime: Runtime) -> Mapping[Domain, CircuitsV1]:
        return {
            domain: CircuitsV1(runtime.store, router, self.board, runtime.stopping, self.leases)
            for domain, router in self.routers.items()
        }

    def services(self, runtime: Runtime, circuits: Mapping[Domain, CircuitsV1]) -> tuple[Service, ...]:
        store, clock = runtime.store, runtime.clock
        some = next(iter(self.routers.values()))
        return (
            Service(
                routing_grpc.add_RoutingServiceServicer_to_server,
                RoutingV1(store, clock, some, self.refresh),
                "selene.routing.v1.RoutingService",
            ),
            Service(
                routing_grpc.add_CircuitServiceServicer_to_server,
                _Circuits([*circuits.values()]),
                "selene.routing.v1.CircuitService",
                watches=("WatchCircuits",),
            ),
            Service(routing_grpc.add_LimitsServiceServicer_to_server, self.limits, "selene.routing.v1.LimitsService"),
        )

    async def refresh(self) -> None:
        """Take the profile over, then evaluate the circuits."""
        await self._kept_up(self.directory.refresh)

    async def follow(self) -> None:
        """`refresh`, which no store may hold up."""
        await self._kept_up(self.directory.follow)
        await self.forgetting.follow()

    async def _kept_up(self, take_over: Any) -> None:
        try:
            await take_over()
        except StoreError as error:
            _log.warning("the routing profile was not read", cause=type(error).__name__)
        await self.board.tick()


class _Circuits(routing_grpc.CircuitServiceServicer):
    """The circuits of five domains behind one service: what is of a domain is put together, all else is shared."""

    def __init__(self, of_domains: Sequence[CircuitsV1]) -> None:
        self._of_domains = of_domains
        self._shared = of_domains[0]

    async def ListProviders(
        self, request: routing_messages.ListProvidersRequest, context: Any
    ) -> routing_messages.ListProvidersResponse:
        replies = [await each.ListProviders(request, context) for each in self._of_domains]
        standing = any(not reply.refusal for reply in replies)
        return routing_messages.ListProvidersResponse(
            domain=DOMAIN_UNSPECIFIED,
            providers=[provider for reply in replies for provider in reply.providers],
            profile_hash=replies[0].profile_hash,
            refusal="" if standing else replies[0].refusal,
        )

    async def GetCircuit(self, request: Any, context: Any) -> Any:
        return await self._shared.GetCircuit(request, context)

    async def WatchCircuits(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for each in self._shared.WatchCircuits(request, context):
            yield each

    async def ListTransitions(self, request: Any, context: Any) -> Any:
        return await self._shared.ListTransitions(request, context)

    async def ForceCircuit(self, request: Any, context: Any) -> Any:
        return await self._shared.ForceCircuit(request, context)


async def _open_routing(
    runtime: Runtime, adapters: Mapping[str, DeliveryAdapter], secrets: _Secrets, leases: Leases | None
) -> _Routing:
    """Running until the runtime stops."""
    store, clock = runtime.store, runtime.clock
    settings = runtime.settings.owner_settings(SETTINGS, RoutingSettings)
    buckets = open_buckets(settings.valkey, clock.monotonic)
    await seed(store, shipped_profile(), Rule(tenant_id="", rule_id=RULE_ID, effect=RULE_EFFECT, reason=RULE_REASON))
    board = Board(store, clock, runtime.ids, ENGINE_ID, runtime.telemetry.shared(CircuitMetrics))

    def known(resolved: Resolved) -> None:
        board.know(
            resolved.profile_hash,
            {each.provider_ref: each.circuit for domain in DOMAINS for each in resolved.providers(domain)},
        )

    directory = Directory(store, known)
    recorder = Recorder(store, ENGINE_ID)
    of_domains = {
        domain: Accounts(store, clock, runtime.ids, domain, owner=ENGINE_ID, buckets=buckets) for domain in DOMAINS
    }
    missing: Callable[[], Mapping[str, Unconfigured]] = leases.missing if leases is not None else dict
    metrics = runtime.telemetry.shared(CallMetrics)
    domestic = Domestic(
        domain=DOMAINS[0],
        capability=CAPABILITY_DELIVERY_SEND,
        rpc="Send",
        adapters=adapters,
        caller_faults=CALLER_FAULTS,
        prices=prices(runtime),
    )
    keepers = {domain: gatekeeper(of_domains[domain], clock, settings) for domain in DOMAINS}
    routers = {
        domain: Router(
            replace(domestic, domain=domain),
            directory=directory,
            board=board,
            gatekeeper=keepers[domain],
            recorder=recorder,
            repeats=Repeats(store, clock, domestic.rpc),
            clock=clock,
            metrics=metrics,
            unconfigured=missing,
        )
        for domain in DOMAINS
    }
    limits = LimitsV1(store, clock, ENGINE_ID, buckets)
    forgetting = Forgetting(store, clock, directory, board, settings.forget_circuits_after_s)
    routing = _Routing(directory, board, recorder, keepers, routers, missing, limits, forgetting, leases)
    await routing.refresh()
    if leases is not None:
        await leases.start(lambda: secrets.handles(directory), Prewarming(adapters))
    for each in of_domains.values():
        each.start()
    recorder.start()
    keeping = asyncio.ensure_future(_repeat(routing))

    async def stop() -> None:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in of_domains.values()))
        await recorder.stop()
        if buckets is not None:
            await buckets.close()

    runtime.on_stop(stop)
    return routing


class _Secrets:
    """Where the secrets are: those of accounts as the active profile says, those of webhooks as the settings do."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._keyed = {ref for ref, account in settings.accounts.items() if account.own.get("needs_secret", True)}
        self._of_webhooks = {
            ref + REPORTS_OF: account.webhook_secret
            for ref, account in settings.accounts.items()
            if account.webhook_secret
        }

    def handles(self, directory: Directory) -> dict[str, str]:
        """The handle of each secret that is needed."""
        active = directory.active
        if active is None:
            return {}
        of_accounts = {
            each.provider_ref: each.kms_handle_ref
            for domain in DOMAINS
            for each in section_of(active.profile, domain).providers
            if each.kms_handle_ref and each.provider_ref in self._keyed
        }
        return of_accounts | self._of_webhooks


async def _repeat(routing: _Routing) -> None:
    while True:
        await asyncio.sleep(EVALUATE_EVERY_S)
        try:
            await routing.follow()
        except Exception:
            # The evaluator must go on: whatever it was, deliveries are still routed by what is known.
            _log.exception("the circuits were not evaluated")
