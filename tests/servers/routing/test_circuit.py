"""The circuit of one provider: every row of §24, and what must never happen."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.circuit import (
    ATTEMPTS_PER_PROBE,
    Circuit,
    Probe,
    cooldown_s,
    evaluate,
    force_close,
    force_open,
    lease,
    measures_start_anew,
    new_circuit,
    probe_free,
    release,
    settle,
)
from servers.routing.defaults import DEFAULTS
from servers.routing.thresholds import Reading
from servers.routing.windows import Measures

STT, SMS = DEFAULTS[v1.DOMAIN_STT].policy, DEFAULTS[v1.DOMAIN_SMS].policy
CLOSED, OPEN, HALF_OPEN = v1.CIRCUIT_STATE_CLOSED, v1.CIRCUIT_STATE_OPEN, v1.CIRCUIT_STATE_HALF_OPEN
FORCED_OPEN, FORCED_CLOSED = v1.CIRCUIT_STATE_FORCED_OPEN, v1.CIRCUIT_STATE_FORCED_CLOSED
QUIET = Measures({})
DEAD = Measures({}, consecutive_failures=25)
HEALTHY_STT = Measures(
    {
        v1.MEASURE_ERROR_RATE_60S: Reading(0, 3),
        v1.MEASURE_P95_LATENCY_5M: Reading(800, 3),
        v1.MEASURE_TRANSCRIPT_ACCEPT_RATE_200: Reading(10_000, 3),
    }
)
ROWS = {
    "stt": v1.DOMAIN_STT,
    "tts": v1.DOMAIN_TTS,
    "llm": v1.DOMAIN_LLM,
    "sms": v1.DOMAIN_SMS,
    "email": v1.DOMAIN_EMAIL,
    "whatsapp": v1.DOMAIN_WHATSAPP,
    "wechat": v1.DOMAIN_WECHAT,
}


def measuring(measure: v1.Measure, value: float, samples: int = 500) -> Measures:
    return Measures({measure: Reading(value, samples)})


def tripped(policy=STT, now: float = 1000.0) -> Circuit:
    circuit, _ = evaluate(new_circuit(now), DEAD, now, policy)
    assert circuit.state == OPEN
    return circuit


def half_open(policy=STT, now: float = 2000.0) -> Circuit:
    circuit, _ = evaluate(tripped(policy, now - 1000), QUIET, now, policy)
    assert circuit.state == HALF_OPEN
    return circuit


def probed(circuit: Circuit, count: int, now: float, policy=STT) -> Circuit:
    for number in range(count):
        circuit, granted = lease(circuit, f"{now}-{number}", now, 10.0, policy)
        assert granted
        circuit, events = settle(circuit, f"{now}-{number}", Probe.OK, now, policy)
        assert not events
    return circuit


@pytest.mark.parametrize(
    ("row", "measure", "opens", "stays", "reason"),
    [
        ("stt", v1.MEASURE_TIMEOUT_RATE_60S, 800, 799.9, "TIMEOUT_RATE_60S_HIGH"),
        ("stt", v1.MEASURE_ERROR_RATE_60S, 500, 499.9, "ERROR_RATE_60S_HIGH"),
        ("stt", v1.MEASURE_TRANSCRIPT_ACCEPT_RATE_200, 8199, 8200, "TRANSCRIPT_ACCEPT_RATE_200_LOW"),
        ("tts", v1.MEASURE_ERROR_RATE_60S, 500, 499.9, "ERROR_RATE_60S_HIGH"),
        ("tts", v1.MEASURE_COMPLAINT_RATE_500, 1000, 999, "COMPLAINT_RATE_500_HIGH"),
        ("llm", v1.MEASURE_SCHEMA_INVALID_RATE_200, 50, 49, "SCHEMA_INVALID_RATE_200_HIGH"),
        ("llm", v1.MEASURE_POLICY_CONFLICT_COUNT_200, 1, 0, "POLICY_CONFLICT_COUNT_200_HIGH"),
        ("sms", v1.MEASURE_SEND_FAIL_RATE_100, 500, 499, "SEND_FAIL_RATE_100_HIGH"),
        ("sms", v1.MEASURE_AUTH_FAIL_EVENTS, 1, 0, "AUTH_FAIL_EVENTS_HIGH"),
        ("email", v1.MEASURE_SEND_FAIL_RATE_100, 500, 499, "SEND_FAIL_RATE_100_HIGH"),
        ("email", v1.MEASURE_AUTH_FAIL_EVENTS, 1, 0, "AUTH_FAIL_EVENTS_HIGH"),
        ("whatsapp", v1.MEASURE_SEND_FAIL_RATE_100, 500, 499, "SEND_FAIL_RATE_100_HIGH"),
        ("whatsapp", v1.MEASURE_HARD_BLOCK_EVENTS, 1, 0, "HARD_BLOCK_EVENTS_HIGH"),
        ("wechat", v1.MEASURE_SEND_FAIL_RATE_100, 500, 499, "SEND_FAIL_RATE_100_HIGH"),
        ("wechat", v1.MEASURE_HARD_BLOCK_EVENTS, 1, 0, "HARD_BLOCK_EVENTS_HIGH"),
    ],
)
def test_a_row_opens_at_its_limit_and_not_before(row, measure, opens, stays, reason):
    policy = DEFAULTS[ROWS[row]].policy
    opened, events = evaluate(new_circuit(0.0), measuring(measure, opens), 1.0, policy)
    assert (opened.state, opened.reason, [event.reason for event in events]) == (OPEN, reason, [reason])
    assert evaluate(new_circuit(0.0), measuring(measure, stays), 1.0, policy)[1] == ()


@pytest.mark.parametrize(("row", "limit_ms"), [("stt", 1800), ("tts", 2200), ("llm", 3000)])
def test_a_slow_provider_opens_after_three_slow_windows_in_a_row(row, limit_ms):
    policy = DEFAULTS[ROWS[row]].policy
    slow, fine = (measuring(v1.MEASURE_P95_LATENCY_5M, value) for value in (limit_ms + 1, limit_ms))
    circuit, states = new_circuit(0.0), []
    for now, measures in [(60, slow), (120, slow), (180, fine), (240, slow), (300, slow), (359, slow), (360, slow)]:
        circuit, _ = evaluate(circuit, measures, float(now), policy)
        states.append(circuit.state)
    assert states == [CLOSED] * 6 + [OPEN]
    assert circuit.reason == "P95_LATENCY_5M_HIGH"


def test_windows_that_nobody_evaluated_break_the_row():
    slow, circuit = measuring(v1.MEASURE_P95_LATENCY_5M, 9000), new_circuit(0.0)
    for now in (60.0, 120.0, 300.0, 360.0):
        circuit, events = evaluate(circuit, slow, now, STT)
        assert events == ()
    assert evaluate(circuit, slow, 420.0, STT)[0].state == OPEN


def test_too_few_calls_say_nothing():
    assert evaluate(new_circuit(0.0), measuring(v1.MEASURE_ERROR_RATE_60S, 10_000, 29), 1.0, STT)[1] == ()
    assert evaluate(new_circuit(0.0), measuring(v1.MEASURE_ERROR_RATE_60S, 10_000, 30), 1.0, STT)[0].state == OPEN


@pytest.mark.parametrize(("failures", "state"), [(24, CLOSED), (25, OPEN)])
def test_25_failures_in_a_row_leave_rotation_at_once(failures, state):
    circuit, _ = evaluate(new_circuit(0.0), Measures({}, failures), 0.25, STT)
    assert circuit.state == state


@pytest.mark.parametrize(
    ("row", "cooldown", "probes"),
    [
        ("stt", 120, 5),
        ("tts", 120, 5),
        ("llm", 180, 5),
        ("sms", 300, 3),
        ("email", 300, 3),
        ("whatsapp", 300, 3),
        ("wechat", 300, 3),
    ],
)
def test_a_row_keeps_its_cooldown_and_counts_its_probes(row, cooldown, probes):
    policy = DEFAULTS[ROWS[row]].policy
    circuit = tripped(policy, 1000.0)
    assert evaluate(circuit, HEALTHY_STT, 1000.0 + cooldown - 0.1, policy) == (circuit, ())
    circuit, events = evaluate(circuit, QUIET, 1000.0 + cooldown, policy)
    assert [(event.before, event.after, event.reason) for event in events] == [(OPEN, HALF_OPEN, "COOLDOWN_OVER")]
    circuit = replace(circuit, healthy_windows=1)
    granted = 0
    for number in range(20):
        circuit, given = lease(circuit, str(number), 1400.0, 10.0, policy)
        granted += given
    assert granted == probes


RETURNS = {
    "stt": {
        v1.MEASURE_ERROR_RATE_60S: (199, 200),
        v1.MEASURE_P95_LATENCY_5M: (1199, 1200),
        v1.MEASURE_TRANSCRIPT_ACCEPT_RATE_200: (8800, 8799),
    },
    "tts": {
        v1.MEASURE_ERROR_RATE_60S: (199, 200),
        v1.MEASURE_P95_LATENCY_5M: (1499, 1500),
        v1.MEASURE_COMPLAINT_RATE_500: (499, 500),
    },
    "llm": {
        v1.MEASURE_SCHEMA_INVALID_RATE_200: (0, 1),
        v1.MEASURE_POLICY_CONFLICT_COUNT_200: (0, 1),
        v1.MEASURE_P95_LATENCY_5M: (1999, 2000),
    },
    "sms": {v1.MEASURE_SEND_FAIL_RATE_100: (199, 200), v1.MEASURE_AUTH_FAIL_EVENTS: (0, 1)},
    "email": {v1.MEASURE_SEND_FAIL_RATE_100: (199, 200), v1.MEASURE_AUTH_FAIL_EVENTS: (0, 1)},
    "whatsapp": {v1.MEASURE_SEND_FAIL_RATE_100: (199, 200), v1.MEASURE_HARD_BLOCK_EVENTS: (0, 1)},
    "wechat": {v1.MEASURE_SEND_FAIL_RATE_100: (199, 200), v1.MEASURE_HARD_BLOCK_EVENTS: (0, 1)},
}


@pytest.mark.parametrize("row", RETURNS)
def test_a_row_returns_after_two_healthy_windows(row):
    policy = DEFAULTS[ROWS[row]].policy
    healthy = Measures({measure: Reading(good, 2) for measure, (good, _) in RETURNS[row].items()})
    first = -(-policy.probes // 2)
    circuit = probed(half_open(policy), first, 2001.0, policy)
    assert not probe_free(circuit, policy)
    circuit, events = evaluate(circuit, healthy, 2001.0, policy)
    assert events == ()
    circuit, events = evaluate(circuit, healthy, 2060.0, policy)
    assert events == ()
    circuit = probed(circuit, policy.probes - first, 2061.0, policy)
    circuit, events = evaluate(circuit, healthy, 2061.0, policy)
    assert events == ()
    circuit, events = evaluate(circuit, healthy, 2120.0, policy)
    assert [(event.after, event.reason) for event in events] == [(CLOSED, "RETURN_RULE_MET")]
    assert circuit.retry_at is None


@pytest.mark.parametrize(("row", "measure"), [(row, measure) for row, rules in RETURNS.items() for measure in rules])
def test_a_row_does_not_return_with_one_rule_unmet(row, measure):
    policy = DEFAULTS[ROWS[row]].policy
    readings = {each: Reading(good, 2) for each, (good, _) in RETURNS[row].items()}
    readings[measure] = Reading(RETURNS[row][measure][1], 2)
    circuit = probed(half_open(policy), -(-policy.probes // 2), 2001.0, policy)
    circuit, _ = evaluate(circuit, Measures(readings), 2001.0, policy)
    assert (circuit.state, circuit.reason, circuit.trips) == (OPEN, "RETURN_RULE_UNMET", 2)


def test_a_failed_probe_opens_it_again_at_once_for_twice_as_long():
    circuit, _ = lease(half_open(), "p", 2000.0, 10.0, STT)
    circuit, events = settle(circuit, "p", Probe.FAILED, 2001.0, STT)
    assert [(event.after, event.reason) for event in events] == [(OPEN, "PROBE_FAILED")]
    assert circuit.retry_at == 2001.0 + 240


@pytest.mark.parametrize("measures", [DEAD, QUIET, HEALTHY_STT, measuring(v1.MEASURE_ERROR_RATE_60S, 10_000)])
def test_nothing_that_is_measured_moves_the_end_of_a_cooldown(measures):
    circuit = tripped(now=1000.0)
    assert evaluate(circuit, measures, 1119.9, STT) == (circuit, ())
    assert settle(circuit, "late", Probe.FAILED, 1119.9, STT) == (circuit, ())


def test_the_backoff_doubles_to_900_s():
    assert [cooldown_s(STT, trips) for trips in (1, 2, 3, 4, 5, 400)] == [120, 240, 480, 900, 900, 900]
    assert [cooldown_s(SMS, trips) for trips in (1, 2, 3)] == [300, 600, 900]


def test_every_900_s_closed_take_one_doubling_back():
    circuit = Circuit(since=0.0, window_from=0.0, decayed_at=0.0, trips=3)
    assert evaluate(circuit, QUIET, 899.0, STT)[0].trips == 3
    circuit, _ = evaluate(circuit, QUIET, 900.0, STT)
    assert circuit.trips == 2
    circuit, _ = evaluate(circuit, DEAD, 1000.0, STT)
    assert circuit.retry_at == 1000.0 + 480
    assert evaluate(Circuit(since=0.0, window_from=0.0, decayed_at=0.0, trips=3), QUIET, 9e5, STT)[0].trips == 0


def test_a_lost_probe_gives_its_place_back():
    circuit = half_open()
    for number in range(3):
        circuit, _ = lease(circuit, str(number), 2000.0, 10.0, STT)
    assert not lease(circuit, "late", 2009.9, 10.0, STT)[1]
    circuit, granted = lease(circuit, "late", 2010.0, 10.0, STT)
    assert granted
    assert settle(circuit, "0", Probe.FAILED, 2011.0, STT) == (circuit, ())


def test_probes_that_never_tell_open_it_again_for_as_long_as_before():
    circuit = half_open()
    for number in range(ATTEMPTS_PER_PROBE * STT.probes):
        circuit, granted = lease(circuit, str(number), 2000.0, 10.0, STT)
        assert granted
        circuit, _ = settle(circuit, str(number), Probe.UNTOLD, 2000.0, STT)
    assert not probe_free(circuit, STT)
    circuit, _ = evaluate(circuit, QUIET, 2001.0, STT)
    assert (circuit.state, circuit.reason, circuit.retry_at) == (OPEN, "PROBES_UNTOLD", 2121.0)


def test_probes_that_no_process_can_judge_open_it_again_after_a_window():
    circuit = probed(half_open(), 3, 2001.0)
    assert evaluate(circuit, QUIET, 2060.9, STT) == (circuit, ())
    circuit, _ = evaluate(circuit, QUIET, 2061.0, STT)
    assert (circuit.state, circuit.reason, circuit.trips) == (OPEN, "RETURN_RULE_UNPROVEN", 1)


def test_a_process_that_saw_no_probe_leaves_the_verdict_to_those_that_did():
    circuit, _ = evaluate(probed(half_open(), 3, 2001.0), QUIET, 2001.1, STT)
    circuit, _ = evaluate(circuit, HEALTHY_STT, 2001.2, STT)
    assert circuit.window_proven


def test_one_lease_id_is_one_probe():
    circuit, _ = lease(half_open(), "p", 2000.0, 10.0, STT)
    assert lease(circuit, "p", 2000.0, 10.0, STT) == (circuit, False)


def test_a_forced_circuit_stays_whatever_is_measured():
    opened, events = force_open(new_circuit(0.0), "VENDOR_MAINTENANCE", 1.0)
    assert [(event.after, event.reason) for event in events] == [(FORCED_OPEN, "VENDOR_MAINTENANCE")]
    assert evaluate(opened, HEALTHY_STT, 1e6, STT) == (opened, ())
    closed, _ = force_close(tripped(), "VENDOR_SAYS_WELL", 1001.0)
    assert evaluate(closed, DEAD, 1e6, STT) == (closed, ())


@pytest.mark.parametrize(
    ("circuit", "force", "released_at", "state"),
    [
        (new_circuit(0.0), force_open, 10.0, HALF_OPEN),
        (tripped(), force_open, 1119.0, OPEN),
        (tripped(), force_open, 1120.0, HALF_OPEN),
        (tripped(), force_close, 1119.0, OPEN),
        (tripped(), force_close, 1120.0, CLOSED),
        (new_circuit(0.0), force_close, 10.0, CLOSED),
    ],
)
def test_a_release_does_not_cut_a_cooldown_short(circuit, force, released_at, state):
    forced, _ = force(circuit, "BY_HAND", released_at - 1)
    released, events = release(forced, "BY_HAND_OVER", released_at)
    assert (released.state, len(events)) == (state, 1)
    assert released.retry_at == (1120.0 if state == OPEN else None)


def test_a_release_of_what_is_not_forced_changes_nothing():
    circuit = tripped()
    assert release(circuit, "BY_HAND", 1001.0) == (circuit, ())


@pytest.mark.parametrize("reason", ["", "because", "A", "A B", "A" * 65, "1A"])
@pytest.mark.parametrize("act", [force_open, force_close, release])
def test_an_operator_gives_a_code_as_reason(act, reason):
    with pytest.raises(ValueError, match="UPPER_SNAKE_CASE"):
        act(new_circuit(0.0), reason, 1.0)


def test_a_clock_set_back_leaves_what_is_left_of_the_cooldown():
    circuit, _ = evaluate(tripped(now=100_000.0), QUIET, 500.0, STT)
    assert circuit.state == OPEN
    assert evaluate(circuit, QUIET, 619.0, STT)[0].state == OPEN
    assert evaluate(circuit, QUIET, 620.0, STT)[0].state == HALF_OPEN


def test_an_unchanged_circuit_comes_back_as_it_is():
    circuit = new_circuit(0.0)
    assert evaluate(circuit, QUIET, 30.0, STT)[0] is circuit


STEPS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from(["healthy", "dead", "quiet", "lease", "ok", "failed", "untold"]),
    ),
    max_size=120,
)


@given(STEPS, st.sampled_from(list(DEFAULTS)))
def test_it_never_closes_before_its_cooldown_and_never_has_more_probes_than_its_count(steps, domain):
    policy = DEFAULTS[domain].policy
    healthy = Measures(
        {
            measure: Reading(good, 2)
            for row, rules in RETURNS.items()
            for measure, (good, _) in rules.items()
            if ROWS[row] == domain
        }
    )
    circuit, now, opened_at, told, last_retry = new_circuit(0.0), 0, 0, 0, 0
    for number, (passed, act) in enumerate(steps):
        now += passed
        before, events = circuit, ()
        match act:
            case "lease":
                circuit, _ = lease(circuit, str(number), now, 30.0, policy)
            case "ok" | "failed" | "untold" if circuit.leases:
                probe = {"ok": Probe.OK, "failed": Probe.FAILED, "untold": Probe.UNTOLD}[act]
                told += probe is Probe.OK and circuit.state == HALF_OPEN
                circuit, events = settle(circuit, circuit.leases[0].lease_id, probe, now, policy)
            case "healthy" | "dead" | "quiet":
                measures = {"healthy": healthy, "dead": DEAD, "quiet": QUIET}[act]
                circuit, events = evaluate(circuit, measures, now, policy)
        for event in events:
            assert (event.before, event.after) == (before.state, circuit.state)
            assert (event.before, event.after) in {
                (CLOSED, OPEN),
                (OPEN, HALF_OPEN),
                (HALF_OPEN, OPEN),
                (HALF_OPEN, CLOSED),
            }
            if event.after == OPEN:
                assert circuit.retry_at >= last_retry
                opened_at, told, last_retry = now, 0, circuit.retry_at
                assert policy.cooldown_s <= circuit.retry_at - now <= 900.0
            if event.after == CLOSED:
                assert now >= opened_at + policy.cooldown_s
                assert told == policy.probes
        assert len(circuit.leases) + told <= policy.probes or circuit.state != HALF_OPEN


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        (tripped(), half_open(), True),
        (tripped(now=1000.0), new_circuit(1400.0), True),
        (new_circuit(0.0), new_circuit(1400.0), True),
        (half_open(now=2000.0), half_open(now=4000.0), True),
        (half_open(), probed(half_open(), 2, 2001.0), False),
        (new_circuit(0.0), tripped(), False),
        (half_open(), tripped(now=2001.0), False),
        (new_circuit(90_000.0), new_circuit(500.0), False),
    ],
)
def test_a_process_that_slept_through_the_probes_forgets_what_it_measured_before(before, after, anew):
    assert measures_start_anew(before, after) is anew


def test_a_process_with_too_few_calls_does_not_end_a_row_of_slow_windows_for_the_others():
    slow, few = measuring(v1.MEASURE_P95_LATENCY_5M, 9000), measuring(v1.MEASURE_P95_LATENCY_5M, 9000, 19)
    circuit = new_circuit(0.0)
    for now in (60.0, 120.0, 180.0):
        circuit, _ = evaluate(circuit, few, now, STT)
        assert circuit.state == CLOSED
        circuit, _ = evaluate(circuit, slow, now + 0.1, STT)
    assert circuit.state == OPEN


def test_lost_probes_are_given_back_although_the_clock_was_set_back_after_hours_of_silence():
    circuit = half_open(now=2000.0)
    for number in range(3):
        circuit, granted = lease(circuit, str(number), 20_000.0, 10.0, STT)
        assert granted
    circuit, _ = evaluate(circuit, QUIET, 10_000.0, STT)
    assert not probe_free(circuit, STT)
    circuit, _ = evaluate(circuit, QUIET, 10_010.0, STT)
    assert probe_free(circuit, STT)


def test_a_probe_leased_right_after_the_clock_was_set_back_keeps_its_place():
    circuit = half_open(now=2000.0)
    for number in range(3):
        circuit, _ = lease(circuit, str(number), 1000.0, 10.0, STT)
    circuit, _ = evaluate(circuit, QUIET, 1000.2, STT)
    assert not probe_free(circuit, STT)
    assert probe_free(evaluate(circuit, QUIET, 1010.2, STT)[0], STT)


def test_closed_circuits_decay_on_although_the_clock_was_set_back_while_nobody_called():
    circuit = Circuit(since=0.0, window_from=0.0, decayed_at=0.0, trips=3)
    circuit, _ = evaluate(circuit, QUIET, 1000.0, STT)
    circuit, _ = evaluate(circuit, QUIET, 500.0, STT)
    assert circuit.trips == 2
    assert evaluate(circuit, QUIET, 1400.0, STT)[0].trips == 1


@pytest.mark.parametrize(("overdue", "state"), [(11, CLOSED), (12, OPEN)])
def test_a_provider_that_is_silent_to_twelve_calls_is_left(overdue, state):
    circuit, events = evaluate(new_circuit(1000.0), Measures({}, overdue=overdue), 1000.0, STT)
    assert circuit.state == state
    assert [event.reason for event in events] == (["SILENT"] if state == OPEN else [])


@pytest.mark.parametrize(
    ("cause", "latency_ms", "state"),
    [
        (Measures({}, overdue=12), 1199, CLOSED),
        (Measures({}, overdue=12), 1800, CLOSED),
        (Measures({}, overdue=12), 1801, OPEN),
        (DEAD, 1199, CLOSED),
        (DEAD, 1200, OPEN),
    ],
)
def test_what_was_silent_returns_as_slow_as_nothing_of_the_table_would_open_it_for(cause, latency_ms, state):
    circuit, _ = evaluate(new_circuit(1000.0), cause, 1000.0, STT)
    circuit, _ = evaluate(circuit, QUIET, 1120.0, STT)
    answered = replace(
        HEALTHY_STT, readings={**HEALTHY_STT.readings, v1.MEASURE_P95_LATENCY_5M: Reading(latency_ms, 3)}
    )
    for now, count in ((1121.0, 3), (1181.0, 2)):
        if circuit.state == HALF_OPEN:
            circuit = probed(circuit, count, now)
            circuit, _ = evaluate(circuit, answered, now, STT)
            circuit, _ = evaluate(circuit, answered, now + 60, STT)
    assert circuit.state == state


def test_what_was_silent_once_is_judged_by_the_table_when_it_opens_again():
    silent = evaluate(new_circuit(0.0), Measures({}, overdue=12), 0.0, STT)[0]
    assert silent.silent
    assert evaluate(silent, QUIET, 120.0, STT)[0].silent
    held_open = force_open(silent, "INCIDENT", 1.0)[0]
    assert release(held_open, "OVER", 200.0)[0].silent
    closed = release(force_close(silent, "INCIDENT", 1.0)[0], "OVER", 200.0)[0]
    assert closed.state == CLOSED
    assert not closed.silent
    assert not evaluate(closed, DEAD, 201.0, STT)[0].silent
