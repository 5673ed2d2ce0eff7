"""The stages of §29: what has to hold to leave one, at and beside its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selene.governance.v1 import rollout_pb2 as v1

from servers.governance.rollout import (
    FIRST,
    PROMOTE_CHECK,
    ROLLBACK_CHECK,
    STAGES,
    Move,
    Standing,
    check_promote,
    check_rollback,
    stability_days,
    stable_since,
)

ENTERED = datetime(2026, 3, 1, tzinfo=UTC)
DAY, SECOND = timedelta(hours=24), timedelta(seconds=1)
SHADOW, CANARY_1, CANARY_2, FULL = STAGES


def judged(verdict: v1.JudgeVerdict, *reasons: v1.JudgeReason, turns: int = 10) -> v1.Judgement:
    return v1.Judgement(verdict=verdict, reasons=reasons, candidate_turns=turns, baseline_turns=turns)


PROMOTE = judged(v1.JUDGE_VERDICT_PROMOTE, v1.JUDGE_REASON_PROMOTE_MET)
HOLD = judged(v1.JUDGE_VERDICT_HOLD, v1.JUDGE_REASON_BELOW_PROMOTE)
ROLLBACK = judged(v1.JUDGE_VERDICT_ROLLBACK, v1.JUDGE_REASON_REGRESSION)


def standing(stage: v1.RolloutStage, judgement: v1.Judgement = PROMOTE, **known: Any) -> Standing:
    return Standing(stage=stage, entered_at=ENTERED, judgement=judgement, **known)


def test_the_stages_are_those_of_the_source() -> None:
    assert [(stage.stage, stage.share_bp) for stage in STAGES.values()] == [
        (v1.ROLLOUT_STAGE_SHADOW, 0),
        (v1.ROLLOUT_STAGE_CANARY_1, 500),
        (v1.ROLLOUT_STAGE_CANARY_2, 2_500),
        (v1.ROLLOUT_STAGE_FULL, 10_000),
    ]
    order, stage = [], FIRST
    while stage is not None:
        order.append(stage)
        stage = STAGES[stage].following
    assert order == list(STAGES)
    assert PROMOTE_CHECK.every == timedelta(minutes=15) and ROLLBACK_CHECK.every == timedelta(seconds=60)


@pytest.mark.parametrize("stage", [SHADOW, CANARY_1, CANARY_2])
@pytest.mark.parametrize(
    ("after", "move"), [(DAY - SECOND, Move.STAY), (DAY, Move.ADVANCE), (DAY + SECOND, Move.ADVANCE)]
)
def test_no_stage_is_left_before_a_day_has_passed(stage: v1.RolloutStage, after: timedelta, move: Move) -> None:
    held = standing(stage, guards_measured=True, stability_allowed=True)
    assert check_promote(held, ENTERED + after) is move


@pytest.mark.parametrize("stage", [CANARY_1, CANARY_2])
def test_a_canary_is_left_only_when_the_judge_says_promote(stage: v1.RolloutStage) -> None:
    assert check_promote(standing(stage, HOLD, stability_allowed=True), ENTERED + 30 * DAY) is Move.STAY


def test_the_second_canary_waits_for_the_stability_window() -> None:
    assert check_promote(standing(CANARY_2), ENTERED + 30 * DAY) is Move.STAY
    assert check_promote(standing(CANARY_2, stability_allowed=True), ENTERED + 30 * DAY) is Move.ADVANCE


def test_a_shadow_needs_no_gain_but_enough_to_see_a_regression_by() -> None:
    assert check_promote(standing(SHADOW, HOLD, guards_measured=True), ENTERED + DAY) is Move.ADVANCE
    for reason in (
        v1.JUDGE_REASON_NO_ROW,
        v1.JUDGE_REASON_TOO_FEW_SAMPLES,
        v1.JUDGE_REASON_WINDOW_TOO_SHORT,
        v1.JUDGE_REASON_COHORT_REGRESSION,
        v1.JUDGE_REASON_REGRESSION,
    ):
        held = standing(SHADOW, judged(v1.JUDGE_VERDICT_HOLD, reason), guards_measured=True)
        assert check_promote(held, ENTERED + DAY) is Move.STAY
    silent = judged(v1.JUDGE_VERDICT_HOLD, v1.JUDGE_REASON_NO_TRAFFIC, turns=0)
    assert check_promote(standing(SHADOW, silent, guards_measured=True), ENTERED + DAY) is Move.STAY


@pytest.mark.parametrize("judgement", [PROMOTE, HOLD, judged(v1.JUDGE_VERDICT_HOLD, v1.JUDGE_REASON_METRIC_MISSING)])
def test_a_shadow_that_nothing_measured_stays(judgement: v1.Judgement) -> None:
    assert check_promote(standing(SHADOW, judgement), ENTERED + 30 * DAY) is Move.STAY


def test_what_only_those_who_are_served_can_show_does_not_hold_a_shadow() -> None:
    missing = judged(v1.JUDGE_VERDICT_HOLD, v1.JUDGE_REASON_METRIC_MISSING)
    assert check_promote(standing(SHADOW, missing, guards_measured=True), ENTERED + DAY) is Move.ADVANCE


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_regression_rolls_back_at_once_from_every_stage(stage: v1.RolloutStage) -> None:
    assert check_rollback(standing(stage, ROLLBACK)) is Move.ROLLBACK
    assert check_promote(standing(stage, ROLLBACK), ENTERED) is Move.ROLLBACK


def test_the_heartbeat_never_promotes() -> None:
    assert check_rollback(standing(CANARY_2, PROMOTE, stability_allowed=True)) is Move.STAY


def test_nothing_follows_the_full_stage() -> None:
    assert check_promote(standing(FULL, stability_allowed=True), ENTERED + 30 * DAY) is Move.STAY


def test_a_regression_begins_the_stability_window_anew() -> None:
    later = ENTERED + 3 * DAY
    cohort = judged(v1.JUDGE_VERDICT_HOLD, v1.JUDGE_REASON_COHORT_REGRESSION)
    assert stable_since(ENTERED, HOLD, later) == stable_since(ENTERED, PROMOTE, later) == ENTERED
    assert stable_since(ENTERED, cohort, later) == later


@pytest.mark.parametrize(
    ("passed", "days"),
    [(timedelta(0), 0), (7 * DAY - SECOND, 6), (7 * DAY, 7), (14 * DAY, 14), (40 * DAY, 14), (-DAY, 0)],
)
def test_of_a_long_window_the_latest_fourteen_days_count(passed: timedelta, days: int) -> None:
    assert stability_days(ENTERED, ENTERED + passed, 14) == days
