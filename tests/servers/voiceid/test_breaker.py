"""The circuit breaker rule."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid.breaker import Breaker, BreakerPolicy, Outcome, Phase, admit, observe, outcome_of

POLICY = BreakerPolicy(window=20, min_samples=10, max_uncertain_share=0.5, max_failed_share=0.2, max_slow_share=0.3)
CERTAIN, UNCERTAIN, FAILED, SLOW = Outcome.CERTAIN, Outcome.UNCERTAIN, Outcome.FAILED, Outcome.SLOW


def after(breaker: Breaker, outcomes: list[Outcome], now: float = 0.0) -> Breaker:
    return reduce(lambda circuit, outcome: observe(circuit, outcome, now, POLICY), outcomes, breaker)


def probe(breaker: Breaker, outcomes: list[Outcome], now: float) -> Breaker:
    for outcome in outcomes:
        breaker, admitted = admit(breaker, now, POLICY)
        assert admitted
        breaker = observe(breaker, outcome, now, POLICY)
    return breaker


def tripped(now: float = 0.0) -> Breaker:
    return after(Breaker(), [FAILED] * 10, now)


@pytest.mark.parametrize(
    ("outcomes", "phase"),
    [
        ([FAILED] * 9, Phase.CLOSED),
        ([FAILED] * 10, Phase.OPEN),
        ([CERTAIN] * 8 + [FAILED] * 2, Phase.CLOSED),
        ([CERTAIN] * 7 + [FAILED] * 3, Phase.OPEN),
        ([CERTAIN] * 7 + [SLOW] * 3, Phase.CLOSED),
        ([CERTAIN] * 6 + [SLOW] * 4, Phase.OPEN),
        ([CERTAIN] * 5 + [UNCERTAIN] * 5, Phase.CLOSED),
        ([CERTAIN] * 4 + [UNCERTAIN] * 6, Phase.OPEN),
        ([FAILED] * 2 + [CERTAIN] * 40 + [FAILED] * 4, Phase.CLOSED),
        ([Outcome.NOT_COUNTED] * 100, Phase.CLOSED),
    ],
)
def test_a_share_beyond_its_limit_opens_the_circuit(outcomes, phase):
    assert after(Breaker(), outcomes).phase is phase


def test_nothing_is_admitted_before_the_cooldown_ends():
    circuit = tripped(now=1000.0)
    assert admit(circuit, 1119.9, POLICY) == (circuit, False)
    probing, admitted = admit(circuit, 1120.0, POLICY)
    assert admitted
    assert probing.phase is Phase.HALF_OPEN


def test_a_half_open_circuit_leases_as_many_probes_as_it_is_allowed():
    circuit, granted = tripped(), []
    for _ in range(8):
        circuit, admitted = admit(circuit, 120.0, POLICY)
        granted.append(admitted)
    assert granted == [True] * 5 + [False] * 3


def test_a_probe_that_tells_nothing_gives_its_lease_back():
    circuit = probe(tripped(), [Outcome.NOT_COUNTED] * 20 + [CERTAIN] * 4, now=120.0)
    assert circuit.phase is Phase.HALF_OPEN
    assert probe(circuit, [CERTAIN], now=120.0).phase is Phase.CLOSED


@pytest.mark.parametrize(
    ("outcomes", "phase"),
    [
        ([CERTAIN] * 5, Phase.CLOSED),
        ([CERTAIN] * 3 + [UNCERTAIN] * 2, Phase.CLOSED),
        ([UNCERTAIN] * 3, Phase.OPEN),
        ([CERTAIN] * 4 + [FAILED], Phase.OPEN),
        ([SLOW], Phase.OPEN),
    ],
)
def test_probes_close_the_circuit_or_open_it_again(outcomes, phase):
    assert probe(tripped(), outcomes, now=120.0).phase is phase


def test_repeated_trips_wait_twice_as_long_up_to_the_cap():
    circuit, now, cooldowns = tripped(), 0.0, []
    for _ in range(5):
        cooldowns.append(circuit.cooldown_seconds)
        now += circuit.cooldown_seconds
        circuit = probe(circuit, [FAILED], now)
    assert cooldowns == [120.0, 240.0, 480.0, 900.0, 900.0]


def test_only_a_whole_healthy_window_forgets_the_last_trip():
    closed = probe(tripped(), [CERTAIN] * 5, now=120.0)
    assert after(closed, [FAILED] * 10).cooldown_seconds == 240.0
    assert after(after(closed, [CERTAIN] * 20), [FAILED] * 10).cooldown_seconds == 120.0


def test_what_was_admitted_before_it_opened_changes_nothing():
    circuit = tripped()
    assert after(circuit, [CERTAIN] * 50) == circuit


def test_a_stranger_or_a_bad_room_is_no_sign_of_ill_health():
    counted = {reason for reason in v1.VoiceIdReason.values() if outcome_of(reason) not in (CERTAIN, None)}
    unhealthy = {reason for reason in counted if outcome_of(reason) is not Outcome.NOT_COUNTED}
    assert unhealthy == {
        v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN,
        v1.VOICE_ID_REASON_PROFILE_MISMATCH,
        v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED,
        v1.VOICE_ID_REASON_MODEL_UNAVAILABLE,
        v1.VOICE_ID_REASON_MODEL_FAILED,
        v1.VOICE_ID_REASON_MODEL_SLOW,
        v1.VOICE_ID_REASON_STORE_UNAVAILABLE,
    }


STEPS = st.lists(st.tuples(st.floats(0, 300), st.one_of(st.none(), st.sampled_from(Outcome))), max_size=80)


@given(STEPS)
def test_an_open_circuit_admits_only_counted_probes_whatever_happens(steps):
    circuit, now = Breaker(), 0.0
    for wait, outcome in steps:
        now += wait
        before = circuit
        if outcome is None:
            circuit, admitted = admit(circuit, now, POLICY)
            resting = before.phase is Phase.OPEN and now < before.opened_at + before.cooldown_seconds
            assert not (resting and admitted)
        else:
            circuit = observe(circuit, outcome, now, POLICY)
        assert circuit.leased <= POLICY.probes
        assert len(circuit.window) <= POLICY.window
        assert circuit.cooldown_seconds <= POLICY.max_cooldown_seconds
