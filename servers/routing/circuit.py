"""The circuit of one provider (§24, RTE-4, RTE-5): a transition table over what is measured.

It is evaluated every 250 ms or so, never by the calls themselves.

CLOSED opens when any open rule holds. A rule of one window is judged at every evaluation, a rule of more at the end of
each evaluation window; a window that nobody evaluated breaks the row. 25 failures in a row open it at once, beyond the
rates of §24: a rate needs `min_samples` and would keep a dead provider in rotation until it has them. So do 12 calls
that wait longer than twice p95 (half a second at least) while nobody was answered since the first of them began: a
provider that has gone silent is left long before its time-outs tell.

Some providers only seemed silent: what they are asked for takes longer from now on. No rule of §24 has opened such a
circuit, so none keeps it open: it returns although its latency is more than what returns traffic, as long as it is not
what opens a circuit.

OPEN lasts its cooldown, whatever is measured: the profile's for the first trip, doubled by each further one, never
longer than `max_cooldown_s`; nothing trips an open circuit, so nothing shortens what it has left. Decay: every whole
`max_cooldown_s` that a circuit stays closed takes one trip back, thus one doubling.

HALF_OPEN lets through `probes` leased calls in all, spread evenly over the windows of the return rule. It closes after
so many windows in a row in which the probes so far were all answered and every return rule held. A failed probe opens
it again at once for twice as long, and so does a return rule that does not hold. A probe that tells nothing (cancelled,
or its lease ran out) gives its place back; after four attempts a probe, or when for a window after the last of them no
evaluation had measures that speak, the circuit opens for as long as before: nothing is known against the provider.

FORCED_OPEN and FORCED_CLOSED last until an operator releases them: then into what is left of a cooldown, else through
probes out of FORCED_OPEN and straight into CLOSED out of FORCED_CLOSED.

Every process that keeps measures forgets them where `measures_start_anew` says so. A process that saw none of the
probes has nothing to say about them, and leaves it to those that did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    COMPARISON_EQUAL,
    COMPARISON_LESS_THAN,
    MEASURE_P95_LATENCY_5M,
    CircuitState,
    Measure,
)

from servers.routing.thresholds import CircuitPolicy, Threshold, compared, held
from servers.routing.windows import Measures

CONSECUTIVE_FAILURES = 25
OVERDUE_CALLS = 12
ATTEMPTS_PER_PROBE = 4
# Clocks of processes that share a circuit differ by less; a time further back is a clock that was set back.
CLOCK_SKEW_S = 60.0

_REASON = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


class Reason(StrEnum):
    """Why a circuit stands where it stands; an open rule's is its measure with _HIGH, _LOW or _EQUAL, and an
    operator's the operator's own.
    """

    NEVER_OPENED = "NEVER_OPENED"
    CONSECUTIVE_FAILURES = "CONSECUTIVE_FAILURES"
    SILENT = "SILENT"
    COOLDOWN_OVER = "COOLDOWN_OVER"
    PROBE_FAILED = "PROBE_FAILED"
    PROBES_UNTOLD = "PROBES_UNTOLD"
    RETURN_RULE_MET = "RETURN_RULE_MET"
    RETURN_RULE_UNMET = "RETURN_RULE_UNMET"
    RETURN_RULE_UNPROVEN = "RETURN_RULE_UNPROVEN"
    COOLDOWN_NOT_OVER = "COOLDOWN_NOT_OVER"


class Probe(StrEnum):
    """What became of a leased probe."""

    OK = "OK"
    FAILED = "FAILED"
    UNTOLD = "UNTOLD"


@dataclass(frozen=True, slots=True)
class Lease:
    """A probe under way."""

    lease_id: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """State of a circuit; times are seconds since the epoch.

    `streaks` counts, by open rule, the windows in a row in which it held. Since it became half-open `issued` leases
    have been given, the last at `leased_at`, and `told` probes answered, the last at `told_at`; `window_proven` says
    that this window's probes were healthy. `silent` says that it was closed until its provider fell silent.
    """

    state: CircuitState = CIRCUIT_STATE_CLOSED
    reason: str = Reason.NEVER_OPENED
    since: float
    retry_at: float | None = None
    trips: int = 0
    window_from: float
    streaks: tuple[int, ...] = ()
    decayed_at: float
    leases: tuple[Lease, ...] = ()
    leased_at: float = 0.0
    told: int = 0
    told_at: float = 0.0
    issued: int = 0
    healthy_windows: int = 0
    window_proven: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A transition, for the audit trail."""

    before: CircuitState
    after: CircuitState
    reason: str
    at: float


Step = tuple[Circuit, tuple[Event, ...]]


def new_circuit(now: float) -> Circuit:
    """A circuit that has never opened."""
    return Circuit(since=now, window_from=now, decayed_at=now)


def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
    """The circuit now, and what happened on the way. Unchanged circuits come back as they are."""
    circuit = _clock_set_back(circuit, now)
    if circuit.state == CIRCUIT_STATE_CLOSED:
        return _watched(circuit, measures, now, policy)
    if circuit.state == CIRCUIT_STATE_HALF_OPEN:
        return _proved(without_expired(circuit, now), measures, now, policy)
    if circuit.state == CIRCUIT_STATE_OPEN and now >= (circuit.retry_at or 0.0):
        return _half_opened(circuit, Reason.COOLDOWN_OVER, now)
    return circuit, ()


def measures_start_anew(before: Circuit, after: Circuit) -> bool:
    """Whether a process that knew `before` and now sees `after` must forget what it measured: the circuit has been
    half-open meanwhile, or is, and probes are judged by themselves. For processes that look at a shared circuit now
    and then and miss its events; nothing is lost where it closes, since every probe that was answered was good.
    """
    lets_through = after.state in (CIRCUIT_STATE_HALF_OPEN, CIRCUIT_STATE_CLOSED)
    return lets_through and (after.state != before.state or after.since > before.since)


def lease(circuit: Circuit, lease_id: str, now: float, ttl_s: float, policy: CircuitPolicy) -> tuple[Circuit, bool]:
    """Ask for a probe. `ttl_s` outlasts the attempt's timeout; one that is never settled then gives its place back."""
    circuit = without_expired(_clock_set_back(circuit, now), now)
    if any(held_lease.lease_id == lease_id for held_lease in circuit.leases) or not probe_free(circuit, policy):
        return circuit, False
    leases = (*circuit.leases, Lease(lease_id, now + ttl_s))
    return replace(circuit, leases=leases, leased_at=now, issued=circuit.issued + 1), True


def probe_free(circuit: Circuit, policy: CircuitPolicy) -> bool:
    """Whether a probe may be leased: half-open, and this window's share is neither under way nor answered."""
    return (
        circuit.state == CIRCUIT_STATE_HALF_OPEN
        and circuit.issued < ATTEMPTS_PER_PROBE * policy.probes
        and len(circuit.leases) + circuit.told < _share(circuit, policy)
    )


def settle(circuit: Circuit, lease_id: str, probe: Probe, now: float, policy: CircuitPolicy) -> Step:
    """A leased probe has ended. One whose lease is gone (expired, or of an earlier half-open spell) tells nothing."""
    leases = tuple(held_lease for held_lease in circuit.leases if held_lease.lease_id != lease_id)
    if circuit.state != CIRCUIT_STATE_HALF_OPEN or len(leases) == len(circuit.leases):
        return circuit, ()
    circuit = _clock_set_back(replace(circuit, leases=leases), now)
    match probe:
        case Probe.OK:
            return replace(circuit, told=circuit.told + 1, told_at=now), ()
        case Probe.FAILED:
            return _tripped(circuit, Reason.PROBE_FAILED, now, policy)
        case Probe.UNTOLD:
            return circuit, ()


def force_open(circuit: Circuit, reason: str, now: float) -> Step:
    """An operator keeps it open. Raises ValueError for a reason that is no code."""
    return _moved(circuit, CIRCUIT_STATE_FORCED_OPEN, _operator_reason(reason), now)


def force_close(circuit: Circuit, reason: str, now: float) -> Step:
    """An operator keeps it closed, whatever is measured. Raises ValueError for a reason that is no code."""
    return _moved(circuit, CIRCUIT_STATE_FORCED_CLOSED, _operator_reason(reason), now)


def release(circuit: Circuit, reason: str, now: float) -> Step:
    """The rules decide again; nothing happens where they do already. Raises ValueError for a reason that is no code."""
    code = _operator_reason(reason)
    circuit = _clock_set_back(circuit, now)
    if circuit.state not in (CIRCUIT_STATE_FORCED_OPEN, CIRCUIT_STATE_FORCED_CLOSED):
        return circuit, ()
    if circuit.retry_at is not None and now < circuit.retry_at:
        return _moved(circuit, CIRCUIT_STATE_OPEN, Reason.COOLDOWN_NOT_OVER, now)
    if circuit.state == CIRCUIT_STATE_FORCED_OPEN:
        return _half_opened(circuit, code, now)
    return _moved(replace(circuit, retry_at=None), CIRCUIT_STATE_CLOSED, code, now)


def cooldown_s(policy: CircuitPolicy, trips: int) -> float:
    """The cooldown of the given trip, from 1."""
    factor: int = 1 << min(max(trips, 1) - 1, 32)
    return min(policy.cooldown_s * factor, max(policy.max_cooldown_s, policy.cooldown_s))


def rule_reason(rule: Threshold) -> str:
    """The reason code of an open rule, such as `ERROR_RATE_60S_HIGH`."""
    name = Measure.Name(rule.measure).removeprefix("MEASURE_")
    if rule.comparison == COMPARISON_LESS_THAN:
        return f"{name}_LOW"
    return f"{name}_EQUAL" if rule.comparison == COMPARISON_EQUAL else f"{name}_HIGH"


def _watched(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
    if measures.consecutive_failures >= CONSECUTIVE_FAILURES:
        return _tripped(circuit, Reason.CONSECUTIVE_FAILURES, now, policy)
    if measures.overdue >= OVERDUE_CALLS:
        return _tripped(replace(circuit, silent=True), Reason.SILENT, now, policy)
    circuit = _decayed(_counted(circuit, measures, now, policy), now, policy)
    for rule, streak in zip(policy.open_when, _streaks(circuit, policy), strict=True):
        at_once = rule.windows == 1 and held(rule, measures.readings.get(rule.measure))
        if at_once or (rule.windows > 1 and streak >= rule.windows):
            return _tripped(circuit, rule_reason(rule), now, policy)
    return circuit, ()


def _counted(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Circuit:
    """The streaks after the windows that have ended. A process that has too few calls to judge any of them leaves the
    end of the window to those that have enough.
    """
    ended = int((now - circuit.window_from) // policy.window_s)
    if ended < 1:
        return circuit
    verdicts = [
        held(rule, measures.readings.get(rule.measure)) if rule.windows > 1 else None for rule in policy.open_when
    ]
    if all(verdict is None for verdict in verdicts):
        return circuit
    before = _streaks(circuit, policy) if ended == 1 else (0,) * len(policy.open_when)
    streaks = tuple(streak + 1 if verdict else 0 for verdict, streak in zip(verdicts, before, strict=True))
    return replace(circuit, streaks=streaks, window_from=circuit.window_from + ended * policy.window_s)


def _streaks(circuit: Circuit, policy: CircuitPolicy) -> tuple[int, ...]:
    known = len(circuit.streaks) == len(policy.open_when)
    return circuit.streaks if known else (0,) * len(policy.open_when)


def _decayed(circuit: Circuit, now: float, policy: CircuitPolicy) -> Circuit:
    spells = int((now - circuit.decayed_at) // policy.max_cooldown_s)
    if circuit.trips == 0 or spells < 1:
        return circuit
    decayed_at = circuit.decayed_at + spells * policy.max_cooldown_s
    return replace(circuit, trips=max(0, circuit.trips - spells), decayed_at=decayed_at)


def _proved(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
    if not circuit.window_proven:
        if circuit.told < _share(circuit, policy):
            spent = circuit.issued >= ATTEMPTS_PER_PROBE * policy.probes and not circuit.leases
            return _opened(circuit, Reason.PROBES_UNTOLD, now, policy) if spent else (circuit, ())
        verdicts = [_returns(rule, circuit, measures, policy) for rule in policy.return_when]
        if False in verdicts:
            return _tripped(circuit, Reason.RETURN_RULE_UNMET, now, policy)
        if None in verdicts:
            unproven = now >= circuit.told_at + policy.window_s
            return _opened(circuit, Reason.RETURN_RULE_UNPROVEN, now, policy) if unproven else (circuit, ())
        circuit = replace(circuit, window_proven=True)
    if now < circuit.window_from + policy.window_s:
        return circuit, ()
    circuit = replace(circuit, healthy_windows=circuit.healthy_windows + 1, window_proven=False, window_from=now)
    if circuit.healthy_windows < policy.return_windows:
        return circuit, ()
    return _moved(replace(circuit, retry_at=None), CIRCUIT_STATE_CLOSED, Reason.RETURN_RULE_MET, now)


def _returns(rule: Threshold, circuit: Circuit, measures: Measures, policy: CircuitPolicy) -> bool | None:
    reading = measures.readings.get(rule.measure)
    verdict = held(rule, reading)
    if verdict is not False or reading is None or not circuit.silent or rule.measure != MEASURE_P95_LATENCY_5M:
        return verdict
    opening = (each for each in policy.open_when if each.measure == rule.measure)
    return not any(compared(each.comparison, reading.value, each.limit) for each in opening)


def _share(circuit: Circuit, policy: CircuitPolicy) -> int:
    """Probes up to and with this window: of 5 over two windows 3, then 5."""
    windows = policy.return_windows
    return -(-policy.probes * min(circuit.healthy_windows + 1, windows) // windows)


def _tripped(circuit: Circuit, reason: str, now: float, policy: CircuitPolicy) -> Step:
    return _opened(replace(circuit, trips=circuit.trips + 1), reason, now, policy)


def _opened(circuit: Circuit, reason: str, now: float, policy: CircuitPolicy) -> Step:
    opened = replace(circuit, retry_at=now + cooldown_s(policy, circuit.trips))
    return _moved(opened, CIRCUIT_STATE_OPEN, reason, now)


def _half_opened(circuit: Circuit, reason: str, now: float) -> Step:
    return _moved(replace(circuit, retry_at=None), CIRCUIT_STATE_HALF_OPEN, reason, now)


def _moved(circuit: Circuit, state: CircuitState, reason: str, now: float) -> Step:
    """Into a state, with nothing left of what was counted in the one before."""
    moved = Circuit(
        state=state,
        reason=str(reason),
        since=now,
        retry_at=circuit.retry_at,
        trips=circuit.trips,
        window_from=now,
        decayed_at=now,
        silent=circuit.silent and state != CIRCUIT_STATE_CLOSED,
    )
    return moved, (Event(circuit.state, state, str(reason), now),)


def without_expired(circuit: Circuit, now: float) -> Circuit:
    """Without the leases that ran out: their places are free again."""
    leases = tuple(held_lease for held_lease in circuit.leases if held_lease.expires_at > now)
    return circuit if len(leases) == len(circuit.leases) else replace(circuit, leases=leases)


def _clock_set_back(circuit: Circuit, now: float) -> Circuit:
    """Where the clock was set back every time of the circuit goes back with it, and all that is left to wait stays.
    Whatever the circuit has seen last tells that it was, however long ago it came into its state.
    """
    seen = (circuit.since, circuit.window_from, circuit.decayed_at, circuit.leased_at, circuit.told_at)
    back = max(seen) - now
    if back <= CLOCK_SKEW_S:
        return circuit
    return replace(
        circuit,
        since=circuit.since - back,
        retry_at=None if circuit.retry_at is None else circuit.retry_at - back,
        window_from=circuit.window_from - back,
        decayed_at=circuit.decayed_at - back,
        leased_at=circuit.leased_at - back,
        told_at=circuit.told_at - back,
        leases=tuple(Lease(each.lease_id, each.expires_at - back) for each in circuit.leases),
    )


def _operator_reason(reason: str) -> str:
    if not _REASON.fullmatch(reason):
        raise ValueError("a reason is a code in UPPER_SNAKE_CASE, 2 to 64 characters")
    return reason
