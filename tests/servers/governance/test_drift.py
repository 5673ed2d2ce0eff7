"""Drift recovery does not thrash (§38.6): its limits at, under and over their numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from servers.governance.drift import DriftReason, History, Recovery, frozen, recover

NOW = datetime(2026, 3, 20, tzinfo=UTC)
HOUR, DAY, MICROSECOND = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("ago", "allowed"), [(24 * HOUR - MICROSECOND, False), (24 * HOUR, True), (24 * HOUR + MICROSECOND, True)]
)
def test_a_user_is_adapted_once_in_24_hours(ago: timedelta, allowed: bool) -> None:
    answer = recover(Recovery.ADAPTATION, History(adaptations=(NOW - ago,)), NOW)
    assert answer.allowed is allowed
    assert allowed or answer.reason is DriftReason.ADAPTATION_RATE_LIMITED


@pytest.mark.parametrize(
    ("ago", "allowed"), [(72 * HOUR - MICROSECOND, False), (72 * HOUR, True), (72 * HOUR + MICROSECOND, True)]
)
def test_a_user_is_asked_to_enrol_again_once_in_72_hours(ago: timedelta, allowed: bool) -> None:
    answer = recover(Recovery.REENROLMENT, History(reenrolments=(NOW - ago,)), NOW)
    assert answer.allowed is allowed
    assert allowed or answer.reason is DriftReason.REENROLMENT_RATE_LIMITED


def breaches(*days_ago: float) -> History:
    return History(breaches=tuple(NOW - timedelta(days=days) for days in days_ago))


@pytest.mark.parametrize(
    ("history", "held"),
    [
        (breaches(1, 2), False),
        (breaches(1, 2, 3), True),
        (breaches(0, 7, 14), True),
        (breaches(0, 7, 14.001), False),
        (breaches(0, 8, 16, 24), False),
        (breaches(60, 61, 62), True),  # long ago, and nobody reviewed it
    ],
)
def test_three_breaches_in_14_days_freeze_until_a_review(history: History, held: bool) -> None:
    assert frozen(history, NOW) is held
    assert (recover(Recovery.ADAPTATION, history, NOW).reason is DriftReason.FROZEN) is held


def test_a_review_unfreezes_and_breaches_after_it_count_anew() -> None:
    reviewed = History(breaches=breaches(1, 5, 6, 7).breaches, reviewed_at=NOW - 2 * DAY)
    again = History(breaches=breaches(0.5, 1, 1.5, 6, 7).breaches, reviewed_at=NOW - 2 * DAY)
    assert not frozen(reviewed, NOW) and frozen(again, NOW)


def test_a_freeze_does_not_keep_a_user_from_enrolling_again() -> None:
    assert recover(Recovery.REENROLMENT, breaches(1, 2, 3), NOW).allowed
