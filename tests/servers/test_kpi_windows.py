"""Spans by stage, buckets of latency, and tallies that stay small."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    KPI_METRIC_REJECTS,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    Rollout,
    RolloutStage,
    StageEntry,
)

from servers.kpi_windows import MOST_VALUES, Span, Tallies, last_end, latency_bucket, spans

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def staged(*entries: tuple[RolloutStage, int, int | None]) -> Rollout:
    """Stages by the hours at which they were entered and left."""
    rollout = Rollout()
    for stage, entered, left in entries:
        entry = StageEntry(stage=stage)
        entry.entered_at.FromDatetime(START + entered * HOUR)
        if left is not None:
            entry.left_at.FromDatetime(START + left * HOUR)
        rollout.stages.append(entry)
    return rollout


ROLLOUT = staged((ROLLOUT_STAGE_SHADOW, 0, 10), (ROLLOUT_STAGE_CANARY_1, 10, None))


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (0, 4, [(ROLLOUT_STAGE_SHADOW, 0, 4)]),
        (4, 10, [(ROLLOUT_STAGE_SHADOW, 4, 10)]),
        (9, 12, [(ROLLOUT_STAGE_SHADOW, 9, 10), (ROLLOUT_STAGE_CANARY_1, 10, 12)]),
        (10, 12, [(ROLLOUT_STAGE_CANARY_1, 10, 12)]),
        (-3, 1, [(ROLLOUT_STAGE_SHADOW, 0, 1)]),
    ],
)
def test_a_span_ends_with_its_stage(since: int, until: int, found: list[tuple[RolloutStage, int, int]]) -> None:
    expected = [Span(stage, START + first * HOUR, START + last * HOUR) for stage, first, last in found]
    assert spans(ROLLOUT, START + since * HOUR, START + until * HOUR) == expected


@pytest.mark.parametrize(("minutes", "ended"), [(0, 0), (14, 0), (15, 15), (29, 15), (61, 60)])
def test_windows_end_at_multiples(minutes: int, ended: int) -> None:
    end = last_end(START + timedelta(minutes=minutes), timedelta(minutes=15))
    assert end == START + timedelta(minutes=ended)


@given(st.integers(min_value=1, max_value=10**9))
def test_a_latency_lies_in_its_bucket(latency_us: int) -> None:
    index = latency_bucket(latency_us)
    assert 1.01**index <= latency_us * (1 + 1e-9)
    assert latency_us < 1.01 ** (index + 1) * (1 + 1e-9)


def test_what_took_no_time_and_what_took_forever_have_a_bucket() -> None:
    assert (latency_bucket(0), latency_bucket(10**30)) == (0, 2_400)


def test_a_row_that_is_older_than_every_span_belongs_to_the_first() -> None:
    tallies = Tallies(spans(ROLLOUT, START + 9 * HOUR, START + 12 * HOUR))
    for hours in (3, 9, 10, 11):
        for tally in tallies.of(START + hours * HOUR, ARM_CANDIDATE, []):
            tally.turn(None)
    turns = {(stage, window.arm): window.turns for stage, window in tallies.windows()}
    assert turns == {
        (ROLLOUT_STAGE_SHADOW, ARM_BASELINE): 0,
        (ROLLOUT_STAGE_SHADOW, ARM_CANDIDATE): 2,
        (ROLLOUT_STAGE_CANARY_1, ARM_BASELINE): 0,
        (ROLLOUT_STAGE_CANARY_1, ARM_CANDIDATE): 2,
    }


def test_where_everyone_has_the_candidate_nothing_is_said_of_a_baseline() -> None:
    tallies = Tallies([Span(ROLLOUT_STAGE_FULL, START, START + HOUR)])
    assert [window.arm for _, window in tallies.windows()] == [ARM_CANDIDATE]


def test_counts_of_a_row_are_everyones_and_those_of_each_of_its_cohorts() -> None:
    tallies = Tallies([Span(ROLLOUT_STAGE_CANARY_1, START, START + HOUR)])
    for language, event in (("en", 1), ("en", 0), ("", 1)):
        for tally in tallies.of(START, ARM_CANDIDATE, [("language", language), ("noise", "quiet room")]):
            tally.add(KPI_METRIC_REJECTS, event, 1)
    counted = {
        window.cohort: (window.counts[0].numerator, window.counts[0].denominator)
        for _, window in tallies.windows()
        if window.counts
    }
    assert counted == {"": (2, 3), "language:en": (1, 2), "noise:quiet_room": (2, 3)}


def test_however_many_cohorts_callers_name_there_are_few() -> None:
    tallies = Tallies([Span(ROLLOUT_STAGE_CANARY_1, START, START + HOUR)])
    for number in range(10 * MOST_VALUES):
        for tally in tallies.of(START, ARM_CANDIDATE, [("language", f"x{number}")]):
            tally.turn(10)
    windows = {window.cohort: window for _, window in tallies.windows() if window.arm == ARM_CANDIDATE}
    assert len(windows) == 1 + MOST_VALUES + 1
    assert windows["language:other"].turns == 9 * MOST_VALUES
    assert windows[""].turns == 10 * MOST_VALUES
