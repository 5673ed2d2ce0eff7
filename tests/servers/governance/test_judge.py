"""Every cell of §20 at its number, a step under and a step over it; what never promotes; what rolls back at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.governance.v1 import rollout_pb2 as v1

from servers.governance.judge import GLOBAL_TRIGGERS, ONLY_SERVED, TABLE, Trail, guards_measured, judge, unmeasured
from tests.servers.governance.windows import DAY, START, Counts, both, window

NOW = START + DAY
WHOLE = Trail(expected=3, found=3)
MILLION = 1_000_000
HOLD, PROMOTE, ROLLBACK = v1.JUDGE_VERDICT_HOLD, v1.JUDGE_VERDICT_PROMOTE, v1.JUDGE_VERDICT_ROLLBACK
VOICE = v1.JUDGE_DOMAIN_VOICE_IDENTITY

Sides = tuple[Counts, Counts]


def of_million(**rates: int) -> Counts:
    return {getattr(v1, f"KPI_METRIC_{name.upper()}"): (count, MILLION) for name, count in rates.items()}


GOOD: Mapping[v1.JudgeDomain, Sides] = {
    v1.JUDGE_DOMAIN_STT: (of_million(word_errors=100_000, rejects=20_000), of_million(word_errors=80_000, rejects=0)),
    v1.JUDGE_DOMAIN_TTS: (
        of_million(
            mispronunciation_complaints=100_000, interruption_success=500_000, interruption_false_positives=1_000
        ),
        of_million(
            mispronunciation_complaints=50_000, interruption_success=700_000, interruption_false_positives=1_000
        ),
    ),
    v1.JUDGE_DOMAIN_NLP: (
        of_million(intent_f1=800_000, slot_f1=800_000),
        of_million(intent_f1=900_000, slot_f1=900_000),
    ),
    v1.JUDGE_DOMAIN_LLM_BOUNDARY: (
        of_million(schema_valid=999_000, policy_conflicts=0),
        of_million(schema_valid=MILLION, policy_conflicts=0),
    ),
    v1.JUDGE_DOMAIN_CONTEXT: (of_million(correction_recurrence=100_000), of_million(correction_recurrence=50_000)),
    v1.JUDGE_DOMAIN_PAE_ROUTING: (
        of_million(quality_cost_score=500_000),
        of_million(quality_cost_score=600_000),
    ),
    VOICE: (
        of_million(
            false_rejects=5_000,
            false_accepts=100,
            identity_prompts=200_000,
            repeat_prompt_violations=0,
            prompt_confirmations=800_000,
        ),
        of_million(
            false_rejects=4_000,
            false_accepts=50,
            identity_prompts=200_000,
            repeat_prompt_violations=0,
            prompt_confirmations=800_000,
        ),
    ),
}
"""Counts by which each row promotes."""

SAME_SPEED = ({1000: 100}, {1000: 100})


def verdict_of(domain: v1.JudgeDomain, sides: Sides, **options: object) -> v1.Judgement:
    """With so many turns that only the cells decide."""
    turns = options.pop("turns", MILLION)
    slow = options.pop("latencies", SAME_SPEED)
    windows = both(turns, *sides, latencies=slow)  # type: ignore[arg-type]  # what the callers below pass
    return judge(domain, windows, trail=WHOLE, now=NOW)


def changed(domain: v1.JudgeDomain, **candidate: int) -> Sides:
    baseline, good = GOOD[domain]
    return baseline, {**good, **of_million(**candidate)}


@pytest.mark.parametrize("domain", list(TABLE))
def test_a_row_promotes_what_meets_its_promote_column(domain: v1.JudgeDomain) -> None:
    judgement = verdict_of(domain, GOOD[domain])
    assert (judgement.verdict, list(judgement.reasons)) == (PROMOTE, [v1.JUDGE_REASON_PROMOTE_MET])


# Baselines: WER 10 %, rejects 2 %, complaints 10 %, interruption success 50 %, false positives 0.1 %, F1 80 %,
# recurrence 10 %, score 50 %. Each row: the domain, the candidate's count in a million at the number, and the step that
# leaves the cell; at the number and beyond it the other way the cell holds.
PROMOTE_CELLS = [
    (v1.JUDGE_DOMAIN_STT, "word_errors", 92_000, +1),  # -8 % of 10 %
    (v1.JUDGE_DOMAIN_STT, "rejects", 23_000, +1),  # +0.3 pp
    (v1.JUDGE_DOMAIN_TTS, "mispronunciation_complaints", 80_000, +1),  # -20 % of 10 %
    (v1.JUDGE_DOMAIN_TTS, "interruption_success", 550_000, -1),  # +5 pp
    (v1.JUDGE_DOMAIN_NLP, "intent_f1", 840_000, -1),  # +4 pp
    (v1.JUDGE_DOMAIN_NLP, "slot_f1", 830_000, -1),  # +3 pp
    (v1.JUDGE_DOMAIN_LLM_BOUNDARY, "schema_valid", 999_000, -1),  # 99.9 %
    (v1.JUDGE_DOMAIN_CONTEXT, "correction_recurrence", 85_000, +1),  # -15 % of 10 %
    (v1.JUDGE_DOMAIN_PAE_ROUTING, "quality_cost_score", 525_000, -1),  # +5 % of 50 %
]


@pytest.mark.parametrize(("domain", "metric", "number", "out"), PROMOTE_CELLS)
def test_a_promote_cell_holds_at_its_number_and_not_a_step_beside_it(
    domain: v1.JudgeDomain, metric: str, number: int, out: int
) -> None:
    at, inside, outside = (
        verdict_of(domain, changed(domain, **{metric: count})) for count in (number, number - out, number + out)
    )
    assert (at.verdict, inside.verdict, outside.verdict) == (PROMOTE, PROMOTE, HOLD)
    assert list(outside.reasons) == [v1.JUDGE_REASON_BELOW_PROMOTE]


ROLLBACK_CELLS = [
    (v1.JUDGE_DOMAIN_STT, "word_errors", 103_000, -1),  # +3 % of 10 %
    (v1.JUDGE_DOMAIN_STT, "rejects", 30_000, -1),  # +1.0 pp
    (v1.JUDGE_DOMAIN_TTS, "mispronunciation_complaints", 110_000, -1),  # +10 % of 10 %
    (v1.JUDGE_DOMAIN_TTS, "interruption_false_positives", 21_000, -1),  # +2 pp
    (v1.JUDGE_DOMAIN_NLP, "intent_f1", 780_000, +1),  # -2 pp
    (v1.JUDGE_DOMAIN_NLP, "slot_f1", 780_000, +1),  # -2 pp
    (v1.JUDGE_DOMAIN_CONTEXT, "correction_recurrence", 105_000, -1),  # +5 % of 10 %
    (v1.JUDGE_DOMAIN_PAE_ROUTING, "quality_cost_score", 485_000, +1),  # -3 % of 50 %
]


@pytest.mark.parametrize(("domain", "metric", "number", "out"), ROLLBACK_CELLS)
def test_a_rollback_cell_holds_at_its_number_and_not_a_step_beside_it(
    domain: v1.JudgeDomain, metric: str, number: int, out: int
) -> None:
    at, inside, outside = (
        verdict_of(domain, changed(domain, **{metric: count})) for count in (number, number - out, number + out)
    )
    assert (at.verdict, inside.verdict) == (ROLLBACK, ROLLBACK)
    assert list(at.reasons) == [v1.JUDGE_REASON_REGRESSION]
    assert outside.verdict != ROLLBACK


@pytest.mark.parametrize(
    ("valid", "verdict"), [(995_001, HOLD), (995_000, HOLD), (994_999, ROLLBACK), (999_000, PROMOTE), (998_999, HOLD)]
)
def test_schema_validity_holds_from_99_5_to_99_9_percent(valid: int, verdict: v1.JudgeVerdict) -> None:
    sides = changed(v1.JUDGE_DOMAIN_LLM_BOUNDARY, schema_valid=valid)
    assert verdict_of(v1.JUDGE_DOMAIN_LLM_BOUNDARY, sides).verdict == verdict


def test_one_policy_conflict_rolls_the_boundary_back_however_few_turns_there_were() -> None:
    counts = {v1.KPI_METRIC_SCHEMA_VALID: (10, 10), v1.KPI_METRIC_POLICY_CONFLICTS: (1, 10)}
    clean = {**counts, v1.KPI_METRIC_POLICY_CONFLICTS: (0, 10)}
    with_conflict = judge(v1.JUDGE_DOMAIN_LLM_BOUNDARY, both(10, clean, counts), trail=WHOLE, now=NOW)
    without = judge(v1.JUDGE_DOMAIN_LLM_BOUNDARY, both(10, clean, clean), trail=WHOLE, now=NOW)
    assert (with_conflict.verdict, without.verdict) == (ROLLBACK, HOLD)


def test_schema_validity_that_is_surely_too_low_does_not_wait_for_the_window() -> None:
    few = {v1.KPI_METRIC_SCHEMA_VALID: (80, 100), v1.KPI_METRIC_POLICY_CONFLICTS: (0, 100)}
    unsure = {v1.KPI_METRIC_SCHEMA_VALID: (99, 100), v1.KPI_METRIC_POLICY_CONFLICTS: (0, 100)}
    surely = judge(v1.JUDGE_DOMAIN_LLM_BOUNDARY, both(100, few, few), trail=WHOLE, now=NOW)
    maybe = judge(v1.JUDGE_DOMAIN_LLM_BOUNDARY, both(100, unsure, unsure), trail=WHOLE, now=NOW)
    assert (surely.verdict, maybe.verdict) == (ROLLBACK, HOLD)


@pytest.mark.parametrize(
    ("slower", "verdict"),
    [(0, PROMOTE), (4, PROMOTE), (5, HOLD), (14, HOLD), (15, ROLLBACK)],  # 1.01^4 = 4.1 %, ^5 = 5.1 %, ^14 = 14.9 %
)
def test_the_95th_percentile_of_latency_is_held_against_5_and_15_percent(slower: int, verdict: v1.JudgeVerdict) -> None:
    slow = ({900: 94, 1000: 6}, {900: 94, 1000 + slower: 6})
    judged = verdict_of(v1.JUDGE_DOMAIN_PAE_ROUTING, GOOD[v1.JUDGE_DOMAIN_PAE_ROUTING], latencies=slow)
    assert judged.verdict == verdict


@pytest.mark.parametrize("domain", list(TABLE))
def test_a_turn_below_the_window_holds_and_the_window_itself_suffices(domain: v1.JudgeDomain) -> None:
    turns = TABLE[domain].turns
    enough, short = (verdict_of(domain, GOOD[domain], turns=count) for count in (turns, turns - 1))
    assert (enough.verdict, short.verdict) == (PROMOTE, HOLD)
    assert list(short.reasons) == [v1.JUDGE_REASON_TOO_FEW_SAMPLES]


@pytest.mark.parametrize("domain", list(TABLE))
def test_a_window_of_a_second_less_than_a_day_holds(domain: v1.JudgeDomain) -> None:
    windows = both(MILLION, *GOOD[domain], lasts=DAY - timedelta(seconds=1), latencies=SAME_SPEED)
    judged = judge(domain, windows, trail=WHOLE, now=NOW)
    assert (judged.verdict, list(judged.reasons)) == (HOLD, [v1.JUDGE_REASON_WINDOW_TOO_SHORT])


def test_the_minimum_turns_are_those_of_the_source() -> None:
    assert {TABLE[domain].turns for domain in TABLE if domain != VOICE} == {1000, 500, 800, 600, 1200}
    assert TABLE[v1.JUDGE_DOMAIN_NLP].turns == TABLE[v1.JUDGE_DOMAIN_LLM_BOUNDARY].turns == 800


@pytest.mark.parametrize("arms", [(), (v1.ARM_BASELINE,), (v1.ARM_CANDIDATE,)])
def test_no_traffic_on_a_side_holds(arms: tuple[v1.Arm, ...]) -> None:
    windows = [window(arm, MILLION, GOOD[v1.JUDGE_DOMAIN_STT][0]) for arm in arms]
    judged = judge(v1.JUDGE_DOMAIN_STT, windows, trail=WHOLE, now=NOW)
    assert (judged.verdict, list(judged.reasons)) == (HOLD, [v1.JUDGE_REASON_NO_TRAFFIC])


def test_a_baseline_of_another_time_is_no_baseline() -> None:
    baseline, candidate = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    baseline.starts_at.FromDatetime(START - DAY)
    baseline.ends_at.FromDatetime(START)
    apart = judge(v1.JUDGE_DOMAIN_STT, [baseline, candidate], trail=WHOLE, now=NOW)
    once_live = judge(v1.JUDGE_DOMAIN_STT, [baseline, candidate], trail=WHOLE, now=NOW, concurrent=False)
    assert (apart.verdict, once_live.verdict) == (HOLD, PROMOTE)


@pytest.mark.parametrize("domain", list(TABLE))
def test_a_metric_that_was_not_measured_holds(domain: v1.JudgeDomain) -> None:
    baseline, candidate = GOOD[domain]
    for metric in candidate:
        lacking = {each: count for each, count in candidate.items() if each != metric}
        assert verdict_of(domain, (baseline, lacking)).verdict == HOLD


@pytest.mark.parametrize("domain", list(TABLE))
def test_a_shadow_shows_nothing_where_what_would_take_it_back_was_not_measured(domain: v1.JudgeDomain) -> None:
    baseline, candidate = GOOD[domain]
    guards = {cell.metric for cell in TABLE[domain].rollback} - ONLY_SERVED
    assert guards_measured(domain, both(MILLION, baseline, candidate))
    assert not guards_measured(domain, both(MILLION, {}, {}))
    assert not guards_measured(domain, both(MILLION, baseline, dict.fromkeys(candidate, (0, 0))))
    for metric in candidate:
        lacking = {each: count for each, count in candidate.items() if each != metric}
        is_shown = guards_measured(domain, both(MILLION, baseline, lacking))
        assert is_shown is (metric not in guards | {v1.KPI_METRIC_POLICY_CONFLICTS} and bool(lacking)), metric


def test_a_shadow_of_voices_needs_neither_prompts_nor_their_confirmation() -> None:
    made = of_million(false_rejects=5_000, false_accepts=50)
    assert guards_measured(VOICE, both(MILLION, made, made))
    assert not guards_measured(VOICE, both(MILLION, of_million(false_rejects=5_000), made)), "nothing to compare with"


@pytest.mark.parametrize("domain", GOOD)
def test_what_a_shadow_was_not_measured_by_is_told_wherever_that_holds_it(domain: v1.JudgeDomain) -> None:
    baseline, candidate = GOOD[domain]
    for without in (set(), set(candidate), *({metric} for metric in candidate)):
        fewer = {metric: count for metric, count in candidate.items() if metric not in without}
        for windows in (both(MILLION, baseline, fewer), both(MILLION, fewer, candidate)):
            told = unmeasured(domain, windows, mirrored=True)
            assert guards_measured(domain, windows) is not bool(told), (without, told)
            assert {metric for metric, _ in told}.isdisjoint(ONLY_SERVED)


def test_a_shadow_of_voices_is_held_until_false_accepts_were_measured_on_both_sides() -> None:
    made, rejects = of_million(false_rejects=5_000, false_accepts=50), of_million(false_rejects=5_000)
    accepts = v1.KPI_METRIC_FALSE_ACCEPTS
    assert unmeasured(VOICE, both(MILLION, made, made), mirrored=True) == []
    assert unmeasured(VOICE, both(MILLION, rejects, made), mirrored=True) == [(accepts, v1.ARM_BASELINE)]
    assert unmeasured(VOICE, both(MILLION, made, rejects), mirrored=True) == [(accepts, v1.ARM_CANDIDATE)]
    prompts = {metric for metric, _ in unmeasured(VOICE, both(MILLION, made, made), mirrored=False)}
    assert v1.KPI_METRIC_IDENTITY_PROMPTS in prompts, "a canary is asked for those too"


def test_no_measurement_helps_what_no_row_is_about() -> None:
    assert unmeasured(v1.JUDGE_DOMAIN_UNSPECIFIED, both(MILLION, {}, {}), mirrored=True) == []


def test_a_shadow_that_no_row_is_about_shows_nothing() -> None:
    assert not guards_measured(v1.JUDGE_DOMAIN_UNSPECIFIED, both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT]))


def test_an_artifact_that_no_row_is_about_is_never_promoted() -> None:
    judged = verdict_of(v1.JUDGE_DOMAIN_UNSPECIFIED, GOOD[v1.JUDGE_DOMAIN_STT])
    assert (judged.verdict, list(judged.reasons)) == (HOLD, [v1.JUDGE_REASON_NO_ROW])


@pytest.mark.parametrize(("trigger", "reason"), GLOBAL_TRIGGERS)
def test_a_global_trigger_rolls_back_after_a_single_turn(trigger: str, reason: v1.JudgeReason) -> None:
    hour = timedelta(hours=1)
    once = window(v1.ARM_CANDIDATE, 1, {}, lasts=hour, **{trigger: 1})
    baseline = window(v1.ARM_BASELINE, 1, {}, lasts=hour, **{trigger: 1})
    judged = judge(v1.JUDGE_DOMAIN_STT, [once], trail=WHOLE, now=NOW)
    assert (judged.verdict, list(judged.reasons)) == (ROLLBACK, [reason])
    assert judge(v1.JUDGE_DOMAIN_STT, [baseline], trail=WHOLE, now=NOW).verdict == HOLD


@pytest.mark.parametrize(("trigger", "reason"), GLOBAL_TRIGGERS)
def test_a_safety_regression_never_promotes_whatever_else_got_better(trigger: str, reason: v1.JudgeReason) -> None:
    windows = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    setattr(windows[1].safety, trigger, 1)
    judged = judge(v1.JUDGE_DOMAIN_STT, windows, trail=WHOLE, now=NOW)
    assert (judged.verdict, list(judged.reasons)) == (ROLLBACK, [reason])


def test_a_trigger_in_one_cohort_counts() -> None:
    windows = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    windows.append(window(v1.ARM_CANDIDATE, 3, {}, cohort="language:en", privacy_leaks=1))
    assert judge(v1.JUDGE_DOMAIN_STT, windows, trail=WHOLE, now=NOW).verdict == ROLLBACK


@pytest.mark.parametrize(("found", "verdict"), [(100, PROMOTE), (99, ROLLBACK), (101, PROMOTE)])
def test_a_trail_that_lacks_a_row_rolls_back(found: int, verdict: v1.JudgeVerdict) -> None:
    windows = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    trail = Trail(expected=100, found=found)
    assert judge(v1.JUDGE_DOMAIN_STT, windows, trail=trail, now=NOW).verdict == verdict


def test_revoked_consent_rolls_back() -> None:
    windows = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    judged = judge(v1.JUDGE_DOMAIN_STT, windows, trail=WHOLE, now=NOW, revoked=True)
    assert (judged.verdict, list(judged.reasons)) == (ROLLBACK, [v1.JUDGE_REASON_CONSENT_REVOKED])


def test_a_gain_that_may_be_chance_holds() -> None:
    few = {v1.KPI_METRIC_WORD_ERRORS: (20, 1_000), v1.KPI_METRIC_REJECTS: (10, 1_000)}
    fewer = {v1.KPI_METRIC_WORD_ERRORS: (18, 1_000), v1.KPI_METRIC_REJECTS: (10, 1_000)}  # -10 %, p = 0.37
    judged = judge(v1.JUDGE_DOMAIN_STT, both(1_000, few, fewer), trail=WHOLE, now=NOW)
    assert (judged.verdict, list(judged.reasons)) == (HOLD, [v1.JUDGE_REASON_NOT_SIGNIFICANT])


def test_a_loss_at_its_number_rolls_back_although_it_may_be_chance() -> None:
    baseline = {v1.KPI_METRIC_WORD_ERRORS: (100, 1_000), v1.KPI_METRIC_REJECTS: (10, 1_000)}
    worse = {v1.KPI_METRIC_WORD_ERRORS: (103, 1_000), v1.KPI_METRIC_REJECTS: (10, 1_000)}
    assert judge(v1.JUDGE_DOMAIN_STT, both(1_000, baseline, worse), trail=WHOLE, now=NOW).verdict == ROLLBACK


@pytest.mark.parametrize(("turns", "verdict"), [(999, HOLD), (1_000, ROLLBACK)])
def test_a_regression_behind_a_good_average_stops_and_with_enough_turns_rolls_back(
    turns: int, verdict: v1.JudgeVerdict
) -> None:
    everyone = both(MILLION, *GOOD[v1.JUDGE_DOMAIN_STT])
    hidden = both(turns, *changed(v1.JUDGE_DOMAIN_STT, word_errors=103_000), cohort="accent:north")
    judged = judge(v1.JUDGE_DOMAIN_STT, everyone + hidden, trail=WHOLE, now=NOW)
    assert (judged.verdict, judged.reasons[0]) == (verdict, v1.JUDGE_REASON_COHORT_REGRESSION)


@pytest.mark.parametrize(
    ("prompts", "verdict"),
    [
        ({"identity_prompts": MILLION}, PROMOTE),
        ({"identity_prompts": MILLION + 1}, HOLD),
        ({"repeat_prompt_violations": 1}, HOLD),
        ({"prompt_confirmations": 799_900}, PROMOTE),
        ({"prompt_confirmations": 780_000}, HOLD),
    ],
)
def test_prompts_beyond_ask_once_hold(prompts: dict[str, int], verdict: v1.JudgeVerdict) -> None:
    judged = verdict_of(VOICE, changed(VOICE, **prompts))
    assert judged.verdict == verdict
    assert (v1.JUDGE_REASON_PROMPT_RATE in judged.reasons) is (verdict == HOLD)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        # 15,000 impostor decisions: the exact upper bound of 7 accepts is 0.096 %, of 8 0.105 %.
        ({v1.KPI_METRIC_FALSE_ACCEPTS: (7, 15_000)}, PROMOTE),
        ({v1.KPI_METRIC_FALSE_ACCEPTS: (8, 15_000)}, HOLD),
        # The exact lower bound of 23 is 0.097 %, of 24 0.103 %.
        ({v1.KPI_METRIC_FALSE_ACCEPTS: (23, 15_000)}, HOLD),
        ({v1.KPI_METRIC_FALSE_ACCEPTS: (24, 15_000)}, ROLLBACK),
        # 1,500 genuine decisions: the upper bound of 7 rejects is 0.96 %, of 8 1.05 %.
        ({v1.KPI_METRIC_FALSE_REJECTS: (7, 1_500)}, PROMOTE),
        ({v1.KPI_METRIC_FALSE_REJECTS: (8, 1_500)}, HOLD),
        ({v1.KPI_METRIC_FALSE_REJECTS: (23, 1_500)}, HOLD),
        ({v1.KPI_METRIC_FALSE_REJECTS: (24, 1_500)}, ROLLBACK),
    ],
)
def test_voice_identity_is_judged_by_its_confidence_bounds(counts: Counts, verdict: v1.JudgeVerdict) -> None:
    good = GOOD[VOICE][1]
    baseline = {**good, v1.KPI_METRIC_FALSE_ACCEPTS: (7, 15_000), v1.KPI_METRIC_FALSE_REJECTS: (7, 1_500)}
    assert verdict_of(VOICE, (baseline, {**baseline, **counts})).verdict == verdict


def test_more_false_accepts_than_before_hold_although_they_are_within_the_bounds() -> None:
    judged = verdict_of(VOICE, changed(VOICE, false_accepts=300))
    assert (judged.verdict, judged.reasons[0]) == (HOLD, v1.JUDGE_REASON_REGRESSION)


def test_findings_say_what_was_compared() -> None:
    judged = verdict_of(v1.JUDGE_DOMAIN_STT, changed(v1.JUDGE_DOMAIN_STT, word_errors=92_000))
    words = next(finding for finding in judged.findings if finding.metric == v1.KPI_METRIC_WORD_ERRORS)
    assert (words.baseline_ppm, words.candidate_ppm, words.delta_ppm) == (100_000, 92_000, -80_000)
    assert words.p_value_ppm == 1  # rounded up: chance is never excluded


rates = st.integers(min_value=0, max_value=1000)


@given(st.sampled_from(sorted(TABLE)), st.data())
def test_nothing_is_promoted_that_a_rollback_cell_or_a_trigger_speaks_against(
    domain: v1.JudgeDomain, data: st.DataObject
) -> None:
    sides = [{metric: (data.draw(rates), 1000) for metric in GOOD[domain][0]} for _ in range(2)]
    windows = both(2_000, *sides, latencies=SAME_SPEED)
    leaks = data.draw(st.integers(min_value=0, max_value=1))
    windows[1].safety.privacy_leaks = leaks
    judged = judge(domain, windows, trail=WHOLE, now=NOW)
    assert judged.verdict == ROLLBACK if leaks else judged.verdict in (PROMOTE, HOLD, ROLLBACK)
    if judged.verdict == PROMOTE:
        again = judge(domain, both(2_000, sides[1], sides[0], latencies=SAME_SPEED), trail=WHOLE, now=NOW)
        # A gain one way is none the other way; the boundary and voice identity are held to levels, not to a gain.
        levels = (v1.JUDGE_DOMAIN_LLM_BOUNDARY, VOICE)
        assert domain in levels or again.verdict != PROMOTE


@pytest.mark.parametrize(
    ("starts", "lasts", "enough"),
    [
        ((0, 12), 12, True),
        ((0, 0), 12, False),
        ((0, 6), 12, False),
        ((0, 0), 24, True),
        ((0, 13), 11, False),
        ((0, 6, 12), 12, True),
    ],
)
def test_time_that_two_sources_measured_at_once_counts_once(
    starts: tuple[int, ...], lasts: int, *, enough: bool
) -> None:
    baseline, candidate = GOOD[VOICE]
    windows = [
        each
        for start in starts
        for each in both(
            MILLION,
            baseline,
            candidate,
            starts_at=START + timedelta(hours=start),
            lasts=timedelta(hours=lasts),
        )
    ]
    found = judge(VOICE, windows, trail=WHOLE, now=NOW + DAY)
    assert list(found.reasons) == [v1.JUDGE_REASON_PROMOTE_MET if enough else v1.JUDGE_REASON_WINDOW_TOO_SHORT]
