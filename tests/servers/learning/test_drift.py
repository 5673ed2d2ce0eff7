"""Drift of voice identity, each limit at, just under and just over it, and pairs that are confused (§38.6, §38.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selene.learning.v1 import drift_pb2 as v1

from servers.learning.drift import (
    DETECTORS,
    REFERENCE,
    WINDOW,
    Collided,
    Decided,
    collided,
    drifted,
    recovery_of,
)

NOW = datetime(2026, 3, 2, tzinfo=UTC)
TODAY, BEFORE = NOW - timedelta(hours=1), NOW - timedelta(days=3)
EN = {"language": "en"}


def decided(at: datetime = TODAY, *, cohort: dict[str, str] | None = None, **known: Any) -> Decided:
    return Decided(**{"at": at, "cohort": EN if cohort is None else cohort, "named": "", "speaker": None, **known})


def found(*decisions: Decided) -> list[tuple[str, v1.DriftDetector]]:
    return [(one.subject, one.detector) for one in drifted(decisions, NOW)]


def genuine(right: int, wrong: int, *, cohort: dict[str, str] | None = None, at: datetime = TODAY) -> list[Decided]:
    """Turns of nobody in particular: each of another user, so that only cohorts have enough of them."""
    return [
        decided(at, cohort=cohort, speaker=f"u{number}", named=f"u{number}" if number < right else "")
        for number in range(right + wrong)
    ]


@pytest.mark.parametrize(
    ("wrong", "trials", "breach"),
    [
        # Three of 62: the lower 95 % bound is 1.009 %; of 63 it is 0.993 %: the limit is 1.0 %.
        (3, 62, True),
        (3, 63, False),
        (2, 10, False),
        (3, 10, True),
        (0, 500, False),
    ],
)
def test_false_rejects_drift_where_they_are_surely_beyond_one_percent(wrong: int, trials: int, breach: bool) -> None:
    expected = [("cohort:language:en", v1.DRIFT_DETECTOR_FALSE_REJECTS)] if breach else []
    assert found(*genuine(trials - wrong, wrong)) == expected


@pytest.mark.parametrize(
    ("wrong", "trials", "breach"),
    [
        # Three of 619: the lower bound is 0.10006 %; of 620 it is 0.0999 %: the limit is 0.10 %.
        (3, 619, True),
        (3, 620, False),
        (2, 3, False),
        (3, 3, True),
    ],
)
def test_false_accepts_drift_where_they_are_surely_beyond_a_tenth_of_a_percent(
    wrong: int, trials: int, breach: bool
) -> None:
    impostors = [decided(speaker="", named=f"u{n}" if n < wrong else "") for n in range(trials)]
    expected = [("cohort:language:en", v1.DRIFT_DETECTOR_FALSE_ACCEPTS)] if breach else []
    assert found(*impostors) == expected


def test_whoever_is_named_for_another_is_both_rejected_and_accepted() -> None:
    mixed = [decided(speaker=f"u{n}", named=f"v{n}") for n in range(3)]
    assert found(*mixed) == [
        ("cohort:language:en", v1.DRIFT_DETECTOR_FALSE_REJECTS),
        ("cohort:language:en", v1.DRIFT_DETECTOR_FALSE_ACCEPTS),
    ]


def test_nothing_is_known_of_decisions_of_which_nobody_said_who_spoke() -> None:
    assert found(*(decided(named="mia") for _ in range(50))) == []


@pytest.mark.parametrize(("poor", "breach"), [(2, False), (9, False), (10, True), (20, True)])
def test_quality_decays_where_surely_more_is_poor_than_before(poor: int, breach: bool) -> None:
    # Before, 10 of 200 were poor: surely at most 9.0 %. Of 50, 9 are surely at least 8.6 %, 10 at least 10.0 %.
    before = [decided(BEFORE, poor=number < 10) for number in range(200)]
    now = [decided(poor=number < poor) for number in range(50)]
    expected = [("cohort:language:en", v1.DRIFT_DETECTOR_QUALITY_DECAY)] if breach else []
    assert found(*before, *now) == expected


def test_what_was_never_heard_before_cannot_have_decayed() -> None:
    assert found(*(decided(poor=True, margin_bp=1) for _ in range(50))) == []


@pytest.mark.parametrize(("low", "breach"), [(59, False), (60, False), (61, True), (100, True)])
def test_margins_are_compressed_where_surely_most_lie_where_the_lowest_quarter_did(low: int, breach: bool) -> None:
    # Of 100, the lower 95 % bound of 60 is 49.7 %, of 61 it is 50.7 %: the limit is one half.
    before = [decided(BEFORE, margin_bp=margin) for margin in range(1_000, 9_000, 40)]
    now = [decided(margin_bp=500 if number < low else 8_000) for number in range(100)]
    expected = [("cohort:language:en", v1.DRIFT_DETECTOR_MARGIN_COMPRESSION)] if breach else []
    assert found(*before, *now) == expected


def test_a_compressed_margin_says_both_medians() -> None:
    before = [decided(BEFORE, margin_bp=margin) for margin in (2_000, 4_000, 6_000, 8_000)]
    now = [decided(margin_bp=100) for _ in range(10)]
    [breach] = drifted([*before, *now], NOW)
    assert (breach.recent, breach.reference, breach.samples) == (100, 5_000, 10)


def test_a_cohort_that_rejects_more_than_all_others_regresses_though_the_average_holds() -> None:
    street = genuine(190, 10, cohort={"noise": "street"})
    quiet = genuine(5_000, 5, cohort={"noise": "quiet"})
    assert ("cohort:noise:street", v1.DRIFT_DETECTOR_COHORT_REGRESSION) in found(*street, *quiet)
    assert ("cohort:noise:quiet", v1.DRIFT_DETECTOR_COHORT_REGRESSION) not in found(*street, *quiet)


def test_a_cohort_alone_regresses_against_nobody() -> None:
    assert found(*genuine(10, 10)) == [("cohort:language:en", v1.DRIFT_DETECTOR_FALSE_REJECTS)]


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (NOW - WINDOW - timedelta(microseconds=1), False),
        (NOW - WINDOW, True),
        (NOW - timedelta(microseconds=1), True),
        (NOW, False),
    ],
)
def test_a_window_is_of_24_hours_its_end_excluded(at: datetime, counts: bool) -> None:
    assert bool(found(*genuine(0, 3, at=at))) is counts


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (NOW - WINDOW - REFERENCE - timedelta(microseconds=1), False),
        (NOW - WINDOW - REFERENCE, True),
        (NOW - WINDOW - timedelta(microseconds=1), True),
    ],
)
def test_a_window_is_held_against_the_14_days_before(at: datetime, counts: bool) -> None:
    before = [decided(at) for _ in range(200)]
    assert bool(found(*before, *(decided(poor=True) for _ in range(20)))) is counts


def test_a_breach_of_a_user_is_of_who_spoke_else_of_who_was_named_else_of_who_was_claimed() -> None:
    none: dict[str, str] = {}
    before = [decided(BEFORE, cohort=none, speaker="mia", named="mia") for _ in range(50)]
    before += [decided(BEFORE, cohort=none, named="noa") for _ in range(50)]
    before += [decided(BEFORE, cohort=none, claimed="eli") for _ in range(50)]
    now = [decided(cohort=none, poor=True, named="noa") for _ in range(10)]
    now += [decided(cohort=none, poor=True, claimed="eli") for _ in range(10)]
    now += [decided(cohort=none, poor=True, speaker="mia", named="noa", claimed="eli") for _ in range(2)]
    assert [subject for subject, detector in found(*before, *now)] == ["user:eli", "user:noa"]


def test_a_voice_that_changed_is_enrolled_again_and_a_limit_is_learned_anew() -> None:
    asked = {
        (subject, detector): recovery_of(subject, detector)
        for subject in ("user:mia", "cohort:noise:street")
        for detector in (*DETECTORS, v1.DRIFT_DETECTOR_COHORT_REGRESSION)
    }
    enrolled = {key for key, recovery in asked.items() if recovery == v1.DRIFT_RECOVERY_REENROLMENT}
    assert enrolled == {
        ("user:mia", v1.DRIFT_DETECTOR_QUALITY_DECAY),
        ("user:mia", v1.DRIFT_DETECTOR_MARGIN_COMPRESSION),
    }
    assert set(asked.values()) == {v1.DRIFT_RECOVERY_REENROLMENT, v1.DRIFT_RECOVERY_ADAPTATION}


def test_pairs_are_counted_whichever_of_the_two_spoke_the_most_frequent_first() -> None:
    decisions = [
        decided(BEFORE, speaker="mia", named="noa"),
        decided(speaker="noa", named="mia"),
        decided(speaker="eli", named="mia"),
        decided(named="eli", close=("eli", "ida")),
        decided(speaker="mia", named="mia", close=("mia", "noa")),
        decided(speaker="mia", named=""),
        decided(speaker="", named="mia"),
    ]
    assert collided(decisions) == [
        Collided(("mia", "noa"), 2, 1, TODAY),
        Collided(("eli", "mia"), 1, 0, TODAY),
        Collided(("eli", "ida"), 0, 1, TODAY),
    ]
