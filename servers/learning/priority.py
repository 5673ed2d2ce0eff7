"""Priority of a signal (§9): impact by frequency by confidence by safety weight, in basis points of the highest."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from selene.learning.v1.signal_pb2 import (
    SEVERITY_CRITICAL,
    SEVERITY_HIGH,
    SEVERITY_LOW,
    SEVERITY_MEDIUM,
    SIGNAL_CLASS_CONTRACT_VIOLATION,
    SIGNAL_CLASS_CRASH,
    SIGNAL_CLASS_DRIFT_ALERT,
    SIGNAL_CLASS_FALSE_ACCEPT,
    SIGNAL_CLASS_FALSE_REJECT,
    SIGNAL_CLASS_GATE_ORDER_VIOLATION,
    SIGNAL_CLASS_MULTI_SPEAKER,
    SIGNAL_CLASS_REAUTH_FRICTION,
    SIGNAL_CLASS_SPEAKER_SWITCH,
    SIGNAL_CLASS_SPOOF_RISK,
    SIGNAL_CLASS_UNSAFE_OUTPUT,
    SIGNAL_CLASS_WRONG_BEHAVIOUR,
    LearningSignal,
    Severity,
    SignalClass,
)

WHOLE_BP = 10_000

FREQUENCY_STEP_BP = 500
"""What each sighting adds: from the twentieth on, seeing it more often makes it no more urgent."""

CLASS_WEIGHT_BP: Mapping[SignalClass, int] = MappingProxyType(
    {
        SIGNAL_CLASS_FALSE_ACCEPT: 10_000,
        SIGNAL_CLASS_SPOOF_RISK: 10_000,
        SIGNAL_CLASS_GATE_ORDER_VIOLATION: 10_000,
        SIGNAL_CLASS_UNSAFE_OUTPUT: 10_000,
        SIGNAL_CLASS_CRASH: 8_000,
        SIGNAL_CLASS_CONTRACT_VIOLATION: 8_000,
        SIGNAL_CLASS_WRONG_BEHAVIOUR: 8_000,
        SIGNAL_CLASS_FALSE_REJECT: 5_000,
        SIGNAL_CLASS_MULTI_SPEAKER: 5_000,
        SIGNAL_CLASS_SPEAKER_SWITCH: 5_000,
        SIGNAL_CLASS_DRIFT_ALERT: 5_000,
        SIGNAL_CLASS_REAUTH_FRICTION: 4_000,
    }
)
"""How much safety is at stake by what happened; what is not named has `OTHER_WEIGHT_BP`."""

OTHER_WEIGHT_BP = 2_500

SEVERITY_WEIGHT_BP: Mapping[Severity, int] = MappingProxyType(
    {SEVERITY_LOW: 0, SEVERITY_MEDIUM: 2_500, SEVERITY_HIGH: 6_000, SEVERITY_CRITICAL: 10_000}
)
"""The least that a severity weighs, whatever happened."""


@functools.cache
def safety_weight_bp(signal_class: SignalClass, severity: Severity) -> int:
    """The higher of the two weights."""
    return max(CLASS_WEIGHT_BP.get(signal_class, OTHER_WEIGHT_BP), SEVERITY_WEIGHT_BP.get(severity, WHOLE_BP))


def frequency_bp(seen_before: int) -> int:
    """How often it was seen, this time included, as a share of often enough."""
    return min(WHOLE_BP, FREQUENCY_STEP_BP * (seen_before + 1))


def priority_bp(impact_bp: int, seen_before: int, confidence_bp: int, weight_bp: int) -> int:
    """The product, rounded down; each factor from 0 to 10,000 but `seen_before`, which is any count."""
    product = impact_bp * frequency_bp(seen_before) * confidence_bp * weight_bp
    return min(WHOLE_BP, product // WHOLE_BP**3)


def weigh(signal: LearningSignal, seen_before: int) -> int:
    """The priority of a signal whose kind was seen so often before."""
    weight = safety_weight_bp(signal.signal_class, signal.severity)
    return priority_bp(signal.impact_estimate_bp, seen_before, signal.confidence_bp, weight)
