"""What one provider's calls say about its health."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.routing.v1 import routing_pb2 as v1

from servers.routing.thresholds import Reading
from servers.routing.windows import BASIS_POINTS, Call, Outcome, Waiting, Windows, caller_of

OK, TIMEOUT, ERROR = Outcome.OK, Outcome.TIMEOUT, Outcome.ERROR


def windows_of(*outcomes: Outcome, at: float = 1000.0, caller: str = "acme", latency_ms: float = 100.0) -> Windows:
    windows = Windows()
    for outcome in outcomes:
        windows.record(Call(caller, outcome, latency_ms), at)
    return windows


def reading(windows: Windows, measure: v1.Measure, now: float = 1000.0) -> Reading:
    return windows.measures(now).readings[measure]


@pytest.mark.parametrize(
    ("measure", "outcomes", "expected"),
    [
        (v1.MEASURE_TIMEOUT_RATE_60S, [OK] * 92 + [TIMEOUT] * 8, Reading(800, 100)),
        (v1.MEASURE_TIMEOUT_RATE_60S, [ERROR] * 10, Reading(0, 10)),
        (v1.MEASURE_ERROR_RATE_60S, [OK] * 95 + [ERROR] * 3 + [TIMEOUT] * 2, Reading(500, 100)),
        (v1.MEASURE_SCHEMA_INVALID_RATE_200, [OK] * 199 + [Outcome.SCHEMA_INVALID], Reading(50, 200)),
        (v1.MEASURE_SCHEMA_INVALID_RATE_200, [Outcome.SCHEMA_INVALID] + [OK] * 200, Reading(0, 200)),
        (v1.MEASURE_POLICY_CONFLICT_COUNT_200, [OK] * 3 + [Outcome.POLICY_CONFLICT] * 2, Reading(2, 5)),
        (v1.MEASURE_SEND_FAIL_RATE_100, [ERROR] * 50 + [OK] * 95 + [ERROR] * 5, Reading(500, 100)),
        (v1.MEASURE_AUTH_FAIL_EVENTS, [OK, Outcome.AUTH_FAIL], Reading(1, 2)),
        (v1.MEASURE_HARD_BLOCK_EVENTS, [OK, OK], Reading(0, 2)),
        (v1.MEASURE_ERROR_RATE_60S, [], Reading(0, 0)),
    ],
)
def test_a_measure_counts_what_the_contract_says(measure, outcomes, expected):
    assert reading(windows_of(*outcomes), measure) == expected


def test_a_failure_leaves_the_rate_after_a_minute():
    windows = windows_of(ERROR, at=1000.0)
    windows.record(Call("acme", OK, 100.0), 1030.0)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 1059.9) == Reading(5000, 2)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 1060.0) == Reading(0, 1)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 9999.0) == Reading(0, 0)


def test_a_latency_leaves_the_percentile_after_five_minutes():
    windows = windows_of(OK, at=900.0, latency_ms=4000.0)
    assert reading(windows, v1.MEASURE_P95_LATENCY_5M, 1199.0) == Reading(4000, 1)
    assert reading(windows, v1.MEASURE_P95_LATENCY_5M, 1200.0) == Reading(0, 0)


@pytest.mark.parametrize(("slow", "expected"), [(5, 100), (6, 1900)])
def test_the_percentile_is_of_the_nearest_rank(slow, expected):
    windows = Windows()
    for number in range(100):
        windows.record(Call(f"c{number}", OK, 1900.0 if number < slow else 100.0), 1000.0)
    assert reading(windows, v1.MEASURE_P95_LATENCY_5M) == Reading(expected, 100)


@pytest.mark.parametrize("limit", [1200, 1500, 1800, 2000, 2200, 3000])
def test_the_limits_of_the_table_are_decided_exactly(limit):
    at_limit = reading(windows_of(OK, latency_ms=float(limit)), v1.MEASURE_P95_LATENCY_5M).value
    above = reading(windows_of(OK, latency_ms=limit + 0.5), v1.MEASURE_P95_LATENCY_5M).value
    assert at_limit == limit
    assert above > limit


@given(st.floats(0.0, 120_000.0))
def test_a_latency_is_told_within_the_error_that_is_promised(latency_ms):
    told = reading(windows_of(OK, latency_ms=latency_ms), v1.MEASURE_P95_LATENCY_5M).value
    assert latency_ms * (1 - 1e-9) <= told
    assert told - latency_ms <= (25 if latency_ms <= 5000 else 0.05 * latency_ms + 1e-6)


@pytest.mark.parametrize("latency_ms", [math.nan, math.inf, 1e12])
def test_a_latency_beyond_all_measure_counts_as_the_longest(latency_ms):
    assert reading(windows_of(OK, latency_ms=latency_ms), v1.MEASURE_P95_LATENCY_5M) == Reading(120_000, 1)


def test_a_quick_refusal_does_not_make_a_provider_fast():
    windows = windows_of(TIMEOUT, latency_ms=5000.0)
    for _ in range(99):
        windows.record(Call("acme", ERROR, 1.0), 1000.0)
    assert reading(windows, v1.MEASURE_P95_LATENCY_5M) == Reading(5000, 1)


def test_transcripts_count_once_the_gate_has_judged_them():
    windows = windows_of(*[OK] * 10)
    assert reading(windows, v1.MEASURE_TRANSCRIPT_ACCEPT_RATE_200).samples == 0
    for number in range(250):
        windows.judge_transcript("acme", accepted=number >= 86)
    assert reading(windows, v1.MEASURE_TRANSCRIPT_ACCEPT_RATE_200) == Reading(8200, 200)


def test_a_complaint_is_about_a_synthesis_and_leaves_with_it():
    windows = windows_of(*[OK] * 500)
    assert all(windows.complain("acme") for _ in range(50))
    assert reading(windows, v1.MEASURE_COMPLAINT_RATE_500) == Reading(1000, 500)
    for _ in range(475):
        windows.record(Call("acme", OK, 100.0), 1001.0)
    assert reading(windows, v1.MEASURE_COMPLAINT_RATE_500, 1001.0) == Reading(500, 500)


def test_a_complaint_without_a_synthesis_changes_nothing():
    windows = windows_of(OK)
    assert windows.complain("acme")
    assert not windows.complain("acme")
    assert not windows.complain("somebody-else")
    assert reading(windows, v1.MEASURE_COMPLAINT_RATE_500) == Reading(10_000, 1)


def test_one_bad_caller_among_others_who_are_served_does_not_count():
    windows = windows_of(*[TIMEOUT] * 50, caller="bad", latency_ms=5000.0)
    for number in range(20):
        windows.record(Call(f"good-{number % 4}", OK, 100.0), 1000.0)
    for _ in range(30):
        windows.record(Call("bad", TIMEOUT, 5000.0), 1000.0)
    measures = windows.measures(1000.0)
    assert measures.readings[v1.MEASURE_TIMEOUT_RATE_60S] == Reading(0, 20)
    assert measures.readings[v1.MEASURE_ERROR_RATE_60S] == Reading(0, 20)
    assert measures.readings[v1.MEASURE_P95_LATENCY_5M] == Reading(100, 20)
    assert measures.readings[v1.MEASURE_SEND_FAIL_RATE_100] == Reading(0, 20)
    assert measures.consecutive_failures == 0


def test_one_bad_person_of_the_only_tenant_does_not_count():
    windows = Windows()
    for number in range(500):
        bad = number % 10 == 0
        caller = caller_of("acme", "bad" if bad else f"good-{number % 40}")
        windows.record(Call(caller, TIMEOUT if bad else OK, 5000.0 if bad else 100.0), 1000.0)
    measures = windows.measures(1000.0)
    assert measures.readings[v1.MEASURE_TIMEOUT_RATE_60S] == Reading(0, 450)
    assert measures.readings[v1.MEASURE_P95_LATENCY_5M].value == 100


def test_a_schema_that_one_person_breaks_again_and_again_does_not_count_and_one_that_two_meet_does():
    windows = windows_of(*[Outcome.SCHEMA_INVALID] * 20, caller=caller_of("acme", "bad"))
    for number in range(100):
        windows.record(Call(caller_of("acme", f"good-{number % 20}"), OK, 100.0), 1000.0)
    assert reading(windows, v1.MEASURE_SCHEMA_INVALID_RATE_200) == Reading(0, 100)
    windows.record(Call(caller_of("acme", "other"), Outcome.SCHEMA_INVALID, 100.0), 1000.0)
    assert reading(windows, v1.MEASURE_SCHEMA_INVALID_RATE_200) == Reading(BASIS_POINTS * 2 / 102, 102)


def test_a_tenant_whose_persons_all_fail_counts_no_more_for_having_many():
    windows = windows_of(*[OK] * 20, caller=caller_of("good", "sam"))
    for number in range(60):
        windows.record(Call(caller_of("bad", f"u{number}"), TIMEOUT, 5000.0), 1000.0)
    measures = windows.measures(1000.0)
    assert measures.readings[v1.MEASURE_TIMEOUT_RATE_60S] == Reading(0, 20)
    assert measures.readings[v1.MEASURE_P95_LATENCY_5M] == Reading(100, 20)
    assert measures.consecutive_failures == 0


def test_the_only_person_of_a_deployment_counts_in_full():
    windows = windows_of(*[OK] * 50, *[ERROR] * 25, caller=caller_of("acme", "sam"))
    measures = windows.measures(1000.0)
    assert measures.consecutive_failures == 25
    assert measures.readings[v1.MEASURE_ERROR_RATE_60S] == Reading(BASIS_POINTS * 25 / 75, 75)


def test_persons_of_one_name_in_two_tenants_are_two():
    windows = windows_of(*[ERROR] * 10, caller=caller_of("a", "sam"))
    for _ in range(10):
        windows.record(Call(caller_of("b", "sam"), ERROR, 100.0), 1000.0)
    assert windows.measures(1000.0).consecutive_failures == 20


def test_failures_of_two_callers_count_in_full_where_they_are_equal():
    windows = windows_of(*[ERROR] * 10, caller="a")
    for _ in range(10):
        windows.record(Call("b", ERROR, 100.0), 1000.0)
    assert windows.measures(1000.0).consecutive_failures == 20
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S) == Reading(10_000, 20)


def test_a_caller_counts_at_most_as_often_as_all_others_together():
    windows = windows_of(*[ERROR] * 60, caller="bad")
    for number in range(20):
        windows.record(Call("good", ERROR if number < 2 else OK, 100.0), 1000.0)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S) == Reading(BASIS_POINTS * 4 / 22, 22)


def test_a_caller_without_enough_witnesses_counts_in_full():
    windows = windows_of(*[OK] * 9, caller="good")
    for _ in range(30):
        windows.record(Call("only", ERROR, 100.0), 1000.0)
    measures = windows.measures(1000.0)
    assert measures.consecutive_failures == 30
    assert measures.readings[v1.MEASURE_ERROR_RATE_60S].value == BASIS_POINTS * 30 / 39


def test_a_success_ends_the_run_of_failures():
    assert windows_of(*[ERROR] * 24, OK, ERROR).measures(1000.0).consecutive_failures == 1


def test_a_clock_set_back_neither_keeps_nor_loses_what_was_counted():
    windows = windows_of(ERROR, at=5000.0)
    windows.record(Call("acme", OK, 100.0), 1000.0)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 1059.0) == Reading(5000, 2)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 1061.0) == Reading(0, 0)


def test_calls_that_end_out_of_order_do_not_move_time():
    windows = Windows()
    for _ in range(100):
        windows.record(Call("acme", OK, 100.0), 1000.0)
        windows.record(Call("acme", OK, 100.0), 996.0)
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, 1059.0) == Reading(0, 200)


def test_a_reset_forgets_everything():
    windows = windows_of(*[Outcome.AUTH_FAIL] * 5, *[TIMEOUT] * 5)
    windows.reset()
    measures = windows.measures(1000.0)
    assert measures.consecutive_failures == 0
    assert {each.samples for each in measures.readings.values()} == {0}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(Outcome), st.floats(0, 90)),
        max_size=200,
    )
)
def test_rates_agree_with_a_naive_count_of_the_last_minute(steps):
    windows, calls, now = Windows(), [], 0.0
    for caller, outcome, passed in steps:
        now += passed
        windows.record(Call("one-caller", outcome, 100.0 * caller), now)
        calls.append((now, outcome))
    recent = [outcome for at, outcome in calls if int(at) > int(now) - 60]
    failed = sum(outcome is not OK for outcome in recent)
    expected = BASIS_POINTS * failed / len(recent) if recent else 0.0
    assert reading(windows, v1.MEASURE_ERROR_RATE_60S, now) == Reading(expected, len(recent))


def test_memory_does_not_grow_with_the_number_of_calls_or_callers():
    windows, sizes = Windows(), []
    for number in range(18_000):
        windows.record(
            Call(caller_of(f"tenant-{number % 1999}", f"user-{number % 4999}"), ERROR, float(number % 300)),
            number * 0.05,
        )
        if number % 6000 == 5999:
            sizes.append(len(pickle.dumps(windows)))
    assert max(sizes) <= 1.1 * sizes[0]


def _answered(calls: int, *, caller: str = "t", latency_ms: float = 150.0, at: float = 1_000.0) -> Windows:
    windows = Windows()
    for number in range(calls):
        windows.record(Call(f"{caller}{number % 4}", Outcome.OK, latency_ms), at)
    return windows


def _waiting(calls: int, age_s: float, *, callers: int = 4) -> list[Waiting]:
    return [Waiting(f"t{number % callers}", age_s) for number in range(calls)]


@pytest.mark.parametrize(("age_s", "overdue"), [(0.5, 0), (0.501, 12)])
def test_calls_are_overdue_beyond_half_a_second_where_answers_are_quick(age_s, overdue):
    assert _answered(50).measures(1_001.0, _waiting(12, age_s)).overdue == overdue


@pytest.mark.parametrize(("age_s", "overdue"), [(2.0, 0), (2.01, 12)])
def test_calls_are_overdue_beyond_twice_p95_where_answers_are_slow(age_s, overdue):
    assert _answered(50, latency_ms=1_000.0).measures(1_010.0, _waiting(12, age_s)).overdue == overdue


def test_nobody_is_overdue_while_others_that_began_later_are_answered():
    windows = _answered(50, at=1_000.0)
    windows.record(Call("t1", Outcome.OK, 150.0), 1_004.5)
    assert windows.measures(1_005.0, _waiting(40, 3.0)).overdue == 0
    assert windows.measures(1_006.0, _waiting(40, 1.4)).overdue == 40


def test_nobody_is_overdue_where_too_few_were_answered_to_know_what_is_usual():
    assert _answered(49).measures(1_010.0, _waiting(40, 5.0)).overdue == 0
    assert Windows().measures(1_010.0, _waiting(40, 5.0)).overdue == 0


def test_one_callers_waits_do_not_speak_for_everybody():
    alone = [Waiting("t0", 5.0)] * 40
    assert _answered(100).measures(1_010.0, alone).overdue == 0
    assert _answered(100).measures(1_010.0, [*alone, *[Waiting("t1", 5.0)] * 7]).overdue == 14


def _taken_for_silent(late_answers: int, *, latency_s: float = 2.0, spread_s: float = 0.0) -> Windows:
    """Quick answers, then calls that wait so long that the provider seems silent, then so many answers to them."""
    windows = _answered(60, latency_ms=20.0, at=1_000.0)
    assert windows.measures(1_001.0, _waiting(40, 0.9)).overdue == 40
    for number in range(late_answers):
        windows.record(Call(f"t{number % 4}", Outcome.OK, 1000 * (latency_s + spread_s * number)), 1_002.1)
    windows.reset()
    for number in range(60):
        windows.record(Call(f"t{number % 4}", Outcome.OK, 20.0), 1_100.0)
    return windows


@pytest.mark.parametrize(("late_answers", "after_s"), [(11, 0.5), (12, 4.0)])
def test_who_was_slow_and_not_silent_is_given_that_time_from_then_on(late_answers, after_s):
    windows = _taken_for_silent(late_answers)
    assert windows.measures(1_110.0, _waiting(40, after_s)).overdue == 0
    assert windows.measures(1_110.0, _waiting(40, after_s + 0.01)).overdue == 40


def test_of_those_who_waited_for_a_silent_provider_the_first_answered_tells_what_is_usual():
    windows = _taken_for_silent(40, latency_s=1.2, spread_s=0.2)
    assert windows.measures(1_110.0, _waiting(40, 2.41)).overdue == 40


def test_what_is_usual_is_forgotten_after_an_hour():
    windows = _taken_for_silent(12)
    for number in range(60):
        windows.record(Call(f"t{number % 4}", Outcome.OK, 20.0), 4_700.0)
    assert windows.measures(4_701.5, _waiting(40, 1.0)).overdue == 40


def test_slow_answers_beside_quick_ones_do_not_make_silence_usual():
    windows = _answered(600, latency_ms=20.0, at=1_000.0)
    for _ in range(30):
        windows.record(Call("t1", Outcome.OK, 3_000.0), 1_000.0)
    assert windows.measures(1_001.0, _waiting(40, 0.9)).overdue == 40
