"""Intake (FDBK-02, FDBK-05): which way a signal takes (§8), what its class asks of it, and whether it came in time.

Path A is broken behaviour: fixed first, and where safety is at stake it blocks promotion. Path B is what works and
could be better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from selene.learning.v1.signal_pb2 import (
    CAPTURE_SOURCE_OFFLINE_EVALUATION,
    CAPTURE_SOURCE_RUNTIME_OUTCOME,
    CAPTURE_SOURCE_TRUTH_EVENT,
    CAPTURE_SOURCE_USER_CORRECTION,
    CAPTURE_SOURCE_USER_RATING,
    INTAKE_PATH_DEFECT,
    INTAKE_PATH_IMPROVEMENT,
    SEVERITY_CRITICAL,
    SEVERITY_HIGH,
    SEVERITY_LOW,
    SIGNAL_CLASS_CONTRACT_VIOLATION,
    SIGNAL_CLASS_CORRECTION,
    SIGNAL_CLASS_CRASH,
    SIGNAL_CLASS_DRIFT_ALERT,
    SIGNAL_CLASS_EVALUATION,
    SIGNAL_CLASS_FAILOVER,
    SIGNAL_CLASS_FALLBACK,
    SIGNAL_CLASS_FALSE_ACCEPT,
    SIGNAL_CLASS_FALSE_REJECT,
    SIGNAL_CLASS_GATE_ORDER_VIOLATION,
    SIGNAL_CLASS_INTERRUPT,
    SIGNAL_CLASS_LOW_QUALITY_CAPTURE,
    SIGNAL_CLASS_MULTI_SPEAKER,
    SIGNAL_CLASS_RATING,
    SIGNAL_CLASS_REAUTH_FRICTION,
    SIGNAL_CLASS_REJECT,
    SIGNAL_CLASS_RETRY,
    SIGNAL_CLASS_SPEAKER_SWITCH,
    SIGNAL_CLASS_SPOOF_RISK,
    SIGNAL_CLASS_TRUTH_EVENT,
    SIGNAL_CLASS_UNSAFE_OUTPUT,
    SIGNAL_CLASS_WRONG_BEHAVIOUR,
    CaptureSource,
    IntakePath,
    LearningSignal,
    Severity,
    SignalClass,
)

SECOND_NS = 1_000_000_000

DEFECT_FROM: Mapping[SignalClass, Severity] = MappingProxyType(
    {
        SIGNAL_CLASS_FALSE_REJECT: SEVERITY_HIGH,
        SIGNAL_CLASS_FALSE_ACCEPT: SEVERITY_LOW,
        SIGNAL_CLASS_SPOOF_RISK: SEVERITY_LOW,
        SIGNAL_CLASS_MULTI_SPEAKER: SEVERITY_CRITICAL,
        SIGNAL_CLASS_DRIFT_ALERT: SEVERITY_HIGH,
        SIGNAL_CLASS_REAUTH_FRICTION: SEVERITY_CRITICAL,
        SIGNAL_CLASS_LOW_QUALITY_CAPTURE: SEVERITY_CRITICAL,
        SIGNAL_CLASS_SPEAKER_SWITCH: SEVERITY_HIGH,
        SIGNAL_CLASS_CRASH: SEVERITY_LOW,
        SIGNAL_CLASS_CONTRACT_VIOLATION: SEVERITY_LOW,
        SIGNAL_CLASS_GATE_ORDER_VIOLATION: SEVERITY_LOW,
        SIGNAL_CLASS_UNSAFE_OUTPUT: SEVERITY_LOW,
        SIGNAL_CLASS_WRONG_BEHAVIOUR: SEVERITY_LOW,
        SIGNAL_CLASS_CORRECTION: SEVERITY_CRITICAL,
        SIGNAL_CLASS_RATING: SEVERITY_CRITICAL,
        SIGNAL_CLASS_FAILOVER: SEVERITY_CRITICAL,
        SIGNAL_CLASS_FALLBACK: SEVERITY_CRITICAL,
        SIGNAL_CLASS_REJECT: SEVERITY_CRITICAL,
        SIGNAL_CLASS_RETRY: SEVERITY_CRITICAL,
        SIGNAL_CLASS_INTERRUPT: SEVERITY_CRITICAL,
        SIGNAL_CLASS_EVALUATION: SEVERITY_CRITICAL,
        SIGNAL_CLASS_TRUTH_EVENT: SEVERITY_CRITICAL,
    }
)
"""From which severity on a signal of a class is a defect. SEVERITY_LOW: always."""

SAFETY_CRITICAL = frozenset(
    {
        SIGNAL_CLASS_FALSE_ACCEPT,
        SIGNAL_CLASS_SPOOF_RISK,
        SIGNAL_CLASS_GATE_ORDER_VIOLATION,
        SIGNAL_CLASS_UNSAFE_OUTPUT,
    }
)
"""Classes that block promotion however mild they are; of the others a defect of SEVERITY_CRITICAL does."""

SOURCE_OF: Mapping[SignalClass, CaptureSource] = MappingProxyType(
    {
        SIGNAL_CLASS_CORRECTION: CAPTURE_SOURCE_USER_CORRECTION,
        SIGNAL_CLASS_RATING: CAPTURE_SOURCE_USER_RATING,
        SIGNAL_CLASS_EVALUATION: CAPTURE_SOURCE_OFFLINE_EVALUATION,
        SIGNAL_CLASS_TRUTH_EVENT: CAPTURE_SOURCE_TRUTH_EVENT,
    }
)
"""Classes that come from one source only (§4)."""


class TimeCause(StrEnum):
    """Why a signal's time is refused."""

    FUTURE = "FUTURE"
    ANCIENT = "ANCIENT"
    TOO_LATE = "TOO_LATE"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Whole seconds: how far the clock of who saw it may be ahead, how old a signal may be, and how long one of the
    running system may take to arrive.
    """

    skew_s: int
    oldest_s: int
    intake_s: int


@dataclass(frozen=True, slots=True)
class TimeProblem:
    """Why, and the limit that was passed."""

    cause: TimeCause
    limit_s: int


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A field of the signal, and what its class asks of it."""

    field: str
    rule: str
    description: str


def intake_path(signal_class: SignalClass, severity: Severity) -> IntakePath:
    """The way a signal takes. What the table does not know is a defect: it is looked at first."""
    least = DEFECT_FROM.get(signal_class, SEVERITY_LOW)
    return INTAKE_PATH_DEFECT if severity >= least else INTAKE_PATH_IMPROVEMENT


def safety_critical(signal_class: SignalClass, severity: Severity) -> bool:
    """Whether a signal blocks promotion until it is closed (§8, path A)."""
    defect = intake_path(signal_class, severity) == INTAKE_PATH_DEFECT
    return defect and (signal_class in SAFETY_CRITICAL or severity >= SEVERITY_CRITICAL)


def field_problem(signal: LearningSignal) -> FieldProblem | None:
    """What the signal's class asks for and the signal lacks, beyond the contract's own rules."""
    source = SOURCE_OF.get(signal.signal_class)
    if source is None or source == signal.capture_source:
        return None
    wanted = CaptureSource.Name(source)
    named = SignalClass.Name(signal.signal_class)
    return FieldProblem("capture_source", "signal.source_of_class", f"must be {wanted} for {named}")


def time_problem(occurred_ns: int, arrived_ns: int, source: CaptureSource, limits: TimeLimits) -> TimeProblem | None:
    """Why a signal cannot be learned from any more, or yet; on the limit it still can. Times are nanoseconds of one
    epoch.

    What people and evaluations say may come when it comes, while the running system tells at once: what it says later
    than the intake allows would move figures that were drawn already.
    """
    age_ns = arrived_ns - occurred_ns
    if -age_ns > limits.skew_s * SECOND_NS:
        return TimeProblem(TimeCause.FUTURE, limits.skew_s)
    if age_ns > limits.oldest_s * SECOND_NS:
        return TimeProblem(TimeCause.ANCIENT, limits.oldest_s)
    if source == CAPTURE_SOURCE_RUNTIME_OUTCOME and age_ns > limits.intake_s * SECOND_NS:
        return TimeProblem(TimeCause.TOO_LATE, limits.intake_s)
    return None
