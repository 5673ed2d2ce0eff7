"""Puts the routing of one owner together, and keeps it up to date beside its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

import structlog
from pydantic import BaseModel, ConfigDict, Field
from selene.routing.v1 import service_pb2_grpc as routing_grpc

from servers.routing.accounts import Accounts
from servers.routing.board import Board, CircuitMetrics
from servers.routing.buckets import Buckets, ValkeySettings, open_buckets
from servers.routing.circuit_service import CircuitsV1
from servers.routing.credentials import Credential
from servers.routing.directory import Directory, seed
from servers.routing.forgetting import Forgetting
from servers.routing.gatekeeper import Gatekeeper, GateSettings, named_gates
from servers.routing.leases import Leases, SecretsOwner
from servers.routing.limits_service import LimitsV1
from servers.routing.live_packs import LivePacks, PackMetrics, Parsers
from servers.routing.measures import observe
from servers.routing.measuring import Calls
from servers.routing.profile import Resolved, section_of
from servers.routing.profile_service import RoutingV1
from servers.routing.recorder import Recorder, Trail
from servers.routing.repeats import Repeats
from servers.routing.router import CallMetrics, Domestic, Router
from servers.routing.shipped import RULE_EFFECT, RULE_ID, RULE_REASON, shipped_profile
from servers.routing.signals import leave
from servers.runtime.clock import Clock
from servers.runtime.config import ConfigError
from servers.runtime.meter import Meter
from servers.runtime.peers import PeerSettings, configured_peer
from servers.runtime.secrets import redeemer
from servers.runtime.server import Runtime, Service
from servers.runtime.signals import producer
from store import StoreError, Transaction
from store.routing import Rule

EVALUATE_EVERY_S: Final = 0.25
SETTINGS: Final = "routing"

_log = structlog.get_logger("selene.routing")

A = TypeVar("A")
CredentialOf = Callable[[str], Credential]
"""The credential of a provider."""


class RoutingSettings(BaseModel):
    """`owners.routing`: what the routing owners share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kms: PeerSettings = Field(default=PeerSettings(), description="where the secrets owner is")
    prices: dict[str, int] = Field(
        default_factory=dict, description="what a unit costs, millionths of the budgets' currency, by provider"
    )
    valkey: ValkeySettings | None = Field(
        default=None, description="keeps the tokens of quotas for all processes, in place of the store"
    )
    gates: GateSettings = Field(default=GateSettings(), description="gates of the deployment's own")
    kpi_window_s: float = Field(default=900.0, gt=0, description="KPI windows of rollouts end at multiples of it")
    kpi_look_s: float = Field(default=5.0, gt=0, description="how often it is looked whether a KPI window has ended")
    forget_circuits_after_s: float = Field(
        default=7 * 86400.0,
        ge=3600,
        description="how long after a profile was superseded the circuits that only it came to are forgotten",
    )


@dataclass(frozen=True, slots=True)
class Routing(Generic[A]):
    """Everything that routes the calls of one owner."""

    router: Router[A]
    directory: Directory
    board: Board
    accounts: Accounts
    recorder: Recorder
    repeats: Repeats
    buckets: Buckets | None
    forgetting: Forgetting
    packs: LivePacks
    leases: Leases | None

    def services(self, runtime: Runtime) -> tuple[Service, ...]:
        """What every routing owner serves beside its own: the profile, its circuits, the limits of tenants."""
        store, clock = runtime.store, runtime.clock
        circuits = CircuitsV1(store, self.router, self.board, runtime.stopping, self.leases)
        return (
            Service(
                routing_grpc.add_RoutingServiceServicer_to_server,
                RoutingV1(store, clock, self.router, self.refresh),
                "selene.routing.v1.RoutingService",
            ),
            Service(
                routing_grpc.add_CircuitServiceServicer_to_server,
                circuits,
                "selene.routing.v1.CircuitService",
                watches=("WatchCircuits",),
            ),
            Service(
                routing_grpc.add_LimitsServiceServicer_to_server,
                LimitsV1(store, clock, self.board.owner, self.buckets),
                "selene.routing.v1.LimitsService",
            ),
        )

    async def refresh(self) -> None:
        """Take the profile over, then evaluate the circuits."""
        try:
            await self.directory.refresh()
        except StoreError as error:
            _log.warning("the routing profile was not read", cause=type(error).__name__)
        await self._look(self.packs.refresh)
        await self.repeats.refresh()
        await self.board.tick()

    async def follow(self) -> None:
        """`refresh` every 250 ms, which no store may hold up."""
        try:
            await self.directory.follow()
        except StoreError as error:
            _log.warning("the routing profile was not read", cause=type(error).__name__)
        await self._look(self.packs.follow)
        await self.board.tick()
        await self.repeats.follow()
        await self.forgetting.follow()

    async def _look(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except StoreError as error:
            _log.warning("the packs were not read", cause=type(error).__name__)


def open_leases(runtime: Runtime, engine_id: str) -> Leases:
    """The leases of one owner's providers, until the runtime stops; `open_routing` starts them. ConfigError."""
    settings = runtime.settings.owner_settings(SETTINGS, RoutingSettings)
    try:
        configured = configured_peer(settings.kms)
    except OSError as error:
        raise ConfigError(f"owners.routing.kms: {error}") from None
    issuer = SecretsOwner(lambda: configured or runtime.peer("kms"), runtime.ids)
    redeeming = redeemer(runtime.settings, runtime.store, runtime.clock)
    leases = Leases(runtime.store, runtime.clock, redeeming, issuer, engine_id)
    runtime.on_stop(leases.stop)
    return leases


async def open_routing(
    runtime: Runtime,
    engine_id: str,
    domestic: Domestic[A],
    leases: Leases | None = None,
    parsers: Parsers = MappingProxyType({}),
) -> Routing[A]:
    """The routing of one owner, running until the runtime stops; `parsers` are of the packs that it goes by.
    ConfigError, StoreError.
    """
    store, clock = runtime.store, runtime.clock
    settings = runtime.settings.owner_settings(SETTINGS, RoutingSettings)
    buckets = open_buckets(settings.valkey, clock.monotonic)
    rule = Rule(tenant_id="", rule_id=RULE_ID, effect=RULE_EFFECT, reason=RULE_REASON)
    await seed(store, shipped_profile(), rule)
    board = Board(store, clock, runtime.ids, engine_id, runtime.telemetry.shared(CircuitMetrics))

    def known(resolved: Resolved) -> None:
        providers = resolved.providers(domestic.domain)
        board.know(resolved.profile_hash, {each.provider_ref: each.circuit for each in providers})

    directory = Directory(store, known)
    accounts = Accounts(store, clock, runtime.ids, domestic.domain, owner=engine_id, buckets=buckets)
    learning = producer(runtime.settings, engine_id)

    async def beside(tx: Transaction, trails: Sequence[Trail]) -> None:
        await leave(learning, tx, trails)
        await observe(engine_id, tx, trails)

    recorder = Recorder(store, engine_id, beside)
    repeats = Repeats(store, clock, domestic.rpc)
    calls = Calls(engine_id, parsers)
    meter = Meter(store, clock, engine_id, calls, window_s=settings.kpi_window_s, look_s=settings.kpi_look_s)
    packs = LivePacks(store, store.trusted_keys(), engine_id, parsers, runtime.telemetry.shared(PackMetrics))
    router = Router(
        domestic,
        directory=directory,
        board=board,
        gatekeeper=gatekeeper(accounts, clock, settings),
        recorder=recorder,
        repeats=repeats,
        clock=clock,
        metrics=runtime.telemetry.shared(CallMetrics),
        unconfigured=leases.missing if leases is not None else dict,
        packs=packs,
    )
    forgetting = Forgetting(store, clock, directory, board, settings.forget_circuits_after_s)
    routing = Routing(router, directory, board, accounts, recorder, repeats, buckets, forgetting, packs, leases)
    await routing.refresh()
    if leases is not None:
        await leases.start(partial(_handles, directory, domestic), Prewarming(domestic.adapters))
    accounts.start()
    recorder.start()
    if parsers:
        meter.start()
    keeping = asyncio.ensure_future(_repeat(routing))

    async def stop() -> None:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await meter.stop()
        # Calls are charged once their rows are kept.
        await recorder.stop()
        await accounts.stop()
        if buckets is not None:
            await buckets.close()

    runtime.on_stop(stop)
    return routing


def gatekeeper(accounts: Accounts, clock: Clock, settings: RoutingSettings) -> Gatekeeper:
    """Who asks the gates that these settings name, and else those that ship. ConfigError."""
    return Gatekeeper(accounts, clock, named_gates(settings.gates), settings.gates.timeout_ms / 1000)


@runtime_checkable
class Prewarmed(Protocol):
    """An adapter that can open its connection before it is needed."""

    async def prewarm(self) -> bool: ...


class Prewarming:
    """Opens connections to providers that can be asked from now on; nobody waits for it, and no call needs it."""

    def __init__(self, adapters: Mapping[str, Any]) -> None:
        self._adapters = adapters
        self._under_way: set[asyncio.Future[bool]] = set()

    def __call__(self, provider_ref: str) -> None:
        adapter = self._adapters.get(provider_ref)
        if isinstance(adapter, Prewarmed):
            opening = asyncio.ensure_future(adapter.prewarm())
            self._under_way.add(opening)
            opening.add_done_callback(self._over)

    def _over(self, opening: asyncio.Future[bool]) -> None:
        self._under_way.discard(opening)
        if not opening.cancelled() and (error := opening.exception()) is not None:
            _log.warning("a connection was not opened ahead", cause=type(error).__name__)


def _handles(directory: Directory, domestic: Domestic[Any]) -> dict[str, str]:
    """Where the secrets of the owner's providers are, as the active profile says; of those that need one."""
    active = directory.active
    if active is None:
        return {}
    return {
        each.provider_ref: each.kms_handle_ref
        for each in section_of(active.profile, domestic.domain).providers
        if each.kms_handle_ref and each.provider_ref in domestic.keyed
    }


def left_out(provider_ref: str, cause: Exception) -> dict[str, Any]:
    """No adapter, and a line in the log that says why: the provider stays NOT_CONFIGURED."""
    _log.warning("a provider is not available here", provider=provider_ref, cause=f"{type(cause).__name__}: {cause}")
    return {}


def prices(runtime: Runtime) -> Mapping[str, int]:
    """What a unit costs, by provider. ConfigError."""
    return runtime.settings.owner_settings(SETTINGS, RoutingSettings).prices


async def _repeat(routing: Routing[A]) -> None:
    while True:
        await asyncio.sleep(EVALUATE_EVERY_S)
        try:
            await routing.follow()
        except Exception:
            # The evaluator must go on: whatever it was, calls are still routed by what is known.
            _log.exception("the circuits were not evaluated")
