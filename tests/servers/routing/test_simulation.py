"""Many hours of one provider, simulated by seed: outages, noise, lost probes."""

import random

import pytest
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.circuit import Probe, evaluate, lease, new_circuit, settle
from servers.routing.defaults import DEFAULTS
from servers.routing.windows import Call, Outcome, Windows

CLOSED, OPEN, HALF_OPEN = v1.CIRCUIT_STATE_CLOSED, v1.CIRCUIT_STATE_OPEN, v1.CIRCUIT_STATE_HALF_OPEN
HOURS, TICK_S, LEASE_S = 8, 5.0, 20.0
# A cooldown of 900 s; every attempt's lease lost, and two windows proven and over.
LONGEST_S = {OPEN: 900.0 + TICK_S, HALF_OPEN: 20 * LEASE_S + 4 * 60.0 + 4 * TICK_S}


@pytest.mark.parametrize("domain", [v1.DOMAIN_STT, v1.DOMAIN_LLM, v1.DOMAIN_SMS])
@pytest.mark.parametrize("seed", range(3))
def test_no_flap_no_surplus_probe_and_no_state_that_nothing_leaves(domain, seed):
    chance, policy = random.Random(seed), DEFAULTS[domain].policy
    windows, circuit, now = Windows(), new_circuit(0.0), 0.0
    entered, opened, told, seen = 0.0, None, 0, {CLOSED}
    ill_until, next_illness, number = 0.0, 600.0, 0
    while now < HOURS * 3600:
        now += TICK_S
        if now >= next_illness:
            ill_until = now + chance.uniform(30, 2400)
            next_illness = ill_until + chance.uniform(60, 7200)
        ill = now < ill_until
        events = []
        for _ in range(chance.randint(1, 4)):
            number += 1
            failed = chance.random() < (0.9 if ill else 0.001)
            outcome = Outcome.ERROR if failed else Outcome.OK
            call = Call(f"caller-{number % 7}", outcome, chance.uniform(100, 900))
            if circuit.state == HALF_OPEN:
                circuit, granted = lease(circuit, str(number), now, LEASE_S, policy)
                lost = chance.random() < 0.1
                if granted and not lost:
                    circuit, happened = settle(circuit, str(number), Probe.FAILED if failed else Probe.OK, now, policy)
                    told += not failed
                    events += happened
                if not granted or lost:
                    continue
                assert told + len(circuit.leases) <= policy.probes
            elif circuit.state != CLOSED:
                continue
            windows.record(call, now)
            if not failed:
                windows.judge_transcript(call.caller, accepted=True)
        circuit, happened = evaluate(circuit, windows.measures(now), now, policy)
        for event in [*events, *happened]:
            if event.after == OPEN:
                opened, told = now, 0
            if event.after == CLOSED:
                assert now - opened >= policy.cooldown_s
                assert told == policy.probes
            if event.measures_start_anew:
                assert now - opened >= policy.cooldown_s
                windows.reset()
            entered = now
            seen.add(event.after)
        assert now - entered <= LONGEST_S.get(circuit.state, float("inf"))
    assert seen == {CLOSED, OPEN, HALF_OPEN}


@pytest.mark.parametrize("domain", [v1.DOMAIN_STT, v1.DOMAIN_TTS, v1.DOMAIN_SMS])
@pytest.mark.parametrize("seed", range(3))
def test_one_caller_whose_calls_all_time_out_opens_nothing_for_the_others(domain, seed):
    chance, policy = random.Random(seed), DEFAULTS[domain].policy
    windows, circuit = Windows(), new_circuit(0.0)
    # The others come first: of a caller that is alone with its failures nobody can say that it is the caller.
    for second in range(1200):
        for caller in (f"good-{chance.randrange(8)}", *["bad"] * (2 if second >= 60 else 0)):
            bad = caller == "bad"
            outcome, latency_ms = (Outcome.TIMEOUT, 5000.0) if bad else (Outcome.OK, chance.uniform(100, 900))
            windows.record(Call(caller, outcome, latency_ms), float(second))
        circuit, events = evaluate(circuit, windows.measures(second), float(second), policy)
        assert events == ()


@pytest.mark.parametrize("callers", [1, 2, 7])
@pytest.mark.parametrize("domain", [v1.DOMAIN_STT, v1.DOMAIN_LLM, v1.DOMAIN_SMS])
def test_a_provider_that_goes_dark_leaves_rotation_within_a_second_of_50_calls_a_second(domain, callers):
    policy, windows, circuit, sent_dark = DEFAULTS[domain].policy, Windows(), new_circuit(0.0), 0
    for number in range(50 * 120):
        now, dark = number / 50, number >= 50 * 100
        if circuit.state == CLOSED:
            windows.record(Call(f"c{number % callers}", Outcome.ERROR if dark else Outcome.OK, 100.0), now)
            windows.judge_transcript(f"c{number % callers}", accepted=True)
            sent_dark += dark
        if number % 12 == 0:
            circuit, _ = evaluate(circuit, windows.measures(now), now, policy)
    assert circuit.state == OPEN
    assert 1 <= sent_dark <= 50
