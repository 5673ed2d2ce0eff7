"""Hundreds of hours of three providers, simulated by seed, and what one provider's end and one bad caller do."""

import random

import pytest
from selene.routing.v1 import routing_pb2 as v1

from bench.routing.world import World
from servers.routing.circuit import evaluate, new_circuit
from servers.routing.defaults import DEFAULTS
from servers.routing.windows import Call, Outcome, Windows

CLOSED, OPEN = v1.CIRCUIT_STATE_CLOSED, v1.CIRCUIT_STATE_OPEN
# In 54 and 70 a process sleeps through the probes; in the last four an idle one would keep a slow provider in rotation.
SEEDS = [*range(16), 54, 70, 169, 208, 216, 314]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_simulated_day_has_no_flap_no_surplus_probe_and_no_state_that_nothing_leaves(seed):
    tally = World(seed, hours=24).run()
    assert tally.violations == []
    assert tally.transitions >= tally.trips
    assert tally.calls > 500


def test_the_same_seed_does_the_same():
    one, other = (World(7, hours=12).run() for _ in range(2))
    assert one == other
    assert one != World(8, hours=12).run()


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
