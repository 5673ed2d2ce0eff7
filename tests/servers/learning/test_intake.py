"""The rules of intake, cell by cell."""

from __future__ import annotations

import pytest
from selene.learning.v1 import signal_pb2 as nouns

from servers.learning.intake import (
    DEFECT_FROM,
    FieldProblem,
    TimeCause,
    TimeLimits,
    TimeProblem,
    field_problem,
    intake_path,
    safety_critical,
    time_problem,
)
from tests.support.signals import signal

CLASSES = [number for number in nouns.SignalClass.values() if number]
SEVERITIES = [number for number in nouns.Severity.values() if number]
A, B = nouns.INTAKE_PATH_DEFECT, nouns.INTAKE_PATH_IMPROVEMENT
LOW, MEDIUM, HIGH, CRITICAL = SEVERITIES

# §8: crashes, contract violations, gate-order drift, unsafe output, deterministic wrong behaviour; §34.1.1: unsafe.
BROKEN = {
    nouns.SIGNAL_CLASS_CRASH,
    nouns.SIGNAL_CLASS_CONTRACT_VIOLATION,
    nouns.SIGNAL_CLASS_GATE_ORDER_VIOLATION,
    nouns.SIGNAL_CLASS_UNSAFE_OUTPUT,
    nouns.SIGNAL_CLASS_WRONG_BEHAVIOUR,
    nouns.SIGNAL_CLASS_FALSE_ACCEPT,
    nouns.SIGNAL_CLASS_SPOOF_RISK,
}
FROM_HIGH = {nouns.SIGNAL_CLASS_FALSE_REJECT, nouns.SIGNAL_CLASS_DRIFT_ALERT, nouns.SIGNAL_CLASS_SPEAKER_SWITCH}

LIMITS = TimeLimits(skew_s=60, oldest_s=1000, intake_s=100)
SECOND = 1_000_000_000
NOW_NS = 1_767_225_600 * SECOND
RUNTIME, CORRECTION = nouns.CAPTURE_SOURCE_RUNTIME_OUTCOME, nouns.CAPTURE_SOURCE_USER_CORRECTION
TICK = 1


def test_the_table_says_something_of_every_class() -> None:
    assert set(DEFECT_FROM) == set(CLASSES)


@pytest.mark.parametrize("signal_class", CLASSES, ids=nouns.SignalClass.Name)
def test_a_class_takes_path_a_from_its_severity_on(signal_class: nouns.SignalClass) -> None:
    paths = [intake_path(signal_class, severity) for severity in SEVERITIES]
    if signal_class in BROKEN:
        assert paths == [A, A, A, A]
    elif signal_class in FROM_HIGH:
        assert paths == [B, B, A, A]
    else:
        assert paths == [B, B, B, A]


@pytest.mark.parametrize("signal_class", CLASSES, ids=nouns.SignalClass.Name)
def test_safety_is_at_stake_by_class_or_by_severity(signal_class: nouns.SignalClass) -> None:
    always = {
        nouns.SIGNAL_CLASS_FALSE_ACCEPT,
        nouns.SIGNAL_CLASS_SPOOF_RISK,
        nouns.SIGNAL_CLASS_GATE_ORDER_VIOLATION,
        nouns.SIGNAL_CLASS_UNSAFE_OUTPUT,
    }
    blocking = [severity for severity in SEVERITIES if safety_critical(signal_class, severity)]
    assert blocking == (SEVERITIES if signal_class in always else [CRITICAL])


def test_a_class_that_nobody_knows_is_a_defect() -> None:
    assert intake_path(9_999, LOW) == A  # type: ignore[arg-type]  # of a later contract
    assert safety_critical(9_999, CRITICAL)  # type: ignore[arg-type]  # as above


SOURCES = {
    nouns.SIGNAL_CLASS_CORRECTION: nouns.CAPTURE_SOURCE_USER_CORRECTION,
    nouns.SIGNAL_CLASS_RATING: nouns.CAPTURE_SOURCE_USER_RATING,
    nouns.SIGNAL_CLASS_EVALUATION: nouns.CAPTURE_SOURCE_OFFLINE_EVALUATION,
    nouns.SIGNAL_CLASS_TRUTH_EVENT: nouns.CAPTURE_SOURCE_TRUTH_EVENT,
}


@pytest.mark.parametrize("signal_class", CLASSES, ids=nouns.SignalClass.Name)
def test_some_classes_come_from_one_source_only(signal_class: nouns.SignalClass) -> None:
    sources = [number for number in nouns.CaptureSource.values() if number]
    taken = [
        source for source in sources if field_problem(signal(signal_class=signal_class, capture_source=source)) is None
    ]
    assert taken == ([SOURCES[signal_class]] if signal_class in SOURCES else sources)


def test_a_wrong_source_is_named_with_the_one_that_is_wanted() -> None:
    wrong = signal(signal_class=nouns.SIGNAL_CLASS_RATING, capture_source=RUNTIME)
    assert field_problem(wrong) == FieldProblem(
        "capture_source",
        "signal.source_of_class",
        "must be CAPTURE_SOURCE_USER_RATING for SIGNAL_CLASS_RATING",
    )


@pytest.mark.parametrize(
    ("age_ns", "source", "problem"),
    [
        (-60 * SECOND + TICK, RUNTIME, None),
        (-60 * SECOND, RUNTIME, None),
        (-60 * SECOND - TICK, RUNTIME, TimeProblem(TimeCause.FUTURE, 60)),
        (-60 * SECOND - TICK, CORRECTION, TimeProblem(TimeCause.FUTURE, 60)),
        (0, RUNTIME, None),
        (100 * SECOND - TICK, RUNTIME, None),
        (100 * SECOND, RUNTIME, None),
        (100 * SECOND + TICK, RUNTIME, TimeProblem(TimeCause.TOO_LATE, 100)),
        (100 * SECOND + TICK, CORRECTION, None),
        (1000 * SECOND - TICK, CORRECTION, None),
        (1000 * SECOND, CORRECTION, None),
        (1000 * SECOND + TICK, CORRECTION, TimeProblem(TimeCause.ANCIENT, 1000)),
        (1000 * SECOND + TICK, RUNTIME, TimeProblem(TimeCause.ANCIENT, 1000)),
    ],
)
def test_a_signal_is_refused_just_over_each_limit(
    age_ns: int, source: nouns.CaptureSource, problem: TimeProblem | None
) -> None:
    assert time_problem(NOW_NS - age_ns, NOW_NS, source, LIMITS) == problem
