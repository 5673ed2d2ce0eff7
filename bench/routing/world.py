"""One simulated deployment: three providers of a domain, and up to three processes that share their circuits.

Each process has its own statistics and a mirror of the circuits, read every 250 ms; it evaluates every 250 ms, at an
instant of its own, and writes by compare-and-swap, so that what was decided on an old view is dropped. Leases and their
ends are written on the circuit as it is. Processes pause, probes are lost, clocks are set forward and back.

Events are simulated, not ticks: a process evaluates a circuit at those of its 250 ms instants at which the answer can
have changed, which are the first after

- a call that was recorded, unless the circuit is closed and too few flaws are among the last 500 calls for any open
  rule of one window to hold: each needs `limit` of at least `min_samples`;
- a second of the 60 s statistics leaving them while that many flaws are there (up to a second late after a clock was
  set back, when seconds of the statistics are no longer those of the clock);
- the end of a window while a row of slow windows runs, or with calls enough in 5 min at any process for one to
  begin;
- the instants that the circuit itself names: the end of a cooldown, a window, a lease, a decay;
- the circuit changing in the mirror, a clock jump, the end of a pause.

At every other instant `evaluate` gives back what it was given, or moves `window_from` on without a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from math import ceil, floor
from random import Random
from typing import Any, Final

from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    COMPARISON_LESS_THAN,
    DOMAIN_STT,
    DOMAIN_TTS,
    MEASURE_COMPLAINT_RATE_500,
    MEASURE_P95_LATENCY_5M,
    MEASURE_TRANSCRIPT_ACCEPT_RATE_200,
    Domain,
    RoutingSubject,
)

from bench.routing import behaviour, checks
from bench.routing.behaviour import DOWN, Illness, Reply, Spell
from servers.routing import circuit as rules
from servers.routing.circuit import Circuit, Probe, Step, new_circuit
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.profile import Resolved, ResolvedProvider
from servers.routing.profile import compile as compile_profile
from servers.routing.selection import NoProvider, Refusal, select
from servers.routing.thresholds import CircuitPolicy
from servers.routing.windows import BASIS_POINTS, Call, Measures, Outcome, Windows

TICK_S: Final = 0.25
EPOCH_S: Final = 1_767_225_600.0
LEASE_S: Final = behaviour.TIMEOUT_S + 3.0
ATTEMPTS: Final = 2
RUSH_CALLS_PER_S: Final = 50.0
_GATES: Final = frozenset({MEASURE_TRANSCRIPT_ACCEPT_RATE_200, MEASURE_COMPLAINT_RATE_500})
# The last process is nearly idle: what it does not see it must not decide.
_SHARES: Final = (1.0, 0.4, 0.02)
_JUMPS_S: Final = (-7200, -900, -61, -45, -5, 5, 45, 61, 900, 7200)
# A probability per transition, so that jumps and pauses meet circuits that are under way.
_JUMP_CHANCE, _PAUSE_CHANCE, _LOST_CHANCE = 0.04, 0.04, 0.02


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules under simulation: those of `servers.routing.circuit`, or broken ones to see that it shows."""

    evaluate: Callable[[Circuit, Measures, float, CircuitPolicy], Step] = rules.evaluate
    lease: Callable[[Circuit, str, float, float, CircuitPolicy], tuple[Circuit, bool]] = rules.lease
    settle: Callable[[Circuit, str, Probe, float, CircuitPolicy], Step] = rules.settle
    measures_start_anew: Callable[[Circuit, Circuit], bool] = rules.measures_start_anew


@dataclass(frozen=True, slots=True)
class Fall:
    """A provider went down while it served 50 calls a second: seconds until the last call that was sent to it."""

    illness: Illness
    processes: int
    last_call_s: float


@dataclass(slots=True)
class Tally:
    """What happened."""

    calls: int = 0
    attempts: int = 0
    probes: int = 0
    without_provider: int = 0
    transitions: int = 0
    trips: int = 0
    evaluations: int = 0
    jumps: int = 0
    pauses: int = 0
    longest_cooldown_s: float = 0.0
    longest_backoff_s: float = 0.0
    falls: list[Fall] = field(default_factory=list)
    violations: list[checks.Violation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Limits:
    """How few flaws keep every open rule of one window from holding, and how few calls the rule of p95."""

    failures: int
    refusals: int
    slow_calls: int | None

    @classmethod
    def of(cls, policy: CircuitPolicy) -> _Limits:
        failures, refusals, slow_calls = rules.CONSECUTIVE_FAILURES, 500, None
        for rule in policy.open_when:
            if rule.measure == MEASURE_P95_LATENCY_5M:
                slow_calls = rule.min_samples
                continue
            share = BASIS_POINTS - rule.limit if rule.comparison == COMPARISON_LESS_THAN else rule.limit
            flaws = max(1, ceil(share * rule.min_samples / BASIS_POINTS))
            if rule.measure in _GATES:
                refusals = min(refusals, flaws)
            else:
                failures = min(failures, flaws)
        return cls(failures, refusals, slow_calls)


class _Meter:
    """One process's statistics of one provider, and whether they may say anything."""

    def __init__(self, limits: _Limits) -> None:
        self.windows = Windows()
        self.anew_at = float("-inf")
        self._limits = limits
        self._forget()

    def _forget(self) -> None:
        self._calls = 0
        self._failures: deque[int] = deque(maxlen=self._limits.failures)
        self._refusals: deque[int] = deque(maxlen=self._limits.refusals)
        self._last: deque[float] = deque(maxlen=self._limits.slow_calls or 1)
        self._seconds: deque[int] = deque(maxlen=62)

    def reset(self, at: float) -> None:
        self.windows.reset()
        self.anew_at = at
        self._forget()

    def record(self, call: Call, answer: Reply, domain: Domain, at: float, wall: float) -> None:
        self.windows.record(call, wall)
        self._calls += 1
        self._last.append(at)
        second = floor(wall)
        if not self._seconds or self._seconds[-1] != second:
            self._seconds.append(second)
        if answer.outcome is not Outcome.OK:
            self._failures.append(self._calls)
            return
        if domain == DOMAIN_STT:
            self.windows.judge_transcript(call.caller, accepted=answer.accepted)
        if domain == DOMAIN_TTS and not answer.accepted:
            self.windows.complain(call.caller)
        if not answer.accepted:
            self._refusals.append(self._calls)

    def suspicious(self) -> bool:
        return any(
            len(flaws) == flaws.maxlen and flaws[0] > self._calls - 500 for flaws in (self._failures, self._refusals)
        )

    def may_be_slow(self, at: float) -> bool:
        wanted = self._limits.slow_calls
        return wanted is not None and len(self._last) == wanted and self._last[0] > at - 300

    def next_expiry(self, wall: float) -> float | None:
        while self._seconds and self._seconds[0] + 60 <= wall:
            self._seconds.popleft()
        return self._seconds[0] + 60.0 if self._seconds else None


@dataclass(slots=True)
class _Process:
    """`mirror` and `evaluates` are where in the 250 ms it reads and evaluates; calls come to it by `share`."""

    share: float
    mirror: float
    evaluates: float
    skew_s: float
    meters: list[_Meter]
    own: list[int]
    seen: list[Circuit]
    due: list[float]
    paused_until: float = 0.0


class World:
    """A deployment from its seed. `run` simulates it; the same seed does the same, whenever and wherever."""

    def __init__(self, seed: int, *, hours: float, use: Rules | None = None) -> None:
        self.tally = Tally()
        self._use = use or Rules()
        self._chance = Random(seed)
        self._until = hours * 3600.0
        self._domain = self._chance.choice(behaviour.DOMAINS)
        self._resolved = _resolved(self._domain)
        self._providers: tuple[ResolvedProvider, ...] = self._resolved.providers(self._domain)
        self._index = {one.provider_ref: number for number, one in enumerate(self._providers)}
        illnesses = behaviour.spells(self._chance, len(self._providers), self._until)
        self._traffic = behaviour.traffic(self._chance, illnesses, self._until)
        self._rate = 0.0
        self._spells: list[Spell | None] = [None] * len(self._providers)
        self._spell_calls = [0] * len(self._providers)
        self._falls: list[tuple[Spell, float] | None] = [None] * len(self._providers)
        self._offset_s = 0.0
        self._versions = [[(0.0, new_circuit(EPOCH_S))] for _ in self._providers]
        self._dropped = [0] * len(self._providers)
        self._watches = {
            one.provider_ref: checks.CircuitWatch(one.provider_ref, one.circuit, self.tally.violations.append)
            for one in self._providers
        }
        self._watch = list(self._watches.values())
        self._processes = [self._process(share) for share in _SHARES[: self._chance.choice((1, 1, 2, 3))]]
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._arrivals = 0
        for spell in illnesses:
            self._at(spell.start, self._falls_ill, spell)
            self._at(spell.end, self._recovers, spell)
        for step in range(len(self._traffic.starts)):
            self._at(self._traffic.starts[step], self._rate_changes, step)

    def run(self) -> Tally:
        """Simulate to the end."""
        while self._events and self._events[0][0] < self._until:
            at, _, happens, with_what = heappop(self._events)
            happens(at, *with_what)
        tally, watches = self.tally, self._watch
        tally.transitions = sum(watch.transitions for watch in watches)
        tally.trips = sum(watch.trips for watch in watches)
        tally.longest_cooldown_s = max(watch.longest_cooldown_s for watch in watches)
        tally.longest_backoff_s = max(watch.longest_backoff_s for watch in watches)
        return tally

    def _process(self, share: float) -> _Process:
        chance, count = self._chance, len(self._providers)
        return _Process(
            share=share,
            mirror=chance.uniform(0, TICK_S),
            evaluates=chance.uniform(0, TICK_S),
            skew_s=chance.uniform(-0.2, 0.2),
            meters=[_Meter(_Limits.of(one.circuit)) for one in self._providers],
            own=[0] * count,
            seen=[versions[0][1] for versions in self._versions],
            due=[float("inf")] * count,
        )

    def _at(self, at: float, happens: Callable[..., None], *with_what: Any) -> None:
        self._number += 1
        heappush(self._events, (at, self._number, happens, with_what))

    def _wall(self, process: _Process, at: float) -> float:
        return EPOCH_S + at + self._offset_s + process.skew_s

    # What the providers and the callers do.

    def _falls_ill(self, at: float, spell: Spell) -> None:
        self._spells[spell.provider] = spell
        self._spell_calls[spell.provider] = 0
        serves = all(watch.state != CIRCUIT_STATE_CLOSED for watch in self._watch[: spell.provider])
        closed = self._watch[spell.provider].state == CIRCUIT_STATE_CLOSED
        if spell.illness in DOWN and self._rate == RUSH_CALLS_PER_S and serves and closed:
            self._falls[spell.provider] = (spell, at)

    def _recovers(self, at: float, spell: Spell) -> None:
        self._spells[spell.provider] = None
        self._falls[spell.provider] = None

    def _rate_changes(self, at: float, step: int) -> None:
        self._rate = self._traffic.rates[step]
        self._arrivals += 1
        self._next_arrival(at)

    def _next_arrival(self, at: float) -> None:
        if self._rate > 0:
            self._at(at + self._chance.expovariate(self._rate), self._arrives, self._arrivals)

    def _arrives(self, at: float, arrivals: int) -> None:
        if arrivals != self._arrivals:
            return
        self._next_arrival(at)
        awake = [one for one in self._processes if one.paused_until <= at]
        if awake:
            self.tally.calls += 1
            process = self._chance.choices(awake, [one.share for one in awake])[0]
            self._attempt(at, process, self._chance.choice(behaviour.CALLERS), (), 1)

    # What a process does.

    def _attempt(self, at: float, process: _Process, caller: str, tried: tuple[str, ...], attempt: int) -> None:
        circuits = {one.provider_ref: self._view(process, index, at) for index, one in enumerate(self._providers)}
        while True:
            chosen = select(self._resolved, circuits, self._domain, tried=tried)
            if isinstance(chosen, NoProvider):
                self._offer(chosen.refusals, at)
                self.tally.without_provider += 1
                checks.unserved(self._watches, tried, at, self.tally.violations.append)
                return
            index = self._index[chosen.provider.provider_ref]
            self._offer(chosen.passed_over, at)
            if not chosen.probe:
                self._send(at, process, index, caller, tried, attempt, None)
                return
            self._watch[index].offered(at)
            lease_id = self._leased(at, process, index)
            if lease_id is not None:
                self._send(at, process, index, caller, tried, attempt, lease_id)
                return
            tried = (*tried, chosen.provider.provider_ref)

    def _offer(self, passed_over: tuple[tuple[str, Refusal], ...], at: float) -> None:
        for provider_ref, refusal in passed_over:
            if refusal is not Refusal.ALREADY_TRIED:
                self._watches[provider_ref].offered(at)

    def _leased(self, at: float, process: _Process, index: int) -> str | None:
        self._number += 1
        lease_id = str(self._number)
        policy = self._providers[index].circuit
        circuit, granted = self._use.lease(
            self._versions[index][-1][1], lease_id, self._wall(process, at), LEASE_S, policy
        )
        if not granted:
            return None
        self._write(at, process, index, circuit, ())
        self._watch[index].leased(lease_id, at, LEASE_S)
        self.tally.probes += 1
        return lease_id

    def _send(
        self,
        at: float,
        process: _Process,
        index: int,
        caller: str,
        tried: tuple[str, ...],
        attempt: int,
        lease_id: str | None,
    ) -> None:
        self.tally.attempts += 1
        spell = self._spells[index]
        answer = behaviour.reply(spell, self._domain, caller, at, self._spell_calls[index], self._chance)
        self._spell_calls[index] += 1
        fall = self._falls[index]
        if fall is not None and lease_id is None:
            self._falls[index] = (fall[0], at)
        if lease_id is not None and self._chance.random() < _LOST_CHANCE:
            self._watch[index].lost()
            return
        self._at(
            at + answer.latency_ms / 1000, self._ends, process, index, caller, tried, attempt, lease_id, answer, at
        )

    def _ends(
        self,
        at: float,
        process: _Process,
        index: int,
        caller: str,
        tried: tuple[str, ...],
        attempt: int,
        lease_id: str | None,
        answer: Reply,
        began: float,
    ) -> None:
        if process.paused_until > at:
            self._at(process.paused_until, self._ends, process, index, caller, tried, attempt, lease_id, answer, began)
            return
        self._view(process, index, at)
        meter, wall = process.meters[index], self._wall(process, at)
        self._watch[index].answered(at, flawed=answer.flawed)
        # What began before the measures did says nothing about what they are to judge.
        if began >= meter.anew_at:
            meter.record(Call(caller, answer.outcome, answer.latency_ms), answer, self._domain, at, wall)
        failed = answer.outcome is not Outcome.OK
        if lease_id is not None:
            self._watch[index].probed(lease_id, at, answered=not failed)
            before = self._versions[index][-1][1]
            settled = Probe.FAILED if failed else Probe.OK
            circuit, events = self._use.settle(before, lease_id, settled, wall, self._providers[index].circuit)
            if circuit is not before:
                self._write(at, process, index, circuit, events)
        self._plan(at, process, index, self._view(process, index, at))
        if process.seen[index].state != CIRCUIT_STATE_CLOSED or meter.suspicious():
            self._wake(at, process, index)
        if failed and attempt < ATTEMPTS:
            self._attempt(at, process, caller, (*tried, self._providers[index].provider_ref), attempt + 1)

    def _wake(self, at: float, process: _Process, index: int) -> None:
        """Evaluate at the process's first instant from then on."""
        at = max(at, process.paused_until)
        due = ceil((at - process.evaluates) / TICK_S) * TICK_S + process.evaluates
        if due < process.due[index]:
            process.due[index] = due
            self._at(due, self._evaluate, process, index)

    def _evaluate(self, at: float, process: _Process, index: int) -> None:
        if at != process.due[index]:
            return
        process.due[index] = float("inf")
        if process.paused_until > at:
            self._wake(process.paused_until, process, index)
            return
        self.tally.evaluations += 1
        before, wall = self._view(process, index, at), self._wall(process, at)
        meter, policy = process.meters[index], self._providers[index].circuit
        circuit, events = self._use.evaluate(before, meter.windows.measures(wall), wall, policy)
        if circuit is not before:
            if before is not self._versions[index][-1][1]:
                self._wake(at + TICK_S / 2, process, index)
                return
            self._write(at, process, index, circuit, events)
        self._plan(at, process, index, circuit)

    def _plan(self, at: float, process: _Process, index: int, circuit: Circuit) -> None:
        """Wake at the next instant at which time alone may change something."""
        wall, policy, meter = self._wall(process, at), self._providers[index].circuit, process.meters[index]
        times: list[float] = []
        if circuit.state == CIRCUIT_STATE_OPEN:
            times.append(max(circuit.retry_at or 0.0, wall))
        elif circuit.state == CIRCUIT_STATE_HALF_OPEN:
            times += [circuit.window_from + policy.window_s, circuit.told_at + policy.window_s]
            times += [each.expires_at for each in circuit.leases]
        else:
            if circuit.trips:
                times.append(circuit.decayed_at + policy.max_cooldown_s)
            if any(circuit.streaks) or meter.may_be_slow(at):
                ended = max(0.0, (wall - circuit.window_from) // policy.window_s)
                left_s = circuit.window_from + (ended + 1) * policy.window_s - wall
                # Whoever comes first ends the window for all, those included that have seen no call.
                for one in self._processes:
                    self._wake(at + left_s + process.skew_s - one.skew_s + 1e-6, one, index)
            if meter.suspicious():
                expiry = meter.next_expiry(wall)
                times += [] if expiry is None else [expiry]
        ahead = [one for one in times if one > wall or circuit.state == CIRCUIT_STATE_OPEN]
        if ahead:
            self._wake(at + min(ahead) - wall + 1e-6, process, index)

    def _view(self, process: _Process, index: int, at: float) -> Circuit:
        """The circuit as the process knows it: as its mirror last read it, or newer where it wrote itself."""
        versions = self._versions[index]
        read = floor((at - process.mirror) / TICK_S) * TICK_S + process.mirror
        place = len(versions) - 1
        while place > 0 and versions[place][0] > read and place + self._dropped[index] > process.own[index]:
            place -= 1
        process.own[index] = place + self._dropped[index]
        circuit, before = versions[place][1], process.seen[index]
        if circuit is not before:
            process.seen[index] = circuit
            if self._use.measures_start_anew(before, circuit):
                process.meters[index].reset(at)
        return circuit

    def _write(self, at: float, process: _Process, index: int, circuit: Circuit, events: tuple[Any, ...]) -> None:
        versions = self._versions[index]
        versions.append((at, circuit))
        if len(versions) > 512:
            self._dropped[index] += 256
            del versions[:256]
        process.own[index] = len(versions) - 1 + self._dropped[index]
        self._view(process, index, at)
        for event in events:
            fall = self._falls[index]
            if fall is not None and event.after == CIRCUIT_STATE_OPEN:
                self._at(at + 2 * TICK_S, self._out_of_rotation, index, fall[0])
            self._watch[index].moved(circuit, event, at)
            self._disturb(at)
        for one in self._processes:
            if (one is not process and (events or circuit.state != CIRCUIT_STATE_CLOSED)) or one is process:
                self._wake(at + TICK_S, one, index)

    def _out_of_rotation(self, at: float, index: int, spell: Spell) -> None:
        fall = self._falls[index]
        if fall is not None and fall[0] is spell:
            self.tally.falls.append(Fall(spell.illness, len(self._processes), fall[1] - spell.start))
            self._falls[index] = None

    # What happens to the machines.

    def _disturb(self, at: float) -> None:
        drawn = self._chance.random()
        if drawn < _JUMP_CHANCE:
            self._at(at + self._chance.uniform(0, 150), self._clock_jumps, self._chance.choice(_JUMPS_S))
        elif drawn < _JUMP_CHANCE + _PAUSE_CHANCE:
            self._at(at + self._chance.uniform(0, 150), self._pauses, self._chance.uniform(5, 600))

    def _clock_jumps(self, at: float, by_s: float) -> None:
        self._offset_s += by_s
        self.tally.jumps += 1
        for watch in self._watch:
            watch.jumped(by_s)
        self._wake_all(at)

    def _pauses(self, at: float, for_s: float) -> None:
        process = self._chance.choice(self._processes)
        process.paused_until = max(process.paused_until, at + for_s)
        self.tally.pauses += 1
        for watch in self._watch:
            watch.paused(for_s)
        self._wake_all(at + for_s)

    def _wake_all(self, at: float) -> None:
        for process in self._processes:
            for index in range(len(self._providers)):
                self._at(at, self._wake, process, index)


def _resolved(domain: Domain) -> Resolved:
    """The default profile with three providers of the domain."""
    seeds = [
        ProviderSeed(provider_ref=ref, region="local", timeout_s=behaviour.TIMEOUT_S, kms_handle_ref="")
        for ref in ("simulated/first", "simulated/second", "simulated/third")
    ]
    profile = default_profile(
        {domain: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="judge-thresholds-1"
    )
    resolved = compile_profile(profile, RoutingSubject(tenant_id="tenant"))
    if not isinstance(resolved, Resolved):
        raise ValueError(resolved.code)
    return resolved
