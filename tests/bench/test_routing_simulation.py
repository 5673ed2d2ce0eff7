"""The checks of the simulation can fail: each broken rule is caught by the check that is about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from selene.routing.v1 import routing_pb2 as v1

from bench.routing import simulation
from bench.routing.checks import Check, CircuitWatch, Violation, unserved
from bench.routing.world import Rules, World
from servers.routing import circuit as rules
from servers.routing.circuit import Circuit, Event, Probe, Step, new_circuit
from servers.routing.defaults import DEFAULTS
from servers.routing.thresholds import CircuitPolicy
from servers.routing.windows import Measures

CLOSED, OPEN, HALF_OPEN = v1.CIRCUIT_STATE_CLOSED, v1.CIRCUIT_STATE_OPEN, v1.CIRCUIT_STATE_HALF_OPEN
STT = DEFAULTS[v1.DOMAIN_STT].policy


def _opens_for(step: Step, cooldown_s: float) -> Step:
    circuit, events = step
    opened = any(event.after == OPEN for event in events)
    return (replace(circuit, retry_at=circuit.since + cooldown_s), events) if opened else step


def _forgets_doubling() -> Rules:
    def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
        return _opens_for(rules.evaluate(circuit, measures, now, policy), policy.cooldown_s)

    def settle(circuit: Circuit, lease_id: str, probe: Probe, now: float, policy: CircuitPolicy) -> Step:
        return _opens_for(rules.settle(circuit, lease_id, probe, now, policy), policy.cooldown_s)

    return Rules(evaluate=evaluate, settle=settle)


def _doubles_without_end() -> Rules:
    def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
        return _opens_for(rules.evaluate(circuit, measures, now, policy), 1000.0)

    return Rules(evaluate=evaluate)


def _counts_no_probe() -> Rules:
    def lease(circuit: Circuit, lease_id: str, now: float, ttl_s: float, policy: CircuitPolicy) -> tuple[Circuit, bool]:
        leased, granted = rules.lease(replace(circuit, leases=(), told=0), lease_id, now, ttl_s, policy)
        if not granted:
            return circuit, False
        return replace(leased, leases=(*circuit.leases, *leased.leases), told=circuit.told), True

    return Rules(lease=lease)


def _returns_on_one_probe() -> Rules:
    def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
        if circuit.state == HALF_OPEN and circuit.told:
            closed = replace(new_circuit(now), trips=circuit.trips)
            return closed, (Event(HALF_OPEN, CLOSED, rules.Reason.RETURN_RULE_MET, now),)
        return rules.evaluate(circuit, measures, now, policy)

    return Rules(evaluate=evaluate)


def _never_returns() -> Rules:
    def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
        if circuit.state == HALF_OPEN:
            return circuit, ()
        return rules.evaluate(circuit, measures, now, policy)

    return Rules(evaluate=evaluate)


def _never_minds_slowness() -> Rules:
    def evaluate(circuit: Circuit, measures: Measures, now: float, policy: CircuitPolicy) -> Step:
        fast = {measure: one for measure, one in measures.readings.items() if measure != v1.MEASURE_P95_LATENCY_5M}
        return rules.evaluate(
            circuit, measures if circuit.state == HALF_OPEN else replace(measures, readings=fast), now, policy
        )

    return Rules(evaluate=evaluate)


def _remembers_from_before_the_probes() -> Rules:
    return Rules(measures_start_anew=lambda before, after: False)


@pytest.mark.parametrize(
    ("broken", "check", "seed"),
    [
        (_forgets_doubling, Check.FLAP, 1),
        (_doubles_without_end, Check.BACKOFF_BEYOND, 0),
        (_counts_no_probe, Check.SURPLUS_PROBE, 12),
        (_returns_on_one_probe, Check.UNPROVEN_RETURN, 0),
        (_never_returns, Check.STUCK, 0),
        (_never_minds_slowness, Check.KEPT_ILL, 169),
        (_remembers_from_before_the_probes, Check.TRIP_WITHOUT_FLAW, 0),
    ],
)
def test_a_broken_rule_is_caught_within_a_day(broken, check, seed):
    kept = World(seed, hours=24).run().violations
    found = World(seed, hours=24, use=broken()).run().violations
    assert kept == []
    assert check in {violation.check for violation in found}


@pytest.mark.parametrize(("tried", "closed_for", "count"), [((), 0.2, 0), ((), 5.0, 1), (("p",), 5.0, 0)])
def test_a_call_is_wrongly_unserved_only_by_a_circuit_that_views_show_closed(tried, closed_for, count):
    found: list[Violation] = []
    unserved({"p": CircuitWatch("p", STT, found.append)}, tried, closed_for, found.append)
    assert [violation.check for violation in found] == [Check.UNSERVED] * count


def _opened(watch: CircuitWatch, at: float) -> None:
    watch.answered(at, flawed=True)
    event = Event(CLOSED, OPEN, rules.Reason.CONSECUTIVE_FAILURES, at)
    watch.moved(replace(new_circuit(at), state=OPEN, retry_at=at + STT.cooldown_s), event, at)


@pytest.mark.parametrize(("left_at", "jump_s", "flaps"), [(219.0, 0, 1), (220.0, 0, 0), (110.0, 7200, 0)])
def test_a_cooldown_may_end_early_only_by_a_clock_set_forward(left_at, jump_s, flaps):
    found: list[Violation] = []
    watch = CircuitWatch("p", STT, found.append)
    _opened(watch, 100.0)
    watch.jumped(jump_s)
    watch.moved(new_circuit(left_at), Event(OPEN, HALF_OPEN, rules.Reason.COOLDOWN_OVER, left_at), left_at)
    assert [violation.check for violation in found] == [Check.FLAP] * flaps


def test_a_violation_is_reported_with_its_seed_and_time_and_misses_its_target():
    world = World(3, hours=1)
    tally = world.run()
    tally.violations.append(Violation(Check.STUCK, "p", 12.5, "open"))
    report = simulation._report(1.0, [(3, tally)])
    assert [target.name for target in report.targets if not target.met] == [simulation._CHECKED[Check.STUCK]]
    assert report.data["violations"] == [{"seed": 3, "check": "STUCK", "provider": "p", "at": 12.5, "detail": "open"}]
    assert report.tables[-1].rows[0][1:3] == ["3", "12.50"]


def test_every_check_has_a_target():
    assert set(simulation._CHECKED) == set(Check)
