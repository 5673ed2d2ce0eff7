"""Hundreds of hours of three providers, simulated by seed, and what one provider's end and one bad caller do."""

import math
import random
from collections.abc import Callable

import pytest
from selene.routing.v1 import routing_pb2 as v1

from bench.routing.world import World
from servers.routing.circuit import Event, Probe, evaluate, lease, measures_start_anew, new_circuit, settle
from servers.routing.defaults import DEFAULTS
from servers.routing.windows import Call, Outcome, Waiting, Windows, caller_of

CLOSED, OPEN, HALF_OPEN = v1.CIRCUIT_STATE_CLOSED, v1.CIRCUIT_STATE_OPEN, v1.CIRCUIT_STATE_HALF_OPEN
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


@pytest.mark.parametrize(("bad_persons", "expected"), [(1, CLOSED), (50, OPEN)])
@pytest.mark.parametrize("tenants", [1, 3])
def test_a_tenth_of_time_outs_opens_what_many_persons_meet_and_not_what_one_does(tenants, bad_persons, expected):
    policy, windows, circuit = DEFAULTS[v1.DOMAIN_STT].policy, Windows(), new_circuit(0.0)
    for number in range(1000):
        bad = number % 10 == 9
        person = f"bad-{number // 10 % bad_persons}" if bad else f"good-{number % 97}"
        tenant = f"t{number // 10 % bad_persons % tenants}" if bad else f"t{number % tenants}"
        outcome, latency_ms = (Outcome.TIMEOUT, 5000.0) if bad else (Outcome.OK, 100.0)
        windows.record(Call(caller_of(tenant, person), outcome, latency_ms), number / 20)
        circuit, _ = evaluate(circuit, windows.measures(number / 20), number / 20, policy)
    assert circuit.state == expected


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


def _events(seed: int, until_s: int, latency_s: Callable[[random.Random, float], float]) -> list[Event]:
    """What happens to the circuit of one LLM that is asked 20 times a second, as one process sees it."""
    chance, policy = random.Random(seed), DEFAULTS[v1.DOMAIN_LLM].policy
    windows, circuit, anew_at, happened = Windows(), new_circuit(0.0), 0.0, list[Event]()
    under_way: list[tuple[float, float, str, str]] = []
    for step in range(20 * until_s):
        now = step / 20
        for ended in [each for each in under_way if each[0] <= now]:
            under_way.remove(ended)
            _, began, caller, lease_id = ended
            if began >= anew_at and (lease_id or circuit.state != HALF_OPEN):
                windows.record(Call(caller, Outcome.OK, 1000 * (ended[0] - began)), now)
            circuit, events = settle(circuit, lease_id, Probe.OK, now, policy)
            happened += events
        if step % 5 == 0:
            waiting = [Waiting(caller, now - began) for _, began, caller, _ in under_way]
            before = circuit
            circuit, events = evaluate(before, windows.measures(now, waiting), now, policy)
            happened += events
            if measures_start_anew(before, circuit):
                windows.reset()
                anew_at = now
        lease_id = ""
        if circuit.state == HALF_OPEN:
            circuit, granted = lease(circuit, f"lease-{step}", now, 30.0, policy)
            lease_id = f"lease-{step}" if granted else ""
        if circuit.state == CLOSED or lease_id:
            under_way.append((now + latency_s(chance, now), now, f"c{chance.randrange(4)}", lease_id))
    return happened


@pytest.mark.parametrize("seconds", [(1.4, 1.9), (2.0, 2.9)])
@pytest.mark.parametrize("seed", range(2))
def test_answers_that_become_long_cost_one_cooldown_and_are_not_taken_for_silence_again(seed, seconds):
    def latency_s(chance: random.Random, now: float) -> float:
        if now >= 2400:
            return math.inf
        quick = now < 300 or 1200 <= now < 1800
        return chance.uniform(0.02, 0.03) if quick else chance.uniform(*seconds)

    tripped, cooled, returned, dark = _events(seed, 2412, latency_s)
    assert [each.reason for each in (tripped, cooled, returned)] == ["SILENT", "COOLDOWN_OVER", "RETURN_RULE_MET"]
    assert 300 < tripped.at < 302
    assert returned.at - tripped.at < 180 + 2 * 60 + 2
    # The second time that answers become long nothing happens; what answers nobody is dark.
    assert (dark.reason, dark.after) == ("SILENT", OPEN)
    assert 2400 < dark.at < 2400 + 3 * seconds[1] + 1.5


def test_a_provider_that_answers_beyond_what_opens_a_circuit_does_not_return_because_it_was_silent():
    happened = _events(0, 900, lambda chance, now: 0.02 if now < 300 else chance.uniform(3.2, 3.6))
    assert [each.reason for each in happened][:3] == ["SILENT", "COOLDOWN_OVER", "RETURN_RULE_UNMET"]
    assert CLOSED not in {each.after for each in happened}
