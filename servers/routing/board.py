"""The circuits of one owner as its process knows them (§24, RTE-4, RTE-5).

Calls read the board and never wait for it. Every 250 ms `tick` takes over what other processes changed, evaluates what
was measured, and keeps each transition with its audit row. A transition holds in this process at once; where the store
cannot be reached it is kept as soon as it can, and until then no probe is leased. A store that hangs is waited for a
moment and no longer: what it holds up goes on beside the ticks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import pybreaker
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
)

from servers.routing.beside import Beside
from servers.routing.breaker import CircuitStorage
from servers.routing.circuit import (
    Circuit,
    Event,
    Probe,
    Step,
    evaluate,
    lease,
    measures_start_anew,
    new_circuit,
    settle,
    without_expired,
)
from servers.routing.kept import circuit_of, kept, state_name
from servers.routing.thresholds import CircuitPolicy
from servers.routing.windows import Call, Measures, Outcome, Waiting, Windows
from servers.runtime.clock import Clock
from servers.runtime.ids import Ids
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Store, StoreError, StoreUnavailable, Transaction, Unavailability
from store.routing import KeptCircuit, Transition

SWAP_ATTEMPTS: Final = 5
FORCED: Final = (CIRCUIT_STATE_FORCED_OPEN, CIRCUIT_STATE_FORCED_CLOSED)

_log = structlog.get_logger("selene.routing")

Key = tuple[bytes, str]
"""A resolved profile's hash and a provider."""


class Wait(Protocol):
    """A call under way."""

    @property
    def silent_s(self) -> float | None:
        """Seconds that the provider is waited for right now; None while somebody else is."""


@dataclass(frozen=True, slots=True, eq=False)
class _UnderWay:
    caller: str
    wait: Wait


@dataclass(slots=True)
class Evidence:
    """That a provider works, or does not: when it last did in this process, whomever for, seconds since the epoch."""

    succeeded_at: float | None = None
    failed_at: float | None = None
    failure: Outcome | None = None


@dataclass(slots=True)
class _Held:
    """A circuit with what this process measured. `revision` is of the state in the store, 0 where it holds none;
    `anew_at` is when the measures last began anew, monotonic; `unkept` are transitions that the store still lacks,
    `stepped` says that it lacks a step of the judging of probes.
    """

    storage: CircuitStorage
    policy: CircuitPolicy
    breaker: pybreaker.CircuitBreaker
    evidence: Evidence
    windows: Windows = field(default_factory=Windows)
    revision: int = 0
    anew_at: float = 0.0
    unkept: tuple[Event, ...] = ()
    stepped: bool = False
    under_way: set[_UnderWay] = field(default_factory=set)

    @property
    def circuit(self) -> Circuit:
        """The circuit as it stands."""
        return self.storage.circuit

    def become(self, circuit: Circuit) -> None:
        """Another circuit stands in its place; the breaker finds it, and tells of it."""
        self.storage.circuit = circuit
        self.breaker.state  # noqa: B018  # asking is what makes it look

    def measures(self, now: float) -> Measures:
        """What was measured, and who waits."""
        silent = ((each.caller, each.wait.silent_s) for each in self.under_way)
        return self.windows.measures(now, [Waiting(caller, age_s) for caller, age_s in silent if age_s is not None])


@dataclass(frozen=True, slots=True)
class _Due:
    """What is to be kept of a circuit, as it stands when the keeping begins."""

    key: Key
    held: _Held
    circuit: Circuit
    revision: int
    events: tuple[Event, ...]


class CircuitMetrics:
    """Registered once per server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.state = Gauge(
            "selene_routing_circuit_open",
            "Circuits that let no ordinary call through, one for each resolved profile",
            ("owner", "provider"),
            registry=registry,
        )
        self.transitions = Counter(
            "selene_routing_circuit_transitions",
            "Transitions of circuits",
            ("owner", "provider", "after", "reason"),
            registry=registry,
        )


class _Told(pybreaker.CircuitBreakerListener):
    def __init__(self, owner: str, provider_ref: str) -> None:
        self._named = {"owner": owner, "provider": provider_ref}

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        _log.warning("circuit", state=new_state.name, **self._named)


class Board:
    """Circuits and measures by resolved profile and provider. Everything but `tick`, `lease`, `settle` and `change` is
    without I/O.
    """

    def __init__(self, store: Store, clock: Clock, ids: Ids, owner: str, metrics: CircuitMetrics) -> None:
        self.owner = owner
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._held: dict[Key, _Held] = {}
        self._unused: dict[Key, KeptCircuit] = {}
        self._evidence: dict[str, Evidence] = {}
        self._views: dict[bytes, dict[str, Circuit]] = {}
        self._watchers: set[Callable[[Key, Circuit], None]] = set()
        self._beside = Beside()
        self._swapping = asyncio.Lock()

    def know(self, profile_hash: bytes, policies: Mapping[str, CircuitPolicy]) -> None:
        """A resolved profile is used from now on: the policies of its providers."""
        for provider_ref, policy in policies.items():
            self._of((profile_hash, provider_ref), policy)

    def view(self, profile_hash: bytes) -> Mapping[str, Circuit]:
        """The circuits under a resolved profile, by provider."""
        return self._views.get(profile_hash, {})

    def circuits(self) -> Mapping[Key, Circuit]:
        """Every circuit that this process knows."""
        return {key: held.circuit for key, held in self._held.items()}

    def measures(self, key: Key) -> Measures:
        """What this process measured; empty for what it does not know."""
        held = self._held.get(key)
        return held.measures(self._now()) if held is not None else Measures({})

    def evidence(self, provider_ref: str) -> Evidence:
        """When a provider last worked or failed; empty for one that nobody asked."""
        return self._evidence.get(provider_ref, Evidence())

    def record(self, key: Key, call: Call, *, began_at: float, probe: bool) -> None:
        """A call has ended that began at this monotonic time. While probes are judged, only they are measured; what
        began before the measures did says nothing any more.
        """
        held, now = self._held[key], self._now()
        if call.outcome is Outcome.OK:
            held.evidence.succeeded_at = now
        else:
            held.evidence.failed_at, held.evidence.failure = now, call.outcome
        if began_at >= held.anew_at and (probe or held.circuit.state != CIRCUIT_STATE_HALF_OPEN):
            held.windows.record(call, now)

    def under_way(self, key: Key, caller: str, wait: Wait) -> Callable[[], None]:
        """A call has begun; it is over when what is returned is called. A provider that is silent to many is left."""
        call, calls = _UnderWay(caller, wait), self._held[key].under_way
        calls.add(call)
        return lambda: calls.discard(call)

    def judge_transcript(self, key: Key, caller: str, *, accepted: bool) -> None:
        """The owner's gate has accepted or refused a transcript."""
        self._held[key].windows.judge_transcript(caller, accepted=accepted)

    def complain(self, key: Key, caller: str) -> bool:
        """A caller complains of its last synthesis; False where none is known."""
        held = self._held.get(key)
        return held is not None and held.windows.complain(caller)

    def watch(self, watcher: Callable[[Key, Circuit], None]) -> Callable[[], None]:
        """Tell of every change from now on, until what is returned is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    async def tick(self) -> None:
        """Take over, evaluate, keep. Never raises for the store: what it does not take is tried at the next tick."""
        await self._beside.run(self._take_over)
        now = self._now()
        for key, held in self._held.items():
            before = held.circuit
            circuit, events = evaluate(before, held.measures(now), now, held.policy)
            if circuit is not before:
                self._become(key, held, circuit, events)
                # While probes are judged every step is shared; a closed circuit's own counting is this process's.
                held.stepped = circuit.state == CIRCUIT_STATE_HALF_OPEN
        if any(held.unkept or held.stepped for held in self._held.values()):
            await self._beside.run(self._keep)

    async def lease(self, key: Key, ttl_s: float) -> str | None:
        """The lease of a probe, `ttl_s` long; None where there is none to be had."""
        lease_id = self._ids.new()

        def ask(circuit: Circuit, policy: CircuitPolicy, now: float) -> Step | None:
            leased, granted = lease(circuit, lease_id, now, ttl_s, policy)
            return (leased, ()) if granted else None

        return lease_id if await self._swap(key, ask, "circuit.probe_leased", "PROBE") else None

    async def settle(self, key: Key, lease_id: str, probe: Probe) -> None:
        """A leased probe has ended. Where the store cannot be told, the lease runs out by itself."""

        def tell(circuit: Circuit, policy: CircuitPolicy, now: float) -> Step | None:
            step = settle(circuit, lease_id, probe, now, policy)
            return step if step[0] is not circuit else None

        await self._swap(key, tell, "circuit.probe_told", f"PROBE_{probe.value}")

    async def change(self, tx: Transaction, key: Key, step: Callable[[Circuit, float], Step], actor: str) -> Circuit:
        """An operator's change, within the caller's transaction. KeyError for a circuit that nobody knows;
        StoreUnavailable where others were faster again and again.
        """
        profile_hash, provider_ref = key
        for _ in range(SWAP_ATTEMPTS):
            row = await tx.routing.circuits.get(self.owner, provider_ref, profile_hash)
            circuit = circuit_of(row.body) if row is not None else self._held[key].circuit
            changed, events = step(circuit, self._now())
            if not events or await tx.routing.circuits.swap(self._row(key, changed, row.revision if row else 0)):
                break
        else:
            raise StoreUnavailable(Unavailability.LOCKED, "the circuit changes faster than it can be changed")
        for event in events:
            await self._tell(tx, key, changed, event, actor)
        if not events:
            self._audit(
                tx, key, changed, actor, "circuit.unchanged", changed.reason, {"state": state_name(changed.state)}
            )
        return changed

    async def refresh(self) -> None:
        """Take over what is in the store now."""
        await self._take_over()

    def forget(self, holding: Collection[bytes]) -> None:
        """No longer know circuits of resolved profiles that are not among these, unless a call is under way, something
        is not kept yet, or an operator holds it.
        """
        for key, held in tuple(self._held.items()):
            busy = held.under_way or held.unkept or held.stepped or held.circuit.state in FORCED
            if key[0] not in holding and not busy:
                del self._held[key]
                del self._views[key[0]][key[1]]
                self._count_open(key[1])
        self._views = {profile_hash: view for profile_hash, view in self._views.items() if view}

    async def _take_over(self) -> None:
        before = {key: held.revision for key, held in self._held.items()}
        try:
            rows = await self._store.routing.circuits.all(self.owner)
        except StoreError as error:
            _log.warning("circuits of other processes were not read", cause=type(error).__name__)
            return
        self._unused = {}
        for row in rows:
            key = (row.profile_hash, row.provider_ref)
            before.pop(key, None)
            held = self._held.get(key)
            if held is None:
                self._unused[key] = row
            elif row.revision > held.revision:
                self._adopt(key, held, row)
        for key, revision in before.items():
            held = self._held.get(key)
            if held is not None and held.revision == revision:
                # Where it was kept once it was forgotten: what happens next is kept anew.
                held.revision = 0

    def _adopt(self, key: Key, held: _Held, row: KeptCircuit) -> None:
        """What somebody else kept is what holds."""
        try:
            circuit = without_expired(circuit_of(row.body), self._now())
        except (KeyError, TypeError, ValueError) as error:
            _log.error("a circuit in the store is none", provider=key[1], cause=type(error).__name__)
            return
        moved = (held.circuit.state, held.circuit.since) != (circuit.state, circuit.since)
        events = (Event(held.circuit.state, circuit.state, circuit.reason, circuit.since),) if moved else ()
        held.revision = row.revision
        self._become(key, held, circuit, events)
        held.unkept, held.stepped = (), False

    def _become(self, key: Key, held: _Held, circuit: Circuit, events: tuple[Event, ...]) -> None:
        if measures_start_anew(held.circuit, circuit):
            held.windows.reset()
            held.anew_at = self._clock.monotonic()
        held.become(circuit)
        held.unkept += events
        self._views.setdefault(key[0], {})[key[1]] = circuit
        if events:
            self._count_open(key[1])
        for event in events:
            self._metrics.transitions.labels(self.owner, key[1], state_name(event.after), event.reason).inc()
            for watcher in tuple(self._watchers):
                watcher(key, circuit)

    def _count_open(self, provider_ref: str) -> None:
        alike = [held.breaker.current_state for (_, ref), held in self._held.items() if ref == provider_ref]
        shut = sum(state != pybreaker.STATE_CLOSED for state in alike)
        self._metrics.state.labels(self.owner, provider_ref).set(shut)

    async def _keep(self) -> None:
        async with self._swapping:
            await self._keep_due(
                [
                    _Due(key, held, held.circuit, held.revision, held.unkept)
                    for key, held in self._held.items()
                    if held.unkept or held.stepped
                ]
            )

    async def _keep_due(self, due: list[_Due]) -> None:
        swapped: list[_Due] = []
        try:
            async with self._store.transaction() as tx:
                for each in due:
                    if await tx.routing.circuits.swap(self._row(each.key, each.circuit, each.revision)):
                        swapped.append(each)
                        await self._tell_step(
                            tx, each.key, each.circuit, each.events, "circuit.probing", "PROBES_UNDER_WAY"
                        )
        except StoreError as error:
            _log.error("transitions of circuits are not kept yet", cause=type(error).__name__)
            return
        for each in swapped:
            each.held.revision = max(each.held.revision, each.revision + 1)
            each.held.unkept = each.held.unkept[len(each.events) :]
            each.held.stepped &= each.held.circuit is not each.circuit
        # Whoever was slower takes over what the faster one kept, at the next tick.
        for each in due:
            if each not in swapped:
                each.held.unkept, each.held.stepped = (), False

    async def _swap(
        self,
        key: Key,
        change: Callable[[Circuit, CircuitPolicy, float], Step | None],
        transition: str,
        reason: str,
    ) -> bool:
        held = self._held[key]
        try:
            async with self._swapping:
                for _ in range(SWAP_ATTEMPTS):
                    step, revision = change(held.circuit, held.policy, self._now()), held.revision
                    if step is None:
                        return False
                    circuit, events = step
                    async with self._store.transaction() as tx:
                        swapped = await tx.routing.circuits.swap(self._row(key, circuit, revision))
                        if swapped:
                            await self._tell_step(tx, key, circuit, events, transition, reason)
                    if swapped and held.revision == revision:
                        held.revision = revision + 1
                        self._become(key, held, circuit, events)
                        held.unkept, held.stepped = (), False
                    if swapped:
                        return True
                    row = await self._store.routing.circuits.get(self.owner, key[1], key[0])
                    if row is not None and row.revision > held.revision:
                        self._adopt(key, held, row)
        except StoreError as error:
            _log.warning("a probe was not leased or told", provider=key[1], cause=type(error).__name__)
        return False

    def _of(self, key: Key, policy: CircuitPolicy) -> _Held:
        held = self._held.get(key)
        if held is None:
            circuit = new_circuit(self._now())
            storage, told = CircuitStorage(circuit), _Told(self.owner, key[1])
            breaker = pybreaker.CircuitBreaker(name=f"{self.owner}:{key[1]}", listeners=[told], state_storage=storage)
            evidence = self._evidence.setdefault(key[1], Evidence())
            held = self._held[key] = _Held(storage, policy, breaker, evidence)
            self._views.setdefault(key[0], {})[key[1]] = circuit
            self._count_open(key[1])
            if (row := self._unused.pop(key, None)) is not None:
                self._adopt(key, held, row)
        return held

    def _row(self, key: Key, circuit: Circuit, revision: int) -> KeptCircuit:
        return KeptCircuit(self.owner, key[1], key[0], revision, kept(circuit))

    async def _tell_step(
        self, tx: Transaction, key: Key, circuit: Circuit, events: tuple[Event, ...], transition: str, reason: str
    ) -> None:
        """A row for each transition, or one for a step that is none."""
        if not events:
            self._audit(tx, key, circuit, "system", transition, reason, {"state": state_name(circuit.state)})
        for event in events:
            await self._tell(tx, key, circuit, event, "system")

    async def _tell(self, tx: Transaction, key: Key, circuit: Circuit, event: Event, actor: str) -> None:
        facts = {"before": state_name(event.before), "after": state_name(event.after)}
        if circuit.retry_at is not None:
            facts["retry_at"] = f"{circuit.retry_at:.3f}"
        self._audit(tx, key, circuit, actor, f"circuit.{state_name(event.after).lower()}", event.reason, facts)
        at = datetime.fromtimestamp(event.at, UTC)
        await tx.routing.circuits.note(
            Transition(self._ids.new(), self.owner, key[1], key[0], event.before, event.after, event.reason, at)
        )

    def _audit(
        self,
        tx: Transaction,
        key: Key,
        circuit: Circuit,
        actor: str,
        transition: str,
        reason: str,
        facts: dict[str, str],
    ) -> None:
        tx.audit(
            tenant_id=SYSTEM_TENANT,
            owner=self.owner,
            actor=actor,
            transition=transition,
            reason_code=reason,
            turn=turn(),
            hashes={"profile": key[0]},
            facts={"provider_ref": key[1], "trips": str(circuit.trips), **facts},
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()
