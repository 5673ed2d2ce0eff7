"""What must never happen to a circuit, seen from outside: observers that are told what happened and when.

They know §24 (cooldown, doubling, decay, probes) by themselves and nothing of how the rules keep it. Times are true
seconds, which no clock set forward or back changes; what a jump or a pause of processes excuses is told to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    MEASURE_P95_LATENCY_5M,
    CircuitState,
)

from servers.routing.circuit import ATTEMPTS_PER_PROBE, Circuit, Event, Reason
from servers.routing.thresholds import CircuitPolicy

# Clocks of processes differ by less, in this simulation.
SKEW_S = 0.5
# Between two offers of a call no more than this counts as time in which a circuit could have moved.
OFFER_GAP_S = 60.0
# A view is up to 250 ms old, and a process evaluates every 250 ms.
VIEW_LAG_S = 0.6
# So many minutes in a row, each with so many bad answers and none good: three windows in a row would have told.
_ILL_MINUTES, _ILL_ANSWERS = 7, 10
_NOT_TRIPS = frozenset({Reason.PROBES_UNTOLD, Reason.RETURN_RULE_UNPROVEN})


class Check(StrEnum):
    """What is checked."""

    FLAP = "FLAP"
    SURPLUS_PROBE = "SURPLUS_PROBE"
    UNPROVEN_RETURN = "UNPROVEN_RETURN"
    STUCK = "STUCK"
    BACKOFF_BEYOND = "BACKOFF_BEYOND"
    TRIP_WITHOUT_FLAW = "TRIP_WITHOUT_FLAW"
    UNSERVED = "UNSERVED"
    KEPT_ILL = "KEPT_ILL"


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not happen; `at` is true seconds from the beginning."""

    check: Check
    provider: str
    at: float
    detail: str


Found = Callable[[Violation], None]


class CircuitWatch:
    """Watches one circuit, shared by however many processes."""

    def __init__(self, provider: str, policy: CircuitPolicy, found: Found) -> None:
        self.longest_cooldown_s = 0.0
        self.longest_backoff_s = 0.0
        self.trips = 0
        self.transitions = 0
        self._provider = provider
        self._policy = policy
        self._found = found
        self._judges_latency = any(rule.measure == MEASURE_P95_LATENCY_5M for rule in policy.open_when)
        self._state: CircuitState = CIRCUIT_STATE_CLOSED
        self._entered = 0.0
        self._forward_s = 0.0
        self._excused_s = 0.0
        self._doublings = 0
        self._cooldown_s = 0.0
        self._flaws = 0
        self._ill_minutes = self._ill_answers = 0
        self._ill_minute = 0
        self._under_way: dict[str, float] = {}
        self._issued = self._told = 0
        self._offer_at: float | None = None
        self._offered_s = self._well_s = 0.0
        self._stuck = False

    @property
    def state(self) -> CircuitState:
        return self._state

    def closed_for(self, at: float) -> float:
        """Seconds that it has been closed; 0 where it is not."""
        return at - self._entered if self._state == CIRCUIT_STATE_CLOSED else 0.0

    def jumped(self, by_s: float) -> None:
        """Every clock was set forward or, negative, back: a wait may end early, or begin again."""
        if by_s >= 0:
            self._forward_s += by_s
            self._under_way = {lease_id: until - by_s for lease_id, until in self._under_way.items()}
        else:
            self.paused(self._policy.max_cooldown_s + OFFER_GAP_S)

    def paused(self, for_s: float) -> None:
        """Nobody may have evaluated for so long."""
        self._excused_s += for_s
        self._well_s = 0.0
        self._got_better()

    def answered(self, at: float, *, flawed: bool) -> None:
        """A call to the provider has ended."""
        if not flawed:
            self._got_better()
            return
        self._flaws += 1
        self._well_s = 0.0
        if self._state != CIRCUIT_STATE_CLOSED or not self._judges_latency:
            return
        minute = int(at // 60)
        if minute != self._ill_minute:
            in_a_row = minute == self._ill_minute + 1 and self._ill_answers >= _ILL_ANSWERS
            self._ill_minutes = self._ill_minutes + 1 if in_a_row else 0
            self._ill_minute, self._ill_answers = minute, 0
        self._ill_answers += 1
        if self._ill_minutes >= _ILL_MINUTES:
            self._violated(Check.KEPT_ILL, at, f"no good answer for {self._ill_minutes} min")
            self._got_better()

    def _got_better(self) -> None:
        self._ill_minutes = self._ill_answers = 0

    def leased(self, lease_id: str, at: float, ttl_s: float) -> None:
        """A probe goes out."""
        self._under_way = {one: until for one, until in self._under_way.items() if until > at + SKEW_S}
        self._under_way[lease_id] = at + ttl_s
        self._issued += 1
        most = self._policy.probes
        if self._told + len(self._under_way) > most:
            self._violated(Check.SURPLUS_PROBE, at, f"{self._told} told, {len(self._under_way)} under way of {most}")
        if self._issued > ATTEMPTS_PER_PROBE * most:
            self._violated(Check.SURPLUS_PROBE, at, f"attempt {self._issued}")

    def probed(self, lease_id: str, at: float, *, answered: bool) -> None:
        """A probe has ended; one that was lost never does."""
        if self._under_way.pop(lease_id, at) > at and answered:
            self._told += 1

    def lost(self) -> None:
        """A probe will never end."""
        self._well_s = 0.0

    def offered(self, at: float) -> None:
        """A call came that this circuit had the first refusal of, or that it was passed over for."""
        gap = 0.0 if self._offer_at is None else min(at - self._offer_at, OFFER_GAP_S)
        self._offer_at = at
        if self._state == CIRCUIT_STATE_CLOSED:
            return
        self._well_s += gap
        if self._state == CIRCUIT_STATE_HALF_OPEN:
            self._offered_s += gap
            self._held_up(self._offered_s, self._longest_half_open_s(), at, "half-open under traffic")
        else:
            self._held_up(at - self._entered, self._policy.max_cooldown_s, at, "open")
        recovery_s = self._policy.max_cooldown_s + (self._policy.probes + 4) * OFFER_GAP_S
        self._held_up(self._well_s, recovery_s, at, "not closed although healthy")

    def moved(self, circuit: Circuit, event: Event, at: float) -> None:
        """A transition; `circuit` is what came of it."""
        self.transitions += 1
        spent = at - self._entered
        if event.before == CIRCUIT_STATE_OPEN:
            self._cooled_down(spent, at)
        if event.after == CIRCUIT_STATE_OPEN:
            self._opened(circuit, event, spent, at)
        if event.after == CIRCUIT_STATE_CLOSED and self._told != self._policy.probes:
            self._violated(Check.UNPROVEN_RETURN, at, f"{self._told} of {self._policy.probes} probes told")
        if event.after == CIRCUIT_STATE_HALF_OPEN:
            self._flaws = self._issued = self._told = 0
            self._under_way = {}
        if event.after == CIRCUIT_STATE_CLOSED:
            self._well_s = 0.0
        self._state, self._entered = event.after, at
        self._forward_s = self._excused_s = self._offered_s = 0.0
        self._offer_at, self._stuck = None, False
        self._got_better()

    def _cooled_down(self, spent: float, at: float) -> None:
        self.longest_cooldown_s = max(self.longest_cooldown_s, spent)
        if spent + self._forward_s < self._cooldown_s - SKEW_S:
            self._violated(Check.FLAP, at, f"open for {spent:.1f} s of {self._cooldown_s:.0f}")
        self._held_up(spent, self._policy.max_cooldown_s, at, "open")

    def _opened(self, circuit: Circuit, event: Event, spent: float, at: float) -> None:
        policy = self._policy
        if event.reason not in _NOT_TRIPS:
            self.trips += 1
            if event.before == CIRCUIT_STATE_CLOSED:
                decays = int((spent + self._forward_s + SKEW_S) // policy.max_cooldown_s)
                self._doublings = max(0, self._doublings - decays)
            self._doublings += 1
            if self._flaws == 0:
                self._violated(Check.TRIP_WITHOUT_FLAW, at, event.reason)
        self._cooldown_s = min(policy.cooldown_s * 2 ** min(max(self._doublings, 1) - 1, 32), policy.max_cooldown_s)
        backoff_s = (circuit.retry_at or event.at) - event.at
        self.longest_backoff_s = max(self.longest_backoff_s, backoff_s)
        if backoff_s > policy.max_cooldown_s:
            self._violated(Check.BACKOFF_BEYOND, at, f"{backoff_s:.0f} s")

    def _longest_half_open_s(self) -> float:
        return (ATTEMPTS_PER_PROBE * self._policy.probes + 4) * OFFER_GAP_S

    def _held_up(self, spent: float, most: float, at: float, what: str) -> None:
        if spent > most + self._excused_s + 2 * VIEW_LAG_S and not self._stuck:
            self._stuck = True
            self._violated(Check.STUCK, at, f"{what} for {spent:.0f} s")

    def _violated(self, check: Check, at: float, detail: str) -> None:
        self._found(Violation(check, self._provider, at, detail))


def unserved(watches: Mapping[str, CircuitWatch], tried: Collection[str], at: float, found: Found) -> None:
    """A call was told that there is nobody. That is wrong where a circuit was closed for longer than views lag."""
    for provider, watch in watches.items():
        if provider not in tried and watch.closed_for(at) > VIEW_LAG_S:
            found(Violation(Check.UNSERVED, provider, at, f"closed for {watch.closed_for(at):.1f} s"))
